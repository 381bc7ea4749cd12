//! The daemon: ports put together, requests taken, until it is told to stop.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use tokio::sync::watch;

use crate::adapters::clock::SystemClock;
use crate::adapters::dns::{DnsPrimaries, InvalidKey, TsigKey, Zone};
use crate::adapters::guest_agent::{AgentChannel, GuestAgent};
use crate::adapters::libvirt::{HostConfig, LibvirtHosts, Timeouts};
use crate::adapters::logind;
use crate::adapters::sim::call::Shared;
use crate::adapters::sim::pace::Pace;
use crate::adapters::sim::ports::SimPorts;
use crate::adapters::sim::scenario::Scenario;
use crate::adapters::spool::SpoolFolder;
use crate::adapters::sqlite::anew::{AnewError, Contents, Vacant};
use crate::adapters::sqlite::{OpenError, SqliteTable};
use crate::assembly::{self, Ports, Terms};
use crate::bus::server::{self, Bus};
use crate::config::{self, BusAddress, Settings};
use crate::model::ids::{GuestId, InvalidId, ServiceId};
use crate::model::name::DnsName;
use crate::model::service::ServiceRecord;
use crate::ports::{Clock as _, PortError};
use crate::recovery::describe::describe;
use crate::recovery::gather::{Sources, gather};
use crate::recovery::rebuild::{obstacle, rebuild};
use crate::requests::jobs::Tokio;
use crate::requests::refusal::Refusal;
use crate::requests::watching::{Senses, Terms as WatchTerms};

/// How long one DNS exchange may take.
const DNS_EXCHANGE: Duration = Duration::from_secs(5);

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The table cannot be opened.
    #[error("the service table cannot be opened")]
    Table(#[from] OpenError),
    /// The state directory cannot be made.
    #[error("the state directory {0} cannot be made")]
    StateDir(PathBuf, #[source] std::io::Error),
    /// No table can be made anew.
    #[error("the service table cannot be recovered")]
    Anew(#[from] AnewError),
    /// What a table would be rebuilt from is not all there.
    #[error("nothing was written: {0}")]
    Evidence(String),
    /// libvirt cannot be used.
    #[error("libvirt cannot be used")]
    Libvirt(#[source] PortError),
    /// A key is not valid.
    #[error("the TSIG key of zone {0} is not valid")]
    Key(String, #[source] InvalidKey),
    /// A key's name is not valid.
    #[error("the name of the TSIG key of zone {0} is not valid")]
    KeyName(String, #[source] InvalidId),
    /// The bus cannot be used.
    #[error("the bus cannot be used; is dbus running, and is packaging's org.handoverd1.conf installed?")]
    Bus(#[from] zbus::Error),
    /// The journal cannot be read.
    #[error("unfinished handovers cannot be read")]
    Unfinished(#[source] Refusal),
    /// A signal handler cannot be set.
    #[error("signals cannot be handled")]
    Signals(#[source] std::io::Error),
}

/// Runs until SIGTERM or SIGINT. A handover under way stays in the journal and is taken up at the next start.
///
/// # Errors
/// What keeps the daemon from running.
pub async fn run(settings: Settings) -> Result<(), DaemonError> {
    let state_dir = settings.state_dir.clone();
    std::fs::create_dir_all(&state_dir).map_err(|e| DaemonError::StateDir(state_dir, e))?;
    let table = Arc::new(SqliteTable::open(&settings.table())?);
    let libvirt = Arc::new(libvirt(&settings).map_err(DaemonError::Libvirt)?);
    let spool = SpoolFolder::at(settings.spool()).map_err(|e| DaemonError::StateDir(settings.spool(), e))?;
    let (goes_down, told) = watch::channel(false);
    let shutdown = tokio::spawn(async move {
        if let Err(error) = logind::tell_shutdown(goes_down).await {
            tracing::warn!(%error, "a shutdown of this host would not be noticed");
        }
    });
    let senses = Senses {
        hosts: libvirt.clone(),
        agents: libvirt.clone(),
        spool: Arc::new(spool),
        goes_down: told,
    };
    let agent = Arc::new(GuestAgent::new(Channel(libvirt.clone())));
    let ports = Ports {
        hypervisor: libvirt.clone(),
        guest: agent.clone(),
        host_gauges: libvirt,
        guest_gauges: agent,
        names: Arc::new(
            DnsPrimaries::new(zones(&settings)?, DNS_EXCHANGE).with_window(settings.batch_window),
        ),
        table,
        clock: Arc::new(SystemClock),
    };
    let served = serve(ports, senses, Terms::of(&settings), &settings).await;
    shutdown.abort();
    served
}

/// Runs as [`run`] does, in a cluster that is simulated: nothing outside this process is touched but the bus.
///
/// # Errors
/// As [`run`].
pub async fn simulate(scenario: Scenario, settings: Settings) -> Result<(), DaemonError> {
    let terms = scenario.terms(&settings);
    tracing::info!(
        speed = scenario.speed,
        "the cluster is simulated; nothing of it lasts"
    );
    let world = scenario.world.beginning_at(SystemClock.now());
    let pace = Pace::new(world.now, scenario.speed);
    let shared = Shared::paced(world, pace);
    let ports = Arc::new(SimPorts::new(shared.clone(), terms.own.clone()));
    let senses = Senses {
        hosts: ports.clone(),
        agents: ports.clone(),
        spool: ports.clone(),
        goes_down: shared.lock().goes_down.subscribe(),
    };
    serve(Ports::all(ports), senses, terms, &settings).await
}

/// Offers what is put together on the bus, and does what a daemon does, until it is told to stop.
async fn serve(ports: Ports, senses: Senses, terms: Terms, settings: &Settings) -> Result<(), DaemonError> {
    let requests = assembly::requests(ports, &terms, Arc::new(Tokio));
    let bus = match &settings.bus {
        BusAddress::System => Bus::System,
        BusAddress::Session => Bus::Session,
        BusAddress::Address(address) => Bus::At(address.clone()),
    };
    let connection = server::serve(&bus, requests.clone()).await?;
    let taken_up = assembly::take_up(&requests).await;
    let (taken_up, batches) = taken_up.map_err(DaemonError::Unfinished)?;
    let by = WatchTerms {
        enabled: settings.evacuation.enabled,
        policy: settings.evacuation.policy(),
        limits: settings.evacuation.limits(),
    };
    let watcher = tokio::spawn(requests.clone().watch_guests(senses, by));
    let [duties, audits] = assembly::loops(&requests, terms.audit_every).map(tokio::spawn);
    let upkeep = tokio::spawn(assembly::upkeep(requests.clone()));
    notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!(host = %settings.host, taken_up, batches, "ready");
    stop_signal().await.map_err(DaemonError::Signals)?;
    notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("stopping; handovers under way are taken up at the next start");
    for task in [watcher, duties, audits, upkeep] {
        task.abort();
    }
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "the bus connection was closed already");
    }
    Ok(())
}

/// Rebuilds a lost table from libvirt, the zones and the guests, with the daemon stopped, and tells for people what was found. A
/// `dry_run` writes nothing.
///
/// # Errors
/// The table is whole or in use, or what it would be read from cannot be used.
pub async fn recover_table(settings: &Settings, dry_run: bool) -> Result<String, DaemonError> {
    let vacant = Vacant::take(&settings.table())?;
    let libvirt = Arc::new(libvirt(settings).map_err(DaemonError::Libvirt)?);
    let agent = Arc::new(GuestAgent::new(Channel(libvirt.clone())));
    let networks = settings.networks.clone();
    let sources = Sources {
        hypervisor: libvirt.clone(),
        pools: libvirt,
        guest: agent.clone(),
        files: agent,
        names: Arc::new(DnsPrimaries::new(zones(settings)?, DNS_EXCHANGE)),
        address_rule: Arc::new(move |addresses: &[IpAddr]| config::publishable_set(addresses, &networks)),
        own: settings.host.clone(),
    };
    let evidence = gather(&sources, SystemClock.now()).await;
    if let (false, Some(why)) = (dry_run, obstacle(&evidence)) {
        return Err(DaemonError::Evidence(why));
    }
    let rebuilt = rebuild(&evidence);
    let written = if dry_run {
        None
    } else {
        let services: Vec<&ServiceRecord> = rebuilt.rows().collect();
        let attempts: Vec<(ServiceId, u64)> = evidence
            .services()
            .into_iter()
            .map(|service| (service, rebuilt.attempts_from))
            .collect();
        Some(vacant.write(Contents {
            bundles: &rebuilt.bundles,
            services: &services,
            attempts: &attempts,
        })?)
    };
    Ok(describe(
        &settings.table(),
        &rebuilt,
        vacant.damage(),
        written.as_ref().map(Option::as_deref),
    ))
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager was not told");
    }
}

async fn stop_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

fn libvirt(settings: &Settings) -> Result<LibvirtHosts, PortError> {
    let hosts = settings
        .hosts
        .iter()
        .map(|h| HostConfig {
            id: h.name.clone(),
            uri: h.uri.clone(),
            pool: settings.pool.clone(),
        })
        .collect();
    LibvirtHosts::connect(hosts, Timeouts::default())
}

fn zones(settings: &Settings) -> Result<Vec<Zone>, DaemonError> {
    let zone = |z: &config::ZoneSettings| {
        let key = match &z.key {
            Some(key) => {
                let wrong = |e| DaemonError::Key(z.name.to_string(), e);
                let name: DnsName = key
                    .name
                    .parse()
                    .map_err(|e| DaemonError::KeyName(z.name.to_string(), e))?;
                let algorithm = key.algorithm.as_str().parse().map_err(wrong)?;
                let secret = base64::engine::general_purpose::STANDARD.encode(key.secret.expose());
                Some(TsigKey::new(name, algorithm, &secret).map_err(wrong)?)
            }
            None => None,
        };
        Ok(Zone {
            name: z.name.clone(),
            server: z.server,
            key,
            secondaries: z.secondaries.clone(),
            view: z.view.clone(),
        })
    };
    settings.zones.iter().map(zone).collect()
}

/// The guest agent's channel is libvirt's.
struct Channel(Arc<LibvirtHosts>);

#[async_trait::async_trait]
impl AgentChannel for Channel {
    async fn command(&self, guest: GuestId, json: &str, timeout: Duration) -> Result<String, PortError> {
        self.0.agent_command(guest, json, timeout).await
    }
}
