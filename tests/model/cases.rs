//! The configurations that are explored: those of the protocol's model on paper.

use std::collections::BTreeMap;

use handoverd::adapters::sim::cast::Cast;
use handoverd::adapters::sim::happening::Happening;
use handoverd::adapters::sim::world::{SimUnits, SimWorld, WorldRules};
use handoverd::handover::protocol::Protocol;
use handoverd::model::ids::{Digest, HostId};
use handoverd::model::life::{Enablement, LifeState};
use handoverd::model::placement::Placement;
use handoverd::model::service::BundleRecord;

use super::judge::Kinds;
use super::life::{self, Actor, House};
use super::state::{State, Whole};

/// Who races for the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Race {
    /// Nobody: one coordinator.
    None,
    /// Two daemons with a table each: only the zone stands between them. They count a service's attempts on from one number,
    /// and a duty that one owes is void once the other has moved the service: it asks the zone, and leaves it.
    TwoTables,
    /// Two handovers of one table.
    OneTable,
}

/// A configuration.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub cast: Cast,
    /// The source is off.
    pub dead: bool,
    /// The target has the units already.
    pub standby: bool,
    /// Somebody else may migrate the source.
    pub may_migrate: bool,
    /// Somebody else has migrated the source.
    pub migrated: bool,
    pub race: Race,
    /// QEMU's lock keeps a second guest from a volume.
    pub image_lock: bool,
}

const fn case(name: &'static str, cast: Cast) -> Case {
    Case {
        name,
        cast,
        dead: false,
        standby: false,
        may_migrate: false,
        migrated: false,
        race: Race::None,
        image_lock: true,
    }
}

const fn dead(name: &'static str, cast: Cast) -> Case {
    Case {
        dead: true,
        ..case(name, cast)
    }
}

const ACCESSIBLE: Cast = Cast::of(LifeState::Accessible);
const RUNNING: Cast = Cast::of(LifeState::Running);
const STOPPED: Cast = Cast::of(LifeState::Stopped);
const DISABLED: Cast = Cast {
    enablement: Enablement::Disabled,
    ..ACCESSIBLE
};

/// The eighteen configurations.
pub const CASES: [Case; 18] = [
    case("plain accessible", ACCESSIBLE),
    case("stopped", STOPPED),
    Case {
        standby: true,
        ..case("stopped, B is standby", STOPPED)
    },
    case("accessible, unit disabled", DISABLED),
    case("volume", ACCESSIBLE.with_volume()),
    case("stopped + volume", STOPPED.with_volume()),
    case("no name", RUNNING),
    case("no name + volume", RUNNING.with_volume()),
    dead("evacuation", ACCESSIBLE),
    dead("evacuation + volume", ACCESSIBLE.with_volume()),
    Case {
        standby: true,
        ..dead("evacuation to standby + volume", ACCESSIBLE.with_volume())
    },
    dead("evacuation, stopped", STOPPED),
    Case {
        may_migrate: true,
        ..case("A live-migrated away", ACCESSIBLE)
    },
    Case {
        may_migrate: true,
        ..case("A live-migrated, volume", ACCESSIBLE.with_volume())
    },
    Case {
        migrated: true,
        ..case("false death (A migrated)", ACCESSIBLE)
    },
    Case {
        race: Race::TwoTables,
        ..case("two coordinators", ACCESSIBLE)
    },
    Case {
        race: Race::TwoTables,
        ..case("two coordinators, volume", ACCESSIBLE.with_volume())
    },
    Case {
        race: Race::OneTable,
        ..case("two coordinators, no name", RUNNING)
    },
];

/// Storage that does not lock: nothing but the protocol keeps a second guest from a volume.
pub const UNLOCKED: Case = Case {
    image_lock: false,
    ..dead(
        "evacuation + volume, storage without locks",
        ACCESSIBLE.with_volume(),
    )
};

/// Which rules hold: the daemon's, those of the world around it, and those of its table and watch.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub protocol: Protocol,
    pub world: WorldRules,
    pub reservations: bool,
    pub desired: bool,
    /// Whether spans pass by a step of their own; else each is over once it was waited for, as on paper.
    pub waits: bool,
}

impl Rules {
    /// All.
    pub fn all() -> Self {
        Self {
            protocol: Protocol::default(),
            world: WorldRules::default(),
            reservations: true,
            desired: true,
            waits: false,
        }
    }
}

impl Case {
    /// The configuration by its name.
    pub fn named(name: &str) -> &'static Self {
        CASES
            .iter()
            .find(|case| case.name == name)
            .expect("a case's name")
    }

    /// Whose table each coordinator has.
    pub fn owners(&self) -> Vec<HostId> {
        let names: &[&str] = match self.race {
            Race::None => &["hv1"],
            Race::TwoTables => &["hv1", "hv2"],
            Race::OneTable => &["hv1", "hv1"],
        };
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    /// The bundles that its tables have.
    pub fn bundles(&self) -> BTreeMap<Digest, BundleRecord> {
        let versions = ['1', '2'].into_iter();
        let bundles = versions.map(|version| self.cast.bundle("web", version).unwrap());
        bundles.map(|bundle| (bundle.digest.clone(), bundle)).collect()
    }

    /// The state in which it begins.
    pub fn first(&self, rules: &Rules, house: &House) -> State {
        let mut world = self.cast.world(2).unwrap();
        world.rules = WorldRules {
            image_lock: self.image_lock,
            ..rules.world
        };
        let (a, b) = (SimWorld::guest_id(1), SimWorld::guest_id(2));
        if self.standby {
            let bundle = self.cast.bundle("web", '1').unwrap();
            let placement = Placement::of(&bundle, &[]);
            let copy = world
                .guests
                .get_mut(&b)
                .unwrap()
                .copies
                .entry(placement.service.clone());
            let copy = copy.or_default();
            copy.units = Some(SimUnits::of(&placement));
            copy.linked = Some(placement.serial.as_str().to_owned());
            copy.healthy = true;
        }
        if self.dead {
            world.happen(&Happening::Die(a));
        }
        if self.migrated {
            world.happen(&Happening::Migrate(a, "hv2".parse().unwrap()));
        }
        let owners = self.owners();
        if let Some(table) = world.tables.get_mut(&owners[0]) {
            table.bundles = self.bundles().into();
        }
        if self.race == Race::TwoTables {
            let table = world.tables[&owners[0]].clone();
            world.tables.insert(owners[1].clone(), table);
        }
        let actors = owners
            .iter()
            .zip(1..)
            .map(|(owner, number)| Actor::Asked(life::ask(house, &world, owner, number).into()))
            .collect();
        let carriers = world.tables.keys().map(|_| None).collect();
        let whole = Whole {
            world,
            actors,
            carriers,
            waits: rules.waits,
            broken: Kinds::default(),
        };
        State::of(whole, None)
    }
}
