//! Networks in CIDR notation, and the rule that says which of a guest's addresses may be published.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An IPv4 or IPv6 network such as `10.77.0.0/24` or `fd00:77::/64` (RFC 4632, RFC 4291 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

/// Why a text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// No `/` with a number behind it.
    #[error("it needs a prefix length, as in \"10.77.0.0/24\"")]
    NoPrefix,
    /// The part before the `/` is not an address.
    #[error("what stands before the \"/\" is not an IP address")]
    NotAnAddress,
    /// The prefix is longer than the address.
    #[error("the prefix length must be 0 to {0}")]
    PrefixTooLong(u8),
    /// Bits behind the prefix are set: an address, not a network.
    #[error("it has bits set behind its prefix; write \"{0}\"")]
    HostBits(Network),
}

impl Network {
    /// Whether `address` lies in this network. An IPv4-mapped IPv6 address is not taken for its IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && masked(address, self.prefix) == self.first
    }
}

/// `address` with the bits behind `prefix` cleared.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, prefix) = text.split_once('/').ok_or(InvalidNetwork::NoPrefix)?;
        let address: IpAddr = address.parse().map_err(|_| InvalidNetwork::NotAnAddress)?;
        // `u8::from_str` would take "+24".
        if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidNetwork::NoPrefix);
        }
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix
            .parse()
            .ok()
            .filter(|prefix| *prefix <= longest)
            .ok_or(InvalidNetwork::PrefixTooLong(longest))?;
        let first = masked(address, prefix);
        let network = Self { first, prefix };
        if first != address {
            return Err(InvalidNetwork::HostBits(network));
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

/// Most addresses of one guest that are published. A guest may give itself as many as it likes.
pub const MOST_PUBLISHED: usize = 16;

/// All of a guest's `addresses` that may be published; empty if none may (design section 9).
///
/// Every address that lies in one of the networks counts, IPv4 before IPv6, each in numerical order; beyond
/// [`MOST_PUBLISHED`] the greatest are left out. So neither the order in which a guest tells its addresses nor that of
/// the networks changes anything, and a guest cannot have an address published that lies outside them.
pub fn publishable_set(addresses: &[IpAddr], networks: &[Network]) -> Vec<IpAddr> {
    let inside: BTreeSet<IpAddr> = addresses
        .iter()
        .copied()
        .filter(|address| networks.iter().any(|network| network.contains(*address)))
        .collect();
    inside.into_iter().take(MOST_PUBLISHED).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_contains_its_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("10.77.0.0/24", "10.77.0.255", "10.77.1.0"),
            ("10.77.0.5/32", "10.77.0.5", "10.77.0.6"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("10.77.0.0/23", "10.77.1.9", "::ffff:10.77.0.5"),
            ("fd00:77::/64", "fd00:77::ffff", "fd00:77:0:1::"),
            ("::/0", "fd00::1", "10.0.0.1"),
            ("fd00::1/128", "fd00::1", "fd00::2"),
        ] {
            assert!(net(network).contains(ip(inside)), "{inside} in {network}");
            assert!(!net(network).contains(ip(outside)), "{outside} in {network}");
            assert_eq!(net(network).to_string(), network);
        }
    }

    #[test]
    fn what_is_not_a_network_is_refused_with_the_reason() {
        for (text, why) in [
            ("10.77.0.0", InvalidNetwork::NoPrefix),
            ("10.77.0.0/", InvalidNetwork::NoPrefix),
            ("10.77.0.0/+8", InvalidNetwork::NoPrefix),
            ("10.77.0/24", InvalidNetwork::NotAnAddress),
            ("lab/24", InvalidNetwork::NotAnAddress),
            ("10.77.0.0/33", InvalidNetwork::PrefixTooLong(32)),
            ("fd00::/129", InvalidNetwork::PrefixTooLong(128)),
            ("fd00::/999", InvalidNetwork::PrefixTooLong(128)),
        ] {
            assert_eq!(text.parse::<Network>(), Err(why), "{text}");
        }
        let said = "10.77.0.5/24".parse::<Network>().unwrap_err().to_string();
        assert!(said.contains("\"10.77.0.0/24\""), "{said}");
    }

    #[test]
    fn every_address_inside_the_networks_is_published_in_one_order() {
        let networks = [net("fd00:77::/64"), net("10.77.0.0/24"), net("10.0.0.0/8")];
        let ips = |texts: &[&str]| texts.iter().copied().map(ip).collect::<Vec<_>>();
        for (addresses, expected) in [
            (
                [
                    "fd00:77::2",
                    "10.77.0.30",
                    "192.168.122.7",
                    "10.77.0.4",
                    "fd00:78::1",
                ]
                .as_slice(),
                ["10.77.0.4", "10.77.0.30", "fd00:77::2"].as_slice(),
            ),
            (
                &["10.77.0.4", "10.77.0.4", "10.9.9.9"],
                &["10.9.9.9", "10.77.0.4"],
            ),
            (&["192.168.122.7"], &[]),
            (&[], &[]),
        ] {
            assert_eq!(
                publishable_set(&ips(addresses), &networks),
                ips(expected),
                "{addresses:?}"
            );
        }
        let many: Vec<IpAddr> = (1..=100).rev().map(|n| ip(&format!("10.77.0.{n}"))).collect();
        let published = publishable_set(&many, &networks);
        assert_eq!(published.len(), MOST_PUBLISHED);
        assert_eq!((published[0], published[15]), (ip("10.77.0.1"), ip("10.77.0.16")));
    }
}
