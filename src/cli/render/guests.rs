//! Guests as a table, with what keeps services from them.

use std::fmt::Write as _;

use super::Look;
use super::table::{Tone, Word, table};
use super::text::{clean, or_dash};
use crate::cli::rows::Guest;

/// A guest with more load than this has little room.
const BUSY: f64 = 0.9;

/// All guests, one a row. `checked`: they were probed; a column tells how it went, and a line per obstacle follows.
pub fn list(guests: &[Guest], checked: bool, look: Look) -> String {
    if guests.is_empty() {
        return "no guests\n".to_owned();
    }
    let mut header = vec![
        "GUEST", "HOST", "STATE", "AGENT", "LOAD", "ADDRESS", "SERVICES", "UUID",
    ];
    let labelled = guests.iter().any(|guest| !guest.labels.is_empty());
    if labelled {
        header.push("LABELS");
    }
    if checked {
        header.push("OBSTACLES");
    }
    let row = |guest| row(guest, labelled, checked);
    let rows = guests.iter().map(row).collect();
    let mut text = table(&header, rows, look);
    for guest in guests {
        if let Some(maintenance) = &guest.maintenance {
            let (name, maintenance) = (clean(&guest.name), clean(maintenance));
            // Writing to a String cannot fail.
            writeln!(text, "{name}: in maintenance {maintenance}").ok();
        }
    }
    for guest in guests.iter().filter(|guest| !guest.homeless.is_empty()) {
        let (name, ids) = (clean(&guest.name), guest.homeless.join(", "));
        let (lost, all) = (
            guest.homeless.len(),
            guest.services.len().max(guest.homeless.len()),
        );
        let have = if lost == 1 { "has" } else { "have" };
        // Writing to a String cannot fail.
        writeln!(
            text,
            "{name}: if it dies, {lost} of {all} services {have} no home: {}",
            clean(&ids)
        )
        .ok();
    }
    for guest in guests.iter().filter(|_| checked) {
        for obstacle in &guest.obstacles {
            let (name, word, what) = (clean(&guest.name), clean(&obstacle.word), clean(&obstacle.text));
            // Writing to a String cannot fail.
            writeln!(text, "{name}: {word}: {what}").ok();
        }
    }
    text
}

fn row(guest: &Guest, labelled: bool, checked: bool) -> Vec<Word> {
    let state = match (guest.state.as_str(), guest.persistent.as_str()) {
        (state, _) if guest.maintenance.is_some() => Word::new(format!("{state}, maintenance"), Tone::Warn),
        (state, "no") => Word::new(format!("{state}, transient"), Tone::Warn),
        ("running", _) => Word::new("running", Tone::Good),
        (state, _) => Word::new(state, Tone::Dim),
    };
    let agent = match guest.agent.as_str() {
        "connected" => Word::new("connected", Tone::Good),
        "" => Word::from("-"),
        other => Word::new(other, Tone::Warn),
    };
    let services = guest.services.join(", ");
    let address = guest
        .address
        .as_deref()
        .or_else(|| guest.addresses.first().map(String::as_str));
    let mut row = vec![
        guest.name.clone().into(),
        or_dash(Some(&guest.host)).into_owned().into(),
        state,
        agent,
        load(guest),
        or_dash(address).into_owned().into(),
        or_dash(Some(&services)).into_owned().into(),
        guest.uuid.clone().into(),
    ];
    if labelled {
        let labels = guest.labels.join(", ");
        row.push(or_dash(Some(&labels)).into_owned().into());
    }
    if checked {
        row.push(match guest.obstacles.as_slice() {
            [] => Word::new("none", Tone::Good),
            some => {
                let words: Vec<&str> = some.iter().map(|obstacle| obstacle.word.as_str()).collect();
                Word::new(words.join(", "), Tone::Bad)
            }
        });
    }
    row
}

/// The share of what is scarcest, and what that is: `73 % memory`.
fn load(guest: &Guest) -> Word {
    let Some(load) = guest.load else {
        return Word::from("-");
    };
    let parts = [
        (load.cpu, "cpu"),
        (load.memory, "memory"),
        (load.pressure, "pressure"),
    ];
    let scarcest = parts
        .into_iter()
        .find(|(share, _)| *share >= load.score)
        .map_or("", |(_, what)| what);
    let told = format!("{:.0} % {scarcest}", load.score * 100.0);
    match load.score {
        score if score >= BUSY => Word::new(told, Tone::Warn),
        _ => Word::from(told),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::rows::{Load, ObstacleRow};

    fn g3() -> Guest {
        Guest {
            uuid: "6f2c0a52-0000-4000-8000-000000000003".into(),
            name: "g3".into(),
            host: "hv1".into(),
            state: "running".into(),
            agent: "disconnected".into(),
            address: None,
            addresses: vec![],
            persistent: "yes".into(),
            labels: vec![],
            maintenance: None,
            watch: "up".into(),
            homeless: vec![],
            load: None,
            services: vec!["a".into(), "b".into()],
            obstacles: vec![ObstacleRow {
                word: "no-agent".into(),
                text: "start it".into(),
            }],
        }
    }

    #[test]
    fn obstacles_are_told_only_when_they_were_looked_for() {
        let plain = list(&[g3()], false, Look::default());
        assert_eq!(
            plain,
            "GUEST  HOST  STATE    AGENT         LOAD  ADDRESS  SERVICES  UUID\n\
             g3     hv1   running  disconnected  -     -        a, b      6f2c0a52-0000-4000-8000-000000000003\n"
        );
        let checked = list(&[g3()], true, Look::default());
        assert!(
            checked.contains("OBSTACLES\n") && checked.contains("  no-agent\n"),
            "{checked}"
        );
        assert!(checked.ends_with("g3: no-agent: start it\n"), "{checked}");
    }

    #[test]
    fn a_maintenance_is_told_with_its_end() {
        let guest = Guest {
            maintenance: Some("for another 50 min, by uid 0: new kernel".into()),
            ..g3()
        };
        let text = list(&[guest], false, Look::default());
        assert!(text.contains("  running, maintenance  "), "{text}");
        assert!(
            text.ends_with("\ng3: in maintenance for another 50 min, by uid 0: new kernel\n"),
            "{text}"
        );
    }

    #[test]
    fn services_without_a_spare_home_are_told() {
        let guest = Guest {
            homeless: vec!["b".into()],
            ..g3()
        };
        let text = list(&[guest], false, Look::default());
        assert!(
            text.ends_with("\ng3: if it dies, 1 of 2 services has no home: b\n"),
            "{text}"
        );
    }

    #[test]
    fn labels_have_a_column_where_a_guest_has_some() {
        let other = Guest {
            labels: vec!["ssd".into(), "zone=a".into()],
            ..g3()
        };
        let text = list(&[g3(), other], false, Look::default());
        assert!(
            text.contains("  LABELS\n") && text.ends_with("  ssd, zone=a\n"),
            "{text}"
        );
        assert!(text.contains("000003  -\n"), "{text}");
    }

    #[test]
    fn a_load_is_told_by_what_is_scarcest() {
        let of = |cpu, memory| {
            let load = Load {
                score: f64::max(cpu, memory),
                cpu,
                memory,
                pressure: 0.0,
            };
            let guest = Guest {
                load: Some(load),
                ..g3()
            };
            list(&[guest], false, Look::default())
        };
        assert!(of(0.124, 0.734).contains("  73 % memory  "));
        assert!(of(0.995, 0.5).contains("  100 % cpu  "));
    }

    #[test]
    fn a_guest_without_obstacles_says_so_when_checked() {
        let guest = Guest {
            obstacles: vec![],
            persistent: "no".into(),
            ..g3()
        };
        let text = list(&[guest], true, Look::default());
        assert!(
            text.contains("running, transient") && text.contains("none\n"),
            "{text}"
        );
    }
}
