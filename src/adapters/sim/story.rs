//! What happened in a simulation, told to people and to the log.

use super::call::Entry;
use super::words;
use super::world::SimWorld;
use crate::model::ids::GuestId;

/// The target of log messages that tell what happens to the world.
pub const LOG: &str = "handoverd::world";

/// What happened, for people.
pub(super) fn line(world: &SimWorld, entry: &Entry) -> String {
    let name = |id: &GuestId| world.guests.get(id).map_or("?", |g| g.name.as_str());
    match entry {
        Entry::Call(call, fault) => {
            let mut text = format!("#{} {:?}", call.number, call.method);
            if let Some(guest) = &call.guest {
                text.push_str(&format!(" {}", name(guest)));
            }
            if let Some(half) = call.half {
                text.push_str(&format!(" {half:?}"));
            }
            if let Some(step) = call.step {
                text.push_str(&format!(" {step:?}"));
            }
            if let Some(fault) = fault {
                text.push_str(&format!("  <-- {fault:?}"));
            }
            text
        }
        Entry::Happened(happening) => words::tell(happening, world),
        Entry::Killed => "the daemon is killed".to_owned(),
        Entry::Started => "a daemon starts".to_owned(),
    }
}

/// Logs what happens to the world and its daemon; of calls only those with which something goes wrong.
pub(super) fn log(world: &SimWorld, entry: &Entry) {
    match entry {
        Entry::Call(_, None) => {}
        Entry::Call(call, Some(fault)) => {
            let guest = call.guest.and_then(|id| world.guests.get(&id));
            let on = guest
                .map(|guest| format!(" on {}", guest.name))
                .unwrap_or_default();
            tracing::info!(target: LOG, "{:?}{on} goes wrong: {fault:?}", call.method);
        }
        Entry::Happened(_) | Entry::Killed | Entry::Started => {
            tracing::info!(target: LOG, "{}", line(world, entry));
        }
    }
}
