//! Plans, what-ifs and decisions.

use std::fmt::Write as _;

use super::Look;
use super::services::life_tone;
use super::table::{Tone, Word, properties, table};
use super::text::{age, clean, duration, or_dash};
use crate::cli::plans::{Decision, Entry, Loss, Plan};
use crate::model::utc;

/// A plan in full; `rejected`: with the guests that were not taken.
pub fn plan(plan: &Plan, rejected: bool, look: Look) -> String {
    let (id, object, target) = (clean(&plan.id), clean(&plan.object), clean(&plan.target));
    if plan.entries.is_empty() {
        return format!("plan {id}: {object} has no service, nothing to do\n");
    }
    let mut text = format!(
        "plan {id}: {} to {target}\n",
        counted(plan.entries.len(), &object)
    );
    text.push_str(&entries(&plan.entries, look));
    for entry in &plan.entries {
        if rejected || entry.target.is_none() {
            text.push_str(&rejections(entry));
        }
        if let Some(stale) = entry.stale_ms {
            line(
                &mut text,
                format_args!(
                    "{}: its state was seen {} ago",
                    clean(&entry.service),
                    duration(stale)
                ),
            );
        }
    }
    if !plan.load.is_empty() {
        line(&mut text, format_args!("load: {}", clean(&plan.load)));
    }
    if let Some(expected) = plan.expected_ms {
        line(&mut text, format_args!("expected: about {}", duration(expected)));
    }
    match plan.homeless() {
        0 => line(&mut text, format_args!("begin it with `handoverctl apply {id}`")),
        all if all == plan.entries.len() => {
            line(
                &mut text,
                format_args!("no guest fits for any of them; nothing can be begun"),
            );
        }
        some => line(
            &mut text,
            format_args!(
                "no guest fits for {some} of {}; `handoverctl plan --partial` makes a plan that leaves them where they are",
                plan.entries.len()
            ),
        ),
    }
    text
}

/// What would become of one guest's services if it died.
pub fn loss(loss: &Loss, look: Look) -> String {
    let mut text = summary(loss);
    text.push('\n');
    if !loss.entries.is_empty() {
        text.push_str(&entries(&loss.entries, look));
    }
    for entry in loss.entries.iter().filter(|entry| entry.target.is_none()) {
        text.push_str(&rejections(entry));
    }
    text
}

/// The same of every guest, a line each.
pub fn losses(losses: &[Loss], _look: Look) -> String {
    let mut text = String::new();
    for loss in losses {
        line(&mut text, format_args!("{}", summary(loss)));
    }
    if text.is_empty() {
        text.push_str("no guests\n");
    }
    text
}

/// The last decision about a service; `now` in milliseconds since 1970.
pub fn decision(decision: &Decision, now: u64, look: Look) -> String {
    let rows = vec![
        ("service", Word::from(decision.service.clone())),
        ("asked", decision.what.clone().into()),
        ("by", or_dash(Some(&decision.who)).into_owned().into()),
        (
            "when",
            format!("{} ({})", utc::show(decision.at), age(now, decision.at)).into(),
        ),
        ("decided", decision.decision.clone().into()),
    ];
    let mut text = properties(rows, look);
    if !decision.inputs.is_empty() {
        let row =
            |input: &crate::cli::plans::Input| vec![input.of.clone().into(), input.known.clone().into()];
        text.push('\n');
        let rows = decision.inputs.iter().map(row).collect();
        text.push_str(&table(&["OF", "KNOWN"], rows, look));
    }
    text
}

fn summary(loss: &Loss) -> String {
    let (guest, all) = (clean(&loss.guest), loss.entries.len());
    let homeless = loss.entries.iter().filter(|entry| entry.target.is_none()).count();
    match (all, homeless) {
        (0, _) => format!("if {guest} dies: it has no service"),
        (1, 0) => format!("if {guest} dies, its service has a home elsewhere"),
        (all, 0) => format!("if {guest} dies, all {all} services have a home elsewhere"),
        (all, homeless) => format!("if {guest} dies, {homeless} of {all} services have no home"),
    }
}

fn counted(count: usize, object: &str) -> String {
    match count {
        1 => format!("1 service of {object}"),
        many => format!("{many} services of {object}"),
    }
}

fn entries(entries: &[Entry], look: Look) -> String {
    let row = |entry: &Entry| {
        let target = match &entry.target {
            Some(target) => Word::from(target.clone()),
            None => Word::new("nowhere", Tone::Bad),
        };
        vec![
            entry.service.clone().into(),
            entry.source.clone().into(),
            target,
            Word::new(&entry.life_state, life_tone(&entry.life_state)),
            load(entry).into(),
            or_dash(entry.name.as_deref()).into_owned().into(),
            entry.expected_ms.map_or_else(|| "-".to_owned(), duration).into(),
            entry.why.clone().into(),
        ]
    };
    let header = ["SERVICE", "FROM", "TO", "STATE", "LOAD", "NAME", "TAKES", "WHY"];
    table(&header, entries.iter().map(row).collect(), look)
}

/// The target's load without and with the service: `12 % -> 14 %`.
fn load(entry: &Entry) -> String {
    match entry.load {
        Some((before, after)) => format!("{:.0} % -> {:.0} %", before * 100.0, after * 100.0),
        None => "-".to_owned(),
    }
}

fn rejections(entry: &Entry) -> String {
    let mut text = String::new();
    for rejected in &entry.rejected {
        line(
            &mut text,
            format_args!(
                "{}: not {}: {}",
                clean(&entry.service),
                clean(&rejected.guest),
                clean(&rejected.why)
            ),
        );
    }
    text
}

/// Adds a line.
fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    writeln!(text, "{words}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::plans::{Input, Rejected};

    fn entry(service: &str, target: Option<&str>) -> Entry {
        Entry {
            service: service.into(),
            source: "g1".into(),
            target: target.map(str::to_owned),
            why: "the least loaded".into(),
            life_state: "accessible".into(),
            name: Some(format!("{service}.svc.lab")),
            load: target.map(|_| (0.1, 0.125)),
            expected_ms: Some(4200),
            rejected: vec![Rejected {
                guest: "g3".into(),
                why: "it lacks the label ssd".into(),
            }],
            ..Entry::default()
        }
    }

    fn two(target: Option<&str>) -> Plan {
        Plan {
            id: "3f9a1c".into(),
            object: "g1".into(),
            target: "least-loaded".into(),
            load: "not measured yet".into(),
            expected_ms: Some(9000),
            entries: vec![entry("web", Some("g2")), entry("api", target)],
        }
    }

    #[test]
    fn a_plan_tells_where_each_service_goes_and_how_to_begin_it() {
        let text = plan(&two(Some("g2")), false, Look::default());
        assert_eq!(
            text,
            "plan 3f9a1c: 2 services of g1 to least-loaded\n\
             SERVICE  FROM  TO  STATE       LOAD          NAME         TAKES  WHY\n\
             web      g1    g2  accessible  10 % -> 12 %  web.svc.lab  4.2 s  the least loaded\n\
             api      g1    g2  accessible  10 % -> 12 %  api.svc.lab  4.2 s  the least loaded\n\
             load: not measured yet\n\
             expected: about 9.0 s\n\
             begin it with `handoverctl apply 3f9a1c`\n"
        );
        let more = plan(&two(Some("g2")), true, Look::default());
        assert!(more.contains("web: not g3: it lacks the label ssd\n"), "{more}");
    }

    #[test]
    fn a_service_without_a_home_tells_why_of_every_guest() {
        let text = plan(&two(None), false, Look::default());
        assert!(text.contains("api      g1    nowhere"), "{text}");
        assert!(text.contains("\napi: not g3: it lacks the label ssd\n"), "{text}");
        assert!(!text.contains("web: not g3"), "{text}");
        assert!(text.contains("no guest fits for 1 of 2"), "{text}");
        assert!(!text.contains("handoverctl apply"), "{text}");
    }

    #[test]
    fn a_state_that_was_seen_long_ago_is_said() {
        let mut old = two(Some("g2"));
        old.entries[0].stale_ms = Some(7_200_000);
        let text = plan(&old, false, Look::default());
        assert!(
            text.contains("web: its state was seen 2 h 00 min ago\n"),
            "{text}"
        );
    }

    #[test]
    fn a_plan_without_services_is_one_line() {
        let empty = Plan {
            entries: Vec::new(),
            ..two(None)
        };
        assert_eq!(
            plan(&empty, false, Look::default()),
            "plan 3f9a1c: g1 has no service, nothing to do\n"
        );
    }

    #[test]
    fn what_a_death_would_leave_homeless_is_counted() {
        let loss_of = |entries| Loss {
            guest: "g1".into(),
            entries,
        };
        for (entries, text) in [
            (vec![], "if g1 dies: it has no service\n"),
            (
                vec![entry("a", Some("g2"))],
                "if g1 dies, its service has a home elsewhere\n",
            ),
            (
                vec![entry("a", Some("g2")), entry("b", Some("g3"))],
                "if g1 dies, all 2 services have a home elsewhere\n",
            ),
            (
                vec![entry("a", Some("g2")), entry("b", None)],
                "if g1 dies, 1 of 2 services have no home\n",
            ),
        ] {
            assert_eq!(losses(&[loss_of(entries)], Look::default()), text);
        }
        let one = loss(&loss_of(vec![entry("b", None)]), Look::default());
        assert!(one.contains("b: not g3: it lacks the label ssd\n"), "{one}");
    }

    #[test]
    fn a_decision_tells_what_it_was_made_from() {
        let text = decision(
            &Decision {
                service: "web".into(),
                at: 1_000_000,
                who: "root".into(),
                what: "move g1 least-loaded".into(),
                decision: "g2: the least loaded".into(),
                inputs: vec![Input {
                    of: "g3".into(),
                    known: "it lacks the label ssd".into(),
                }],
            },
            1_060_000,
            Look::default(),
        );
        assert!(text.contains("decided:  g2: the least loaded\n"), "{text}");
        assert!(
            text.ends_with("OF  KNOWN\ng3  it lacks the label ssd\n"),
            "{text}"
        );
    }
}
