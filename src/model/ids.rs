//! Identities: each a type of its own, so that none is taken for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not the identity it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {text:?} is not valid: {reason}")]
pub struct InvalidId {
    /// What was to be parsed, such as `service id`.
    pub kind: &'static str,
    /// The refused text, cut to 80 characters.
    pub text: String,
    /// The rule that it breaks.
    pub reason: &'static str,
}

impl InvalidId {
    /// An error for `text`, which breaks `reason`; the text is cut so that it fits a message.
    pub fn new(kind: &'static str, text: &str, reason: &'static str) -> Self {
        Self {
            kind,
            text: text.chars().take(80).collect(),
            reason,
        }
    }
}

/// A service's id: 1–63 of `a-z 0-9 . - _`, first and last a letter or digit, no two dots in a row.
///
/// It becomes a folder below `/opt` and part of file names, so nothing that could leave them is accepted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceId(String);

impl ServiceId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// An id that stands for any service, to ask a guest what would be in the way of each.
    pub fn of_any_service() -> Self {
        Self("any.service.of.handoverd".to_owned())
    }
}

impl FromStr for ServiceId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let err = |reason| Err(InvalidId::new("service id", text, reason));
        if text.is_empty() || text.len() > 63 {
            return err("it must have 1 to 63 characters");
        }
        if !text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        {
            return err("only a-z, 0-9, '.', '-' and '_' may stand in it");
        }
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        if !edge(text.bytes().next()) || !edge(text.bytes().last()) {
            return err("it must begin and end with a letter or a digit");
        }
        if text.contains("..") {
            return err("two dots in a row are not allowed");
        }
        Ok(Self(text.to_owned()))
    }
}

/// A guest's identity: its libvirt domain UUID (names and addresses change).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GuestId(pub Uuid);

impl FromStr for GuestId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Uuid::try_parse(text)
            .map(Self)
            .map_err(|_| InvalidId::new("guest UUID", text, "it is not a UUID"))
    }
}

impl fmt::Display for GuestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// A host's name as the configuration gives it: 1–64 of `A-Z a-z 0-9 . - _`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostId(String);

impl HostId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text.is_empty() || text.len() > 64 {
            return Err(InvalidId::new(
                "host name",
                text,
                "it must have 1 to 64 characters",
            ));
        }
        if !text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        {
            return Err(InvalidId::new(
                "host name",
                text,
                "only letters, digits, '.', '-' and '_' may stand in it",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A bundle's identity: the sha256 of its image file, written as 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The digest as 64 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 hex digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }

    /// The digest of finished sha256 output.
    pub fn from_sha256(bytes: &[u8; 32]) -> Self {
        use fmt::Write as _;
        let mut hex = String::with_capacity(64);
        for byte in bytes {
            // Writing to a String cannot fail.
            if write!(hex, "{byte:02x}").is_err() {
                break;
            }
        }
        Self(hex)
    }
}

impl FromStr for Digest {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let hex = text.len() == 64
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId::new(
                "bundle digest",
                text,
                "it must be 64 lower-case hex digits",
            ))
        }
    }
}

/// One handover's identity, unique in the whole cluster (it stands in DNS claims).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HandoverId(pub Uuid);

impl fmt::Display for HandoverId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl FromStr for HandoverId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Uuid::try_parse(text)
            .map(Self)
            .map_err(|_| InvalidId::new("handover id", text, "it is not a UUID"))
    }
}

/// A number per service, raised by each commit; a stale actor is refused by it everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a job: rises by one, never used twice; part of the job's D-Bus path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number that a guest script carries; it rises for each service, and a guest refuses what is lower than
/// what it has seen, so that a late script changes nothing (design section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Attempt(pub u64);

macro_rules! text_identity {
    ($($type:ty),+) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $type {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.0
            }
        }
    )+};
}
text_identity!(ServiceId, HostId, Digest);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_ids_with_dashes_and_dots_are_accepted() {
        for ok in ["web", "my-app.v2", "a", "x_1", "0"] {
            assert!(ok.parse::<ServiceId>().is_ok(), "{ok}");
        }
    }

    #[test]
    fn service_ids_that_could_leave_opt_are_refused() {
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "../x",
            "a..b",
            "-a",
            "a-",
            ".a",
            "A",
            "ü",
            "a b",
            "a\n",
            &"x".repeat(64),
        ] {
            assert!(bad.parse::<ServiceId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_digest_is_64_lower_case_hex_digits() {
        assert!("0".repeat(64).parse::<Digest>().is_ok());
        assert!("0".repeat(63).parse::<Digest>().is_err());
        assert!("G".repeat(64).parse::<Digest>().is_err());
        assert_eq!(Digest::from_sha256(&[0xab; 32]).as_str(), "ab".repeat(32));
    }
}
