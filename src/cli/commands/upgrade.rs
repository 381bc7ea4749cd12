//! `handoverctl upgrade`: a new bundle for a service.

use clap::Args;

use crate::cli::args::{Drain, EnvironmentFiles, JobOptions};
use crate::cli::exit::Failure;
use crate::cli::proxy::Options;
use crate::cli::{Context, files, follow};

/// `upgrade`
#[derive(Debug, Args)]
#[command(after_help = "\
With --to the new version comes up on another guest while the old one serves, and the name follows when it is confirmed.
Config and secrets that are not given stay as they are.

Examples:
  handoverctl upgrade web web-1.3.img
  handoverctl upgrade web web@1.3 --to g2")]
pub struct Upgrade {
    /// The service's id
    service: String,
    /// An image file, or the name of a registered bundle
    #[arg(value_name = "FILE|BUNDLE")]
    bundle: String,
    /// Another guest to move to on the way: its name, UUID or IP address
    #[arg(long = "to", value_name = "GUEST")]
    target: Option<String>,
    /// How long the old copy still serves: ttl (until resolvers have forgotten its address), 0, or a time such as 30s
    #[arg(long, value_name = "TIME")]
    drain: Option<Drain>,
    #[command(flatten)]
    files: EnvironmentFiles,
    #[command(flatten)]
    job: JobOptions,
}

impl Upgrade {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut options = Options::new();
        files::add_files(&mut options, &self.files)?;
        if let Some(target) = &self.target {
            options.insert("target", target.as_str().into());
        }
        if let Some(drain) = self.drain {
            options.insert("drain", drain.word().into());
        }
        files::given(&self.bundle)?;
        let client = context.connect().await?;
        let bundle = files::bundle_name(&context.ui, &client, &self.bundle).await?;
        let request = client.manager().upgrade(&self.service, &bundle, options);
        follow::begin(&context.ui, &client, &self.job, request).await
    }
}
