//! `handoverctl man`: the manual pages.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};

use crate::cli::Context;
use crate::cli::args::Cli;
use crate::cli::exit::Failure;

/// `man`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  handoverctl man | man -l -
  handoverctl man --dir /usr/share/man/man1")]
pub struct Man {
    /// Write the page of every command into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    /// Runs it.
    ///
    /// # Errors
    /// The folder or standard output cannot be written.
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let command = Cli::command();
        match self.dir {
            Some(dir) => clap_mangen::generate_to(command, &dir)
                .map_err(|error| Failure::Failed(format!("cannot write into {}: {error}", dir.display()))),
            None => {
                let mut page = Vec::new();
                clap_mangen::Man::new(command).render(&mut page)?;
                context.ui.print(&String::from_utf8_lossy(&page))
            }
        }
    }
}
