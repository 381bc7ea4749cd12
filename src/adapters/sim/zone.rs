//! The simulated zone: compare-and-swap as a primary does it, and what resolvers may still believe.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::name::{DnsName, NameChange, NameRecords};
use crate::model::service::Millis;
use crate::ports::Swapped;

/// One zone and every resolver that ever asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SimZone {
    /// Whether its primary answers.
    pub answers: bool,
    /// Its origin; `None`: every name is in it.
    pub origin: Option<DnsName>,
    /// What stands at its names.
    pub names: BTreeMap<DnsName, NameRecords>,
    /// Addresses that the worst resolver, which asked just before each change, still gives, and until when.
    pub cached: BTreeMap<(DnsName, IpAddr), Millis>,
}

impl Default for SimZone {
    fn default() -> Self {
        Self {
            answers: true,
            origin: None,
            names: BTreeMap::new(),
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
            let until = now.saturating_add(u64::from(stands.ttl).saturating_mul(1000));
            for old in stands.addresses.iter().filter(|old| !new.contains(old)) {
                self.cached.insert((change.name.clone(), *old), until);
            }
        }
        if records == NameRecords::default() {
            self.names.remove(&change.name);
        } else {
            self.names.insert(change.name.clone(), records);
        }
        Swapped::Yes
    }

    /// Every address that a client may still be sent to at `now`.
    pub fn believed(&self, name: &DnsName, now: Millis) -> Vec<IpAddr> {
        let mut all = self.read(name).addresses;
        let old = self
            .cached
            .iter()
            .filter(|((n, _), until)| n == name && **until > now);
        all.extend(old.map(|((_, address), _)| *address));
        all
    }
}
