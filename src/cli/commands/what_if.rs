//! `handoverctl what-if`: what would become of services.

use clap::{Args, Subcommand};

use crate::cli::Context;
use crate::cli::exit::Failure;
use crate::cli::render::plans;

/// `what-if`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  handoverctl what-if dies g3
  handoverctl what-if dies")]
pub struct WhatIf {
    #[command(subcommand)]
    event: Event,
}

#[derive(Debug, Subcommand)]
enum Event {
    /// A guest dies: where its services would go; without a guest a line for each of them
    Dies {
        /// The guest: its name, UUID or IP address
        guest: Option<String>,
    },
}

impl WhatIf {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let Event::Dies { guest } = self.event;
        let client = context.connect().await?;
        let losses = client.what_if_dies(guest.as_deref()).await?;
        context
            .ui
            .show(&losses, |look| match (&guest, losses.as_slice()) {
                (Some(_), [loss]) => plans::loss(loss, look),
                _ => plans::losses(&losses, look),
            })
    }
}
