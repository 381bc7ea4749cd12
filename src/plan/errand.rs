//! What is to be done about one standby: what it should have against what its row says that it has.

use crate::model::life::Enablement;
use crate::model::service::ServiceRecord;
use crate::model::standby::{Installed, Standby, StandbyState};

/// What is to be done in a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Errand {
    /// Install this, or over what is there.
    Install(Installed),
    /// Uninstall whatever is there.
    Drop,
}

/// What every standby of a service is to have: what a handover would stage there now. The links are there only while the
/// service is wanted running, so that the disk of a stopped one starts nothing.
pub fn wanted(service: &ServiceRecord) -> Installed {
    let link = match (service.enablement, service.wanted.wants_running()) {
        (Enablement::Enabled, false) => Enablement::Disabled,
        (enablement, _) => enablement,
    };
    Installed {
        digest: service.bundle.clone(),
        link,
        files: service.files.clone(),
    }
}

/// What is to be done, if anything. `wanted`: what is to be there, `None` where the guest is to be no standby; `row`: what
/// the table says. Units of another bundle are uninstalled before those of the right one come, and a drop that was begun is
/// ended first.
pub fn errand(wanted: Option<&Installed>, row: Option<&Standby>) -> Option<Errand> {
    match (wanted, row) {
        (None, None) => None,
        (None, Some(_)) => Some(Errand::Drop),
        (Some(wanted), None) => Some(Errand::Install(wanted.clone())),
        (Some(wanted), Some(row)) => {
            let same_bundle = row.installed.digest == wanted.digest;
            match row.state {
                StandbyState::Dropping => Some(Errand::Drop),
                StandbyState::Changing | StandbyState::Ready if !same_bundle => Some(Errand::Drop),
                StandbyState::Ready if row.installed == *wanted => None,
                StandbyState::Changing | StandbyState::Ready => Some(Errand::Install(wanted.clone())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::{Attempt, Digest, Generation};
    use crate::model::life::LifeState;

    fn digest(byte: u8) -> Digest {
        Digest::from_sha256(&[byte; 32])
    }

    fn installed(bundle: u8, link: Enablement) -> Installed {
        Installed {
            digest: digest(bundle),
            link,
            files: Vec::new(),
        }
    }

    fn row(state: StandbyState, installed: Installed) -> Standby {
        Standby {
            service: "web".parse().unwrap(),
            guest: "6f1d5a2e-0000-4000-8000-000000000002".parse().unwrap(),
            guest_name: "g2".to_owned(),
            installed,
            state,
            attempt: Attempt(3),
        }
    }

    fn service(wanted: LifeState, enablement: Enablement) -> ServiceRecord {
        ServiceRecord {
            id: "web".parse().unwrap(),
            bundle: digest(1),
            guest: "6f1d5a2e-0000-4000-8000-000000000001".parse().unwrap(),
            guest_name: "g1".to_owned(),
            host: "hv1".parse().unwrap(),
            addresses: Vec::new(),
            wanted,
            observed: wanted,
            observed_at: 1,
            enablement,
            dns: None,
            generation: Generation(1),
            uid: None,
            frozen: None,
            volume: None,
            files: Vec::new(),
        }
    }

    #[test]
    fn only_a_service_that_is_wanted_running_and_enabled_is_linked_on_its_standbys() {
        use Enablement::{Disabled, Enabled, Masked};
        for (life, enablement, link) in [
            (LifeState::Accessible, Enabled, Enabled),
            (LifeState::Running, Enabled, Enabled),
            (LifeState::Stopped, Enabled, Disabled),
            (LifeState::Failed, Enabled, Disabled),
            (LifeState::Accessible, Disabled, Disabled),
            (LifeState::Stopped, Masked, Masked),
        ] {
            assert_eq!(
                wanted(&service(life, enablement)).link,
                link,
                "{life} {enablement:?}"
            );
        }
    }

    #[test]
    fn what_is_as_it_should_be_is_left_alone_and_the_rest_is_installed_or_dropped() {
        use Enablement::{Disabled, Enabled};
        use StandbyState::{Changing, Dropping, Ready};
        let now = installed(1, Enabled);
        let install = || Some(Errand::Install(now.clone()));
        let cases = [
            (Some(&now), None, install()),
            (Some(&now), Some(row(Ready, now.clone())), None),
            (Some(&now), Some(row(Changing, now.clone())), install()),
            (Some(&now), Some(row(Ready, installed(1, Disabled))), install()),
            (
                Some(&now),
                Some(row(Ready, installed(2, Enabled))),
                Some(Errand::Drop),
            ),
            (Some(&now), Some(row(Dropping, now.clone())), Some(Errand::Drop)),
            (None, Some(row(Ready, now.clone())), Some(Errand::Drop)),
            (None, None, None),
        ];
        for (wanted, row, expected) in cases {
            assert_eq!(errand(wanted, row.as_ref()), expected, "{row:?}");
        }
    }
}
