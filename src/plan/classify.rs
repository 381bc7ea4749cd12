//! What a request's object is, and which guest a text means.

use std::net::IpAddr;

use crate::model::guest::GuestSummary;
use crate::model::ids::GuestId;

/// How a text names a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestName {
    /// By UUID.
    Uuid(GuestId),
    /// By one of its addresses.
    Address(IpAddr),
    /// By its libvirt name.
    Name(String),
}

impl GuestName {
    /// A UUID and an address are taken as such; everything else is a name.
    pub fn of(text: &str) -> Self {
        if let Ok(uuid) = text.parse() {
            Self::Uuid(uuid)
        } else if let Ok(address) = text.parse() {
            Self::Address(address)
        } else {
            Self::Name(text.to_owned())
        }
    }

    /// The guests that it means, `addresses` telling those of each.
    pub fn select<'a>(
        &self,
        guests: &'a [GuestSummary],
        addresses: impl Fn(GuestId) -> Vec<IpAddr>,
    ) -> Vec<&'a GuestSummary> {
        guests
            .iter()
            .filter(|guest| match self {
                Self::Uuid(id) => guest.id == *id,
                Self::Address(address) => addresses(guest.id).contains(address),
                Self::Name(name) => guest.name == *name,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::guest::DomainState;

    fn guest(n: u8, name: &str) -> GuestSummary {
        GuestSummary {
            id: format!("6f1d5a2e-0000-4000-8000-0000000000{n:02}")
                .parse()
                .unwrap(),
            name: name.into(),
            host: "hv1".parse().unwrap(),
            state: DomainState::Running,
            agent_connected: true,
            persistent: true,
            managed_save: false,
            controller: None,
            labels: Vec::new(),
        }
    }

    #[test]
    fn a_guest_is_found_by_name_uuid_and_address() {
        let guests = [guest(1, "g1"), guest(2, "g2")];
        let addresses = |id: GuestId| {
            let n = if id == guests[0].id { 101 } else { 102 };
            vec![IpAddr::from([10, 77, 0, n])]
        };
        for text in ["g2", "6f1d5a2e-0000-4000-8000-000000000002", "10.77.0.102"] {
            let found = GuestName::of(text).select(&guests, addresses);
            assert_eq!(
                found.iter().map(|g| g.name.as_str()).collect::<Vec<_>>(),
                ["g2"],
                "{text}"
            );
        }
        assert!(GuestName::of("g3").select(&guests, addresses).is_empty());
    }

    #[test]
    fn one_name_on_two_hosts_is_two_guests() {
        let guests = [guest(1, "g1"), guest(2, "g1")];
        assert_eq!(GuestName::of("g1").select(&guests, |_| vec![]).len(), 2);
    }
}
