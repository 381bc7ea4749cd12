//! Steps: what daemons do and suffer, and what happens around them.

use std::fmt;

use handoverd::adapters::sim::happening::{Happening, Message};
use handoverd::adapters::sim::world::SimWorld;
use handoverd::model::ids::GuestId;

use super::life::{Actor, Fate};
use super::script::Next;
use super::state::{Span, Whole};

/// What one daemon does or suffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It makes its next call.
    Call(Fate),
    /// The same, and meanwhile the deadline of the goal at hand passes.
    Overdue(Fate),
    /// It is killed before that, and started again.
    Killed,
    /// Somebody cancels its handover.
    Cancelled,
    /// An operator resumes its stuck job.
    Resumed,
    /// Time passes.
    Passes(Span),
}

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A coordinator's.
    Coordinator(usize, Turn),
    /// That of the daemon that carries duties, by its table.
    Carrier(usize, Turn),
    /// A guest's QEMU is killed.
    Dies(u8),
    /// A guest that is off is started.
    Boots(u8),
    /// A guest reboots with its disks as they are.
    Reboots(u8),
    /// The source is migrated by somebody else.
    Migrates,
    /// What is under way arrives.
    Arrives,
    /// Resolvers forget the old address.
    TtlPasses,
    /// The time for which the source serves on is over.
    DrainPasses,
    /// A unit has waited long enough for its volume.
    DevicePasses(u8),
}

impl Step {
    /// Whether it is no fault: what must lead to a proper end from everywhere.
    pub fn is_fair(self) -> bool {
        match self {
            Self::Coordinator(_, turn) | Self::Carrier(_, turn) => {
                let goes = matches!(turn, Turn::Call(Fate::Goes) | Turn::Overdue(Fate::Goes));
                goes || matches!(turn, Turn::Resumed | Turn::Passes(_))
            }
            Self::Dies(_) | Self::Reboots(_) | Self::Migrates => false,
            Self::Boots(_) | Self::Arrives | Self::TtlPasses | Self::DrainPasses | Self::DevicePasses(_) => {
                true
            }
        }
    }
}

/// A guest by its number: 1 is the source, 2 the target.
pub fn guest(number: u8) -> GuestId {
    SimWorld::guest_id(number)
}

/// A boot that has begun comes to its end.
fn end_boot(world: &mut SimWorld) {
    let booted = world.agenda.iter().find_map(|(key, happening)| {
        matches!(happening, Happening::Booted(..)).then(|| (*key, happening.clone()))
    });
    if let Some((key, happening)) = booted {
        world.agenda.remove(&key);
        world.happen(&happening);
    }
}

/// What happens around the daemons; `None` where it cannot.
pub fn around(world: &mut SimWorld, step: Step) -> Option<()> {
    match step {
        Step::Dies(number) => world.happen(&Happening::Die(guest(number))),
        Step::Boots(number) => {
            world.happen(&Happening::Boot(guest(number)));
            end_boot(world);
        }
        Step::Reboots(number) => {
            world.happen(&Happening::WarmReboot(guest(number)));
            end_boot(world);
        }
        Step::Migrates => world.happen(&Happening::Migrate(guest(1), "hv2".parse().unwrap())),
        Step::Arrives => {
            let (key, happening) = world
                .agenda
                .iter()
                .find(|(_, happening)| matches!(happening, Happening::Arrives(_)))
                .map(|(key, happening)| (*key, happening.clone()))?;
            world.agenda.remove(&key);
            world.happen(&happening);
        }
        Step::TtlPasses => {
            if world.zone.cached.is_empty() {
                return None;
            }
            world.zone.cached.clear();
        }
        Step::DrainPasses => {
            // A drain is longer than the TTL: the old one plus a margin.
            if !world.zone.cached.is_empty() {
                return None;
            }
            let now = world.now;
            let mut passed = false;
            for table in world.tables.values_mut() {
                for duty in table.duties.values_mut().filter(|duty| duty.serve_until > now) {
                    duty.serve_until = 0;
                    passed = true;
                }
            }
            passed.then_some(())?;
        }
        Step::DevicePasses(number) => {
            let guest = world.guests.get_mut(&guest(number))?;
            let mut waiting = guest.copies.values_mut();
            waiting.find_map(|copy| copy.waits_until.take())?;
        }
        Step::Coordinator(..) | Step::Carrier(..) => return None,
    }
    Some(())
}

/// A step from a state, told for people.
pub struct Told<'a>(pub &'a Whole, pub Step);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(whole, step) = self;
        let name = |id: GuestId| if id == guest(1) { "A" } else { "B" };
        let next = |next: Next| match next {
            Next::Wait => "waits".to_owned(),
            Next::Call(call) => {
                let mut text = format!("{:?}", call.method);
                text.extend(call.guest.map(|id| format!(" {}", name(id))));
                text.extend(call.half.map(|half| format!(" {half:?}")));
                text.extend(call.step.map(|step| format!(" {step:?}")));
                text
            }
        };
        match step {
            Step::Coordinator(index, turn) => match &whole.actors[*index] {
                Actor::Driving(life) => write!(
                    f,
                    "c{} {:?}, next {}: {turn:?}",
                    index + 1,
                    life.memory.handover.state,
                    next(life.next)
                ),
                Actor::Asked(_) => write!(f, "c{} begins: {turn:?}", index + 1),
                Actor::Ended => write!(f, "c{} has ended: {turn:?}", index + 1),
            },
            Step::Carrier(index, turn) => {
                let at = whole.carriers[*index].as_ref().map(|carry| next(carry.next));
                write!(f, "duties {}: {turn:?}", at.unwrap_or_else(|| "begin".to_owned()))
            }
            Step::Arrives => {
                let late = whole.world.agenda.values().find_map(|happening| match happening {
                    Happening::Arrives(Message::Script { guest, step, .. }) => {
                        Some(format!("{step:?} in {}", name(*guest)))
                    }
                    Happening::Arrives(Message::Update(change)) => {
                        Some(format!("UPDATE to {:?}", change.ownership))
                    }
                    _ => None,
                });
                write!(f, "arrives late: {}", late.unwrap_or_default())
            }
            step => write!(f, "{step:?}"),
        }
    }
}
