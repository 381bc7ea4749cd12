//! A daemon put together out of its ports: a real one and a simulated one in the same way, so that what is tried on a
//! simulated one is true of a real one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join5};

use crate::config::{self, BalanceSettings, GuestLabels, Settings};
use crate::handover::goals::Goal;
use crate::handover::protocol::Protocol;
use crate::handover::world::{AddressRule, Limits, World};
use crate::model::ids::HostId;
use crate::plan::load::Smoothing;
use crate::ports::{Clock, Guest, GuestGauges, HostGauges, Hypervisor, NameServer, Table};
use crate::requests::jobs::{Jobs, Runtime};
use crate::requests::loads::Gauges;
use crate::requests::refusal::Refusal;
use crate::requests::{BatchLimits, Requests};

/// Everything outside.
pub struct Ports {
    /// libvirt.
    pub hypervisor: Arc<dyn Hypervisor>,
    /// The inside of guests.
    pub guest: Arc<dyn Guest>,
    /// What hosts count of their guests.
    pub host_gauges: Arc<dyn HostGauges>,
    /// How guests say that they fare.
    pub guest_gauges: Arc<dyn GuestGauges>,
    /// The zones.
    pub names: Arc<dyn NameServer>,
    /// The service table.
    pub table: Arc<dyn Table>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl Ports {
    /// One thing that is all of them.
    pub fn all<P>(ports: Arc<P>) -> Self
    where
        P: Hypervisor + Guest + HostGauges + GuestGauges + NameServer + Table + Clock + 'static,
    {
        Self {
            hypervisor: ports.clone(),
            guest: ports.clone(),
            host_gauges: ports.clone(),
            guest_gauges: ports.clone(),
            names: ports.clone(),
            table: ports.clone(),
            clock: ports,
        }
    }
}

/// What a daemon keeps to, out of its settings.
#[derive(Clone)]
pub struct Terms {
    /// The host that it runs on.
    pub own: HostId,
    /// How long things may take.
    pub limits: Limits,
    /// How many services of a batch are worked on at once.
    pub batch: BatchLimits,
    /// How many handovers are worked on at once.
    pub parallel: usize,
    /// How long an ended job is shown.
    pub keep: Duration,
    /// The pause between two audits.
    pub audit_every: Duration,
    /// Which addresses of a guest are published.
    pub address_rule: AddressRule,
    /// What is configured of single guests.
    pub labels: GuestLabels,
    /// Whether and how loads are evened out.
    pub balance: BalanceSettings,
    /// The rules of handovers.
    pub protocol: Protocol,
}

impl Terms {
    /// As it is configured.
    pub fn of(settings: &Settings) -> Self {
        let networks = settings.networks.clone();
        Self {
            own: settings.host.clone(),
            limits: limits(settings),
            batch: BatchLimits {
                parallel: settings.jobs.parallel.into(),
                per_guest: settings.jobs.per_guest.into(),
                per_host: settings.jobs.per_host.into(),
            },
            parallel: settings.jobs.parallel.into(),
            keep: settings.jobs.keep,
            audit_every: settings.audit_every,
            address_rule: Arc::new(move |addresses: &[IpAddr]| config::publishable_set(addresses, &networks)),
            labels: settings.guests.clone(),
            balance: settings.balance,
            protocol: Protocol::default(),
        }
    }
}

fn limits(settings: &Settings) -> Limits {
    let d = &settings.deadlines;
    let deadlines = HashMap::from([
        (Goal::Reserve, d.reserve),
        (Goal::Observe, d.observe),
        // And as long as resolvers remember what they were given before.
        (Goal::Lower, d.publish),
        (Goal::Fence, d.fence),
        (Goal::Lead, d.publish),
        (Goal::Stage, d.stage),
        // A source that does not answer is waited for, loses its licence, and has its time to stop.
        (Goal::Quiesce, d.stop + d.silence + d.revoke),
        (Goal::Adopt, d.adopt),
        (Goal::Switch, d.stage),
        (Goal::Start, d.start),
        (Goal::Publish, d.publish),
        (Goal::Unpublish, d.publish),
        (Goal::Record, d.publish),
        (Goal::Retire, d.retire),
        (Goal::Forget, d.publish),
    ]);
    Limits {
        deadlines,
        confirm: d.confirm,
        undo: d.undo,
        silence: d.silence,
        stop_timeout: d.revoke,
        drain_margin: settings.drain_margin,
        lower_above: u32::try_from(settings.lower_above.as_secs()).unwrap_or(u32::MAX),
        lead: settings.evacuation.lead,
        unreachable: settings.drain_unreachable,
    }
}

/// What answers a daemon's callers; it does nothing by itself yet.
pub fn requests(ports: Ports, terms: &Terms, runtime: Arc<dyn Runtime>) -> Arc<Requests> {
    let loads = Gauges::new(
        ports.host_gauges,
        ports.guest_gauges,
        ports.clock.clone(),
        Smoothing::default(),
    );
    let world = World::new(
        ports.hypervisor,
        ports.guest,
        ports.names,
        ports.table,
        ports.clock,
        terms.limits.clone(),
        terms.address_rule.clone(),
        terms.own.clone(),
    );
    let world = Arc::new(world.with_protocol(terms.protocol));
    let jobs = Jobs::new(world.clone(), runtime, terms.parallel, terms.keep);
    let requests = Requests::new(world, jobs, Arc::new(loads), terms.batch);
    Arc::new(
        requests
            .with_labels(terms.labels.clone())
            .with_balance(terms.balance),
    )
}

/// Takes up what an earlier daemon left: how many handovers, how many batches.
///
/// # Errors
/// The table cannot be read.
pub async fn take_up(requests: &Arc<Requests>) -> Result<(usize, usize), Refusal> {
    let handovers = requests.take_up_unfinished().await?;
    // After the handovers: a batch finds its members' jobs running.
    let batches = requests.take_up_batches().await?;
    Ok((handovers, batches))
}

/// What a daemon does by itself for as long as it runs: carry duties, audit with a pause of `audit_every`.
pub fn loops(requests: &Arc<Requests>, audit_every: Duration) -> [BoxFuture<'static, ()>; 2] {
    let (duties, audits) = (requests.clone(), requests.clone());
    [
        Box::pin(async move { duties.carry_duties().await }),
        Box::pin(async move { audits.audit_every(audit_every).await }),
    ]
}

/// What else it does by itself: measure loads, end maintenances in time, look whether services would have a home, keep
/// standbys, and even out loads where the configuration says so.
pub async fn upkeep(requests: Arc<Requests>) {
    let measures = requests.loads.keep_measuring(&requests.world);
    join5(
        measures,
        requests.expire_maintenance(),
        requests.watch_homes(),
        requests.clone().keep_standbys(),
        requests.clone().even_out_loads(),
    )
    .await;
}
