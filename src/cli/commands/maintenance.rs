//! `handoverctl maintenance`: guests and hosts that somebody works on.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::Context;
use crate::cli::args::parse_duration;
use crate::cli::exit::Failure;
use crate::cli::proxy::Options;
use crate::cli::render::maintenance;

/// `maintenance`
#[derive(Debug, Args)]
#[command(after_help = "\
While a guest is in maintenance no service is brought there; those that are there go to other guests, as by
`handoverctl move GUEST least-loaded --partial`, with a job for each guest. A host's maintenance is that of all its guests. It
ends by itself; nothing moves back then. `handoverctl guests` shows it.

Examples:
  handoverctl maintenance guest g1 on --for 4h --reason \"new kernel\"
  handoverctl maintenance host hv1 on --stay
  handoverctl maintenance guest g1 off")]
pub struct Maintenance {
    /// Whose maintenance
    #[arg(value_enum)]
    kind: Kind,
    /// The guest's name, UUID or IP address; the host's name
    name: String,
    /// Whether it begins or ends
    #[arg(value_enum)]
    state: State,
    /// When it ends by itself (such as 30m, 4h, 7d); 1 minute to 30 days [default: 2h]
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    length: Option<Duration>,
    /// Why, for those who find it so
    #[arg(long)]
    reason: Option<String>,
    /// Leave the services that are there where they are
    #[arg(long)]
    stay: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// One guest
    Guest,
    /// A host, with all its guests
    Host,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    /// It begins, or gets another end
    On,
    /// It ends now
    Off,
}

impl Maintenance {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let kind = match self.kind {
            Kind::Guest => "guest",
            Kind::Host => "host",
        };
        let state = match self.state {
            State::On => "on",
            State::Off => "off",
        };
        let mut options = Options::new();
        if let Some(length) = self.length {
            options.insert("for", format!("{}s", length.as_secs()).into());
        }
        if let Some(reason) = &self.reason {
            options.insert("reason", reason.as_str().into());
        }
        if self.stay {
            options.insert("drain", "no".into());
        }
        let client = context.connect().await?;
        let drains = client.set_maintenance(kind, &self.name, state, options).await?;
        let on = self.state == State::On;
        context
            .ui
            .show(&drains, |_| maintenance::told(kind, &self.name, on, &drains))?;
        let staying: Vec<&str> = drains
            .iter()
            .filter(|drain| drain.job.is_none())
            .map(|drain| drain.guest.as_str())
            .collect();
        if staying.is_empty() {
            return Ok(());
        }
        Err(Failure::Failed(format!(
            "{kind} {} is in maintenance, and the services of {} stay where they are",
            self.name,
            staying.join(", ")
        )))
    }
}
