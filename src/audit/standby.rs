//! Standbys that the table calls ready: units, files and links as they should be, no disk, nothing that runs.
//!
//! A disk of the service there is told as any other stray one: it is a second licence.

use super::finding::{Kind, Remedy, Repair};
use super::judge::Checked;
use super::picture::Asked;
use crate::model::placement::Placement;
use crate::model::standby::StandbyState;
use crate::plan::errand::wanted;

/// Everything about the standbys of a service that no job has.
pub(super) fn check(checked: &mut Checked<'_>) {
    let picture = checked.picture;
    let own = picture.standbys.iter().filter(|standby| {
        standby.service == checked.service.id
            && standby.state == StandbyState::Ready
            && standby.installed == wanted(checked.service)
    });
    for standby in own {
        let bundle = picture.bundle(&standby.installed.digest);
        let Some(Asked::Seen(copy)) = picture.copy(&standby.service, standby.guest) else {
            // It is off, or silent: what it has is of use only once it answers.
            continue;
        };
        let links = bundle.map_or(0, |bundle| {
            Placement::of(bundle, &standby.installed.files).links.len()
        });
        if let Some(why) = standby.installed.differs(copy, links) {
            let what = format!(
                "{} is a standby of {}, and not as it should be: {why}",
                picture.guest_name(standby.guest),
                standby.service
            );
            let again = Repair::Standby(standby.clone());
            let remedy = match copy.is_down() {
                true => Remedy::ByItself(again, "installs it again".to_owned()),
                false => Remedy::WhenTold(again, "installs it again".to_owned()),
            };
            checked.find(Kind::StandbyDiffers, standby.guest, what, remedy);
        }
    }
}
