//! Files of grants that nothing needs: as long as one is there, an old definition that somebody puts back brings the
//! licence back with it (docs/decisions/0006-the-grant.md).

use super::disks::unless_controlled;
use super::finding::{Finding, Kind, Remedy, Repair};
use super::judge::{Checked, copies, says};
use super::picture::Picture;
use crate::model::grant::GrantFile;

/// Those of a service that the table knows.
pub(super) fn spent(checked: &mut Checked<'_>) {
    let (service, picture) = (checked.service, checked.picture);
    let of_service = |file: &&GrantFile| file.grant.service == service.id;
    for file in picture.spent_grants.iter().filter(of_service) {
        checked.find(
            Kind::GrantLeft,
            file.grant.guest,
            what(picture, file),
            remedy(picture, file),
        );
    }
}

/// Those of services that the table has no row of.
pub(super) fn of_nobody(picture: &Picture) -> Vec<Finding> {
    let unknown = |file: &&GrantFile| picture.service(&file.grant.service).is_none();
    picture
        .spent_grants
        .iter()
        .filter(unknown)
        .map(|file| {
            let (service, guest) = (&file.grant.service, file.grant.guest);
            Finding {
                kind: Kind::GrantLeft,
                service: Some(service.clone()),
                guest: Some((guest, picture.guest_name(guest))),
                what: what(picture, file),
                says: says(picture, None, service),
                copies: copies(picture, service),
                remedy: remedy(picture, file),
            }
        })
        .collect()
}

fn what(picture: &Picture, file: &GrantFile) -> String {
    format!(
        "the file of a grant of {} for {} is left on {}, and nothing needs it: {}",
        file.grant.service,
        picture.guest_name(file.grant.guest),
        file.host,
        file.path
    )
}

fn remedy(picture: &Picture, file: &GrantFile) -> Remedy {
    let repair = Repair::DeleteGrants(file.grant.guest);
    unless_controlled(picture, file.grant.guest, repair, "deletes it".to_owned())
}
