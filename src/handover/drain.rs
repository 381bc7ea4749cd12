//! The drain: the source serves on until every resolver has forgotten its addresses.
//!
//! A resolver may ask any of the zone's servers, and one of them may be behind. So the clock begins when all of them give
//! the new data, and runs for the old TTL and a margin. A server that can be asked and gives old data is waited for; one
//! that cannot be asked only for `[drain] unreachable`, from the commit on. Who says how long a drain is to be has it so,
//! from the commit on.

use std::time::Duration;

use super::goals::Goal;
use super::protocol::Rule;
use super::record::Duty;
use super::run::Run;
use super::spread::{self, Spread};
use super::verdict::Seen;
use super::world::{StepError, drain_millis, millis};
use crate::model::service::Millis;
use crate::model::utc;

/// How often a drain is looked at: its service may have been stopped.
const DRAIN_LOOK: Duration = Duration::from_secs(5);
/// How often the servers of a zone are asked while one of them is behind.
const SPREAD_LOOK: Duration = Duration::from_secs(1);

impl Run<'_> {
    pub(super) async fn look_drain(&mut self) -> Result<Seen, StepError> {
        let Some(mut duty) = self.own_duty().await? else {
            return Ok(Seen::Holds);
        };
        // Who stops the service meanwhile means its old copy too.
        let row = self.world.table.service(&self.handover.service).await?;
        if row.is_none_or(|row| !row.wanted.wants_running()) {
            return Ok(Seen::Holds);
        }
        let facts = &self.handover.facts;
        if self.asks_servers() && facts.spread_at.is_none() {
            match self.look_spread(&duty).await? {
                Ok(serve_until) => duty.serve_until = serve_until,
                Err(pending) => return Ok(pending),
            }
        }
        let now = self.world.clock.now();
        if now >= duty.serve_until {
            return Ok(Seen::Holds);
        }
        let left = Duration::from_millis(duty.serve_until - now);
        let from = self.source_name();
        let but = match self.handover.facts.unasked.as_slice() {
            [] => String::new(),
            unasked => format!("; what these servers give is not known: {}", unasked.join(", ")),
        };
        Ok(Seen::Pending {
            why: format!(
                "{from} keeps serving until {}, when resolvers have forgotten its address: {:.1} s left{but}",
                utc::show(duty.serve_until),
                left.as_secs_f64()
            ),
            again_in: left.min(DRAIN_LOOK),
        })
    }

    /// Whether every server of the zone gives the new data: then the time at which the drain ends, else what it waits for.
    async fn look_spread(&mut self, duty: &Duty) -> Result<Result<Millis, Seen>, StepError> {
        let world = self.world;
        let drain = drain_millis(&self.handover.facts, world.limits.drain_margin);
        let spread = self
            .spread(|run, records| spread::is_committed(&run.handover, records))
            .await;
        let now = world.clock.now();
        let published = self.handover.facts.published_at.unwrap_or(now);
        let given_up = published.saturating_add(millis(world.limits.unreachable));
        if spread.behind.is_empty() && (spread.unasked.is_empty() || now >= given_up) {
            let serve_until = now.saturating_add(drain);
            // First the duty: a daemon that is killed right after it asks again.
            self.postpone(duty, serve_until).await?;
            let told = match spread.unasked.as_slice() {
                [] => "every server of the zone gives the new address".to_owned(),
                unasked => format!(
                    "goes on without servers that cannot be asked: {}",
                    unasked.join(", ")
                ),
            };
            self.handover.facts.spread_at = Some(now);
            self.handover.facts.unasked = spread.unasked;
            self.journal(Goal::Drain, told).await?;
            return Ok(Ok(serve_until));
        }
        if duty.serve_until < now.saturating_add(drain) {
            self.postpone(duty, now.saturating_add(self.longest_drain()))
                .await?;
        }
        let why = format!(
            "{} keeps serving: {}; then for {:.1} s more (old TTL and margin)",
            self.source_name(),
            waits_for(&spread, "the old address", given_up),
            Duration::from_millis(drain).as_secs_f64()
        );
        Ok(Err(Seen::Pending {
            why,
            again_in: SPREAD_LOOK,
        }))
    }

    /// How far a change of the service's name has come; a zone whose servers are not known is one that cannot be asked.
    pub(super) async fn spread(
        &self,
        is_new: impl Fn(&Self, &crate::model::name::NameRecords) -> bool,
    ) -> Spread {
        let Some(name) = &self.handover.facts.name else {
            return Spread::default();
        };
        match self.world.names.read_everywhere(name).await {
            Ok(all) => spread::spread(&all, |records| is_new(self, records)),
            Err(error) => Spread {
                behind: Vec::new(),
                unasked: vec![error.to_string()],
            },
        }
    }

    /// How long the source serves after the commit, in milliseconds, while it is not known when the zone's servers all
    /// give the new data.
    pub(super) fn longest_drain(&self) -> Millis {
        let limits = &self.world.limits;
        let drain = drain_millis(&self.handover.facts, limits.drain_margin);
        match self.asks_servers() {
            true => drain.saturating_add(millis(limits.unreachable)),
            false => drain,
        }
    }

    /// Whether the drain waits for every server of the zone: unless an operator says how long it is to be.
    fn asks_servers(&self) -> bool {
        self.handover.facts.drain.is_none() && self.keeps(Rule::AskServers)
    }

    async fn postpone(&self, duty: &Duty, serve_until: Millis) -> Result<(), StepError> {
        let (service, guest, generation) = (&duty.service, duty.guest, duty.generation);
        let table = &self.world.table;
        Ok(table.postpone(service, guest, generation, serve_until).await?)
    }

    /// This handover's duty, unless a later handover has taken it over.
    pub(super) async fn own_duty(&self) -> Result<Option<Duty>, StepError> {
        let Some(source) = &self.handover.source else {
            return Ok(None);
        };
        let duties = self.world.table.duties().await?;
        Ok(duties.into_iter().find(|d| {
            d.service == self.handover.service
                && d.guest == source.guest
                && d.generation == self.handover.generation
                // A removal has the generation that it found.
                && d.digest == source.digest
        }))
    }

    fn source_name(&self) -> String {
        let source = self.handover.source.as_ref();
        source.map(|place| place.guest_name.clone()).unwrap_or_default()
    }
}

/// What is waited for, for people: servers that give what was before, and until `given_up` those that cannot be asked.
pub(super) fn waits_for(spread: &Spread, before: &str, given_up: Millis) -> String {
    let mut parts = Vec::new();
    match spread.behind.as_slice() {
        [] => {}
        [one] => parts.push(format!("{one} still gives {before}")),
        several => parts.push(format!("{} still give {before}", several.join(" and "))),
    }
    if !spread.unasked.is_empty() {
        parts.push(format!(
            "waited for until {} because they cannot be asked: {}",
            utc::show(given_up),
            spread.unasked.join(", ")
        ));
    }
    parts.join("; ")
}
