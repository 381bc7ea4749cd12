//! What goes wrong: faults of a call, what else happens at that moment, and a director that lets it go wrong there.

use std::sync::{Arc, Mutex};

use handoverd::adapters::sim::call::{Call, Director, Mishap, PortFault};
use handoverd::adapters::sim::happening::Happening;
use handoverd::adapters::sim::world::SimWorld;

/// Everything that may go wrong with one call.
pub const FAULTS: [PortFault; 9] = [
    PortFault::Unavailable,
    PortFault::Refuse,
    PortFault::Hang,
    PortFault::LoseAnswer,
    PortFault::Twice,
    PortFault::Late(6_000),
    PortFault::Late(700_000),
    PortFault::KillBefore,
    PortFault::KillAfter,
];

/// Whether what else happens does so once the effect has been done.
pub fn comes_after(fault: PortFault) -> bool {
    matches!(
        fault,
        PortFault::LoseAnswer | PortFault::Twice | PortFault::KillAfter
    )
}

/// What else may happen at the moment of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    Nothing,
    Dies(u8),
    ColdBoots(u8),
    WarmReboots(u8),
    Silent(u8),
    NamesDown,
    LibvirtKilled,
    Saved(u8),
    Snapshot(u8),
    OldXml(u8),
    Migrated(u8),
    ChecksFail(u8),
}

/// All weathers: guest 1 is the source, guest 2 the target.
pub const WEATHERS: [Weather; 20] = [
    Weather::Nothing,
    Weather::Dies(1),
    Weather::Dies(2),
    Weather::ColdBoots(1),
    Weather::ColdBoots(2),
    Weather::WarmReboots(1),
    Weather::WarmReboots(2),
    Weather::Silent(1),
    Weather::Silent(2),
    Weather::NamesDown,
    Weather::LibvirtKilled,
    Weather::Saved(1),
    Weather::Saved(2),
    Weather::Snapshot(1),
    Weather::Snapshot(2),
    Weather::OldXml(1),
    Weather::OldXml(2),
    Weather::Migrated(1),
    Weather::Migrated(2),
    Weather::ChecksFail(2),
];

impl Weather {
    /// What happens, each after so many milliseconds.
    pub fn happenings(self) -> Vec<(u64, Happening)> {
        let guest = SimWorld::guest_id;
        let host = |name: &str| name.parse().unwrap();
        match self {
            Self::Nothing => Vec::new(),
            Self::Dies(n) => vec![(0, Happening::Die(guest(n)))],
            Self::ColdBoots(n) => vec![(0, Happening::Die(guest(n))), (3_000, Happening::Boot(guest(n)))],
            Self::WarmReboots(n) => vec![(0, Happening::WarmReboot(guest(n)))],
            Self::Silent(n) => vec![
                (0, Happening::AgentSilent(guest(n))),
                (200_000, Happening::AgentSpeaks(guest(n))),
            ],
            Self::NamesDown => vec![(0, Happening::NamesDown), (100_000, Happening::NamesUp)],
            Self::LibvirtKilled => vec![
                (0, Happening::HostDown(host("hv1"))),
                (5_000, Happening::HostUp(host("hv1"))),
            ],
            Self::Saved(n) => vec![
                (0, Happening::Save(guest(n))),
                (30_000, Happening::Boot(guest(n))),
            ],
            Self::Snapshot(n) => vec![(0, Happening::Snapshot(guest(n)))],
            Self::OldXml(n) => vec![(0, Happening::DefineOld(guest(n)))],
            Self::ChecksFail(n) => vec![
                (0, Happening::ChecksFail(guest(n))),
                (60_000, Happening::ChecksPass(guest(n))),
            ],
            Self::Migrated(n) => vec![(0, Happening::Migrate(guest(n), host("hv2")))],
        }
    }
}

/// Lets things go wrong at calls of these numbers.
pub struct At {
    pub plan: Vec<(u64, Mishap)>,
}

impl Director for At {
    fn decide(&mut self, call: &Call, _world: &SimWorld) -> Mishap {
        let due = self.plan.iter().position(|(number, _)| *number == call.number);
        due.map(|index| self.plan.swap_remove(index).1)
            .unwrap_or_default()
    }
}

/// Notes every call of a clean run.
pub struct Tracer(pub Arc<Mutex<Vec<Call>>>);

impl Director for Tracer {
    fn decide(&mut self, call: &Call, _world: &SimWorld) -> Mishap {
        self.0.lock().unwrap().push(*call);
        Mishap::default()
    }
}

/// A call's mishap: a fault, and the weather before or after it.
pub fn mishap(fault: Option<PortFault>, weather: Weather, after: bool) -> Mishap {
    let happenings = weather.happenings();
    let (before, after) = if after {
        (Vec::new(), happenings)
    } else {
        (happenings, Vec::new())
    };
    Mishap { before, fault, after }
}
