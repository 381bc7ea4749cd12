//! `handoverctl audit`: whether table, zone, libvirt and guests agree.

use clap::Args;

use crate::cli::Context;
use crate::cli::exit::Failure;
use crate::cli::render::audit;

/// `audit`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  handoverctl audit
  handoverctl audit web --repair

Without --repair nothing is changed. What an operator did in a guest (systemctl stop, start, enable, disable, mask) is
taken over by the daemon within a minute, and what is down since its guest booted is started: `by-itself`.
What somebody may have meant so is put right only with --repair: `when-told`.

Exit code 0: nothing was found, or all of it was repaired. 1: something is left, or could not be told.")]
pub struct Audit {
    /// Only this service
    service: Option<String>,
    /// Put right what is the daemon's to put right, and wait for it
    #[arg(long)]
    repair: bool,
}

impl Audit {
    /// Runs it.
    ///
    /// # Errors
    /// [`Failure::Differs`] if something is left; else see [`Failure`].
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.connect().await?;
        let findings = client.audit(self.service.as_deref(), self.repair).await?;
        context.ui.show(&findings, |look| audit::list(&findings, look))?;
        if findings.iter().all(crate::cli::rows::Finding::is_settled) {
            Ok(())
        } else {
            Err(Failure::Differs)
        }
    }
}
