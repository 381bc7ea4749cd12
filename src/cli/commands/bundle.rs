//! `handoverctl bundle`: build and inspect files, register them, list what is registered.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::cli::exit::Failure;
use crate::cli::output::now;
use crate::cli::render::bundles;
use crate::cli::{Context, bundle, files};

/// `bundle`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  handoverctl bundle build ./web -o web.img
  handoverctl bundle inspect web.img
  handoverctl bundle register web.img")]
pub struct Bundle {
    #[command(subcommand)]
    command: BundleCommand,
}

#[derive(Debug, Subcommand)]
enum BundleCommand {
    /// Make a bundle image out of a folder with handover.toml, units/ and the program
    Build {
        /// The folder
        dir: PathBuf,
        /// The image file to write
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
    /// Show what is in a bundle image
    Inspect {
        /// The image file
        file: PathBuf,
    },
    /// Give a bundle image to handoverd
    Register {
        /// The image file
        file: PathBuf,
    },
    /// List the registered bundles
    #[command(visible_alias = "ls")]
    List,
}

#[derive(Serialize)]
struct Registered {
    digest: String,
    size: u64,
}

impl Bundle {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let ui = &context.ui;
        match self.command {
            BundleCommand::Build { dir, output } => {
                let image = bundle::build(&dir, &output)?;
                ui.note(&format!("wrote {}", output.display()));
                ui.show(&image, |look| bundles::image(&image, look))
            }
            BundleCommand::Inspect { file } => {
                let image = bundle::inspect(&file)?;
                ui.show(&image, |look| bundles::image(&image, look))
            }
            BundleCommand::Register { file } => {
                let client = context.connect().await?;
                let (digest, size) = files::register(ui, &client, &file).await?;
                let registered = Registered { digest, size };
                ui.show(&registered, |_| bundles::registered(&registered.digest, size))
            }
            BundleCommand::List => {
                let list = context.connect().await?.bundles().await?;
                ui.show(&list, |look| bundles::list(&list, now(), look))
            }
        }
    }
}
