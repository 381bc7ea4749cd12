//! The simulated zone: compare-and-swap as a primary does it, and what resolvers may still believe.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::handover::verdict;
use crate::model::name::{DnsName, NameChange, NameRecords, Ownership};
use crate::model::service::Millis;
use crate::ports::Swapped;

/// A server of the zone that gets what its primary has some time later.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SimSecondary {
    /// How it is called.
    pub name: String,
    /// How long after a change it has it.
    pub lag: Millis,
    /// Whether it answers anybody.
    pub answers: bool,
    /// What it gives.
    pub names: BTreeMap<DnsName, NameRecords>,
}

/// One zone and every resolver that ever asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SimZone {
    /// Whether its primary answers.
    pub answers: bool,
    /// Its origin; `None`: every name is in it.
    pub origin: Option<DnsName>,
    /// What stands at its names.
    pub names: BTreeMap<DnsName, NameRecords>,
    /// Its other servers.
    pub secondaries: Vec<SimSecondary>,
    /// Addresses that the worst resolver, which asked just before each change, still gives, and until when.
    pub cached: BTreeMap<(DnsName, IpAddr), Millis>,
}

impl Default for SimZone {
    fn default() -> Self {
        Self {
            answers: true,
            origin: None,
            names: BTreeMap::new(),
            secondaries: Vec::new(),
            cached: BTreeMap::new(),
        }
    }
}

impl SimZone {
    /// Its origin, if this name is in it.
    pub fn covers(&self, name: &DnsName) -> Option<DnsName> {
        match &self.origin {
            None => Some(name.clone()),
            Some(origin) => name.is_in(origin).then(|| origin.clone()),
        }
    }

    /// What stands at a name.
    pub fn read(&self, name: &DnsName) -> NameRecords {
        self.names.get(name).cloned().unwrap_or_default()
    }

    /// Applies one UPDATE at time `now`: all of it, or nothing.
    pub fn swap(&mut self, change: &NameChange, now: Millis) -> Swapped {
        let stands = self.read(&change.name);
        let owner = match &change.expect_ownership {
            Some(expected) => stands.ownership == [expected.to_string()],
            None => stands.ownership.is_empty(),
        };
        let addresses = match &change.expect_addresses {
            Some(expected) => {
                let mut expected = expected.clone();
                expected.sort();
                stands.addresses == expected && (!expected.is_empty() || stands.cname.is_none())
            }
            None => true,
        };
        if !owner || !addresses {
            return Swapped::No(stands);
        }
        let mut records = stands.clone();
        records.ownership = change.ownership.iter().map(ToString::to_string).collect();
        if let Some((new, ttl)) = &change.addresses {
            records.addresses.clone_from(new);
            records.addresses.sort();
            records.ttl = if new.is_empty() { 0 } else { *ttl };
            self.remember(&change.name, &stands, &records, now);
        }
        for set in &change.srv {
            records.srv.retain(|other| other.label != set.label);
            if !set.records.is_empty() {
                records.srv.push(set.clone());
            }
        }
        records.srv.sort_by(|a, b| a.label.cmp(&b.label));
        if records == NameRecords::default() {
            self.names.remove(&change.name);
        } else {
            self.names.insert(change.name.clone(), records);
        }
        Swapped::Yes
    }

    /// What the worst resolver believes that asked one server just before it gave something else. Nobody promises anything of
    /// a name that is withdrawn, nor when it is given anew of what was remembered of it; nor of where the clients of a dead guest
    /// were led by a handover that was undone.
    fn remember(&mut self, name: &DnsName, before: &NameRecords, after: &NameRecords, now: Millis) {
        if after.addresses.is_empty() {
            self.cached.retain(|(other, _), _| other != name);
            return;
        }
        if is_led_back(before, after) {
            return;
        }
        let until = now.saturating_add(u64::from(before.ttl).saturating_mul(1000));
        for old in &before.addresses {
            if after.addresses.contains(old) && after.ttl >= before.ttl {
                continue;
            }
            let believed = self.cached.entry((name.clone(), *old)).or_default();
            *believed = (*believed).max(until);
        }
    }

    /// One of the other servers has what the primary has, if it answers; which addresses it no longer gives.
    pub fn transfer(&mut self, index: usize, now: Millis) -> Vec<(DnsName, IpAddr)> {
        let Some(server) = self.secondaries.get_mut(index).filter(|server| server.answers) else {
            return Vec::new();
        };
        let before = std::mem::replace(&mut server.names, self.names.clone());
        let mut gone = Vec::new();
        for (name, records) in before {
            let after = self.read(&name);
            self.remember(&name, &records, &after, now);
            let lost = records.addresses.into_iter();
            gone.extend(
                lost.filter(|old| !after.addresses.contains(old))
                    .map(|old| (name.clone(), old)),
            );
        }
        gone
    }

    /// Every address that a client may still be sent to at `now`.
    pub fn believed(&self, name: &DnsName, now: Millis) -> Vec<IpAddr> {
        let mut all = self.read(name).addresses;
        let others = self.secondaries.iter().filter(|server| server.answers);
        all.extend(
            others
                .filter_map(|server| server.names.get(name))
                .flat_map(|records| records.addresses.iter().copied()),
        );
        let old = self
            .cached
            .iter()
            .filter(|((n, _), until)| n == name && **until > now);
        all.extend(old.map(|((_, address), _)| *address));
        all
    }
}

/// Whether the claim of a handover that gave other addresses under it is given back, and they with it.
fn is_led_back(before: &NameRecords, after: &NameRecords) -> bool {
    let claimed = match verdict::owner_text(before) {
        Some(Ownership::Claimed(_, owner) | Ownership::Aborted(_, owner)) => owner,
        _ => None,
    };
    match (claimed, verdict::owner_text(after)) {
        (Some(was), Some(Ownership::Free(is))) => {
            let same = (was.guest, was.generation) == (is.guest, is.generation);
            same && before.addresses != after.addresses
        }
        _ => false,
    }
}
