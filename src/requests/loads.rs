//! How much guests can bear, and how much they carry.
//!
//! Hosts count what their guests use: they are asked every 30 s, and again when a placement needs to know and the last
//! answer is older than 5 s. It is one question for each host. Guests are asked seldom, for it costs a process in each:
//! every 2 min, and only those that this daemon controls. A placement never waits for that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::select;
use futures_util::stream::{self, StreamExt as _};

use crate::handover::world::World;
use crate::model::guest::GuestSummary;
use crate::model::ids::GuestId;
use crate::model::needs::Resources;
use crate::model::service::Millis;
use crate::plan::gauge::Gauge;
use crate::plan::load::{Load, Smoothing};
use crate::ports::{Clock, GuestGauges, HostGauges};

/// How often hosts are asked when nobody wants to know.
const COUNT: Duration = Duration::from_secs(30);
/// How often guests are asked: before what they said last is forgotten.
const FEEL: Duration = Duration::from_secs(120);
/// What hosts told is good enough for a placement for so long, in milliseconds.
const FRESH: Millis = 5_000;
/// How long a placement waits for what hosts tell: after that what they told before counts.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many guests are asked at the same time.
const ASKED_AT_ONCE: usize = 4;

/// What a guest is taken to have of which nothing was ever measured: a number that cannot be had must not leave the services of
/// a dead guest without a home. Large enough for all of them, and so small that one service more shows in the score.
pub const UNKNOWN: Resources = Resources {
    memory: 1 << 40,
    cpu: 1_000_000,
};

/// What is known of one guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// What it has.
    pub capacity: Resources,
    /// Its smoothed load; `None`: not known.
    pub load: Option<Load>,
}

/// Tells how loaded guests are.
#[async_trait]
pub trait Loads: Send + Sync {
    /// What is known of each of these guests now; one that is missing was never measured.
    async fn of(&self, guests: &[GuestSummary]) -> BTreeMap<GuestId, Measured>;

    /// The same as it was known last; nobody is asked.
    fn last(&self, guests: &[GuestSummary]) -> BTreeMap<GuestId, Measured>;

    /// Measures at its own slow pace, for as long as the daemon runs; returns at once where nothing is measured.
    async fn keep_measuring(&self, world: &World);

    /// How that is known, for people; empty where it is measured.
    fn how(&self) -> &'static str;
}

/// Loads as hosts count them and guests say.
pub struct Gauges {
    hosts: Arc<dyn HostGauges>,
    guests: Arc<dyn GuestGauges>,
    clock: Arc<dyn Clock>,
    by: Smoothing,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    gauges: BTreeMap<GuestId, Gauge>,
    /// When hosts were asked last.
    asked: Option<Millis>,
}

impl Gauges {
    /// Nothing is known yet.
    pub fn new(
        hosts: Arc<dyn HostGauges>,
        guests: Arc<dyn GuestGauges>,
        clock: Arc<dyn Clock>,
        by: Smoothing,
    ) -> Self {
        Self {
            hosts,
            guests,
            clock,
            by,
            known: Mutex::default(),
        }
    }

    fn locked<T>(&self, work: impl FnOnce(&mut Known) -> T) -> T {
        work(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks all hosts. The time counts from when they answered: that is when they have counted.
    async fn count(&self) {
        let answers = self.hosts.counters().await;
        let at = self.clock.now();
        self.locked(|known| {
            known.asked = Some(at);
            for answer in answers {
                match answer {
                    Ok(counters) => {
                        for (guest, counters) in counters {
                            let gauge = known.gauges.entry(guest).or_default();
                            gauge.count(at, &counters, self.by);
                        }
                    }
                    Err((host, error)) => {
                        tracing::debug!(%host, %error, "what its guests use is not known");
                    }
                }
            }
        });
    }

    async fn feel(&self, guest: GuestId) {
        match self.guests.vitals(guest).await {
            Ok(vitals) => {
                let at = self.clock.now();
                self.locked(|known| known.gauges.entry(guest).or_default().feel(at, &vitals, self.by));
            }
            Err(error) => tracing::debug!(%guest, %error, "how it fares is not known"),
        }
    }

    /// Asks the guests that this daemon controls, and forgets those that are gone.
    async fn feel_all(&self, world: &World) {
        let listed = world.hypervisor.guests().await;
        let whole = listed.iter().all(Result::is_ok);
        let guests: Vec<GuestSummary> = listed.into_iter().filter_map(Result::ok).collect();
        if whole {
            self.locked(|known| {
                known
                    .gauges
                    .retain(|id, _| guests.iter().any(|guest| guest.id == *id));
            });
        }
        let own = |guest: &&GuestSummary| {
            guest.controller.as_deref() == Some(world.host.as_str()) && guest.agent_connected
        };
        let asked: Vec<_> = guests
            .iter()
            .filter(own)
            .map(|guest| self.feel(guest.id))
            .collect();
        stream::iter(asked)
            .buffer_unordered(ASKED_AT_ONCE)
            .collect::<()>()
            .await;
    }
}

#[async_trait]
impl Loads for Gauges {
    async fn of(&self, guests: &[GuestSummary]) -> BTreeMap<GuestId, Measured> {
        let now = self.clock.now();
        let asked = self.locked(|known| known.asked);
        // A clock that was set back says nothing of how old an answer is.
        if asked.is_none_or(|asked| now < asked || now - asked > FRESH) {
            let patience = self.clock.sleep(PATIENCE);
            select(Box::pin(self.count()), patience).await;
        }
        self.last(guests)
    }

    fn last(&self, guests: &[GuestSummary]) -> BTreeMap<GuestId, Measured> {
        let now = self.clock.now();
        self.locked(|known| {
            let measured = guests.iter().filter_map(|guest| {
                let gauge = known.gauges.get(&guest.id)?;
                let measured = Measured {
                    capacity: gauge.capacity()?,
                    load: gauge.load(now, self.by),
                };
                Some((guest.id, measured))
            });
            measured.collect()
        })
    }

    async fn keep_measuring(&self, world: &World) {
        let mut felt: Option<Millis> = None;
        loop {
            self.count().await;
            let now = self.clock.now();
            let due = Millis::try_from(FEEL.as_millis()).unwrap_or(Millis::MAX);
            if felt.is_none_or(|felt| now < felt || now - felt >= due) {
                felt = Some(now);
                self.feel_all(world).await;
            }
            self.clock.sleep(COUNT).await;
        }
    }

    fn how(&self) -> &'static str {
        ""
    }
}

/// Nothing is measured, as where every state of a model is gone through: guests are told apart by what the services there
/// need, and no need is too large for one.
pub struct NotMeasured;

#[async_trait]
impl Loads for NotMeasured {
    async fn of(&self, guests: &[GuestSummary]) -> BTreeMap<GuestId, Measured> {
        self.last(guests)
    }

    fn last(&self, guests: &[GuestSummary]) -> BTreeMap<GuestId, Measured> {
        let measured = Measured {
            capacity: UNKNOWN,
            load: None,
        };
        guests.iter().map(|guest| (guest.id, measured)).collect()
    }

    async fn keep_measuring(&self, _world: &World) {}

    fn how(&self) -> &'static str {
        "not measured: guests are compared by the services that they have, whatever their size"
    }
}
