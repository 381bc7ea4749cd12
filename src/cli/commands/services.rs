//! `handoverctl services`: what the service table says.

use clap::Args;

use crate::cli::Context;
use crate::cli::exit::Failure;
use crate::cli::output::now;
use crate::cli::render::services;

/// `services`
#[derive(Debug, Args)]
#[command(after_help = "\
With --json a list of objects with id, bundle, version, guest (its UUID), guest_name, host, address, life_state, wanted,
observed, observed_at (milliseconds since 1970), enablement, name, generation, frozen and standbys (a list of objects with
guest, its name, and state: ready, changing or dropping); what is not there is null.

Examples:
  handoverctl services
  handoverctl services web
  handoverctl services --guest g2 --json")]
pub struct Services {
    /// Only this service, in full
    service: Option<String>,
    /// Only the services of this guest (its name, UUID or IP address)
    #[arg(long, value_name = "GUEST")]
    guest: Option<String>,
}

impl Services {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.connect().await?;
        let service = self.service.as_deref();
        let list = client.services(service, self.guest.as_deref()).await?;
        let ui = &context.ui;
        match (service, list.as_slice()) {
            (Some(id), []) => Err(Failure::refused(
                "NoSuchService",
                format!("there is no service {id}; see `handoverctl services`"),
            )),
            (Some(_), [one]) => ui.show(&list, |look| services::detail(one, now(), look)),
            _ => ui.show(&list, |look| services::list(&list, look)),
        }
    }
}
