//! `handoverctl guests`: the guests that services can be on.

use clap::Args;

use crate::cli::Context;
use crate::cli::exit::Failure;
use crate::cli::render::guests;
use crate::cli::render::text::clean;

/// `guests`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  handoverctl guests
  handoverctl guests g2 --check")]
pub struct Guests {
    /// Only this guest: its name, UUID or IP address
    guest: Option<String>,
    /// Look into the guests for what keeps services from them (takes a while)
    #[arg(long)]
    check: bool,
}

impl Guests {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.connect().await?;
        let list = client.guests(self.guest.as_deref(), self.check).await?;
        if let (Some(guest), []) = (&self.guest, list.as_slice()) {
            return Err(Failure::refused(
                "NoSuchGuest",
                format!("there is no guest {guest}; see `handoverctl guests`"),
            ));
        }
        let balance = match (&self.guest, context.ui.json) {
            (None, false) => client.balance().await?,
            _ => None,
        };
        context.ui.show(&list, |look| {
            let mut text = guests::list(&list, self.check, look);
            if let Some(balance) = balance {
                text.push_str(&format!("balance: {}\n", clean(&balance)));
            }
            text
        })
    }
}
