//! What an audit finds: which rule is broken, what each side says, and what can be done about it.

use crate::model::disk::{DiskRole, DiskSerial};
use crate::model::ids::{Digest, GuestId, HandoverId, HostId, ServiceId};
use crate::model::life::Enablement;
use crate::model::name::{NameChange, Ownership};
use crate::model::placement::PlacedFile;
use crate::model::standby::Standby;

/// The rules of design section 5 that an audit can check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// What is wanted running runs, and comes back after a boot.
    NeverZero,
    /// A data volume is open in one guest at most, and a service that may run once only does.
    NeverTwo,
    /// Table, zone, guests and both definitions say the same.
    OneTruth,
    /// What is wanted stopped does not run, and nothing starts it.
    StoppedStaysStopped,
    /// Bundle and data volume are where they can be taken from.
    NothingLost,
}

impl Rule {
    /// A stable word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NeverZero => "never-zero",
            Self::NeverTwo => "never-two",
            Self::OneTruth => "one-truth",
            Self::StoppedStaysStopped => "stopped-stays-stopped",
            Self::NothingLost => "nothing-lost",
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// More than one copy of a service runs that may run once only.
    TwoCopies,
    /// A data volume is in the definitions of two guests, or has a second disk.
    VolumeTwice,
    /// The disk of the data volume has another source than the table knows.
    VolumeMoved,
    /// The data volume is not in the pool.
    VolumeMissing,
    /// The bundle's image is not in the pool, or cut off.
    ImageMissing,
    /// The home guest lacks a disk of the service in one of its definitions.
    DiskMissing,
    /// A guest has a disk of a service that it should not have: a licence.
    DiskStray,
    /// A guest has a disk with a serial of our form that nothing in the table accounts for.
    DiskUnknown,
    /// The file of a grant is left that no definition needs: an old definition would bring the licence back.
    GrantLeft,
    /// It is wanted running and is down, or has failed.
    Down,
    /// It is wanted running, was not up since its guest booted, and nothing starts it.
    DownAfterBoot,
    /// An operator stopped it in the guest.
    StoppedByHand,
    /// An operator started it in the guest.
    StartedByHand,
    /// An operator enabled, disabled or masked it in the guest.
    EnablementByHand,
    /// It is wanted stopped, and its disk has started it, or a copy that should not run does.
    RunsThoughStopped,
    /// It is wanted stopped, and its disk would start it.
    LinkLeft,
    /// It is wanted running and enabled, and some of its links are missing.
    LinkMissing,
    /// Its unit files in the guest are missing or differ.
    UnitsDiffer,
    /// Its config or secret files in the guest are missing or differ.
    FilesDiffer,
    /// A standby that is called ready has not what it should have, or runs what it should not.
    StandbyDiffers,
    /// Its name has other addresses than the table knows.
    AddressDiffers,
    /// The zone names somebody else as its owner, or nobody.
    OwnerDiffers,
    /// A claim of a handover that is not open stands in the zone.
    ClaimLeft,
    /// Another daemon controls the guest.
    OtherController,
    /// The guest's metadata does not say who controls it.
    NoController,
    /// The home guest has no persistent definition.
    NotPersistent,
    /// No host knows the home guest.
    GuestUnknown,
    /// The home guest is off, and a service on it is wanted running.
    GuestOff,
    /// Something did not answer, or is changing at this moment.
    CannotTell,
}

impl Kind {
    /// A stable word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TwoCopies => "two-copies",
            Self::VolumeTwice => "volume-twice",
            Self::VolumeMoved => "volume-moved",
            Self::VolumeMissing => "volume-missing",
            Self::ImageMissing => "image-missing",
            Self::DiskMissing => "disk-missing",
            Self::DiskStray => "disk-stray",
            Self::DiskUnknown => "disk-unknown",
            Self::GrantLeft => "grant-left",
            Self::Down => "down",
            Self::DownAfterBoot => "down-after-boot",
            Self::StoppedByHand => "stopped-by-hand",
            Self::StartedByHand => "started-by-hand",
            Self::EnablementByHand => "enablement-by-hand",
            Self::RunsThoughStopped => "runs-though-stopped",
            Self::LinkLeft => "link-left",
            Self::LinkMissing => "link-missing",
            Self::UnitsDiffer => "units-differ",
            Self::FilesDiffer => "files-differ",
            Self::StandbyDiffers => "standby-differs",
            Self::AddressDiffers => "address-differs",
            Self::OwnerDiffers => "owner-differs",
            Self::ClaimLeft => "claim-left",
            Self::OtherController => "other-controller",
            Self::NoController => "no-controller",
            Self::NotPersistent => "not-persistent",
            Self::GuestUnknown => "guest-unknown",
            Self::GuestOff => "guest-off",
            Self::CannotTell => "cannot-tell",
        }
    }

    /// The rule that is broken, or cannot be affirmed.
    pub fn rule(self) -> Rule {
        match self {
            Self::TwoCopies | Self::VolumeTwice => Rule::NeverTwo,
            Self::Down | Self::DownAfterBoot | Self::LinkMissing | Self::NotPersistent | Self::GuestOff => {
                Rule::NeverZero
            }
            Self::RunsThoughStopped | Self::LinkLeft => Rule::StoppedStaysStopped,
            Self::VolumeMissing | Self::ImageMissing => Rule::NothingLost,
            Self::VolumeMoved
            | Self::DiskMissing
            | Self::DiskStray
            | Self::DiskUnknown
            | Self::GrantLeft
            | Self::StoppedByHand
            | Self::StartedByHand
            | Self::EnablementByHand
            | Self::UnitsDiffer
            | Self::FilesDiffer
            | Self::StandbyDiffers
            | Self::AddressDiffers
            | Self::OwnerDiffers
            | Self::ClaimLeft
            | Self::OtherController
            | Self::NoController
            | Self::GuestUnknown
            | Self::CannotTell => Rule::OneTruth,
        }
    }
}

/// One thing that can be done about a finding: a look, an act, a look again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repair {
    /// Starts the copy on the home guest, and links it as its enablement asks.
    Start,
    /// A job starts the service, and waits for its check.
    StartJob,
    /// Stops the copy on the home guest, and removes its links.
    Stop,
    /// Makes or removes the links on the home guest.
    Link(Enablement),
    /// The table takes over that it is stopped, and the links go.
    AdoptStop(Enablement),
    /// The table takes over that it runs, and its links are made if it is enabled.
    AdoptStart(Enablement),
    /// The table takes over the enablement.
    AdoptEnablement(Enablement),
    /// Notes in the guest that the copy was up since it booted, so that a later stop is known for one.
    Mark,
    /// Places units and files on the home guest again.
    Install,
    /// Installs a standby again.
    Standby(Standby),
    /// Gives the home guest a disk of the service where it is missing.
    GiveDisk(DiskRole, DiskSerial),
    /// Takes a disk from a guest, out of both definitions.
    TakeDisk(GuestId, DiskSerial),
    /// Deletes the files of the service's grants for a guest that nothing needs any more.
    DeleteGrants(GuestId),
    /// Stops and uninstalls the copy of this bundle on a guest, and takes its disks.
    RemoveCopy(GuestId, Digest, Vec<PlacedFile>),
    /// Brings the bundle's image to a host from another: to, from.
    CopyImage(HostId, HostId),
    /// Writes the service's name as the table has it, if the zone says what it said: one compare-and-swap.
    SwapName(Box<NameChange>),
    /// Writes into the guest's metadata that this daemon controls it.
    Control(GuestId),
}

impl Repair {
    /// The same; an owner that it writes where there is none is marked with this identity, which no text had before.
    #[must_use]
    pub fn marked(&self, mark: HandoverId) -> Self {
        match self {
            Self::SwapName(change) => {
                let mut change = change.clone();
                if let Some(Ownership::Free(owner)) = &mut change.ownership {
                    owner.after.get_or_insert(mark);
                }
                Self::SwapName(change)
            }
            other => other.clone(),
        }
    }

    /// A stable word for programs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::StartJob => "start-job",
            Self::Stop => "stop",
            Self::Link(_) => "link",
            Self::AdoptStop(_) | Self::AdoptStart(_) | Self::AdoptEnablement(_) => "adopt",
            Self::Mark => "mark",
            Self::Install => "install",
            Self::Standby(_) => "standby",
            Self::GiveDisk(..) => "give-disk",
            Self::TakeDisk(..) => "take-disk",
            Self::DeleteGrants(_) => "delete-grants",
            Self::RemoveCopy(..) => "remove-copy",
            Self::CopyImage(..) => "copy-image",
            Self::SwapName(_) => "swap-name",
            Self::Control(_) => "control",
        }
    }
}

/// Who does something about a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// The daemon, within a minute: what, and for people.
    ByItself(Repair, String),
    /// The daemon, when it is told to repair: what, and for people. Somebody may have meant it so.
    WhenTold(Repair, String),
    /// Only an operator: what to do.
    Operator(String),
    /// Nothing: it cannot be told what there is. What to do to find out.
    Unknown(String),
}

impl Remedy {
    /// A stable word for programs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::ByItself(..) => "by-itself",
            Self::WhenTold(..) => "when-told",
            Self::Operator(_) => "operator",
            Self::Unknown(_) => "unknown",
        }
    }

    /// What is done, for people.
    pub fn text(&self) -> &str {
        match self {
            Self::ByItself(_, text)
            | Self::WhenTold(_, text)
            | Self::Operator(text)
            | Self::Unknown(text) => text,
        }
    }

    /// What the daemon would do.
    pub fn repair(&self) -> Option<&Repair> {
        match self {
            Self::ByItself(repair, _) | Self::WhenTold(repair, _) => Some(repair),
            Self::Operator(_) | Self::Unknown(_) => None,
        }
    }

    /// What the daemon does now: by itself, or told to repair.
    pub fn permitted(&self, told: bool) -> Option<&Repair> {
        match self {
            Self::ByItself(repair, _) => Some(repair),
            Self::WhenTold(repair, _) if told => Some(repair),
            Self::WhenTold(..) | Self::Operator(_) | Self::Unknown(_) => None,
        }
    }
}

/// What each side says about a service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Says {
    /// The service table.
    pub table: String,
    /// The zone's primary.
    pub dns: String,
    /// The definitions of all guests: who has which disk.
    pub libvirt: String,
    /// The guests.
    pub guest: String,
}

/// How many copies of a service run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copies {
    /// How many were seen up.
    pub up: u32,
    /// How many guests that could run one did not answer.
    pub unasked: u32,
}

/// How many services have how many running copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CopyCounts {
    /// None runs.
    pub none: u32,
    /// Just one.
    pub one: u32,
    /// Two or more: an old copy drains, or something is wrong.
    pub more: u32,
    /// None or one was seen, and a guest that could run another did not answer.
    pub unknown: u32,
}

impl CopyCounts {
    /// Counts services by their copies.
    pub fn of(services: impl Iterator<Item = Copies>) -> Self {
        let mut counts = Self::default();
        for copies in services {
            let count = match copies {
                Copies { up: 2.., .. } => &mut counts.more,
                Copies { unasked: 1.., .. } => &mut counts.unknown,
                Copies { up: 1, .. } => &mut counts.one,
                Copies { up: 0, .. } => &mut counts.none,
            };
            *count = count.saturating_add(1);
        }
        counts
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// The service that it is about; `None`: a disk or guest that no service is known for.
    pub service: Option<ServiceId>,
    /// The guest where it is, and its name.
    pub guest: Option<(GuestId, String)>,
    /// What is wrong, for people: one sentence, the same as long as it is the same finding.
    pub what: String,
    /// What each side says.
    pub says: Says,
    /// How many copies run.
    pub copies: Copies,
    /// What can be done.
    pub remedy: Remedy,
}

impl Finding {
    /// Whether it is the finding that another audit reported.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.kind, &self.service, &self.guest, &self.what)
            == (other.kind, &other.service, &other.guest, &other.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_counted_by_their_copies_and_what_is_not_known_is_no_number() {
        let copies = [(1, 0), (1, 0), (0, 0), (2, 0), (3, 1), (1, 1), (0, 2)];
        let copies = copies.map(|(up, unasked)| Copies { up, unasked });
        let counts = CopyCounts::of(copies.into_iter());
        assert_eq!(
            counts,
            CopyCounts {
                none: 1,
                one: 2,
                more: 2,
                unknown: 2
            }
        );
    }
}
