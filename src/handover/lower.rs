//! The lowering of a TTL: where a name's TTL is long, resolvers would remember the old addresses for as long after the
//! commit. So a planned move first gives the addresses a short TTL, waits until what was given before is forgotten, and
//! then goes on. The commit's message has the manifest's TTL again; going back, the message that gives the claim back has
//! the TTL of before.
//!
//! The TTL of before is journalled with the claim, so a daemon that takes the handover up does not take the lowered one for
//! it. Nothing here keeps a service from moving: where a server keeps the TTL or cannot be asked, the old one counts.

use std::net::IpAddr;
use std::time::Duration;

use super::drain::waits_for;
use super::goals::{Goal, Kind};
use super::protocol::Rule;
use super::record::{Facts, Lowering};
use super::run::Run;
use super::verdict::{self, Seen};
use super::world::{Limits, StepError, millis};
use crate::model::name::{NameChange, NameRecords, Ownership};
use crate::model::service::Millis;
use crate::model::utc;

/// The TTL of a name whose service is about to move, in seconds.
pub(super) const LOWERED: u32 = 5;
/// How often the source is looked at while a TTL is waited out: it may die.
const SOURCE_LOOK: Duration = Duration::from_secs(10);
/// How often the servers of a zone are asked while one of them is behind.
const SPREAD_LOOK: Duration = Duration::from_secs(1);

/// How long a lowering may take beside its UPDATE.
pub(super) fn longest(facts: &Facts, limits: &Limits) -> Duration {
    let from = facts.lowering.map_or(0, |lowering| lowering.from);
    limits.wait_for(from).saturating_add(limits.unreachable)
}

impl Run<'_> {
    /// The lowering that this handover begins with, once the old TTL is known; `None` where it would not pay.
    pub(super) fn lowering(&self) -> Option<Lowering> {
        let facts = &self.handover.facts;
        let pays = self.handover.kind == Kind::Move
            && facts.drain.is_none()
            && facts.old_ttl > self.world.limits.lower_above.max(LOWERED);
        pays.then_some(Lowering {
            from: facts.old_ttl,
            to: LOWERED,
            sent_at: None,
            spread_at: None,
            given_up: false,
        })
    }

    pub(super) async fn look_lowered(&mut self) -> Result<Seen, StepError> {
        let Some(lowering) = self.handover.facts.lowering.filter(|lowering| !lowering.given_up) else {
            return Ok(Seen::Holds);
        };
        let (place, _) = self.source_copy()?;
        let domain = self.world.hypervisor.inspect(place.guest).await?;
        if domain.is_none_or(|domain| !domain.is_active()) {
            // Its clients wait: what was a planned move goes on as one from a guest that is off.
            self.observe().await?;
            return self.give_up(&format!("{} is off", place.guest_name)).await;
        }
        let Some(sent_at) = lowering.sent_at else {
            return Ok(Seen::missing(format!(
                "resolvers remember the addresses for {} s",
                lowering.from
            )));
        };
        match lowering.spread_at {
            None => self.look_lowered_everywhere(lowering, sent_at).await,
            Some(spread_at) => self.wait_out(lowering, spread_at).await,
        }
    }

    /// Whether every server of the zone gives the lower TTL.
    async fn look_lowered_everywhere(
        &mut self,
        lowering: Lowering,
        sent_at: Millis,
    ) -> Result<Seen, StepError> {
        let Some(name) = self.handover.facts.name.clone() else {
            return Ok(Seen::Holds);
        };
        let records = self.world.names.read(&name).await?;
        if records.ttl > lowering.to {
            return Ok(Seen::missing(format!(
                "the zone gives a TTL of {} s",
                records.ttl
            )));
        }
        let spread = self.spread(|_, records| records.ttl <= lowering.to).await;
        let now = self.world.clock.now();
        if spread == super::spread::Spread::default() {
            let facts = &mut self.handover.facts;
            facts.lowering = Some(Lowering {
                spread_at: Some(now),
                ..lowering
            });
            self.journal(Goal::Lower, "every server of the zone gives the lower TTL")
                .await?;
            return self.wait_out(lowering, now).await;
        }
        let given_up = sent_at.saturating_add(millis(self.world.limits.unreachable));
        let why = waits_for(&spread, "the old TTL", given_up);
        if now >= given_up {
            return self.give_up(&why).await;
        }
        Ok(Seen::Pending {
            why: format!("the lower TTL to come to every server of the zone: {why}"),
            again_in: SPREAD_LOOK,
        })
    }

    /// Waits until resolvers have forgotten what they were given before; then the source is observed anew, for what was seen
    /// of it is old by then.
    async fn wait_out(&mut self, lowering: Lowering, spread_at: Millis) -> Result<Seen, StepError> {
        let old = u64::from(lowering.from).saturating_mul(1000);
        let over = spread_at
            .saturating_add(old)
            .saturating_add(millis(self.world.limits.drain_margin));
        let now = self.world.clock.now();
        if now >= over || !self.keeps(Rule::WaitLowered) {
            self.observe().await?;
            return Ok(Seen::Holds);
        }
        let left = Duration::from_millis(over - now);
        Ok(Seen::Pending {
            why: format!(
                "resolvers to forget the old TTL of {} s: until {}, {:.1} s left; then {} moves",
                lowering.from,
                utc::show(over),
                left.as_secs_f64(),
                self.handover.service
            ),
            again_in: left.min(SOURCE_LOOK),
        })
    }

    async fn give_up(&mut self, why: &str) -> Result<Seen, StepError> {
        if let Some(lowering) = &mut self.handover.facts.lowering {
            lowering.given_up = true;
        }
        self.journal(Goal::Lower, format!("goes on with the old TTL: {why}"))
            .await?;
        Ok(Seen::Holds)
    }

    pub(super) async fn lower(&mut self) -> Result<(), StepError> {
        let facts = &mut self.handover.facts;
        let (Some(name), Some(lowering)) = (facts.name.clone(), &mut facts.lowering) else {
            return Ok(());
        };
        lowering.sent_at.get_or_insert(self.world.clock.now());
        let (from, to) = (lowering.from, lowering.to);
        let addresses = facts.old_addresses.clone();
        let text = format!("asks the zone to lower the TTL of {name} from {from} s to {to} s");
        self.journal(Goal::Lower, text).await?;
        let claim = self.handover.claim();
        let change = NameChange {
            name: name.clone(),
            expect_ownership: Some(claim.clone()),
            expect_addresses: Some(addresses.clone()),
            ownership: Some(claim),
            addresses: Some((addresses, to)),
            srv: Vec::new(),
        };
        self.swap(change, "NameChanged").await?;
        let records = self.world.names.read(&name).await?;
        let claimed = matches!(verdict::owner_text(&records), Some(Ownership::Claimed(id, _)) if id == self.handover.id);
        if claimed && records.ttl > to {
            let why = format!("the server keeps a TTL of {} s", records.ttl);
            self.give_up(&why).await?;
        }
        Ok(())
    }

    /// Addresses and TTL that a release of the claim gives back; `None` where neither was changed under the claim, or
    /// somebody else has changed the addresses since.
    pub(super) fn restored(&self, records: &NameRecords) -> Option<(Vec<IpAddr>, u32)> {
        let facts = &self.handover.facts;
        let lowered = facts.lowering.filter(|lowering| lowering.sent_at.is_some());
        if lowered.is_none() && !facts.may_lead() {
            return None;
        }
        let ours = records.addresses == facts.old_addresses || self.is_to_be_led_back(&records.addresses);
        let ttl = lowered.map_or(facts.old_ttl, |lowering| lowering.from);
        (ours && !facts.old_addresses.is_empty()).then(|| (facts.old_addresses.clone(), ttl))
    }
}
