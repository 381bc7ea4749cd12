//! What happens to a simulated world, in words: as scenarios say it, and as stories and logs tell it.

use super::happening::Happening;
use super::world::SimWorld;
use crate::model::ids::{GuestId, HostId};

/// What may happen to something, by the words for it.
type Known<T> = (&'static str, fn(T) -> Happening);

/// What may happen to a guest.
const TO_GUESTS: [Known<GuestId>; 12] = [
    ("dies", Happening::Die),
    ("boots", Happening::Boot),
    ("reboots", Happening::WarmReboot),
    ("hangs", Happening::Hang),
    ("is destroyed", Happening::Destroy),
    ("is saved", Happening::Save),
    ("is snapshotted", Happening::Snapshot),
    ("gets its old XML", Happening::DefineOld),
    ("agent is silent", Happening::AgentSilent),
    ("agent answers", Happening::AgentSpeaks),
    ("checks fail", Happening::ChecksFail),
    ("checks pass", Happening::ChecksPass),
];

/// What may happen to a guest, and takes the name of a host.
const MIGRATES: &str = "migrates to ";

/// What may happen to a host.
const TO_HOSTS: [Known<HostId>; 2] = [
    ("libvirtd is away", Happening::HostDown),
    ("libvirtd is back", Happening::HostUp),
];

/// What may happen to the zone's primary.
const TO_NAMES: [(&str, Happening); 2] = [
    ("is silent", Happening::NamesDown),
    ("answers", Happening::NamesUp),
];

/// The zone's primary, where the name of a guest or a host may stand.
const PRIMARY: &str = "primary";

fn words<T>(known: &[(&str, T)]) -> String {
    let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
    words.join(", ")
}

/// Reads what happens: `g2 dies`, `g1 migrates to hv2`, `hv1 libvirtd is away`, `primary is silent`.
///
/// # Errors
/// Which word is not known, and which are.
pub fn read(text: &str, world: &SimWorld) -> Result<Happening, String> {
    let (subject, what) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let what = what.trim();
    let unknown = |to: &str, known: String| {
        Err(format!(
            "nothing like {what:?} happens to {to}; what may happen: {known}"
        ))
    };
    if subject == PRIMARY {
        let found = TO_NAMES.iter().find(|(word, _)| *word == what);
        return match found {
            Some((_, happening)) => Ok(happening.clone()),
            None => unknown("the zone's primary", words(&TO_NAMES)),
        };
    }
    if let Some((guest, _)) = world.guests.iter().find(|(_, guest)| guest.name == subject) {
        if let Some(host) = what.strip_prefix(MIGRATES) {
            let host = host.trim();
            let found = world.hosts.keys().find(|known| known.as_str() == host);
            return found
                .map(|host| Happening::Migrate(*guest, host.clone()))
                .ok_or_else(|| format!("there is no host {host:?}; there are {}", hosts(world)));
        }
        let found = TO_GUESTS.iter().find(|(word, _)| *word == what);
        return match found {
            Some((_, happening)) => Ok(happening(*guest)),
            None => unknown("a guest", format!("{}, {MIGRATES}HOST", words(&TO_GUESTS))),
        };
    }
    if let Some(host) = world.hosts.keys().find(|host| host.as_str() == subject) {
        let found = TO_HOSTS.iter().find(|(word, _)| *word == what);
        return match found {
            Some((_, happening)) => Ok(happening(host.clone())),
            None => unknown("a host", words(&TO_HOSTS)),
        };
    }
    Err(format!(
        "there is nothing by the name of {subject:?}; guests: {}; hosts: {}; the zone's primary: {PRIMARY}",
        guests(world),
        hosts(world)
    ))
}

/// The names of all hosts.
pub fn hosts(world: &SimWorld) -> String {
    let names: Vec<&str> = world.hosts.keys().map(HostId::as_str).collect();
    names.join(", ")
}

/// The names of all guests.
pub fn guests(world: &SimWorld) -> String {
    let names: Vec<&str> = world.guests.values().map(|guest| guest.name.as_str()).collect();
    names.join(", ")
}

/// Tells what happened, as [`read`] reads it.
pub fn tell(happening: &Happening, world: &SimWorld) -> String {
    let server = |index: usize| {
        let found = world.zone.secondaries.get(index);
        found.map_or("?", |server| server.name.as_str())
    };
    let name = |id: &GuestId| world.guests.get(id).map_or("?", |guest| guest.name.as_str());
    match happening {
        Happening::Migrate(guest, host) => return format!("{} {MIGRATES}{host}", name(guest)),
        Happening::Booted(guest, _) => return format!("{} has booted", name(guest)),
        Happening::Arrives(_) => return "a late message arrives".to_owned(),
        Happening::Transferred(index) => return format!("{} has the zone anew", server(*index)),
        Happening::SecondaryDown(index) => return format!("{} is silent", server(*index)),
        Happening::SecondaryUp(index) => return format!("{} answers", server(*index)),
        _ => {}
    }
    let primary = TO_NAMES.iter().find(|(_, known)| known == happening);
    if let Some((word, _)) = primary {
        return format!("{PRIMARY} {word}");
    }
    for (id, guest) in &world.guests {
        if let Some((word, _)) = TO_GUESTS.iter().find(|(_, known)| known(*id) == *happening) {
            return format!("{} {word}", guest.name);
        }
    }
    for id in world.hosts.keys() {
        if let Some((word, _)) = TO_HOSTS.iter().find(|(_, known)| known(id.clone()) == *happening) {
            return format!("{id} {word}");
        }
    }
    format!("{happening:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_as_the_same() {
        let world = SimWorld::new(2).unwrap();
        for text in [
            "g2 dies",
            "g1 boots",
            "g1 hangs",
            "g2 agent is silent",
            "g1 migrates to hv2",
            "hv2 libvirtd is away",
            "primary is silent",
        ] {
            let happening = read(text, &world).unwrap();
            assert_eq!(tell(&happening, &world), text);
        }
    }

    #[test]
    fn unknown_words_are_refused_with_those_that_are_known() {
        let world = SimWorld::new(1).unwrap();
        for (text, part) in [
            (
                "g1 explodes",
                "nothing like \"explodes\" happens to a guest; what may happen: dies, boots",
            ),
            (
                "g1 migrates to hv9",
                "there is no host \"hv9\"; there are hv1, hv2",
            ),
            ("g1 migrates to HOST", "there is no host \"HOST\""),
            ("hv1 dies", "happens to a host; what may happen: libvirtd is away"),
            (
                "primary dies",
                "happens to the zone's primary; what may happen: is silent, answers",
            ),
            (
                "g7 dies",
                "there is nothing by the name of \"g7\"; guests: g1; hosts: hv1, hv2",
            ),
            ("", "there is nothing by the name of \"\""),
        ] {
            let why = read(text, &world).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }
}
