//! The grant: a file of its own through which one guest reads a bundle, and which is deleted when the licence is taken.
//!
//! It is a qcow2 overlay on the bundle's image, some 200 KiB large whatever the bundle's size. Nobody writes into it: what counts is
//! that it is there. A definition that names a grant which is gone (an old XML that somebody defines again, a snapshot of
//! a guest that was off) boots without that disk, and so without the service (docs/decisions/0006-the-grant.md).

use std::fmt;

use super::ids::{Generation, GuestId, HostId, ServiceId};

const SUFFIX: &str = ".qcow2";

/// Which service a guest may run, by which generation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Grant {
    /// The service.
    pub service: ServiceId,
    /// The guest: by its UUID, for its name may change.
    pub guest: GuestId,
    /// The generation of the handover that gave it: a guest that gets the service once more gets another file, so an
    /// old definition of it does not name one that is there.
    pub generation: Generation,
}

impl Grant {
    /// The name of its file: `<service>@<guest>.g<generation>.qcow2`. It ends as AppArmor's profiles for libvirt want disk
    /// images to end, and has at most 128 characters.
    pub fn file_name(&self) -> String {
        format!("{self}{SUFFIX}")
    }

    /// The grant whose file this path names by its last component; `None` if it is none.
    pub fn named_by(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next()?.strip_suffix(SUFFIX)?;
        // Neither a UUID nor a number has a dot, but a service may.
        let (service, rest) = name.split_once('@')?;
        let (guest, generation) = rest.split_once(".g")?;
        let grant = Self {
            service: service.parse().ok()?,
            guest: guest.parse().ok()?,
            generation: Generation(generation.parse().ok()?),
        };
        // One grant, one name: neither `+4` nor a UUID in capitals.
        (grant.to_string() == name).then_some(grant)
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}.g{}", self.service, self.guest, self.generation)
    }
}

/// A grant's file in the pool of a host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GrantFile {
    /// What it grants.
    pub grant: Grant,
    /// The host in whose pool it is.
    pub host: HostId,
    /// Its path on that host: what a definition that has it names as the disk's source.
    pub path: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: &str = "f0342bfe-75dd-53eb-8c9a-844169df1ed3";

    #[test]
    fn a_grant_is_named_by_service_guest_and_generation_and_read_back() {
        for service in ["web", "my-app.v2", "a.g1"] {
            let grant = Grant {
                service: service.parse().unwrap(),
                guest: GUEST.parse().unwrap(),
                generation: Generation(4),
            };
            let name = grant.file_name();
            assert_eq!(name, format!("{service}@{GUEST}.g4.qcow2"));
            assert_eq!(Grant::named_by(&format!("/pool/{name}")), Some(grant.clone()));
            assert_eq!(Grant::named_by(&name), Some(grant));
        }
    }

    #[test]
    fn what_is_not_exactly_a_grants_name_is_none() {
        for name in [
            "/pool/0000.img".to_owned(),
            "/pool/web.data.raw".to_owned(),
            "/guests/g1.qcow2".to_owned(),
            format!("/pool/web@{GUEST}.g4.img"),
            format!("/pool/web@{GUEST}.g4.qcow2/"),
            format!("/pool/web@{GUEST}.g+4.qcow2"),
            format!("/pool/web@{GUEST}.g04.qcow2"),
            format!("/pool/web@{}.g4.qcow2", GUEST.to_uppercase()),
            format!("/pool/Web@{GUEST}.g4.qcow2"),
            format!("/pool/@{GUEST}.g4.qcow2"),
            "/pool/web@g1.g4.qcow2".to_owned(),
        ] {
            assert_eq!(Grant::named_by(&name), None, "{name}");
        }
    }
}
