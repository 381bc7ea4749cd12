//! Members of a batch whose names have a long TTL. All of them begin at once, and go as far as the wait for resolvers: so a
//! batch waits once, and not once for each place that its limits leave. What comes after that wait begins in turn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::planning::Decided;
use super::{MoveOptions, Requests};
use crate::model::batch::Batch;
use crate::model::guest::GuestSummary;
use crate::model::ids::ServiceId;
use crate::model::service::ServiceRecord;

/// How many are begun at the same time: each asks its guests.
const AT_ONCE: usize = 8;

/// Members by their index in the batch.
#[derive(Debug, Default)]
pub(super) struct Early {
    /// To be begun.
    ahead: VecDeque<usize>,
    /// Being begun.
    beginning: BTreeSet<usize>,
    /// Begun, and held until it is their turn.
    held: BTreeSet<usize>,
}

impl Early {
    /// The next one that is to be begun now.
    pub(super) fn next(&mut self) -> Option<usize> {
        if self.beginning.len() >= AT_ONCE {
            return None;
        }
        let index = self.ahead.pop_front()?;
        self.beginning.insert(index);
        Some(index)
    }

    /// It has begun, or was refused.
    pub(super) fn begun(&mut self, index: usize) {
        self.beginning.remove(&index);
    }

    /// It waits for its turn.
    pub(super) fn hold(&mut self, index: usize) {
        self.held.insert(index);
    }

    /// Whether it waits for its turn.
    pub(super) fn is_held(&self, index: usize) -> bool {
        self.held.contains(&index)
    }

    /// Its turn has come.
    pub(super) fn take_out(&mut self, index: usize) {
        self.ahead.retain(|other| *other != index);
        self.held.remove(&index);
    }

    /// No further one begins.
    pub(super) fn cancel(&mut self) {
        self.ahead.clear();
        self.held.clear();
    }
}

impl Requests {
    /// The members of a batch that begin before their turn; of one that a killed daemon left, those that had begun are held.
    pub(super) async fn early_members(&self, batch: &Batch) -> Early {
        let mut early = Early::default();
        let services = match self.world.table.services().await {
            Ok(services) => services,
            Err(error) => {
                tracing::warn!(%error, "TTLs of a batch are lowered one after the other");
                return early;
            }
        };
        let (waits, mut answers) = (batch.options.drain.is_none(), true);
        for (index, member) in batch.members.iter().enumerate() {
            let row = services.iter().find(|row| row.id == member.service);
            match (&member.result, member.job, member.target, row) {
                (None, Some(_), ..) => early.hold(index),
                (None, None, Some(_), Some(row))
                    if waits && self.long_ttl(row, &mut answers).await.is_some() =>
                {
                    early.ahead.push_back(index);
                }
                _ => {}
            }
        }
        early
    }

    /// How long services wait for resolvers to forget a long TTL before they move as it was decided; those that do not wait
    /// are left out.
    pub(super) async fn ttl_waits(
        &self,
        source: &GuestSummary,
        decided: &Decided,
        options: &MoveOptions,
    ) -> BTreeMap<ServiceId, Duration> {
        let mut waits = BTreeMap::new();
        if options.drain.is_some() || !source.is_running() {
            return waits;
        }
        let services = match self.world.table.services().await {
            Ok(services) => services,
            Err(error) => {
                tracing::warn!(%error, "a plan does not count the lowering of TTLs");
                return waits;
            }
        };
        let mut answers = true;
        let begin = |entry: &&super::planning::Entry| entry.target.is_some() && entry.job.is_none();
        for entry in decided.entries.iter().filter(begin) {
            let Some(row) = services.iter().find(|row| row.id == entry.service) else {
                continue;
            };
            if let Some(ttl) = self.long_ttl(row, &mut answers).await {
                waits.insert(row.id.clone(), self.world.limits.wait_for(ttl));
            }
        }
        waits
    }

    /// The TTL of the service's name in seconds, where a move begins with lowering it: by what the zone says, else the table.
    /// Once a zone does not answer, none is asked any more: that would take a time-out for each name.
    async fn long_ttl(&self, row: &ServiceRecord, answers: &mut bool) -> Option<u32> {
        let dns = row.dns.as_ref().filter(|_| row.wanted.wants_running())?;
        let mut ttl = dns.ttl;
        if *answers {
            match self.world.names.read(&dns.name).await {
                Ok(records) => ttl = records.ttl,
                Err(error) => {
                    tracing::info!(%error, "the TTLs of a batch's names are taken from the table");
                    *answers = false;
                }
            }
        }
        (ttl > self.world.limits.lower_above).then_some(ttl)
    }
}
