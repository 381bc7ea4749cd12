//! `handoverctl recover-table`: has handoverd rebuild a lost service table, with the daemon stopped.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Args;

use crate::cli::Context;
use crate::cli::exit::Failure;

/// `recover-table`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  systemctl stop handoverd
  handoverctl recover-table --dry-run
  handoverctl recover-table
  systemctl start handoverd

It runs `handoverd --recover-table`, which needs the rights of the daemon: root, or the user handoverd. A table that is whole is
never touched; a damaged one is copied aside first. What two guests claim, or what only a guest that does not answer
knows, is left out and said to be. Jobs and their journals cannot be recovered.")]
pub struct RecoverTable {
    /// Only say what was found
    #[arg(long)]
    dry_run: bool,
    /// The daemon's configuration file
    #[arg(long, value_name = "FILE", default_value = crate::config::DEFAULT_PATH)]
    config: PathBuf,
    /// The daemon's program [default: the one beside handoverctl, else the one in PATH]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

impl RecoverTable {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        if context.ui.json {
            return Err(Failure::Usage(
                "recover-table is for people: it has no --json".to_owned(),
            ));
        }
        let program = self.program.unwrap_or_else(beside_us);
        let mut command = Command::new(&program);
        command.arg("--config").arg(&self.config).arg("--recover-table");
        if self.dry_run {
            command.arg("--dry-run");
        }
        let failed = |why: String| Failure::Failed(format!("{} {why}", program.display()));
        let status = command
            .stdin(Stdio::null())
            .status()
            .map_err(|error| failed(format!("cannot be run: {error}; is handoverd installed?")))?;
        if status.success() {
            Ok(())
        } else {
            Err(failed("has recovered nothing; see above".to_owned()))
        }
    }
}

/// The daemon that was installed with this program, else whichever is in PATH.
fn beside_us() -> PathBuf {
    std::env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.join("handoverd")))
        .filter(|beside| beside.exists())
        .unwrap_or_else(|| PathBuf::from("handoverd"))
}
