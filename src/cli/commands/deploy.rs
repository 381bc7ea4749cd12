//! `handoverctl deploy`: a new service onto a guest.

use clap::Args;

use crate::cli::args::{EnvironmentFiles, JobOptions};
use crate::cli::exit::Failure;
use crate::cli::proxy::Options;
use crate::cli::{Context, files, follow};

/// `deploy`
#[derive(Debug, Args)]
#[command(after_help = "\
An image file is registered first. A registered bundle is named by its digest, by the digest's first 8 digits or
more, or by SERVICE@VERSION; a file of that name comes first.

Examples:
  handoverctl deploy web.img --to g1
  handoverctl deploy web@1.2 --to g1 --config site=site.conf --secret key=/etc/web/web.key
  handoverctl deploy 3f9a02c1 --to 10.77.0.101 --stopped")]
pub struct Deploy {
    /// An image file, or the name of a registered bundle
    #[arg(value_name = "FILE|BUNDLE")]
    bundle: String,
    /// The guest: its name, UUID or IP address
    #[arg(long = "to", value_name = "GUEST")]
    target: String,
    /// Place it, but do not start it
    #[arg(long)]
    stopped: bool,
    /// Take its DNS name over, although somebody else's addresses stand there
    #[arg(long)]
    take_over: bool,
    #[command(flatten)]
    files: EnvironmentFiles,
    #[command(flatten)]
    job: JobOptions,
}

impl Deploy {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let life_state = if self.stopped { "stopped" } else { "running" };
        let mut options = Options::from([("life_state", life_state.into())]);
        files::add_files(&mut options, &self.files)?;
        if self.take_over {
            options.insert("take_over", "yes".into());
        }
        files::given(&self.bundle)?;
        let client = context.connect().await?;
        let bundle = files::bundle_name(&context.ui, &client, &self.bundle).await?;
        let request = client.manager().deploy(&bundle, &self.target, options);
        follow::begin(&context.ui, &client, &self.job, request).await
    }
}
