//! Leading clients ahead: where the source is dead and fenced, nobody serves at the addresses that the name gives. So the
//! name gives the target's before the service is there: what resolvers remember of the dead guest runs out while the target
//! is made ready, and not after it.
//!
//! It is no commit, but a change under the claim, as [`super::lower`] makes one: the service is still the source's, and the
//! TTL is short, so that a target that fails costs little. The commit's message expects what stands, and gives the manifest's
//! TTL; going back, the message that gives the claim back has the addresses and the TTL of before. One that leads and comes
//! late fails after either, for the claim is gone.
//!
//! Nothing here keeps a service from moving, or makes it wait: a zone that does not do it at once is left as it is, and the
//! commit points the name at the target as ever.

use std::net::IpAddr;

use super::goals::{Goal, Kind};
use super::lower::LOWERED;
use super::protocol::Rule;
use super::record::Lead;
use super::run::Run;
use super::verdict::{self, Seen};
use super::world::StepError;
use crate::model::name::{NameChange, NameRecords};
use crate::ports::Swapped;

impl Run<'_> {
    /// What is known of the lead when the name is claimed; `None`: this handover never leads.
    pub(super) fn leading(&self) -> Option<Lead> {
        (self.handover.kind == Kind::Move && self.world.limits.lead).then(Lead::default)
    }

    /// Whether clients are led, or nothing more is done to lead them.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(super) async fn look_led(&mut self) -> Result<Seen, StepError> {
        let facts = &self.handover.facts;
        let lead = facts.lead.filter(|lead| !lead.given_up);
        let (Some(name), Some(lead)) = (facts.name.clone(), lead) else {
            return Ok(Seen::Holds);
        };
        if lead.sent_at.is_none() {
            return Ok(Seen::missing("clients are led to a dead guest"));
        }
        match self.world.names.read(&name).await {
            Ok(records) if verdict::is_led(&self.handover, &records) => {}
            Ok(records) => {
                let why = format!("the zone says {}", verdict::describe(&records));
                self.give_up_leading(&why).await?;
            }
            Err(error) => self.give_up_leading(&error.to_string()).await?,
        }
        Ok(Seen::Holds)
    }

    /// Asks once. An answer that does not come says nothing of the message: whatever reads the zone later sees what stands.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(super) async fn lead(&mut self) -> Result<(), StepError> {
        let facts = &mut self.handover.facts;
        let (Some(name), Some(lead)) = (facts.name.clone(), &mut facts.lead) else {
            return Ok(());
        };
        lead.sent_at = Some(self.world.clock.now());
        let ttl = facts.ttl.min(LOWERED);
        let (before, addresses) = (facts.old_addresses.clone(), facts.target_addresses.clone());
        let target = &self.handover.target.guest_name;
        let text = format!("asks the zone to lead the clients of {name} to {target}, for {ttl} s at a time");
        self.journal(Goal::Lead, text).await?;
        let claim = self.handover.claim();
        let change = NameChange {
            name,
            expect_ownership: Some(claim.clone()),
            expect_addresses: Some(before),
            ownership: Some(claim),
            addresses: Some((addresses, ttl)),
            srv: Vec::new(),
        };
        match self.world.names.swap(&change).await {
            Ok(Swapped::Yes) => Ok(()),
            Ok(Swapped::No(records)) => {
                let why = format!("the zone says {}", verdict::describe(&records));
                self.give_up_leading(&why).await
            }
            Err(error) => self.give_up_leading(&error.to_string()).await,
        }
    }

    async fn give_up_leading(&mut self, why: &str) -> Result<(), StepError> {
        if let Some(lead) = &mut self.handover.facts.lead {
            lead.given_up = true;
        }
        let text = format!("goes on without leading clients ahead: {why}");
        self.journal(Goal::Lead, text).await
    }

    /// The addresses that stand with the claim: those of before, or the target's.
    ///
    /// # Errors
    /// The zone cannot be read, where only that can tell.
    pub(super) async fn standing_addresses(&self) -> Result<Vec<IpAddr>, StepError> {
        let facts = &self.handover.facts;
        let (Some(name), true) = (&facts.name, facts.may_lead()) else {
            return Ok(facts.old_addresses.clone());
        };
        let seen = facts.lead.is_some_and(|lead| !lead.given_up);
        if seen || verdict::is_led(&self.handover, &self.world.names.read(name).await?) {
            return Ok(facts.target_addresses.clone());
        }
        Ok(facts.old_addresses.clone())
    }

    /// Whether these addresses are the target's because this handover led clients there, and the claim's release takes
    /// them away.
    pub(super) fn is_to_be_led_back(&self, addresses: &[IpAddr]) -> bool {
        let facts = &self.handover.facts;
        facts.may_lead() && addresses == facts.target_addresses && self.keeps(Rule::LeadBack)
    }

    /// Whether a swap failed because the message that leads clients came just before it.
    pub(super) fn has_led_meanwhile(&self, change: &NameChange, standing: &NameRecords) -> bool {
        let facts = &self.handover.facts;
        let claimed = change.expect_ownership.as_ref().map(ToString::to_string);
        facts.may_lead()
            && standing.ownership.iter().eq(claimed.iter())
            && standing.addresses == facts.target_addresses
            && change.expect_addresses.as_ref() == Some(&facts.old_addresses)
    }
}
