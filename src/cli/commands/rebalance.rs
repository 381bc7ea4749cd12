//! `handoverctl rebalance`: the loads of guests are evened out.

use clap::Args;

use crate::cli::args::{JobOptions, limit};
use crate::cli::exit::Failure;
use crate::cli::proxy::Options;
use crate::cli::{Context, follow};

/// `rebalance`
#[derive(Debug, Args)]
#[command(after_help = "\
Services move from the most to the least loaded guests, few of them, until the loads are close enough: [balance] of the
daemon's configuration says how close, and whether it does this by itself. Services that are frozen, bound to their guest or
on their way stay, and so do those of guests in maintenance. `handoverctl why SERVICE` tells why a service has moved.

Ctrl-C asks the job to cancel: services that have not begun stay, and those that may still be undone are. One failing
service does not stop the others: the exit code is then 1, and each one's end is told.

Examples:
  handoverctl rebalance
  handoverctl rebalance --most 2 --timeout 10m")]
pub struct Rebalance {
    /// How many services move at most [default: 16]
    #[arg(long, value_name = "NUMBER", value_parser = limit())]
    most: Option<u32>,
    #[command(flatten)]
    job: JobOptions,
}

impl Rebalance {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut options = Options::new();
        if let Some(most) = self.most {
            options.insert("most", most.into());
        }
        let client = context.connect().await?;
        let request = client.manager().rebalance(options);
        follow::begin(&context.ui, &client, &self.job, request).await
    }
}
