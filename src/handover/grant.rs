//! The file of its own by which a guest has a bundle disk: made before the disk is given, deleted when it is taken from both
//! definitions (docs/decisions/0006-the-grant.md).

use super::record::Place;
use super::run::Run;
use super::verdict::{self, Seen};
use super::world::StepError;
use crate::model::disk::{DiskRole, DiskSerial};
use crate::model::grant::{Grant, GrantFile};
use crate::model::guest::GuestDomain;
use crate::model::ids::Generation;

/// Which halves a domain has of a disk that it keeps: (live, config). Of a bundle disk the persistent definition counts
/// only where it names the same source as the live one: one that somebody put back may name a grant that is gone, and
/// would boot without the disk.
pub fn kept_halves(domain: &GuestDomain, role: DiskRole, serial: &DiskSerial) -> (bool, bool) {
    let (live, config) = verdict::disk_halves(domain, serial);
    let same = match (role, given_source(domain, serial)) {
        (DiskRole::Bundle, Some(source)) => verdict::other_source(domain, serial, source).is_none(),
        _ => true,
    };
    (live, config && same)
}

/// The source of a disk that the running guest has.
pub fn given_source<'a>(domain: &'a GuestDomain, serial: &DiskSerial) -> Option<&'a str> {
    domain.live.as_ref()?.disk(serial)?.source.as_deref()
}

/// What holds of a guest that lost its licence, unless the file of a grant is left that nothing needs any more.
pub fn without_grant(seen: Seen, spent: &[GrantFile]) -> Seen {
    match (seen, spent.first()) {
        (Seen::Holds, Some(file)) => Seen::missing(format!(
            "the file of its grant is on {}: {}",
            file.host, file.path
        )),
        (seen, _) => seen,
    }
}

impl Run<'_> {
    /// What a bundle disk is to have as its source: the source that the running guest has it by, or a grant of this
    /// generation, made on the image of the host where the guest is now.
    pub(super) async fn granted(
        &self,
        place: &Place,
        serial: &DiskSerial,
        generation: Generation,
    ) -> Result<String, StepError> {
        let domain = self.inspect(place).await?;
        let host = &domain.summary.host;
        self.bring_image(host, &place.digest).await?;
        if let Some(source) = given_source(&domain, serial) {
            return Ok(source.to_owned());
        }
        let grant = Grant {
            service: self.handover.service.clone(),
            guest: place.guest,
            generation,
        };
        Ok(self
            .world
            .hypervisor
            .make_grant(host, &grant, &place.digest)
            .await?)
    }

    /// As [`Run::granted`], of the generation that the service still has.
    pub(super) async fn granted_before(
        &self,
        place: &Place,
        serial: &DiskSerial,
    ) -> Result<String, StepError> {
        let row = self.world.table.service(&self.handover.service).await?;
        let generation = row.map(|row| row.generation).unwrap_or_default();
        self.granted(place, serial, generation).await
    }

    /// Deletes the files of grants that nothing needs any more: an old definition that comes back does not bring the
    /// service back.
    pub(super) async fn end_grant(&self, place: &Place) -> Result<(), StepError> {
        let service = &self.handover.service;
        Ok(self
            .world
            .hypervisor
            .delete_spent_grants(place.guest, service)
            .await?)
    }

    /// What was seen of a guest that is to have no licence, and of its grants where that holds.
    pub(super) async fn without_grant(&self, place: &Place, seen: Seen) -> Result<Seen, StepError> {
        if seen != Seen::Holds {
            return Ok(seen);
        }
        let service = &self.handover.service;
        let spent = self.world.hypervisor.spent_grants(place.guest, service).await?;
        Ok(without_grant(seen, &spent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::guest::{Definition, DomainDisk, DomainState, GuestSummary};

    fn serial() -> DiskSerial {
        DiskSerial::of(&"web".parse().unwrap(), &"0".repeat(64).parse().unwrap())
    }

    /// A guest whose definitions have the bundle's disk by these sources.
    fn guest(live: Option<&str>, config: Option<&str>) -> GuestDomain {
        let definition = |source: Option<&str>| Definition {
            disks: source
                .map(|source| DomainDisk {
                    target: "sdb".into(),
                    bus: "scsi".into(),
                    serial: Some(serial().as_str().into()),
                    source: Some(source.into()),
                    scsi: None,
                })
                .into_iter()
                .collect(),
            ..Definition::default()
        };
        GuestDomain {
            summary: GuestSummary {
                id: "f0342bfe-75dd-53eb-8c9a-844169df1ed3".parse().unwrap(),
                name: "g1".into(),
                host: "hv1".parse().unwrap(),
                state: DomainState::Running,
                agent_connected: true,
                persistent: true,
                managed_save: false,
                controller: None,
                labels: Vec::new(),
            },
            live: Some(definition(live)),
            config: Some(definition(config)),
        }
    }

    #[test]
    fn a_persistent_definition_that_names_another_source_does_not_keep_the_disk() {
        let cases = [
            (Some("g4"), Some("g4"), (true, true)),
            (Some("g4"), Some("g3"), (true, false)),
            (Some("image"), Some("image"), (true, true)),
            (Some("g4"), None, (true, false)),
            (None, Some("g3"), (false, true)),
            (None, None, (false, false)),
        ];
        for (live, config, halves) in cases {
            let guest = guest(live, config);
            let kept = |role| kept_halves(&guest, role, &serial());
            assert_eq!(kept(DiskRole::Bundle), halves, "{live:?} {config:?}");
            assert_eq!(
                kept(DiskRole::Volume),
                (live.is_some(), config.is_some()),
                "its source is looked at for itself"
            );
            assert_eq!(given_source(&guest, &serial()), live);
        }
    }

    #[test]
    fn a_guest_has_lost_its_licence_when_the_file_of_its_grant_is_gone_too() {
        let left = GrantFile {
            grant: Grant {
                service: "web".parse().unwrap(),
                guest: guest(None, None).summary.id,
                generation: Generation(4),
            },
            host: "hv1".parse().unwrap(),
            path: "/pool/web@g.g4.qcow2".into(),
        };
        assert_eq!(without_grant(Seen::Holds, &[]), Seen::Holds);
        let Seen::Missing(why) = without_grant(Seen::Holds, std::slice::from_ref(&left)) else {
            panic!("it holds");
        };
        assert!(why.contains("hv1") && why.contains(&left.path), "{why}");
        let why = Seen::missing("the disk is there");
        assert_eq!(without_grant(why.clone(), &[left]), why, "what is worse is told");
    }
}
