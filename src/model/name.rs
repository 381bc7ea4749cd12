//! DNS names of services, and the ownership text that stands beside them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::{Generation, GuestId, HandoverId, HostId, InvalidId};

/// A fully qualified host name in lower case with its final dot (RFC 1035 section 2.3.1, RFC 1123 section 2.1).
///
/// Labels have 1–63 of `a-z 0-9 - _`; the whole name at most 253 characters without the final dot. Wildcards
/// are refused; a non-ASCII label must be given in its `xn--` form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DnsName(String);

impl DnsName {
    /// The name with its final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name is `zone` or stands below it.
    pub fn is_in(&self, zone: &DnsName) -> bool {
        self.0 == zone.0
            || self
                .0
                .strip_suffix(zone.as_str())
                .is_some_and(|head| head.ends_with('.'))
    }

    /// The number of labels, the root not counted.
    pub fn labels(&self) -> usize {
        self.0.split('.').filter(|label| !label.is_empty()).count()
    }

    /// The name below which the PTR records of `address` stand (RFC 1035 section 3.5, RFC 3596 section 2.5).
    pub fn reverse(address: IpAddr) -> Self {
        let mut name = String::new();
        match address {
            IpAddr::V4(ip) => {
                for octet in ip.octets().iter().rev() {
                    name.push_str(&format!("{octet}."));
                }
                name.push_str("in-addr.arpa.");
            }
            IpAddr::V6(ip) => {
                for octet in ip.octets().iter().rev() {
                    name.push_str(&format!("{:x}.{:x}.", octet & 0xf, octet >> 4));
                }
                name.push_str("ip6.arpa.");
            }
        }
        Self(name)
    }

    /// The name of the TXT record that says who owns this name: `_handover.<name>`.
    pub fn ownership(&self) -> String {
        format!("_handover.{}", self.0)
    }
}

impl FromStr for DnsName {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let err = |reason| Err(InvalidId::new("DNS name", text, reason));
        if !text.is_ascii() {
            return err("a label that is not ASCII must be written in its xn-- form");
        }
        let lower = text.to_ascii_lowercase();
        let bare = lower.strip_suffix('.').unwrap_or(&lower);
        // `_handover.` in front of it must fit into 253 as well.
        if bare.is_empty() || bare.len() > 243 {
            return err("it must have 1 to 243 characters (253 with the _handover label before it)");
        }
        for label in bare.split('.') {
            if label.is_empty() || label.len() > 63 {
                return err("every label must have 1 to 63 characters");
            }
            if label == "*" {
                return err("a wildcard cannot be a service's name");
            }
            if !label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
            {
                return err("only letters, digits, '-' and '_' may stand in a label");
            }
            if label.starts_with('-') || label.ends_with('-') {
                return err("a label may not begin or end with '-'");
            }
        }
        Ok(Self(format!("{bare}.")))
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.strip_suffix('.').unwrap_or(&self.0))
    }
}

impl TryFrom<String> for DnsName {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<DnsName> for String {
    fn from(value: DnsName) -> String {
        value.0
    }
}

/// Who stands in the zone as a name's owner: generation, host and guest of its service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The service's generation when it was written.
    pub generation: Generation,
    /// The host whose daemon wrote it.
    pub host: HostId,
    /// The service's home guest.
    pub guest: GuestId,
    /// The handover that published it, or that claimed the name last and gave it back. It makes the text another one than
    /// any before, so that a claim that arrives late fails its prerequisite.
    #[serde(default)]
    pub after: Option<HandoverId>,
}

/// The TXT value at `_handover.<name>` (design section 4, "Ownership in DNS").
///
/// Text forms: `g=4 host=hv1 guest=<uuid>`, `claim=<handover> g=4 host=hv1 guest=<uuid>`,
/// `aborted=<handover> g=4 host=hv1 guest=<uuid>`, each with ` after=<handover>` behind it, the last one that wrote the owner; a
/// first claim of an absent name has only its first word.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Ownership {
    /// Nobody is moving it.
    Free(Owner),
    /// A handover has reserved it; the owner is the one before (none at a first deploy).
    Claimed(HandoverId, Option<Owner>),
    /// A handover that may have sent its update has withdrawn it; the owner is the one before.
    Aborted(HandoverId, Option<Owner>),
}

impl fmt::Display for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = match self {
            Self::Free(owner) => Some(owner),
            Self::Claimed(id, owner) => {
                write!(f, "claim={id}")?;
                owner.as_ref()
            }
            Self::Aborted(id, owner) => {
                write!(f, "aborted={id}")?;
                owner.as_ref()
            }
        };
        if let Some(owner) = owner {
            if !matches!(self, Self::Free(_)) {
                f.write_str(" ")?;
            }
            write!(
                f,
                "g={} host={} guest={}",
                owner.generation, owner.host, owner.guest
            )?;
            if let Some(after) = owner.after {
                write!(f, " after={after}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Ownership {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let err = || {
            InvalidId::new(
                "ownership TXT",
                text,
                "it is not `[claim=|aborted=…] g=N host=NAME guest=UUID [after=…]`",
            )
        };
        let (mut claim, mut abort, mut after) = (None, None, None);
        let (mut generation, mut host, mut guest) = (None, None, None);
        for word in text.split_whitespace() {
            match word.split_once('=').ok_or_else(err)? {
                ("claim", v) if claim.is_none() => claim = Some(v.parse::<HandoverId>().map_err(|_| err())?),
                ("aborted", v) if abort.is_none() => {
                    abort = Some(v.parse::<HandoverId>().map_err(|_| err())?);
                }
                ("after", v) if after.is_none() => after = Some(v.parse::<HandoverId>().map_err(|_| err())?),
                ("g", v) if generation.is_none() => {
                    generation = Some(Generation(v.parse().map_err(|_| err())?));
                }
                ("host", v) if host.is_none() => host = Some(v.parse::<HostId>().map_err(|_| err())?),
                ("guest", v) if guest.is_none() => guest = Some(v.parse::<GuestId>().map_err(|_| err())?),
                _ => return Err(err()),
            }
        }
        let owner = match (generation, host, guest) {
            (Some(generation), Some(host), Some(guest)) => Some(Owner {
                generation,
                host,
                guest,
                after,
            }),
            (None, None, None) if after.is_none() => None,
            _ => return Err(err()),
        };
        match (claim, abort, owner) {
            (Some(id), None, owner) => Ok(Self::Claimed(id, owner)),
            (None, Some(id), owner) => Ok(Self::Aborted(id, owner)),
            (None, None, Some(owner)) => Ok(Self::Free(owner)),
            _ => Err(err()),
        }
    }
}

/// The labels of a service and its protocol before a name, as `_http._tcp` (RFC 2782), in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SrvLabel(String);

impl SrvLabel {
    /// The owner of these SRV records for `name`: `_http._tcp.<name>`.
    pub fn of(&self, name: &DnsName) -> String {
        format!("{}.{}", self.0, name.0)
    }
}

impl FromStr for SrvLabel {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let err = |reason| Err(InvalidId::new("SRV label", text, reason));
        let lower = text.to_ascii_lowercase();
        let Some((service, protocol)) = lower.strip_prefix('_').and_then(|rest| rest.split_once("._")) else {
            return err("it must be _SERVICE._PROTOCOL, as in _http._tcp");
        };
        // RFC 6335 section 5.1: a service name has 1 to 15 characters and at least one letter.
        let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if service.is_empty() || service.len() > 15 || !service.bytes().all(letters) {
            return err("the service must have 1 to 15 letters, digits and '-'");
        }
        if service.starts_with('-') || service.ends_with('-') {
            return err("the service may not begin or end with '-'");
        }
        if !matches!(protocol, "tcp" | "udp" | "sctp" | "dccp") {
            return err("the protocol must be _tcp, _udp, _sctp or _dccp");
        }
        Ok(Self(lower))
    }
}

impl fmt::Display for SrvLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for SrvLabel {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<SrvLabel> for String {
    fn from(value: SrvLabel) -> String {
        value.0
    }
}

/// One SRV record (RFC 2782). Its target is the service's own name, so that a move leaves it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Srv {
    /// Lower is tried first.
    pub priority: u16,
    /// Share among those of one priority.
    pub weight: u16,
    /// The port that clients connect to.
    pub port: u16,
}

/// The SRV records at one label before a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SrvSet {
    /// Where they stand.
    pub label: SrvLabel,
    /// The records, sorted; empty: there are none.
    pub records: Vec<Srv>,
}

/// The sets of `new`, and an empty one for each label that only `old` has: what takes the place of `old`.
pub fn replaced(old: &[SrvSet], new: &[SrvSet]) -> Vec<SrvSet> {
    let gone = old
        .iter()
        .filter(|set| !new.iter().any(|other| other.label == set.label));
    let empty = gone.map(|set| SrvSet {
        label: set.label.clone(),
        records: Vec::new(),
    });
    new.iter().cloned().chain(empty).collect()
}

/// What a zone's server says about a service's name, read in one go.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct NameRecords {
    /// A and AAAA values, sorted; empty when there are none.
    pub addresses: Vec<IpAddr>,
    /// TTL of the address records in seconds; 0 when there are none.
    pub ttl: u32,
    /// Where there are no addresses: for how many seconds a resolver that asks now remembers that (RFC 2308 section 5).
    pub negative_ttl: u32,
    /// The CNAME's target, if the name is an alias.
    pub cname: Option<String>,
    /// Texts of all TXT records at `_handover.<name>`.
    pub ownership: Vec<String>,
    /// The SRV records at those labels that were asked about.
    pub srv: Vec<SrvSet>,
}

/// A compare-and-swap of one name: nothing is written unless everything expected holds (RFC 2136 section 2.4).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NameChange {
    /// The service's name.
    pub name: DnsName,
    /// The ownership that must stand there; `None`: there must be no such TXT.
    pub expect_ownership: Option<Ownership>,
    /// The address set that must stand there; empty: the name must own no record at all; `None`: not asked.
    pub expect_addresses: Option<Vec<IpAddr>>,
    /// The ownership afterwards; `None` removes the TXT.
    pub ownership: Option<Ownership>,
    /// Addresses and TTL in seconds afterwards; `Some` of an empty set removes them; `None` leaves them.
    pub addresses: Option<(Vec<IpAddr>, u32)>,
    /// SRV records afterwards, label by label; an empty set removes those of its label, a label not named stays.
    pub srv: Vec<SrvSet>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_cased_and_given_their_dot() {
        let name: DnsName = "Web.SVC.lab".parse().unwrap();
        assert_eq!(name.as_str(), "web.svc.lab.");
        assert_eq!(name.to_string(), "web.svc.lab");
        assert_eq!(name.ownership(), "_handover.web.svc.lab.");
    }

    #[test]
    fn a_name_is_in_a_zone_only_at_a_label_boundary() {
        let zone: DnsName = "svc.lab".parse().unwrap();
        assert!("web.svc.lab".parse::<DnsName>().unwrap().is_in(&zone));
        assert!(zone.is_in(&zone));
        assert!(!"websvc.lab".parse::<DnsName>().unwrap().is_in(&zone));
    }

    #[test]
    fn wildcards_long_labels_and_foreign_letters_are_refused() {
        for bad in [
            "",
            ".",
            "*.svc.lab",
            "a..b",
            "ü.lab",
            "a b.lab",
            "-a.lab",
            &format!("{}.lab", "x".repeat(64)),
            &"x.".repeat(127),
        ] {
            assert!(bad.parse::<DnsName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_reverse_of_an_address_is_a_name_below_arpa() {
        for (address, expected) in [
            ("10.77.0.102", "102.0.77.10.in-addr.arpa."),
            (
                "fd00:77::1a",
                "a.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.7.7.0.0.0.0.d.f.ip6.arpa.",
            ),
        ] {
            let name = DnsName::reverse(address.parse().unwrap());
            assert_eq!(name.as_str(), expected);
            assert_eq!(expected.parse::<DnsName>().unwrap(), name);
        }
    }

    #[test]
    fn srv_labels_are_those_of_rfc_2782_and_nothing_else() {
        let label: SrvLabel = "_HTTP._tcp".parse().unwrap();
        assert_eq!(
            label.of(&"web.svc.lab".parse().unwrap()),
            "_http._tcp.web.svc.lab."
        );
        for bad in [
            "",
            "http._tcp",
            "_http",
            "_http.tcp",
            "_._tcp",
            "_-a._tcp",
            "_a-._tcp",
            "_sixteen-letters1._tcp",
            "_http._quic",
            "_http._tcp.web",
            "_handover._tcp ",
            "_ü._tcp",
        ] {
            assert!(bad.parse::<SrvLabel>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ownership_texts_survive_the_round_trip() {
        let owner = Owner {
            generation: Generation(4),
            host: "hv1".parse().unwrap(),
            guest: "6f1d5a2e-0000-4000-8000-000000000001".parse().unwrap(),
            after: None,
        };
        let id: HandoverId = "6f1d5a2e-0000-4000-8000-000000000002".parse().unwrap();
        for ownership in [
            Ownership::Free(owner.clone()),
            Ownership::Claimed(id, None),
            Ownership::Claimed(id, Some(owner.clone())),
            Ownership::Free(Owner {
                after: Some(id),
                ..owner.clone()
            }),
            Ownership::Aborted(id, Some(owner)),
        ] {
            assert_eq!(ownership.to_string().parse::<Ownership>().unwrap(), ownership);
        }
        assert_eq!(
            "g=4 host=hv1 guest=6f1d5a2e-0000-4000-8000-000000000001"
                .parse::<Ownership>()
                .unwrap()
                .to_string(),
            "g=4 host=hv1 guest=6f1d5a2e-0000-4000-8000-000000000001"
        );
    }

    #[test]
    fn a_foreign_txt_is_not_taken_for_an_ownership() {
        for bad in [
            "",
            "v=spf1",
            "g=4",
            "g=4 host=hv1",
            "g=x host=a guest=b",
            "after=6f1d5a2e-0000-4000-8000-000000000002",
            "claim=1",
            "g=1 g=2 host=a guest=6f1d5a2e-0000-4000-8000-000000000001",
        ] {
            assert!(bad.parse::<Ownership>().is_err(), "{bad}");
        }
    }
}
