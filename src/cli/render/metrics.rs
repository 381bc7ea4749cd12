//! Measures in the text format that Prometheus and OpenMetrics share: a family has a HELP line, a TYPE line, and a line for
//! each value (https://prometheus.io/docs/instrumenting/exposition_formats/). All of them are gauges.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use crate::cli::measures::{Audit, GuestMeasures, Measures};

/// The words of guests that are watched: each is told, although no guest may be in it. Any other is told as it is.
const WATCH: [&str; 9] = [
    "up",
    "grace",
    "silent",
    "fencing",
    "dead",
    "returned",
    "asleep",
    "left",
    "unwatched",
];

/// All of it. The last line says that nothing is missing, which OpenMetrics asks for and Prometheus passes over.
pub fn exposition(measures: &Measures) -> String {
    let mut out = Exposition::default();
    out.family("handoverd_build_info", "The daemon's version and host.");
    let info = [("version", measures.version.as_str()), ("host", &measures.host)];
    out.value(&info, 1);
    out.family(
        "handoverd_services",
        "Services by the life state in which they were seen last; failed where their guest is off.",
    );
    for (state, count) in &measures.services {
        out.value(&[("life_state", state)], count);
    }
    out.family(
        "handoverd_jobs",
        "Jobs that have not ended, and those that are stuck and wait for an operator.",
    );
    out.value(&[("state", "running")], measures.jobs_running);
    out.value(&[("state", "stuck")], measures.jobs_stuck);
    out.family(
        "handoverd_duties",
        "Old copies that are still to be drained or removed.",
    );
    out.value(&[], measures.duties);
    out.family(
        "handoverd_frozen",
        "1: no service is moved by itself, see `handoverctl freeze --show`.",
    );
    out.value(&[], u8::from(measures.frozen.since > 0));
    if let Some(audit) = &measures.audit {
        audited(&mut out, audit);
    }
    guests(&mut out, measures);
    out.0.push_str("# EOF\n");
    out.0
}

fn audited(out: &mut Exposition, audit: &Audit) {
    out.family(
        "handoverd_audit_timestamp_seconds",
        "When the last audit of all services began.",
    );
    out.value(&[], seconds(audit.at));
    out.family(
        "handoverd_audit_services",
        "Services that the last audit looked at.",
    );
    out.value(&[], audit.services);
    out.family(
        "handoverd_audit_service_copies",
        "Services that are to run, by how many copies of them the last audit saw running.",
    );
    for (copies, count) in &audit.copies {
        out.value(&[("copies", copies)], count);
    }
    out.family(
        "handoverd_audit_findings",
        "What the last audit found and is left, by kind; see `handoverctl audit`.",
    );
    for (kind, count) in &audit.findings {
        out.value(&[("kind", kind)], count);
    }
}

fn guests(out: &mut Exposition, measures: &Measures) {
    let guests = &measures.guests;
    let mut watch: BTreeMap<&str, u32> = WATCH.iter().map(|word| (*word, 0)).collect();
    for guest in guests {
        let word = Some(guest.watch.as_str()).filter(|word| !word.is_empty());
        let count = watch.entry(word.unwrap_or("unwatched")).or_default();
        *count = count.saturating_add(1);
    }
    out.family(
        "handoverd_guests",
        "Guests by how the daemon sees them; unwatched ones have no services.",
    );
    for (word, count) in watch {
        out.value(&[("watch", word)], count);
    }
    out.family("handoverd_guest_services", "Services whose home the guest is.");
    for guest in guests {
        out.value(&labels(guest), guest.services);
    }
    if measures.homes_since.is_some() {
        out.family(
            "handoverd_guest_homeless_services",
            "Services that would have no home if the guest died; see `handoverctl what-if dies GUEST`.",
        );
        for guest in guests {
            out.value(&labels(guest), guest.homeless);
        }
    }
    out.family("handoverd_guest_maintenance", "1: the guest is in maintenance.");
    for guest in guests {
        out.value(&labels(guest), u8::from(guest.maintenance));
    }
    out.family(
        "handoverd_guest_load_ratio",
        "The share of the guest's scarcest resource that is used, where it is known.",
    );
    for (guest, load) in guests.iter().filter_map(|guest| Some((guest, guest.load?))) {
        out.value(&labels(guest), load);
    }
}

fn labels(guest: &GuestMeasures) -> [(&'static str, &str); 3] {
    [
        ("guest", &guest.name),
        ("uuid", &guest.uuid),
        ("host", &guest.host),
    ]
}

/// Milliseconds as seconds, exactly.
fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

/// The text, and the family that is being written.
#[derive(Default)]
struct Exposition(String, &'static str);

impl Exposition {
    fn family(&mut self, name: &'static str, help: &str) {
        self.1 = name;
        // Writing to a String cannot fail. HELP escapes what would end the line; these texts have none of it.
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} gauge").ok();
    }

    fn value(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let pairs: Vec<String> = labels
            .iter()
            .map(|(name, text)| format!("{name}=\"{}\"", escaped(text)))
            .collect();
        let labels = if pairs.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", pairs.join(","))
        };
        writeln!(self.0, "{}{labels} {value}", self.1).ok();
    }
}

/// A label's value: backslash, quote and line feed are escaped. Other control characters the format allows.
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::rows::Frozen;

    fn guest(name: &str, watch: &str) -> GuestMeasures {
        GuestMeasures {
            uuid: "6f2c0a52-0000-4000-8000-000000000001".into(),
            name: name.into(),
            host: "hv1".into(),
            watch: watch.into(),
            services: 9,
            homeless: 2,
            maintenance: true,
            load: Some(0.5),
        }
    }

    fn measures() -> Measures {
        Measures {
            version: "0.1.0".into(),
            host: "hv1".into(),
            services: BTreeMap::from([("accessible".into(), 7), ("failed".into(), 0)]),
            jobs_running: 3,
            jobs_stuck: 1,
            duties: 2,
            frozen: Frozen {
                since: 1,
                why: "somebody looks".into(),
            },
            audit: Some(Audit {
                at: 1_700_000_000_042,
                services: 7,
                findings: BTreeMap::from([("two-copies".into(), 1)]),
                copies: BTreeMap::from([("0", 0), ("1", 6), ("2+", 1), ("unknown", 0)]),
            }),
            homes_since: Some(5),
            guests: vec![guest("g1", "up")],
        }
    }

    #[test]
    fn every_measure_is_told_with_what_it_means() {
        let text = exposition(&measures());
        let of_guest = "{guest=\"g1\",uuid=\"6f2c0a52-0000-4000-8000-000000000001\",host=\"hv1\"}";
        for line in [
            "handoverd_build_info{version=\"0.1.0\",host=\"hv1\"} 1",
            "handoverd_services{life_state=\"accessible\"} 7",
            "handoverd_services{life_state=\"failed\"} 0",
            "handoverd_jobs{state=\"running\"} 3",
            "handoverd_jobs{state=\"stuck\"} 1",
            "handoverd_duties 2",
            "handoverd_frozen 1",
            "handoverd_audit_timestamp_seconds 1700000000.042",
            "handoverd_audit_services 7",
            "handoverd_audit_service_copies{copies=\"2+\"} 1",
            "handoverd_audit_findings{kind=\"two-copies\"} 1",
            "handoverd_guests{watch=\"up\"} 1",
            "handoverd_guests{watch=\"dead\"} 0",
            &format!("handoverd_guest_services{of_guest} 9"),
            &format!("handoverd_guest_homeless_services{of_guest} 2"),
            &format!("handoverd_guest_maintenance{of_guest} 1"),
            &format!("handoverd_guest_load_ratio{of_guest} 0.5"),
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_text_is_what_the_format_says() {
        let text = exposition(&measures());
        let mut family = "";
        let mut seen = std::collections::BTreeSet::new();
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                family = rest.split(' ').next().unwrap();
                assert!(seen.insert(family), "{family} is told twice");
                assert_eq!(lines[at + 1], format!("# TYPE {family} gauge"));
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().unwrap();
                assert_eq!(name, family, "{line}");
                let value = line.rsplit(' ').next().unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
        assert!(text.ends_with("\n# EOF\n"), "{text}");
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let text = exposition(&Measures {
            audit: None,
            homes_since: None,
            guests: vec![GuestMeasures {
                load: None,
                watch: String::new(),
                ..guest("g1", "")
            }],
            frozen: Frozen::default(),
            ..measures()
        });
        assert!(!text.contains("audit") && !text.contains("homeless"), "{text}");
        assert!(!text.contains("load_ratio{"), "{text}");
        assert!(
            text.contains("handoverd_guests{watch=\"unwatched\"} 1\n"),
            "{text}"
        );
        assert!(text.contains("handoverd_frozen 0\n"), "{text}");
    }

    #[test]
    fn a_label_can_hold_any_name() {
        let text = exposition(&Measures {
            guests: vec![guest("a\"b\\c\nd", "up")],
            ..measures()
        });
        assert!(text.contains(r#"{guest="a\"b\\c\nd","#), "{text}");
    }
}
