//! The durable record of a handover: decisions and observations, nothing that a look could tell again.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize};

use super::goals::Kind;
use super::machine::{Direction, State};
use crate::model::ids::{Digest, Generation, GuestId, HandoverId, HostId, JobId, ServiceId};
use crate::model::life::{Enablement, LifeState};
use crate::model::name::{DnsName, Owner, Ownership, SrvSet};
use crate::model::placement::PlacedFile;
use crate::model::service::Millis;
use crate::model::volume::Volume;

/// A copy of a service somewhere: which guest, which bundle.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The guest.
    pub guest: GuestId,
    /// Its name, for people.
    pub guest_name: String,
    /// Its host when the handover was begun; every act resolves it anew.
    pub host: HostId,
    /// The bundle there.
    pub digest: Digest,
    /// Config and secrets of that copy.
    pub files: Vec<PlacedFile>,
}

/// What was observed and decided on the way; each field is written once, before what depends on it is done.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Facts {
    /// The service's name.
    pub name: Option<DnsName>,
    /// The TTL that its addresses are given, in seconds.
    pub ttl: u32,
    /// The SRV records that stand with its addresses, label by label; an empty set takes its label's away.
    #[serde(default)]
    pub srv: Vec<SrvSet>,
    /// Whether two copies may run for a while.
    pub overlap: bool,
    /// The life state that the service is to have afterwards.
    pub life: LifeState,
    /// When the observation was made; `None`: not yet.
    pub observed_at: Option<Millis>,
    /// The time of the table's row that the observation goes by: a row that was written since makes it void.
    #[serde(default)]
    pub observed_row: Option<Millis>,
    /// The life state that was seen at the source before anything was done; `None` at a deploy.
    pub observed: Option<LifeState>,
    /// What was observed counts as up by what is wanted of it, and was not up.
    #[serde(default)]
    pub down: bool,
    /// Its enablement.
    pub enablement: Enablement,
    /// The uid of its user on the source.
    pub uid: Option<u32>,
    /// The addresses at which the target will serve, sorted. Older journals have one at most.
    #[serde(default, alias = "target_address", deserialize_with = "one_or_more")]
    pub target_addresses: Vec<IpAddr>,
    /// What stood in the zone before: addresses, TTL in seconds and ownership.
    pub old_addresses: Vec<IpAddr>,
    /// TTL of the old addresses, in seconds.
    pub old_ttl: u32,
    /// The lowering of that TTL, where it pays.
    #[serde(default)]
    pub lowering: Option<Lowering>,
    /// The lead of clients to the target while the source is dead; `None`: it is not tried.
    #[serde(default)]
    pub lead: Option<Lead>,
    /// The batch that says when this handover goes on once that TTL is lowered.
    #[serde(default)]
    pub held_by: Option<JobId>,
    /// The owner that stood in the zone before.
    pub old_owner: Option<Owner>,
    /// The UPDATE that claims the name may have been sent.
    pub claim_sent: bool,
    /// It was sent again, so that an earlier one may still be under way.
    #[serde(default)]
    pub claim_again: bool,
    /// What stood at the name whenever the claim was sent: one that comes late does something only where one of these stands.
    /// Empty in the journal of an older version of the daemon, which kept the owner before alone.
    #[serde(default)]
    pub claimed_from: Vec<ClaimedFrom>,
    /// The claim was seen to stand, and was sent once: no message that asks for it is under way any more.
    #[serde(default)]
    pub claim_seen: bool,
    /// The operator lets the service take over a name that is there already.
    pub take_over: bool,
    /// The UPDATE that commits may have been sent: from then on only the zone tells (design section 4).
    pub sent: bool,
    /// When the zone was first seen to point at the target.
    pub published_at: Option<Millis>,
    /// How long the source keeps serving after the commit, in milliseconds; `None`: old TTL and margin, from when every
    /// server of the zone gave the new addresses.
    pub drain: Option<Millis>,
    /// When every server of the zone that can be asked was first seen to give the new addresses.
    #[serde(default)]
    pub spread_at: Option<Millis>,
    /// Why that is not known of the others, server by server.
    #[serde(default)]
    pub unasked: Vec<String>,
    /// A duty of this service on the target that this handover has taken over: the old copy still serves there.
    pub displaced: Option<Duty>,
    /// The target was a standby that was ready with just what is to be installed: its disk is all that it lacks.
    #[serde(default)]
    pub standby: bool,
    /// A removal could not take away everything: the rest is owed as a duty.
    pub retire_owed: bool,
    /// The source's guest was seen off: it is fenced, and its state is the one that the table knows.
    #[serde(default)]
    pub source_dead: bool,
    /// The service's data volume.
    #[serde(default)]
    pub volume: Option<Volume>,
    /// This handover makes the volume, and takes it away again if it is undone.
    #[serde(default)]
    pub volume_made: bool,
    /// A removal deletes the data volume too.
    #[serde(default)]
    pub delete_data: bool,
    /// Whose guest agent does not answer, and since when.
    #[serde(default)]
    pub silent: Option<Since>,
    /// Which guest lost its licence without having answered, and when.
    #[serde(default)]
    pub revoked: Option<Since>,
    /// When the source was first told to stop: the gap in service begins.
    #[serde(default)]
    pub gap_began: Option<Millis>,
    /// How long nobody served, in milliseconds: from the source's stop until the target's units were up.
    #[serde(default)]
    pub gap: Option<Millis>,
}

/// Addresses as they are journalled, and the one or none of older journals.
fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpAddr>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Journalled {
        All(Vec<IpAddr>),
        One(Option<IpAddr>),
    }
    Ok(match Journalled::deserialize(deserializer)? {
        Journalled::All(addresses) => addresses,
        Journalled::One(address) => address.into_iter().collect(),
    })
}

impl Facts {
    /// Whether the service is to be up on the target.
    pub fn wants_running(&self) -> bool {
        self.life.wants_running()
    }

    /// Whether two copies may run at once: never with a data volume.
    pub fn may_overlap(&self) -> bool {
        self.overlap && self.volume.is_none()
    }

    /// For how many seconds resolvers may remember the old addresses once the zone gives others: the lowered TTL counts
    /// only if it was waited for.
    pub fn remembered(&self) -> u32 {
        match &self.lowering {
            Some(lowering) if lowering.spread_at.is_some() && !lowering.given_up => lowering.to,
            _ => self.old_ttl,
        }
    }

    /// Whether the message that leads clients to the target may have been sent.
    pub fn may_lead(&self) -> bool {
        self.lead.is_some_and(|lead| lead.sent_at.is_some())
    }

    /// Whether the service was to be up before anything was done, and was not.
    pub fn was_down_unwanted(&self) -> bool {
        self.observed == Some(LifeState::Failed) || self.down
    }

    /// Whether the name led clients to the source.
    pub fn was_accessible(&self) -> bool {
        self.observed == Some(LifeState::Accessible)
    }
}

/// A name's TTL is lowered before its service moves, so that resolvers forget the old addresses sooner. The TTL that the
/// addresses are given at the commit is the manifest's again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lowering {
    /// The TTL before, in seconds.
    pub from: u32,
    /// The TTL while the service moves, in seconds.
    pub to: u32,
    /// When the UPDATE that lowers it may first have been sent.
    pub sent_at: Option<Millis>,
    /// When every server of the zone was first seen to give the lower one.
    pub spread_at: Option<Millis>,
    /// It does not count: a server keeps the TTL or cannot be asked, or the source died.
    pub given_up: bool,
}

/// The name of a dead source leads clients to the target before the service is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Lead {
    /// When the UPDATE that leads them may have been sent.
    pub sent_at: Option<Millis>,
    /// It was not seen to stand at once: it may, or may yet.
    pub given_up: bool,
}

/// Since when something holds of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Since {
    /// The guest.
    pub guest: GuestId,
    /// Since when.
    pub at: Millis,
}

/// A handover as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Handover {
    /// Its identity.
    pub id: HandoverId,
    /// The job that shows it.
    pub job: JobId,
    /// What it does.
    pub kind: Kind,
    /// The service.
    pub service: ServiceId,
    /// Where the service is; `None` at a deploy.
    pub source: Option<Place>,
    /// Where it is to be; the same guest as the source for replace, start, stop and remove.
    pub target: Place,
    /// The generation that the commit gives the service.
    pub generation: Generation,
    /// Where it stands.
    pub state: State,
    /// Whether the commit was seen.
    pub committed: bool,
    /// Why it went back, is stuck, or failed.
    pub reason: Option<Reason>,
    /// What was observed and decided.
    pub facts: Facts,
}

impl Handover {
    /// The duty that it took over and gives back at its end: undone, or abandoned on its way back.
    pub fn unmet(&self) -> Option<&Duty> {
        let back = match self.state {
            State::Undone => true,
            State::At { direction, .. } | State::Stuck { direction, .. } => direction == Direction::Back,
            State::Done { .. } => false,
        };
        self.facts.displaced.as_ref().filter(|_| back)
    }

    /// The owner that the zone names once this handover is published. No other handover ever writes the same text: a claim that
    /// expects one from before the service was removed fails, though generation and guest are the same again.
    pub fn new_owner(&self) -> Owner {
        Owner {
            generation: self.generation,
            host: self.target.host.clone(),
            guest: self.target.guest,
            after: Some(self.id),
        }
    }

    /// Whether this is the owner that this handover publishes. An older version of the daemon, which it may have been begun by,
    /// wrote it without the handover.
    pub fn is_new_owner(&self, owner: &Owner) -> bool {
        let ours = self.new_owner();
        let unmarked = Owner {
            after: None,
            ..ours.clone()
        };
        *owner == ours || *owner == unmarked
    }

    /// What this handover leaves in the zone when it gives its claim back: the owner before, and that it was here. `None`
    /// where there was no owner, so that the name goes.
    pub fn release(&self) -> Option<Ownership> {
        let owner = self.facts.old_owner.clone()?;
        Some(Ownership::Free(Owner {
            after: Some(self.id),
            ..owner
        }))
    }

    /// This handover's claim of the name.
    pub fn claim(&self) -> Ownership {
        Ownership::Claimed(self.id, self.facts.old_owner.clone())
    }

    /// What this handover leaves in the zone when it withdraws a message that it may have sent.
    pub fn withdrawal(&self) -> Ownership {
        Ownership::Aborted(self.id, self.facts.old_owner.clone())
    }
}

/// Stands between what began an undo and what it is stuck at.
const STUCK: &str = "; its undo is stuck at ";

/// What a claim of a name expects to stand there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClaimedFrom {
    /// The text of `_handover.NAME`; `None`: there is none.
    pub ownership: Option<Ownership>,
    /// The addresses of the name.
    pub addresses: Vec<IpAddr>,
}

/// Why a handover did not go forward: an error name (the last part of `org.handoverd1.Error.…`) and a text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reason {
    /// Such as `CheckFailed`.
    pub name: String,
    /// What happened, to which object, what to do next.
    pub text: String,
}

impl Reason {
    /// A reason.
    pub fn new(name: &str, text: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            text: text.into(),
        }
    }

    /// The same, told together with what keeps its undo from going on at `goal`: the last such only.
    #[must_use]
    pub fn stuck(self, goal: &str, why: &Self) -> Self {
        let first = self.resumed();
        Self {
            text: format!("{}{STUCK}{goal}: {}", first.text, why.text),
            name: first.name,
        }
    }

    /// What began an undo, without what it was stuck at.
    #[must_use]
    pub fn resumed(self) -> Self {
        let first = self.text.split(STUCK).next().unwrap_or_default().to_owned();
        Self { text: first, ..self }
    }
}

/// What is still owed after a commit: the old copy drains, then is retired (design section 4, "Duties").
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Duty {
    /// The service.
    pub service: ServiceId,
    /// The guest that still has a copy.
    pub guest: GuestId,
    /// The bundle of that copy.
    pub digest: Digest,
    /// The generation whose commit made it.
    pub generation: Generation,
    /// The copy serves until then.
    pub serve_until: Millis,
    /// Config and secret files that are to go with it.
    pub files: Vec<PlacedFile>,
}

#[cfg(test)]
pub mod tests {
    //! Records for tests.

    use super::*;

    #[test]
    fn what_began_an_undo_is_told_with_what_it_is_stuck_at() {
        let cancelled = Reason::new("Cancelled", "cancelled by root");
        let stuck = cancelled.stuck("reserve", &Reason::new("Timeout", "nobody answers"));
        assert_eq!(
            stuck,
            Reason::new(
                "Cancelled",
                "cancelled by root; its undo is stuck at reserve: nobody answers"
            )
        );
        let again = stuck.stuck("reserve", &Reason::new("Refused", "not this key"));
        assert_eq!(
            again.text,
            "cancelled by root; its undo is stuck at reserve: not this key"
        );
        assert_eq!(again.resumed(), Reason::new("Cancelled", "cancelled by root"));
    }

    /// Facts of a service in this life state, with or without a name, that was seen so.
    pub fn facts(life: LifeState, named: bool) -> Facts {
        Facts {
            name: named.then(|| "web.svc.lab".parse().unwrap()),
            ttl: 5,
            srv: Vec::new(),
            overlap: true,
            life,
            observed_at: Some(1),
            observed_row: None,
            observed: Some(life),
            down: false,
            enablement: Enablement::Enabled,
            uid: None,
            target_addresses: vec![IpAddr::from([10, 77, 0, 102])],
            old_addresses: vec![IpAddr::from([10, 77, 0, 101])],
            old_ttl: 5,
            lowering: None,
            lead: None,
            held_by: None,
            old_owner: None,
            claim_sent: false,
            claim_again: false,
            claimed_from: Vec::new(),
            claim_seen: false,
            take_over: false,
            sent: false,
            published_at: None,
            drain: None,
            spread_at: None,
            unasked: Vec::new(),
            displaced: None,
            standby: false,
            retire_owed: false,
            source_dead: false,
            volume: None,
            volume_made: false,
            delete_data: false,
            silent: None,
            revoked: None,
            gap_began: None,
            gap: None,
        }
    }

    /// A move of `web` to `g2`, at generation 2.
    pub fn handover(id: &str) -> Handover {
        Handover {
            id: HandoverId(id.parse().unwrap()),
            job: JobId(1),
            kind: Kind::Move,
            service: "web".parse().unwrap(),
            source: None,
            target: Place {
                guest: "6f1d5a2e-0000-4000-8000-000000000002".parse().unwrap(),
                guest_name: "g2".into(),
                host: "hv1".parse().unwrap(),
                digest: "0".repeat(64).parse().unwrap(),
                files: vec![],
            },
            generation: Generation(2),
            state: State::first(Kind::Move),
            committed: false,
            reason: None,
            facts: facts(LifeState::Accessible, true),
        }
    }
}
