//! The daemon's program: arguments, logging, and the exit code.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use handoverd::adapters::sim::scenario::Scenario;
use handoverd::config::{self, ConfigError, LogLevel, Settings};
use handoverd::daemon::{self, DaemonError};

/// Exit code for a configuration that cannot be used (EX_CONFIG of sysexits.h): systemd does not restart after it.
const EX_CONFIG: u8 = 78;
/// Exit code for a service table that is refused (EX_DATAERR): systemd does not restart after it either.
const EX_DATAERR: u8 = 65;

/// Moves services between libvirt virtual machines without their users noticing.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// The configuration file; `*.toml` in the folder `<its name without .toml>.d` beside it are read after it. Default:
    /// /etc/handoverd/handoverd.toml; with --sim the handoverd.toml in SCENARIO, if there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Reads the configuration, says what is in force, and exits: 0 if it can be used, 78 if not.
    #[arg(long)]
    check_config: bool,
    /// Rebuilds a service table that is lost or damaged from libvirt, the zones and the guests, says what was found, and exits:
    /// 0 if it is written. Only with the daemon stopped; a table that is whole is not touched.
    #[arg(long)]
    recover_table: bool,
    /// With --recover-table: only says what was found.
    #[arg(long, requires = "recover_table")]
    dry_run: bool,
    /// Runs in a simulated cluster, for trying things out: no hypervisor, guest or name server is touched, and nothing lasts.
    /// SCENARIO is a folder with a cluster.toml, or such a file. Offered on the bus at $HANDOVERD_BUS, else
    /// $DBUS_SYSTEM_BUS_ADDRESS, else on the session bus.
    #[arg(long, value_name = "SCENARIO", conflicts_with = "recover_table")]
    sim: Option<PathBuf>,
}

impl Arguments {
    /// What is to run, and by which settings.
    fn read(&self) -> Result<(Option<Scenario>, Settings), ConfigError> {
        let Some(path) = &self.sim else {
            let path = self.config.as_deref();
            let settings = config::load(path.unwrap_or_else(|| Path::new(config::DEFAULT_PATH)))?;
            return Ok((None, settings));
        };
        let scenario = Scenario::load(path)?;
        let settings = scenario.settings(self.config.as_deref())?;
        Ok((Some(scenario), settings))
    }
}

fn main() -> ExitCode {
    #[cfg(target_env = "gnu")]
    handoverd::adapters::libvirt::share_one_heap();
    let arguments = Arguments::parse();
    let (scenario, settings) = match arguments.read() {
        Ok(read) => read,
        Err(error) => {
            eprintln!("handoverd: {error}");
            return ExitCode::from(EX_CONFIG);
        }
    };
    if arguments.check_config {
        print!("{}", config::describe(&settings));
        return ExitCode::SUCCESS;
    }
    log_to(settings.log);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("handoverd: threads cannot be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = if arguments.recover_table {
        let told = runtime.block_on(daemon::recover_table(&settings, arguments.dry_run));
        told.map(|text| print!("{text}"))
    } else if let Some(scenario) = scenario {
        runtime.block_on(daemon::simulate(scenario, settings))
    } else {
        runtime.block_on(daemon::run(settings))
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("handoverd: {}", chain(&error));
            tracing::error!("{}", chain(&error));
            match error {
                DaemonError::Table(refused) if refused.is_lasting() => ExitCode::from(EX_DATAERR),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// Logs to the journal where the service manager has connected it, else to standard error.
fn log_to(level: LogLevel) {
    let filter = EnvFilter::try_from_env("HANDOVERD_LOG")
        .unwrap_or_else(|_| EnvFilter::new(format!("handoverd={0},warn", level.as_str())));
    let registry = tracing_subscriber::registry().with(filter);
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    match journal {
        Some(journal) => registry.with(journal).init(),
        None => {
            let stderr = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(false);
            registry.with(stderr).init();
        }
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
