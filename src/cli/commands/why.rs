//! `handoverctl why`: from what it was decided where a service is.

use clap::Args;

use crate::cli::Context;
use crate::cli::exit::Failure;
use crate::cli::output::now;
use crate::cli::render::plans;

/// `why`
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  handoverctl why web")]
pub struct Why {
    /// The service's id
    service: String,
}

impl Why {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.connect().await?;
        let decision = client.why(&self.service).await?;
        context
            .ui
            .show(&decision, |look| plans::decision(&decision, now(), look))
    }
}
