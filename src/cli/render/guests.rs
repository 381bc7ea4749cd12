//! Guests as a table, with what keeps services from them.

use std::fmt::Write as _;

use super::Look;
use super::table::{Tone, Word, table};
use super::text::{clean, or_dash};
use crate::cli::rows::Guest;

/// All guests, one a row. `checked`: they were probed; a column tells how it went, and a line per obstacle follows.
pub fn list(guests: &[Guest], checked: bool, look: Look) -> String {
    if guests.is_empty() {
        return "no guests\n".to_owned();
    }
    let mut header = vec!["GUEST", "HOST", "STATE", "AGENT", "ADDRESS", "SERVICES", "UUID"];
    if checked {
        header.push("OBSTACLES");
    }
    let rows = guests.iter().map(|guest| row(guest, checked)).collect();
    let mut text = table(&header, rows, look);
    for guest in guests.iter().filter(|_| checked) {
        for obstacle in &guest.obstacles {
            let (name, word, what) = (clean(&guest.name), clean(&obstacle.word), clean(&obstacle.text));
            // Writing to a String cannot fail.
            writeln!(text, "{name}: {word}: {what}").ok();
        }
    }
    text
}

fn row(guest: &Guest, checked: bool) -> Vec<Word> {
    let state = match (guest.state.as_str(), guest.persistent.as_str()) {
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
        or_dash(address).into_owned().into(),
        or_dash(Some(&services)).into_owned().into(),
        guest.uuid.clone().into(),
    ];
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::rows::ObstacleRow;

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
            "GUEST  HOST  STATE    AGENT         ADDRESS  SERVICES  UUID\n\
             g3     hv1   running  disconnected  -        a, b      6f2c0a52-0000-4000-8000-000000000003\n"
        );
        let checked = list(&[g3()], true, Look::default());
        assert!(
            checked.contains("OBSTACLES\n") && checked.contains("  no-agent\n"),
            "{checked}"
        );
        assert!(checked.ends_with("g3: no-agent: start it\n"), "{checked}");
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
