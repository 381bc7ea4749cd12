//! `handoverctl metrics`: what a monitor wants to know.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::Context;
use crate::cli::exit::Failure;
use crate::cli::render::metrics;

/// `metrics`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  handoverctl metrics
  handoverctl metrics --output /var/lib/prometheus/node-exporter/handoverd.prom

For node_exporter's textfile collector; handoverd-metrics.timer writes that file once a minute. No guest is asked anything.")]
pub struct Metrics {
    /// Write them to this file, whole or not at all, instead of printing them
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Metrics {
    /// Runs it.
    ///
    /// # Errors
    /// The file cannot be written; else see [`Failure`].
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.connect().await?;
        let measures = client.measures().await?;
        let Some(path) = &self.output else {
            return context.ui.show(&measures, |_| metrics::exposition(&measures));
        };
        let text = if context.ui.json {
            serde_json::to_string_pretty(&measures).map_err(std::io::Error::from)? + "\n"
        } else {
            metrics::exposition(&measures)
        };
        replace(path, &text)
            .map_err(|error| Failure::Failed(format!("{} cannot be written: {error}", path.display())))
    }
}

/// Writes a file of that content in place of the one that is there. Whoever reads it sees the old one or the new one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    // A collector reads only names that end in .prom.
    beside.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = File::create(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        // It may not be there; what is told is the first error.
        std::fs::remove_file(&beside).ok();
    }
    written
}
