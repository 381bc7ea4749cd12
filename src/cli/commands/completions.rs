//! `handoverctl completions`: completion scripts for shells.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::Context;
use crate::cli::args::Cli;
use crate::cli::exit::Failure;

/// `completions`
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  handoverctl completions bash > /usr/share/bash-completion/completions/handoverctl")]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Runs it.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "handoverctl", &mut script);
        context.ui.print(&String::from_utf8_lossy(&script))
    }
}
