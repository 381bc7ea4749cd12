//! `cluster.toml`: hosts, guests, services and zone of a simulated cluster, read strictly.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use super::super::cast::Cast;
use super::super::gauges::SimGauge;
use super::super::happening::Happening;
use super::super::words;
use super::super::world::{SimGuest, SimWorld};
use crate::config::error::{ConfigError, Place};
use crate::config::inputs::{Fragment, merge};
use crate::config::section::{Found, Problems, Section};
use crate::model::ids::{GuestId, HostId, ServiceId};
use crate::model::life::{Enablement, LifeState};
use crate::model::manifest::DnsEntry;
use crate::model::name::DnsName;
use crate::model::needs::Label;
use crate::model::service::{BundleRecord, Millis};

/// The latest moment at which something may be entered to happen.
const LATEST: Duration = Duration::from_secs(24 * 3600);

/// What the file describes.
pub(super) struct Cluster {
    pub world: SimWorld,
    pub own: HostId,
    pub speed: u32,
}

/// Reads the text of a cluster's file.
pub(super) fn read(fragment: Fragment) -> Result<Cluster, ConfigError> {
    let file = fragment.path.clone();
    let (table, broken) = merge(&[fragment]);
    ConfigError::unless_empty(broken)?;
    let problems = Problems::default();
    let made = make(Section::top(table, whole(&file), &problems));
    ConfigError::unless_empty(problems.into_vec())?;
    // `make` tells what is wrong wherever it makes nothing; this is for a defect there.
    made.ok_or_else(ConfigError::untold)
}

fn whole(file: &Path) -> Place {
    Place {
        order: 0,
        file: file.to_owned(),
        line: None,
    }
}

fn make(mut top: Section<'_>) -> Option<Cluster> {
    let speed = top.count("speed", 1..=1000, 1);
    let daemon = top.parse::<HostId>("daemon");
    let rows = top.rows("host");
    if rows.is_empty() {
        top.tell(
            &top.place,
            "host",
            "a cluster has a host: [[host]] name = \"hv1\"",
        );
    }
    let (hosts, away) = hosts(rows);
    let own = match daemon {
        Some(own) if !hosts.contains(&own.value) => {
            top.tell(&own.place, "daemon", unknown_host(own.value.as_str(), &hosts));
            None
        }
        Some(own) => Some(own.value),
        None => hosts.first().cloned(),
    };
    // What is wrong further down is told all the same.
    let told = own.is_some();
    let own = own.or_else(|| "none".parse().ok())?;
    let mut world = SimWorld::empty(&hosts, &own);
    let (origin, silent) = zone(top.section("zone"));
    world.zone.origin = origin.clone();
    let mut later = guests(top.rows("guest"), &hosts, &mut world);
    let rows = top.rows("service");
    services(rows, &mut world, &own, origin.as_ref());
    later.extend(away.into_iter().map(Happening::HostDown));
    later.extend(silent.then_some(Happening::NamesDown));
    for happening in &later {
        world.happen(happening);
    }
    for mut row in top.rows("happens") {
        happens(&mut row, &mut world);
        row.finish();
    }
    top.finish();
    told.then_some(Cluster {
        world,
        own,
        speed: speed.into(),
    })
}

fn unknown_host(name: &str, hosts: &[HostId]) -> String {
    let known: Vec<&str> = hosts.iter().map(HostId::as_str).collect();
    format!("there is no host {name:?}; there are {}", known.join(", "))
}

/// One of the words that may stand at a key; the first is the default.
fn word<T: Copy>(section: &mut Section<'_>, key: &'static str, known: &[(&str, T)]) -> Option<T> {
    let find = |text: &str| {
        let found = known.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
            format!("it must be one of {}", words.join(", "))
        })
    };
    if section.given(key).is_some() {
        return section.read(key, find).map(|found| found.value);
    }
    section.allow(key);
    known.first().map(|(_, value)| *value)
}

/// The hosts, and those whose libvirtd is away.
fn hosts(rows: Vec<Section<'_>>) -> (Vec<HostId>, Vec<HostId>) {
    let (mut hosts, mut away) = (Vec::new(), Vec::new());
    for mut row in rows {
        let name = row.required("name", Section::parse::<HostId>, "the host's name");
        let silent = word(&mut row, "libvirtd", &[("answers", false), ("away", true)]);
        if let Some(name) = name {
            if silent == Some(true) {
                away.push(name.value.clone());
            }
            hosts.push(name.value);
        }
        row.finish();
    }
    (hosts, away)
}

/// The zone's origin, and whether its primary is silent.
fn zone(mut section: Section<'_>) -> (Option<DnsName>, bool) {
    let name = section.parse::<DnsName>("name").map(|found| found.value);
    let silent = word(&mut section, "primary", &[("answers", false), ("silent", true)]);
    section.finish();
    (name.or_else(|| "svc.lab".parse().ok()), silent == Some(true))
}

#[derive(Debug, Clone, Copy)]
enum GuestState {
    Running,
    Off,
    Saved,
    Booting,
    Hung,
}

/// Enters the guests; what is to happen to them once they have their services.
fn guests(rows: Vec<Section<'_>>, hosts: &[HostId], world: &mut SimWorld) -> Vec<Happening> {
    let mut later = Vec::new();
    for (number, mut row) in (1_u8..).zip(rows) {
        let name = row.required(
            "name",
            |row, key| row.read(key, guest_name),
            "libvirt's name of it",
        );
        let host = row.required("host", Section::parse::<HostId>, "the host on which it is");
        let address = row.required("address", Section::parse::<IpAddr>, "its address");
        let id = row.parse::<GuestId>("uuid").map(|found| found.value);
        let id = id.unwrap_or_else(|| SimWorld::guest_id(number));
        let states = [
            ("running", GuestState::Running),
            ("off", GuestState::Off),
            ("saved", GuestState::Saved),
            ("booting", GuestState::Booting),
            ("hung", GuestState::Hung),
        ];
        let state = word(&mut row, "state", &states);
        let silent = word(&mut row, "agent", &[("answers", false), ("silent", true)]);
        let systemd = row.count("systemd", 1..=999, 252);
        let gauge = gauge(&mut row);
        let labels = row.list::<Label>("labels");
        if let Some(host) = host.as_ref().filter(|host| !hosts.contains(&host.value)) {
            row.tell(&host.place, "host", unknown_host(host.value.as_str(), hosts));
        }
        if let (Some(name), Some(host), Some(address)) = (name, host, address) {
            if world.guests.contains_key(&id) {
                row.tell(&row.place, "uuid", format!("another guest has {id} already"));
            }
            if let Some((_, other)) = world.guest_at(address.value) {
                let what = format!("{} has this address already", other.name);
                row.tell(&address.place, "address", what);
            }
            let mut guest = SimGuest::new(&name.value, address.value, &host.value);
            guest.systemd = systemd.into();
            guest.gauge = gauge;
            guest.labels = labels.map(|found| found.value).unwrap_or_default();
            world.guests.insert(id, guest.into());
        }
        match state {
            Some(GuestState::Off) => later.push(Happening::Die(id)),
            Some(GuestState::Saved) => later.push(Happening::Save(id)),
            Some(GuestState::Booting) => later.extend([Happening::Die(id), Happening::Boot(id)]),
            Some(GuestState::Hung) => later.push(Happening::Hang(id)),
            Some(GuestState::Running) | None => {}
        }
        later.extend((silent == Some(true)).then_some(Happening::AgentSilent(id)));
        row.finish();
    }
    later
}

/// What a guest has, and what of that is used beside its services.
fn gauge(row: &mut Section<'_>) -> SimGauge {
    let mut percent = |key| row.count(key, 0..=100, 0).into();
    let (cpu_used, memory_used, pressure) =
        (percent("cpu_used"), percent("memory_used"), percent("pressure"));
    SimGauge {
        memory: u64::from(row.count("memory_mib", 64..=u16::MAX, 4096)) << 20,
        cpus: row.count("cpus", 1..=512, 2).into(),
        cpu_used,
        memory_used,
        pressure,
    }
}

/// A guest's name stands in scripts, so it is one word.
fn guest_name(text: &str) -> Result<String, &'static str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if text.is_empty() || !text.bytes().all(allowed) {
        return Err("it must have letters, digits, '.', '-' and '_' only");
    }
    Ok(text.to_owned())
}

fn services(rows: Vec<Section<'_>>, world: &mut SimWorld, own: &HostId, origin: Option<&DnsName>) {
    let mut seen = BTreeSet::new();
    for mut row in rows {
        if let Some((cast, home, bundles)) = service(&mut row, world, origin) {
            let id = bundles[0].manifest.service.clone();
            if !seen.insert(id.clone()) {
                row.tell(&row.place, "name", format!("there is a service {id} already"));
            }
            cast.add_on(world, own, home, &bundles);
        }
        row.finish();
    }
}

/// What a service is, where it is, and its bundles: the one that it has, and a newer one.
fn service(
    row: &mut Section<'_>,
    world: &SimWorld,
    origin: Option<&DnsName>,
) -> Option<(Cast, Option<GuestId>, [BundleRecord; 2])> {
    let name = row.required("name", Section::parse::<ServiceId>, "the service's id");
    let home = row.text("guest").map(|found| home_of(row, &found, world));
    let lives = [
        ("accessible", LifeState::Accessible),
        ("running", LifeState::Running),
        ("stopped", LifeState::Stopped),
        ("failed", LifeState::Failed),
    ];
    let life = word(row, "life", &lives);
    let enablements = [
        ("enabled", Enablement::Enabled),
        ("disabled", Enablement::Disabled),
        ("masked", Enablement::Masked),
    ];
    let enablement = word(row, "enablement", &enablements);
    let dns = row.parse::<DnsName>("dns");
    let ttl = row.count("ttl", 1..=3600, 5);
    let port = row.count("port", 0..=u16::MAX, 0);
    let volume = row.count("volume_mib", 0..=4096, 0);
    let standbys = row.count("standbys", 0..=8, 0);
    let asks_memory = row.count("asks_memory_mib", 0..=u16::MAX, 0);
    let overlap = word(row, "overlap", &[("yes", true), ("no", false)]);
    let labels = row.list::<Label>("asks_labels");
    let check = word(row, "check", &[("tcp", true), ("none", false)]);
    let timeout = row.span(
        "check_timeout",
        Duration::from_secs(1)..=Duration::from_secs(3600),
        Duration::from_secs(20),
    );
    if let (Some(dns), Some(origin)) = (&dns, origin)
        && !dns.value.is_in(origin)
    {
        row.tell(
            &dns.place,
            "dns",
            format!("{} is not in the zone {origin}", dns.value),
        );
    }
    let cast = Cast {
        life: life?,
        enablement: enablement?,
        volume: volume > 0,
        overlap: overlap?,
        deployed: home.is_some(),
        ttl: ttl.into(),
        lag: None,
    };
    let name = name?;
    let change = |mut bundle: BundleRecord| {
        let manifest = &mut bundle.manifest;
        let named = |origin: &DnsName| format!("{}.{origin}", name.value).parse().ok();
        let own = origin.filter(|_| cast.life != LifeState::Running).and_then(named);
        let entry = dns.as_ref().map(|found| found.value.clone()).or(own);
        manifest.dns = entry.map(|name| DnsEntry { name, ttl: cast.ttl });
        if manifest.dns.is_none() {
            manifest.srv.clear();
        }
        manifest.ports = if port > 0 { vec![port] } else { Vec::new() };
        manifest.needs.standbys = standbys.into();
        manifest.needs.memory = (asks_memory > 0).then(|| u64::from(asks_memory) << 20);
        manifest.needs.labels = labels
            .as_ref()
            .map(|found| found.value.clone())
            .unwrap_or_default();
        if check == Some(false) {
            manifest.check = None;
        }
        if let Some(check) = &mut manifest.check {
            check.timeout = timeout;
        }
        if let Some(data) = &mut manifest.data {
            data.size = u64::from(volume) << 20;
        }
        bundle
    };
    let bundle = |version| cast.bundle(name.value.as_str(), version).ok().map(change);
    let bundles = [bundle('1')?, bundle('2')?];
    match home {
        Some(home) => Some((cast, Some(home?), bundles)),
        None => Some((cast, None, bundles)),
    }
}

fn home_of(row: &Section<'_>, name: &Found<String>, world: &SimWorld) -> Option<GuestId> {
    let found = world.guests.iter().find(|(_, guest)| guest.name == name.value);
    if found.is_none() {
        let known = words::guests(world);
        let what = format!("there is no guest {:?}; there are {known}", name.value);
        row.tell(&name.place, "guest", what);
    }
    found.map(|(id, _)| *id)
}

/// Something that happens at a time.
fn happens(row: &mut Section<'_>, world: &mut SimWorld) {
    let at = row.span("at", Duration::ZERO..=LATEST, Duration::ZERO);
    let what = row.required(
        "what",
        |row, key| row.read(key, |text| words::read(text, world)),
        "what happens, such as \"g2 dies\"",
    );
    if let Some(what) = what {
        let after = Millis::try_from(at.as_millis()).unwrap_or(Millis::MAX);
        world.schedule(after, what.value);
    }
}
