//! Standbys are kept: units are installed where placement says, made to agree with the service, and uninstalled where they
//! are no longer wanted.
//!
//! One task holds every errand as a future, so that a guest that hangs holds up nothing but itself. A script of an errand
//! carries an attempt number that the table gave while no handover had the service ([`StandbyTable::touch_standby`]): a
//! handover that begins meanwhile has higher ones, and so the last word in the guest.
//!
//! [`StandbyTable::touch_standby`]: crate::ports::StandbyTable::touch_standby

mod errands;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::Notify;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::Requests;
use super::cluster::{Look, Moving};
use super::jobs::JobEvent;
use super::refusal::Refusal;
use crate::model::ids::{GuestId, ServiceId};
use crate::model::obstacle::Obstacle;
use crate::model::service::{Millis, ServiceRecord};
use crate::model::standby::{Installed, Standby, StandbyState};
use crate::plan::cluster::Cluster;
use crate::plan::errand::{Errand, errand, wanted};
use crate::plan::standby::standbys;
use errands::{Missed, Order};

/// How often it is looked whether anything is to be done.
const EVERY: Millis = 60_000;
/// How long after something has happened: what follows from it is waited for.
const SOON: Millis = 1_000;
/// How long a look is put off while a handover is at work.
const MEANWHILE: Millis = 5_000;
/// How often it is put off at most.
const PUT_OFF: u32 = 12;
/// The first wait after an errand that failed; doubled for each further one.
const FIRST_WAIT: Millis = 10_000;
/// The longest such wait.
const LONGEST_WAIT: Millis = 600_000;
/// How many guests are worked in at once.
const AT_ONCE: usize = 8;

type Pair = (ServiceId, GuestId);

/// Tells the task that keeps standbys that guests are back.
#[derive(Debug, Default)]
pub struct Nudge {
    notify: Notify,
    back: Mutex<BTreeSet<GuestId>>,
}

impl Nudge {
    /// A guest's agent has begun to speak, or it is rid of an old copy: what failed there is tried again soon.
    pub fn is_back(&self, guest: GuestId) {
        self.back
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(guest);
        self.notify.notify_one();
    }

    fn take(&self) -> BTreeSet<GuestId> {
        std::mem::take(&mut self.back.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An errand that failed.
struct Trouble {
    said: String,
    wait: Millis,
    again_at: Millis,
    /// The guest will not do: another is taken until then.
    unfit: bool,
}

/// What the task remembers between two looks.
#[derive(Default)]
struct Memory {
    troubles: BTreeMap<Pair, Trouble>,
    /// How many standbys each service was told to lack.
    missing: BTreeMap<ServiceId, usize>,
    /// What is being worked at.
    under_way: BTreeSet<Pair>,
    /// How often the look that is due was put off.
    put_off: u32,
}

impl Memory {
    fn is_to_wait(&self, pair: &Pair, now: Millis) -> bool {
        self.troubles
            .get(pair)
            .is_some_and(|trouble| trouble.again_at > now)
    }

    fn guest_is_taken(&self, guest: GuestId) -> bool {
        self.under_way.iter().any(|(_, taken)| *taken == guest)
    }

    /// Told once for each text.
    fn note(&mut self, pair: Pair, missed: Missed, now: Millis) {
        let (said, unfit) = match missed {
            Missed::Later => return,
            Missed::Unfit(why) => (why, true),
            Missed::Failed(why) => (why, false),
        };
        let before = self.troubles.get(&pair);
        if before.is_none_or(|before| before.said != said) {
            tracing::warn!(service = %pair.0, guest = %pair.1, "the standby cannot be kept: {said}; it is tried again");
        }
        let wait = before.map_or(FIRST_WAIT, |before| {
            before.wait.saturating_mul(2).min(LONGEST_WAIT)
        });
        let trouble = Trouble {
            said,
            wait,
            again_at: now.saturating_add(wait),
            unfit,
        };
        self.troubles.insert(pair, trouble);
    }

    fn lacks(&mut self, service: &ServiceId, missing: usize) {
        let before = self.missing.insert(service.clone(), missing).unwrap_or(0);
        if before != missing && missing > 0 {
            tracing::warn!(%service, missing, "no guest is left that would do as a standby");
        }
    }
}

impl Requests {
    /// Keeps standbys for as long as the daemon runs.
    pub async fn keep_standbys(self: Arc<Self>) {
        let mut memory = Memory::default();
        let mut errands = FuturesUnordered::new();
        let mut events = self.jobs.subscribe();
        let mut due = self.soon();
        loop {
            let left = due.saturating_sub(self.world.clock.now());
            let slept = self.world.clock.sleep(Duration::from_millis(left));
            let outside = select(slept, Box::pin(self.something_happens(&mut events)));
            let done = async {
                match errands.next().await {
                    Some(done) => done,
                    None => std::future::pending().await,
                }
            };
            match select(outside, Box::pin(done)).await {
                Either::Left((Either::Left(_), _)) => {}
                Either::Left((Either::Right(_), _)) => {
                    due = due.min(self.soon());
                    continue;
                }
                Either::Right(((pair, outcome), _)) => {
                    if self.ended(&mut memory, pair, outcome) {
                        due = due.min(self.soon());
                    }
                    continue;
                }
            }
            if memory.put_off < PUT_OFF && self.is_anything_moving().await {
                memory.put_off = memory.put_off.saturating_add(1);
                due = self.world.clock.now().saturating_add(MEANWHILE);
                continue;
            }
            memory.put_off = 0;
            due = self.world.clock.now().saturating_add(EVERY);
            match self.orders(&mut memory).await {
                Ok(orders) => {
                    for order in orders {
                        let pair = (order.service.clone(), order.guest);
                        if memory.under_way.len() >= AT_ONCE || memory.guest_is_taken(order.guest) {
                            continue;
                        }
                        memory.under_way.insert(pair.clone());
                        let requests = self.clone();
                        errands.push(async move { (pair, requests.run_errand(order).await) }.boxed());
                    }
                }
                Err(refusal) => tracing::warn!(%refusal, "standbys cannot be looked at"),
            }
        }
    }

    /// Whether a handover is at work: guests and their agents have better things to do.
    async fn is_anything_moving(&self) -> bool {
        let open = self.world.table.unfinished().await;
        open.is_ok_and(|open| open.iter().any(|handover| !handover.committed))
    }

    fn soon(&self) -> Millis {
        self.world.clock.now().saturating_add(SOON)
    }

    /// Returns when a job has ended, or something else says that standbys may have to change.
    async fn something_happens(&self, events: &mut Receiver<JobEvent>) {
        loop {
            let nudged = Box::pin(self.standbys.notify.notified());
            match select(nudged, Box::pin(events.recv())).await {
                Either::Left(_) | Either::Right((Ok(JobEvent::Ended(..)) | Err(RecvError::Lagged(_)), _)) => {
                    return;
                }
                Either::Right((Err(RecvError::Closed), _)) => std::future::pending().await,
                Either::Right((Ok(_), _)) => {}
            }
        }
    }

    /// Whether something else may follow from it at once.
    fn ended(&self, memory: &mut Memory, pair: Pair, outcome: Result<&'static str, Missed>) -> bool {
        memory.under_way.remove(&pair);
        match outcome {
            Ok(done) => {
                memory.troubles.remove(&pair);
                tracing::info!(service = %pair.0, guest = %pair.1, "standby {done}");
                true
            }
            Err(missed) => {
                let unfit = matches!(missed, Missed::Unfit(_));
                memory.note(pair, missed, self.world.clock.now());
                unfit
            }
        }
    }

    /// What is to be done now.
    async fn orders(&self, memory: &mut Memory) -> Result<Vec<Order>, Refusal> {
        let table = &self.world.table;
        let rows = table.standbys().await?;
        let services = table.services().await?;
        let bundles = table.bundles().await?;
        let asks = |service: &ServiceRecord| {
            let bundle = bundles.iter().find(|bundle| bundle.digest == service.bundle);
            bundle.is_some_and(|bundle| bundle.manifest.needs.standbys > 0)
        };
        if rows.is_empty() && !services.iter().any(asks) {
            return Ok(Vec::new());
        }
        let now = self.world.clock.now();
        let back = self.standbys.take();
        let is_known = |id: &ServiceId| {
            services.iter().any(|service| service.id == *id) || rows.iter().any(|row| row.service == *id)
        };
        memory
            .troubles
            .retain(|(service, guest), _| !back.contains(guest) && is_known(service));
        memory.missing.retain(|service, _| is_known(service));
        let mut cluster = self.cluster(Look::Listed, Moving::None).await?;
        let duties: BTreeSet<Pair> = table
            .duties()
            .await?
            .into_iter()
            .map(|duty| (duty.service, duty.guest))
            .collect();
        for ((service, guest), trouble) in &memory.troubles {
            if trouble.unfit && trouble.again_at > now {
                cluster.bar(service, *guest, Obstacle::Tried(trouble.said.clone()));
            }
        }
        let mut orders = Vec::new();
        for service in services {
            let view = cluster.service(&service.id);
            if view.is_none_or(|view| view.going.is_some() || view.frozen.is_some()) {
                continue;
            }
            let own: Vec<&Standby> = rows.iter().filter(|row| row.service == service.id).collect();
            if own.is_empty() && !asks(&service) {
                continue;
            }
            self.orders_of(memory, &cluster, &service, &own, &mut orders);
        }
        let gone = |row: &&Standby| cluster.service(&row.service).is_none();
        for row in rows.iter().filter(gone) {
            orders.push(Order {
                service: row.service.clone(),
                record: None,
                guest: row.guest,
                row: Some(row.clone()),
                errand: Errand::Drop,
            });
        }
        // Where an old copy is to be retired, that comes first.
        orders.retain(|order| {
            let pair = (order.service.clone(), order.guest);
            !duties.contains(&pair) && !memory.is_to_wait(&pair, now) && !memory.under_way.contains(&pair)
        });
        Ok(orders)
    }

    fn orders_of(
        &self,
        memory: &mut Memory,
        cluster: &Cluster,
        service: &ServiceRecord,
        rows: &[&Standby],
        orders: &mut Vec<Order>,
    ) {
        let chosen = match standbys(cluster, &service.id) {
            Ok(chosen) => chosen,
            Err(error) => return tracing::warn!(service = %service.id, %error, "no standbys are chosen"),
        };
        memory.lacks(&service.id, chosen.missing);
        let stays = |guest: &GuestId| {
            cluster
                .guest(*guest)
                .is_some_and(|guest| guest.obstacles.is_empty() && guest.maintenance.is_none())
        };
        let here = wanted(service);
        let mut order = |guest: GuestId, wanted: Option<&Installed>| {
            let row = rows.iter().find(|row| row.guest == guest).copied();
            if let Some(errand) = errand(wanted, row) {
                orders.push(Order {
                    service: service.id.clone(),
                    record: Some(service.clone()),
                    guest,
                    row: row.cloned(),
                    errand,
                });
            }
        };
        for guest in chosen.keep.iter().chain(&chosen.add) {
            order(*guest, Some(&here));
        }
        for guest in &chosen.drop {
            order(*guest, None);
        }
        // Those that are being dropped are no standbys for the planner any more.
        for row in rows.iter().filter(|row| row.state == StandbyState::Dropping) {
            if stays(&row.guest) && !chosen.add.contains(&row.guest) {
                order(row.guest, None);
            }
        }
    }
}
