//! What is broken in a state: the simulator's invariants, and what must hold at the end.

use std::fmt;

use handoverd::adapters::sim::check::{self, Violation};
use handoverd::adapters::sim::happening::Happening;
use handoverd::adapters::sim::table::SimTable;
use handoverd::adapters::sim::world::{Power, SimWorld};
use handoverd::handover::machine::State as At;

use handoverd::model::ids::{Generation, GuestId};

use super::life::Actor;
use super::state::Whole;

/// A kind of counterexample, by the invariant of design section 5 that it breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    NeverZero,
    NeverTwoWriters,
    OneTruth,
    StoppedStaysStopped,
    NothingLost,
    StaleActor,
    EveryGuestBoots,
}

/// All of them.
pub const KINDS: [Kind; 7] = [
    Kind::NeverZero,
    Kind::NeverTwoWriters,
    Kind::OneTruth,
    Kind::StoppedStaysStopped,
    Kind::NothingLost,
    Kind::StaleActor,
    Kind::EveryGuestBoots,
];

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::NeverZero => "1 never zero",
            Self::NeverTwoWriters => "2 never two writers",
            Self::OneTruth => "3 one truth",
            Self::StoppedStaysStopped => "4 stopped stays stopped",
            Self::NothingLost => "5 nothing lost",
            Self::StaleActor => "6 a stale actor changes nothing",
            Self::EveryGuestBoots => "7 every guest boots",
        }
    }

    fn bit(self) -> u8 {
        let at = KINDS.iter().position(|kind| *kind == self).unwrap_or(0);
        1 << at
    }

    fn of(violation: &Violation) -> Self {
        KINDS[usize::from(violation.invariant) - 1]
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is judged by beside a state.
#[derive(Debug, Clone)]
pub struct Scene {
    /// Somebody starts what is down after a boot and wanted (the rule `desired`).
    pub desired: bool,
    /// The target has the units already, and may keep them.
    pub standby: bool,
}

/// What is broken, for people.
pub fn violations(whole: &Whole, scene: &Scene) -> Vec<Violation> {
    let world = &judged(whole, scene);
    let mut found = if is_over(whole) && all_up(world) {
        check::one_truth(world)
    } else {
        check::always(world)
    };
    if is_left_down(world, scene) {
        found.push(Violation {
            invariant: 1,
            text: "the name leads to the target, which is up, and nobody starts the service there".to_owned(),
        });
    }
    let rows = whole.world.tables.values().flat_map(|t| t.handovers.values());
    let committed = rows.filter(|row| matches!(row.handover.state, At::Done { .. }));
    if committed.count() > 1 {
        found.push(Violation {
            invariant: 6,
            text: "both coordinators have committed".to_owned(),
        });
    }
    found
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Kinds(u8);

impl Kinds {
    pub fn of(kinds: impl IntoIterator<Item = Kind>) -> Self {
        Self(kinds.into_iter().fold(0, |set, kind| set | kind.bit()))
    }

    pub fn has(self, kind: Kind) -> bool {
        self.0 & kind.bit() != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The kinds of what is broken.
pub fn broken(whole: &Whole, scene: &Scene) -> Kinds {
    Kinds::of(violations(whole, scene).iter().map(Kind::of))
}

/// Whether nothing of the daemons is under way: the end, were all guests up.
pub fn is_over(whole: &Whole) -> bool {
    whole.actors.iter().all(|actor| *actor == Actor::Ended)
        && whole.carriers.iter().all(Option::is_none)
        && is_at_rest(&whole.world)
}

/// What a table owes that is behind another one is void: in one table the other's move would have taken it over.
fn is_at_rest(world: &SimWorld) -> bool {
    let void = |table: &SimTable| !table.duties.is_empty() && is_behind(world, table);
    if !world.tables.values().any(|table| void(table)) {
        return check::is_at_rest(world);
    }
    let mut left = world.clone();
    let tables = left.tables.values_mut().filter(|table| void(table));
    tables.for_each(|table| table.duties.clear());
    check::is_at_rest(&left)
}

/// Whether a table has an older generation of the service than another one.
pub fn is_behind(world: &SimWorld, table: &SimTable) -> bool {
    generation(table) < world.tables.values().filter_map(|table| generation(table)).max()
}

fn generation(table: &SimTable) -> Option<Generation> {
    table.services.values().map(|row| row.generation).max()
}

/// A proper end.
pub fn is_proper_end(whole: &Whole) -> bool {
    whole.broken.is_empty() && is_over(whole) && all_up(&whole.world)
}

fn all_up(world: &SimWorld) -> bool {
    world.guests.values().all(|guest| guest.power == Power::Up)
}

/// The world as it is judged: a table that is behind another one tells nothing, its daemon can do nothing by it. Units
/// of a standby that is not home are where they were before.
fn judged(whole: &Whole, scene: &Scene) -> SimWorld {
    let mut world = whole.world.clone();
    world.tables.retain(|_, table| !is_behind(&whole.world, table));
    let target = SimWorld::guest_id(2);
    if scene.standby && !world.tables.values().any(|table| is_at_home(table, target)) {
        let copies = world
            .guests
            .get_mut(&target)
            .into_iter()
            .flat_map(|g| g.copies.values_mut());
        for copy in copies {
            (copy.units, copy.linked) = (None, None);
        }
    }
    world
}

fn is_at_home(table: &SimTable, guest: GuestId) -> bool {
    table.services.values().any(|row| row.guest == guest)
}

/// Without the rule `desired`: the name leads to the target, which is up, and nobody starts what is down there since a
/// boot.
fn is_left_down(world: &SimWorld, scene: &Scene) -> bool {
    let (id, target) = (SimWorld::guest_id(2), &world.guests[&SimWorld::guest_id(2)]);
    let wanted = world
        .tables
        .values()
        .flat_map(|table| table.services.values())
        .any(|row| {
            let names = row.dns.as_ref().map(|dns| world.zone.read(&dns.name).addresses);
            row.guest == id
                && row.wanted.wants_running()
                && names.is_some_and(|all| all.contains(&target.addresses[0]))
        });
    let mut copies = target.copies.values();
    !scene.desired && wanted && target.power == Power::Up && copies.any(|copy| copy.down_since_boot)
}

/// What is under way to a guest or the zone, to be done when it arrives.
pub fn is_late(world: &SimWorld) -> bool {
    let mut agenda = world.agenda.values();
    agenda.any(|happening| matches!(happening, Happening::Arrives(_)))
}
