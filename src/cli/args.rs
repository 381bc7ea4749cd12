//! The command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use super::commands;
use super::exit::EXIT_CODES;
use super::proxy::Options;

const EXAMPLES: &str = "\
Examples:
  handoverctl bundle build ./web -o web.img
  handoverctl deploy web.img --to g1 --config site=site.conf
  handoverctl move web g2
  handoverctl plan g1
  handoverctl services --json
  handoverctl watch";

/// Moves services between virtual machines, through the handoverd of this host.
#[derive(Debug, Parser)]
#[command(
    name = "handoverctl",
    version,
    about,
    after_help = EXIT_CODES,
    after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"),
    disable_help_subcommand = true,
    max_term_width = 110
)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What is to be done.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Print JSON for programs (errors too, on standard error)
    #[arg(long, global = true)]
    pub json: bool,
    /// Print no progress
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// The bus to find handoverd on: system, session, or a D-Bus address
    #[arg(
        long,
        global = true,
        value_name = "BUS",
        env = "HANDOVERD_BUS",
        default_value = "system"
    )]
    pub bus: String,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build, inspect, register and list bundles
    Bundle(commands::bundle::Bundle),
    /// Put a new service onto a guest
    Deploy(commands::deploy::Deploy),
    /// Move a service, or all services of a guest, to another guest without their users noticing
    Move(commands::moves::Move),
    /// Show where a move would put each service, and why; nothing is begun
    Plan(commands::plan::Plan),
    /// Begin a plan as it was shown
    Apply(commands::plan::Apply),
    /// Show what would become of services if something happened
    WhatIf(commands::what_if::WhatIf),
    /// Show why a service is where it is: the last decision, and what it was made from
    Why(commands::why::Why),
    /// Keep services of guests that die where they are, until `thaw`
    Freeze(commands::freeze::Freeze),
    /// Let services of guests that die go elsewhere again
    Thaw(commands::freeze::Thaw),
    /// Keep services from a guest or host that is worked on, and move away those that are there
    Maintenance(commands::maintenance::Maintenance),
    /// Even out the loads of guests: move services from the most to the least loaded ones
    Rebalance(commands::rebalance::Rebalance),
    /// Give a service a new bundle, on its guest or on another
    Upgrade(commands::upgrade::Upgrade),
    /// Remove a service from its guest, its name from DNS and its row from the table
    Remove(commands::remove::Remove),
    /// Start a stopped service where it is
    Start(commands::start::Start),
    /// Stop a service where it is
    Stop(commands::stop::Stop),
    /// List services, or show one
    Services(commands::services::Services),
    /// List guests, and what keeps services from them
    Guests(commands::guests::Guests),
    /// Compare table, zone, libvirt and guests, and repair what differs
    Audit(commands::audit::Audit),
    /// Print what a monitor wants to know, as Prometheus and OpenMetrics read it
    Metrics(commands::metrics::Metrics),
    /// List jobs, show, follow, cancel, resume or abandon one
    Jobs(commands::jobs::Jobs),
    /// Let a stuck job try again (as `jobs resume`)
    Resume(commands::jobs::Resume),
    /// Give a stuck job up (as `jobs abandon`)
    Abandon(commands::jobs::Abandon),
    /// Print what happens to jobs and services, until Ctrl-C
    Watch(commands::watch::Watch),
    /// Rebuild a lost service table from libvirt, DNS and the guests, with the daemon stopped
    RecoverTable(commands::recover_table::RecoverTable),
    /// Print a completion script for a shell
    Completions(commands::completions::Completions),
    /// Print the manual page, or write all of them to a folder
    Man(commands::man::Man),
}

/// How a command that begins a job waits for it.
#[derive(Debug, Default, Args)]
pub struct JobOptions {
    /// Do not wait for the job's end
    #[arg(long, conflicts_with = "timeout")]
    pub no_wait: bool,
    /// Wait no longer than this (such as 90s, 5m, 1h); the job goes on, the exit code is 5
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
}

/// How all services of a guest are moved.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Where the object is a guest")]
pub struct BatchArgs {
    /// Move what can be moved, although no guest fits for some services; these stay
    #[arg(long)]
    pub partial: bool,
    /// How many services are worked on at once [default: the daemon's configuration]
    #[arg(long, value_name = "NUMBER", value_parser = limit())]
    pub parallel: Option<u32>,
    /// How many of them on one target guest [default: the daemon's configuration]
    #[arg(long, value_name = "NUMBER", value_parser = limit())]
    pub per_guest: Option<u32>,
    /// How many of them on the guests of one host [default: the daemon's configuration]
    #[arg(long, value_name = "NUMBER", value_parser = limit())]
    pub per_host: Option<u32>,
}

/// How many services: 1 to 64.
pub(super) fn limit() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=64)
}

impl BatchArgs {
    /// Adds them to a request's options.
    pub fn put(&self, options: &mut Options<'_>) {
        if self.partial {
            options.insert("partial", "yes".into());
        }
        for (key, limit) in [
            ("parallel", self.parallel),
            ("per_guest", self.per_guest),
            ("per_host", self.per_host),
        ] {
            if let Some(limit) = limit {
                options.insert(key, limit.into());
            }
        }
    }
}

/// Files of the environment, which are not in the bundle.
#[derive(Debug, Default, Args)]
pub struct EnvironmentFiles {
    /// Content for a config file that the bundle's manifest names
    #[arg(long, value_name = "NAME=PATH")]
    pub config: Vec<NamedFile>,
    /// Content for a secret file that the bundle's manifest names
    #[arg(long, value_name = "NAME=PATH")]
    pub secret: Vec<NamedFile>,
}

/// `NAME=PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// The name in the manifest.
    pub name: String,
    /// The file on this machine.
    pub path: PathBuf,
}

impl FromStr for NamedFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok(Self {
                name: name.to_owned(),
                path: path.into(),
            }),
            _ => Err("it must be NAME=PATH, such as site=./site.conf".to_owned()),
        }
    }
}

/// How long the old copy of a service still serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// Until resolvers have forgotten the old address.
    Ttl,
    /// For this long.
    For(Duration),
}

impl Drain {
    /// The word for the bus: `ttl`, `0`, or seconds such as `30s` (rounded up).
    pub fn word(self) -> String {
        match self {
            Self::Ttl => "ttl".to_owned(),
            Self::For(Duration::ZERO) => "0".to_owned(),
            Self::For(time) => {
                let whole = time.as_secs();
                let seconds = if time.subsec_nanos() > 0 {
                    whole.saturating_add(1)
                } else {
                    whole
                };
                format!("{seconds}s")
            }
        }
    }
}

impl FromStr for Drain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "ttl" {
            return Ok(Self::Ttl);
        }
        parse_duration(text)
            .map(Self::For)
            .map_err(|_| "it must be ttl, 0, or a time such as 30s or 5m".to_owned())
    }
}

/// A time such as `500ms`, `90s`, `5m`, `1h`, `7d`; a bare number is seconds. At most a year.
///
/// # Errors
/// What it must be.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "it must be a time such as 90s, 5m, 1h or 7d".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let ms = match unit {
        "ms" => Some(number),
        "s" | "" => number.checked_mul(1000),
        "m" | "min" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        "d" => number.checked_mul(86_400_000),
        _ => return Err(wrong()),
    };
    ms.filter(|ms| *ms <= 31_536_000_000)
        .map(Duration::from_millis)
        .ok_or_else(|| "it must be a year at most".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_are_read_with_their_unit() {
        for (text, ms) in [
            ("0", 0),
            ("500ms", 500),
            ("90", 90_000),
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in [
            "",
            "s",
            "-1s",
            "1.5s",
            "5 m",
            "1w",
            "99999999999999999999s",
            "9999999h",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn drains_are_told_to_the_bus_in_whole_seconds() {
        for (text, word) in [
            ("ttl", "ttl"),
            ("0", "0"),
            ("0s", "0"),
            ("30s", "30s"),
            ("5m", "300s"),
            ("1500ms", "2s"),
        ] {
            assert_eq!(text.parse::<Drain>().unwrap().word(), word);
        }
        assert!("never".parse::<Drain>().is_err());
    }

    #[test]
    fn files_are_given_as_name_and_path() {
        let file: NamedFile = "site=/etc/a=b".parse().unwrap();
        assert_eq!(
            (file.name.as_str(), file.path.to_str()),
            ("site", Some("/etc/a=b"))
        );
        for bad in ["site", "=x", "site=", ""] {
            assert!(bad.parse::<NamedFile>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_command_takes_the_options_that_its_examples_use() {
        for line in [
            "bundle build ./web -o web.img",
            "bundle list --json",
            "deploy web.img --to g1 --stopped --config a=b --secret c=d --no-wait",
            "move web g2 --drain 30s --timeout 5m",
            "upgrade web web@2 --to g2 --json",
            "jobs",
            "jobs list --service web",
            "jobs show 7",
            "jobs --json",
            "resume 7",
            "watch --json",
            "guests g1 --check",
            "move g1 spread --partial --per-guest 2",
            "plan g1",
            "plan g1 spread --rejected",
            "apply 3f9a1c --timeout 5m",
            "what-if dies g3",
            "what-if dies",
            "why web",
            "freeze",
            "freeze why --json",
            "freeze --show",
            "thaw",
            "maintenance guest g1 on --for 4h --reason why --stay",
            "maintenance host hv1 off --json",
            "audit",
            "audit web --repair --json",
            "metrics --json",
            "metrics --output /tmp/handoverd.prom",
            "recover-table --dry-run",
        ] {
            let words = std::iter::once("handoverctl").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
    }
}
