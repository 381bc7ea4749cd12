//! What a handover does to its service's name: claim, commit, withdraw, release; each a compare-and-swap of the zone
//! (design section 4, "Commit and its shadow").

use super::goals::Goal;
use std::net::IpAddr;

use super::protocol::Rule;
use super::record::{ClaimedFrom, Reason};
use super::run::Run;
use super::verdict::{self, Claimable, Seen};
use super::world::StepError;
use crate::model::name::{DnsName, NameChange, Ownership, replaced};
use crate::ports::Swapped;

type Act = Result<(), StepError>;

/// A confirmation older than this is repeated before the commit (design section 4, model rule `reconfirm`).
const CONFIRMATION_IS_FRESH_MS: u64 = 2_000;

impl Run<'_> {
    pub(super) async fn claim(&mut self) -> Act {
        let Some(name) = self.handover.facts.name.clone() else {
            return Ok(());
        };
        let records = self.world.names.read(&name).await?;
        let service = self.world.table.service(&self.handover.service).await?;
        let (owner, expect) = match verdict::claimable(&self.handover, service.as_ref(), &records) {
            Claimable::Ours => return Ok(()),
            Claimable::No(reason) => return Err(StepError::Refused(reason)),
            Claimable::From { owner, expect } => (owner, expect),
        };
        self.handover.facts.old_owner = owner;
        self.handover.facts.old_addresses = records.addresses.clone();
        self.handover.facts.old_ttl = records.ttl;
        self.handover.facts.lowering = self.lowering();
        self.handover.facts.lead = self.leading();
        self.handover.facts.claim_again |= self.handover.facts.claim_sent;
        self.handover.facts.claim_sent = true;
        let from = ClaimedFrom {
            ownership: expect.clone(),
            addresses: records.addresses.clone(),
        };
        if !self.handover.facts.claimed_from.contains(&from) {
            self.handover.facts.claimed_from.push(from);
        }
        self.journal(
            Goal::Reserve,
            format!("claims {name}: the zone says {}", verdict::describe(&records)),
        )
        .await?;
        let change = NameChange {
            name,
            expect_ownership: expect,
            expect_addresses: Some(records.addresses),
            ownership: Some(self.handover.claim()),
            addresses: None,
            srv: Vec::new(),
        };
        self.swap(change, "NameChanged").await
    }

    /// Gives the name back to its owner with a text that no claim of this handover expects: one that arrives late fails.
    /// Where there was no owner, and the claim was never seen to stand, its withdrawal stays as such a text.
    pub(super) async fn release(&mut self) -> Act {
        let Some(name) = self.handover.facts.name.clone() else {
            return Ok(());
        };
        let records = self.world.names.read(&name).await?;
        let standing = verdict::owner_text(&records);
        if matches!(&standing, Some(Ownership::Claimed(id, _)) if *id == self.handover.id) {
            self.handover.facts.claim_seen = !self.handover.facts.claim_again;
        }
        if verdict::released(&self.handover, &records) == Seen::Holds {
            // Since the look somebody else has claimed it: that is not ours to take away. (A claim that this handover was to take
            // over is: its own could still come after, and the other goes back either way.)
            return Ok(());
        }
        let ownership = match self.handover.release() {
            None if !self.handover.facts.claim_seen => Some(self.handover.withdrawal()),
            release => release,
        };
        // TTL and addresses go back in the message that takes the claim away: one that lowers the TTL or leads clients, and
        // comes late, fails after it.
        let restored = self.restored(&records);
        let change = NameChange {
            name,
            expect_ownership: standing,
            expect_addresses: restored.as_ref().map(|_| records.addresses),
            ownership,
            addresses: restored,
            srv: Vec::new(),
        };
        match self.world.names.swap(&change).await? {
            Swapped::Yes => Ok(()),
            // Another daemon was faster, or a message of this handover came late: a look tells what is left to be done.
            Swapped::No(standing) => Err(StepError::Failed(format!(
                "{} was changed in this moment: the zone says {}",
                change.name,
                verdict::describe(&standing)
            ))),
        }
    }

    pub(super) async fn publish(&mut self) -> Act {
        let Some(name) = self.handover.facts.name.clone() else {
            return Ok(());
        };
        let stale = self
            .recent
            .confirmed_at
            .is_none_or(|at| self.world.clock.now().saturating_sub(at) > CONFIRMATION_IS_FRESH_MS);
        if self.handover.facts.wants_running() && stale && self.keeps(Rule::Reconfirm) {
            self.reconfirm().await?;
        }
        self.handover.facts.sent = self.keeps(Rule::JournalSent);
        let (expect_ownership, expect_addresses) = self.expected(&name).await?;
        let target = self.handover.target.guest_name.clone();
        self.journal(
            Goal::Publish,
            format!("asks the zone to point {name} at {target}"),
        )
        .await?;
        let change = NameChange {
            name,
            expect_ownership,
            expect_addresses: Some(expect_addresses),
            ownership: Some(Ownership::Free(self.handover.new_owner())),
            addresses: Some((
                self.handover.facts.target_addresses.clone(),
                self.handover.facts.ttl,
            )),
            srv: self.handover.facts.srv.clone(),
        };
        self.swap(change, "NameChanged").await?;
        if self.handover.facts.published_at.is_none() {
            self.handover.facts.published_at = Some(self.world.clock.now());
        }
        Ok(())
    }

    /// What must stand in the zone when the commit is written: the claim, and the addresses that stand with it.
    async fn expected(&self, name: &DnsName) -> Result<(Option<Ownership>, Vec<IpAddr>), StepError> {
        if self.keeps(Rule::Claim) {
            return Ok((Some(self.handover.claim()), self.standing_addresses().await?));
        }
        let records = self.world.names.read(name).await?;
        Ok((verdict::owner_text(&records), records.addresses))
    }

    /// Time has passed since the check passed: the commit is not made on an old answer.
    async fn reconfirm(&mut self) -> Act {
        let guest = self.handover.target.guest;
        let name = self.handover.target.guest_name.clone();
        let copy = self.world.guest.look(guest, &self.target).await?;
        if !copy.is_up() {
            return Err(StepError::Refused(Reason::new(
                "CheckFailed",
                format!("{} went down on {name} before the commit", self.handover.service),
            )));
        }
        if self.manifest.check.is_some() {
            let limit = super::look::LONGEST_CHECK;
            if let Err(why) = self
                .world
                .guest
                .check(guest, &self.target, crate::ports::Tries::ONE, limit)
                .await?
            {
                return Err(StepError::Refused(Reason::new(
                    "CheckFailed",
                    format!(
                        "the check of {} on {name} fails just before the commit: {why}",
                        self.handover.service
                    ),
                )));
            }
        }
        self.recent.confirmed_at = Some(self.world.clock.now());
        Ok(())
    }

    /// Withdraws a message that may have been sent: after this swap it fails its prerequisite.
    pub(super) async fn withdraw(&mut self) -> Act {
        let Some(name) = self.handover.facts.name.clone() else {
            return Ok(());
        };
        let change = NameChange {
            name,
            expect_ownership: Some(self.handover.claim()),
            expect_addresses: None,
            ownership: Some(self.handover.withdrawal()),
            addresses: None,
            srv: Vec::new(),
        };
        self.swap(change, "NameChanged").await
    }

    pub(super) async fn unpublish(&mut self) -> Act {
        let Some(name) = self.handover.facts.name.clone() else {
            return Ok(());
        };
        self.handover.facts.sent = true;
        self.journal(Goal::Unpublish, format!("asks the zone to forget {name}"))
            .await?;
        let change = NameChange {
            name,
            expect_ownership: Some(self.handover.claim()),
            expect_addresses: Some(self.handover.facts.old_addresses.clone()),
            ownership: None,
            addresses: Some((Vec::new(), self.handover.facts.ttl)),
            srv: replaced(&self.handover.facts.srv, &[]),
        };
        self.swap(change, "NameChanged").await
    }

    pub(super) async fn swap(&self, change: NameChange, error: &str) -> Act {
        let name = change.name.clone();
        match self.world.names.swap(&change).await? {
            Swapped::Yes => Ok(()),
            Swapped::No(standing) if self.has_led_meanwhile(&change, &standing) => Err(StepError::Failed(
                format!("{name} leads clients to the target since a moment ago"),
            )),
            Swapped::No(standing) => Err(StepError::Refused(Reason::new(
                error,
                format!(
                    "{name} was changed by somebody else: the zone says {}; nothing is overwritten",
                    verdict::describe(&standing)
                ),
            ))),
        }
    }
}
