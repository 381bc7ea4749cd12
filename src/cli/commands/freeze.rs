//! `handoverctl freeze` and `handoverctl thaw`: whether services are moved that nobody asked to move.

use clap::Args;

use crate::cli::Context;
use crate::cli::client::Client;
use crate::cli::exit::Failure;
use crate::cli::output::now;
use crate::cli::render::freezes;

/// `freeze`
#[derive(Debug, Args)]
#[command(after_help = "\
Until `handoverctl thaw` the services of a guest that dies stay where they are; of an evacuation that runs, what has not
begun is not begun. What an operator asks for is done all the same. The daemon freezes by itself when too many guests die
at once, or when its host shuts down.

Examples:
  handoverctl freeze \"the storage is rebuilt\"
  handoverctl freeze --show")]
pub struct Freeze {
    /// Why, for those who find it frozen
    #[arg(conflicts_with = "show")]
    reason: Option<String>,
    /// Only say whether it is frozen, and why
    #[arg(long)]
    show: bool,
}

/// `thaw`
#[derive(Debug, Args)]
#[command(after_help = "\
The services of guests that are still dead go elsewhere now. Look at the hosts first.

Example:
  handoverctl thaw")]
pub struct Thaw {}

impl Freeze {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.connect().await?;
        if !self.show {
            client.freeze(&self.reason.unwrap_or_default()).await?;
        }
        show(&client, context).await
    }
}

impl Thaw {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.connect().await?;
        client.thaw().await?;
        show(&client, context).await
    }
}

async fn show(client: &Client, context: &Context) -> Result<(), Failure> {
    let frozen = client.frozen().await?;
    context.ui.show(&frozen, |_| freezes::told(&frozen, now()))
}
