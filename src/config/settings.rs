//! Settings: what the daemon works with, typed and bounded, with every default.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::balance::{self, BalanceSettings};
use super::error::{ConfigError, Place};
use super::evacuation::{self, EvacuationSettings};
use super::guests::{self, GuestLabels};
use super::inputs::{self, Fragment};
use super::network::Network;
use super::reading::Surroundings;
use super::section::{Problems, Section};
use super::zone::{self, ZoneSettings};
use crate::model::ids::HostId;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const BATCH_WINDOW: Duration = Duration::from_millis(50);

/// Everything that is configured. Made by [`settings`] or [`super::load`] only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The host that this daemon runs on. `host`; default: the machine's host name.
    pub host: HostId,
    /// Where the daemon keeps what must last. `state_dir`.
    pub state_dir: PathBuf,
    /// The bus on which `org.handoverd1` is offered. `bus`.
    pub bus: BusAddress,
    /// Every host that this daemon controls: its own with `[libvirt] uri` first, then `[[libvirt.host]]`. Names and URIs are
    /// unique.
    pub hosts: Vec<HostSettings>,
    /// The libvirt storage pool that holds bundles, the same on every host. `[pool] name`.
    pub pool: String,
    /// What a guest may publish (see [`super::publishable_set`]). `[addresses] networks`; not empty if there is a zone.
    pub networks: Vec<Network>,
    /// The zones whose names can be updated. Their names are unique.
    pub zones: Vec<ZoneSettings>,
    /// How long changes of one zone are collected into one message. `[dns] batch_window`, 0 s to 1 s.
    pub batch_window: Duration,
    /// How long a source serves on after the old TTL has passed. `[drain] margin`, 0 s to 1 h.
    pub drain_margin: Duration,
    /// A name whose TTL is longer has it lowered before its service moves. `[drain] lower_above`, 10 s to 7 d.
    pub lower_above: Duration,
    /// How long a server of a zone that cannot be asked is waited for after a commit. `[drain] unreachable`, 0 s to 1 h.
    pub drain_unreachable: Duration,
    /// How long one step may take.
    pub deadlines: Deadlines,
    /// How jobs run and stay.
    pub jobs: JobSettings,
    /// The pause between two audits. `[audit] every`, 5 s to 1 h.
    pub audit_every: Duration,
    /// What is done about guests that die.
    pub evacuation: EvacuationSettings,
    /// Whether and how the loads of guests are evened out.
    pub balance: BalanceSettings,
    /// What is said of single guests. `[guests.NAME]`.
    pub guests: GuestLabels,
    /// What is logged. `[log] level`.
    pub log: LogLevel,
}

impl Settings {
    /// The service table's file: `<state_dir>/handoverd.sqlite`.
    pub fn table(&self) -> PathBuf {
        self.state_dir.join("handoverd.sqlite")
    }

    /// The folder in which libvirt's hook notes what became of guests: `<state_dir>/spool`.
    pub fn spool(&self) -> PathBuf {
        self.state_dir.join("spool")
    }
}

/// A host and the libvirt connection that controls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSettings {
    /// Its name.
    pub name: HostId,
    /// Its libvirt URI.
    pub uri: String,
}

/// A message bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusAddress {
    /// The system bus.
    System,
    /// The session bus, for trying things out.
    Session,
    /// A bus at a D-Bus address such as `unix:path=/run/bus`.
    Address(String),
}

impl BusAddress {
    /// Its form in the configuration.
    pub fn as_str(&self) -> &str {
        match self {
            Self::System => "system",
            Self::Session => "session",
            Self::Address(address) => address,
        }
    }
}

impl FromStr for BusAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "system" => Ok(Self::System),
            "session" => Ok(Self::Session),
            _ if text.contains(':') => Ok(Self::Address(text.to_owned())),
            _ => Err("it must be \"system\", \"session\" or a D-Bus address such as \"unix:path=/run/bus\""),
        }
    }
}

/// How long one step of a handover may take before it counts as failed; each 1 s to 24 h. `[deadlines]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Claiming the name and the row.
    pub reserve: Duration,
    /// Looking at the source.
    pub observe: Duration,
    /// Taking the disks from the definition of a guest that is off, and proving it off.
    pub fence: Duration,
    /// Image into the pool (an upload, where it is another host), disk and units onto the target.
    pub stage: Duration,
    /// Starting the units.
    pub start: Duration,
    /// Stopping the units.
    pub stop: Duration,
    /// How long a guest agent may be silent before its guest is treated as one that cannot be asked.
    pub silence: Duration,
    /// How long a guest that lost its licence without an answer has to stop the service: its systemd's stop timeout.
    pub revoke: Duration,
    /// The data volume onto the target.
    pub adopt: Duration,
    /// Waiting for the units of a service whose manifest has no check of its own.
    pub confirm: Duration,
    /// The update, its read-back, and the wait for the zone's other servers.
    pub publish: Duration,
    /// Disk and units off the source.
    pub retire: Duration,
    /// The undo of one step; what cannot be undone within it is stuck, and an operator's.
    pub undo: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            reserve: seconds(30),
            observe: seconds(30),
            fence: seconds(60),
            stage: seconds(60),
            start: seconds(90),
            stop: seconds(90),
            silence: seconds(10),
            revoke: seconds(90),
            adopt: seconds(60),
            confirm: seconds(60),
            publish: seconds(60),
            retire: seconds(120),
            undo: seconds(300),
        }
    }
}

impl Deadlines {
    /// Each with its key, in the order of a handover.
    pub fn named(&self) -> [(&'static str, Duration); 13] {
        [
            ("reserve", self.reserve),
            ("observe", self.observe),
            ("fence", self.fence),
            ("stage", self.stage),
            ("start", self.start),
            ("stop", self.stop),
            ("silence", self.silence),
            ("revoke", self.revoke),
            ("adopt", self.adopt),
            ("confirm", self.confirm),
            ("publish", self.publish),
            ("retire", self.retire),
            ("undo", self.undo),
        ]
    }
}

/// How jobs run and stay. `[jobs]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobSettings {
    /// How long a finished job stays on the bus, 0 s to 30 d; in the table it stays for good.
    pub keep: Duration,
    /// How many handovers are worked on at the same time, 1 to 64.
    pub parallel: u16,
    /// How many services a batch brings onto one guest at the same time, 1 to 64.
    pub per_guest: u16,
    /// How many services a batch brings onto the guests of one host at the same time, 1 to 64.
    pub per_host: u16,
}

impl Default for JobSettings {
    fn default() -> Self {
        Self {
            keep: HOUR,
            parallel: 8,
            per_guest: 4,
            per_host: 8,
        }
    }
}

/// The least important messages that are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// What failed and needs somebody.
    Error,
    /// What is odd and was coped with.
    Warn,
    /// What was done: every change of state.
    #[default]
    Info,
    /// How it was done.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// Its form in the configuration, which is also a `tracing` filter directive.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or_else(|| format!("it must be one of {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

/// Makes settings of `fragments`, which are laid over each other in their order, with what only the `surroundings`
/// know. No other IO.
///
/// # Errors
/// Everything that is wrong. Where a fragment is not TOML, only that is told: the rest would mislead.
pub fn settings(fragments: &[Fragment], surroundings: &impl Surroundings) -> Result<Settings, ConfigError> {
    let (table, broken) = inputs::merge(fragments);
    ConfigError::unless_empty(broken)?;
    let problems = Problems::default();
    let whole = Place {
        order: 0,
        file: fragments
            .first()
            .map(|first| first.path.clone())
            .unwrap_or_default(),
        line: None,
    };
    let made = make(Section::top(table, whole, &problems), surroundings);
    ConfigError::unless_empty(problems.into_vec())?;
    // `make` tells what is wrong wherever it makes nothing; this is for a defect there.
    made.ok_or_else(ConfigError::untold)
}

fn make(mut top: Section<'_>, surroundings: &impl Surroundings) -> Option<Settings> {
    let host = host_name(&mut top, surroundings);
    let state_dir = top.read("state_dir", zone::absolute);
    let bus = top.parse("bus");

    let mut libvirt = top.section("libvirt");
    let uri = libvirt.read("uri", libvirt_uri);
    let own = host.clone().map(|name| HostSettings {
        name,
        uri: uri.map_or_else(|| "qemu:///system".to_owned(), |found| found.value),
    });
    let hosts = hosts(own, libvirt.rows("host"));
    libvirt.finish();

    let mut pool = top.section("pool");
    let pool_name = pool.read("name", pool_name);
    pool.finish();

    let mut dns = top.section("dns");
    let rows = dns.rows("zone");
    let has_zones = !rows.is_empty();
    let zones = zone::zones(rows, surroundings);
    let batch_window = dns.span("batch_window", Duration::ZERO..=SECOND, BATCH_WINDOW);
    dns.finish();
    let networks = networks(top.section("addresses"), has_zones);

    let mut drain = top.section("drain");
    let drain_margin = drain.span("margin", Duration::ZERO..=HOUR, 2 * SECOND);
    let lower_above = drain.span("lower_above", 10 * SECOND..=7 * 24 * HOUR, 60 * SECOND);
    let drain_unreachable = drain.span("unreachable", Duration::ZERO..=HOUR, 60 * SECOND);
    drain.finish();
    let deadlines = deadlines(top.section("deadlines"));

    let job_settings = jobs(top.section("jobs"));
    let mut audit = top.section("audit");
    let audit_every = audit.span("every", 5 * SECOND..=HOUR, 60 * SECOND);
    audit.finish();

    let evacuation = evacuation::evacuation(top.section("evacuation"));
    let balance = balance::balance(top.section("balance"));

    let guests = guests::guests(top.named("guests"));

    let mut log = top.section("log");
    let level = log.parse("level");
    log.finish();
    top.finish();

    Some(Settings {
        host: host?,
        state_dir: state_dir.map_or_else(|| "/var/lib/handoverd".into(), |found| found.value),
        bus: bus.map_or(BusAddress::System, |found| found.value),
        hosts,
        pool: pool_name.map_or_else(|| "handoverd".to_owned(), |found| found.value),
        networks,
        zones,
        batch_window,
        drain_margin,
        lower_above,
        drain_unreachable,
        deadlines,
        jobs: job_settings,
        audit_every,
        evacuation,
        balance,
        guests,
        log: level.map(|found| found.value).unwrap_or_default(),
    })
}

/// `host`, or the machine's host name.
fn host_name(top: &mut Section<'_>, surroundings: &impl Surroundings) -> Option<HostId> {
    if top.given("host").is_some() {
        return top.parse("host").map(|found| found.value);
    }
    top.allow("host");
    let name = surroundings.host_name();
    name.and_then(|name| {
        name.parse::<HostId>()
            .map_err(|error| format!("{error}; set host = \"…\""))
    })
    .map_err(|why| top.tell(&top.place, "host", why))
    .ok()
}

/// The daemon's own host, then those of `[[libvirt.host]]`; a name or URI that is there twice is told.
fn hosts(own: Option<HostSettings>, rows: Vec<Section<'_>>) -> Vec<HostSettings> {
    let mut hosts: Vec<HostSettings> = own.into_iter().collect();
    for mut row in rows {
        let name = row.required("name", Section::parse::<HostId>, "the host's name");
        let uri = row.required(
            "uri",
            |row, key| row.read(key, libvirt_uri),
            "its libvirt URI, as in \"qemu+tls://hv2/system\"",
        );
        if let (Some(name), Some(uri)) = (name, uri) {
            if hosts.iter().any(|host| host.name == name.value) {
                let what = format!(
                    "{} is this daemon's own host already: its URI is [libvirt] uri",
                    name.value
                );
                row.tell(&name.place, "name", what);
            }
            if let Some(other) = hosts.iter().find(|host| host.uri == uri.value) {
                let what = format!(
                    "it is the URI of host {} as well; one host has one name",
                    other.name
                );
                row.tell(&uri.place, "uri", what);
            }
            hosts.push(HostSettings {
                name: name.value,
                uri: uri.value,
            });
        }
        row.finish();
    }
    hosts
}

/// A libvirt URI of a driver that has hot-plug and a guest agent, over a transport that is local or encrypted
/// (libvirt, "Connection URIs").
fn libvirt_uri(text: &str) -> Result<String, &'static str> {
    let (scheme, rest) = text
        .split_once("://")
        .ok_or("it must be a libvirt URI, as in \"qemu:///system\" or \"qemu+tls://hv2/system\"")?;
    let (driver, transport) = scheme.split_once('+').unwrap_or((scheme, ""));
    if !matches!(driver, "qemu" | "test") {
        return Err("its driver must be qemu");
    }
    if rest.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("blanks may not stand in a URI");
    }
    match transport {
        "" | "unix" | "tls" | "ssh" | "libssh" | "libssh2" => Ok(text.to_owned()),
        "tcp" => Err("tcp is neither encrypted nor authenticated; use tls or ssh"),
        _ => Err("its transport must be unix, tls, ssh, libssh or libssh2"),
    }
}

/// A storage pool's name, which libvirt uses as a file name.
fn pool_name(text: &str) -> Result<String, &'static str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if text.is_empty() || text.len() > 64 || text.starts_with('.') || !text.bytes().all(allowed) {
        return Err("it must have 1 to 64 letters, digits, '.', '-' and '_', and not begin with a dot");
    }
    Ok(text.to_owned())
}

fn networks(mut addresses: Section<'_>, needed: bool) -> Vec<Network> {
    let given = addresses.given("networks");
    let list = addresses.list::<Network>("networks");
    match &list {
        Some(list) if list.value.is_empty() => addresses.tell(
            &list.place,
            "networks",
            "the list is empty, so no address could be published; name the guests' networks, or leave the key out \
             if no name is to be updated",
        ),
        None if needed && given.is_none() => addresses.tell(
            &addresses.place,
            "networks",
            "it is missing, but a [[dns.zone]] is there; name the networks whose addresses may be published, as in \
             networks = [\"10.77.0.0/24\"]",
        ),
        _ => {}
    }
    addresses.finish();
    list.map_or_else(Vec::new, |list| list.value)
}

fn jobs(mut section: Section<'_>) -> JobSettings {
    let default = JobSettings::default();
    let settings = JobSettings {
        keep: section.span("keep", Duration::ZERO..=30 * 24 * HOUR, default.keep),
        parallel: section.count("parallel", 1..=64, default.parallel),
        per_guest: section.count("per_guest", 1..=64, default.per_guest),
        per_host: section.count("per_host", 1..=64, default.per_host),
    };
    section.finish();
    settings
}

fn deadlines(mut section: Section<'_>) -> Deadlines {
    let default = Deadlines::default();
    let mut read = |key, default| section.span(key, SECOND..=24 * HOUR, default);
    let deadlines = Deadlines {
        reserve: read("reserve", default.reserve),
        observe: read("observe", default.observe),
        fence: read("fence", default.fence),
        stage: read("stage", default.stage),
        start: read("start", default.start),
        stop: read("stop", default.stop),
        silence: read("silence", default.silence),
        revoke: read("revoke", default.revoke),
        adopt: read("adopt", default.adopt),
        confirm: read("confirm", default.confirm),
        publish: read("publish", default.publish),
        retire: read("retire", default.retire),
        undo: read("undo", default.undo),
    };
    section.finish();
    deadlines
}
