//! `handoverctl remove`

use clap::Args;

use crate::cli::args::JobOptions;
use crate::cli::exit::Failure;
use crate::cli::proxy::Options;
use crate::cli::{Context, follow};

/// `remove`
#[derive(Debug, Args)]
#[command(after_help = "\
A data volume stays in the host's pool, and the job's end says where: deploying the service there again finds the data.
With --delete-data it is deleted with everything on it, once nothing else has it attached. Nothing is asked first, and
nothing brings the data back.

Examples:
  handoverctl remove web
  handoverctl remove web --delete-data")]
pub struct Remove {
    /// The service's id
    service: String,
    /// Delete its data volume too, for good; without it the volume stays
    #[arg(long)]
    delete_data: bool,
    #[command(flatten)]
    job: JobOptions,
}

impl Remove {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.connect().await?;
        let mut options = Options::new();
        let mut kept = None;
        if self.delete_data {
            options.insert("delete_data", "yes".into());
        } else {
            let rows = client.services(Some(&self.service), None).await?;
            kept = rows.into_iter().find_map(|service| service.volume);
        }
        let request = client.manager().remove(&self.service, options);
        follow::begin_keeping(&context.ui, &client, &self.job, kept, request).await
    }
}
