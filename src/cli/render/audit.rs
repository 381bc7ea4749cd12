//! Findings of an audit as a table, and below it what each side says.

use std::fmt::Write as _;

use super::Look;
use super::table::{Tone, Word, table};
use super::text::{clean, or_dash};
use crate::cli::rows::Finding;

/// All findings, one a row, and then one paragraph for each.
pub fn list(findings: &[Finding], look: Look) -> String {
    if findings.is_empty() {
        return "nothing found: table, zone, libvirt and guests agree\n".to_owned();
    }
    let header = [
        "SERVICE", "GUEST", "FINDING", "BREAKS", "COPIES", "REMEDY", "OUTCOME",
    ];
    let mut text = table(&header, findings.iter().map(row).collect(), look);
    for finding in findings {
        paragraph(&mut text, finding);
    }
    text
}

fn row(finding: &Finding) -> Vec<Word> {
    let outcome = match finding.outcome.as_str() {
        "done" => Word::new("done", Tone::Good),
        "" => Word::from("-"),
        other => Word::new(other, Tone::Bad),
    };
    let remedy = match finding.remedy.as_str() {
        "by-itself" => Word::new("by-itself", Tone::Dim),
        "unknown" => Word::new("unknown", Tone::Warn),
        other => Word::new(other, Tone::Bad),
    };
    vec![
        or_dash(finding.service.as_deref()).into_owned().into(),
        or_dash(finding.guest_name.as_deref()).into_owned().into(),
        finding.kind.clone().into(),
        finding.rule.clone().into(),
        copies(finding).into(),
        remedy,
        outcome,
    ]
}

/// `0`, `1` or `2+`; `1-2+` where a guest could not be asked.
fn copies(finding: &Finding) -> String {
    let word = |number: u64| {
        if number > 1 {
            "2+".to_owned()
        } else {
            number.to_string()
        }
    };
    let (least, most) = (
        word(finding.copies),
        word(finding.copies.saturating_add(finding.copies_unasked)),
    );
    if least == most {
        least
    } else {
        format!("{least}-{most}")
    }
}

fn paragraph(text: &mut String, finding: &Finding) {
    let subject = finding.service.as_deref().or(finding.guest_name.as_deref());
    let who = match finding.remedy.as_str() {
        "by-itself" => "within a minute: ",
        "when-told" if finding.outcome.is_empty() => "with --repair: ",
        _ => "",
    };
    let remedy = format!("{who}{}", finding.remedy_text);
    let sides = [
        ("remedy", remedy.as_str()),
        ("left", finding.outcome_text.as_str()),
        ("table", finding.table.as_str()),
        ("zone", finding.dns.as_str()),
        ("libvirt", finding.libvirt.as_str()),
        ("guests", finding.guests.as_str()),
    ];
    writeln!(text, "\n{}: {}", or_dash(subject), clean(&finding.what)).ok();
    for (name, value) in sides {
        if !value.is_empty() {
            writeln!(text, "  {name:<8} {}", clean(value)).ok();
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A finding as most tests want it.
    pub fn stray() -> Finding {
        Finding {
            service: Some("web".into()),
            kind: "disk-stray".into(),
            rule: "one-truth".into(),
            guest: Some("6f2c0a52-0000-4000-8000-000000000002".into()),
            guest_name: Some("g2".into()),
            what: "g2 has the bundle disk of web in its persistent definition, and should not".into(),
            table: "accessible, enabled, on g1 at 10.77.0.101, generation 3".into(),
            dns: "10.77.0.101".into(),
            libvirt: "g1 has bundle live".into(),
            guests: "g1: web.service active (running)".into(),
            copies: 1,
            copies_unasked: 0,
            remedy: "when-told".into(),
            repair: Some("remove-copy".into()),
            remedy_text: "takes its disks".into(),
            outcome: String::new(),
            outcome_text: String::new(),
        }
    }

    #[test]
    fn each_finding_has_a_row_and_what_each_side_says() {
        assert_eq!(
            list(&[stray()], Look::default()),
            "SERVICE  GUEST  FINDING     BREAKS     COPIES  REMEDY     OUTCOME\n\
             web      g2     disk-stray  one-truth  1       when-told  -\n\
             \n\
             web: g2 has the bundle disk of web in its persistent definition, and should not\n\
             \x20 remedy   with --repair: takes its disks\n\
             \x20 table    accessible, enabled, on g1 at 10.77.0.101, generation 3\n\
             \x20 zone     10.77.0.101\n\
             \x20 libvirt  g1 has bundle live\n\
             \x20 guests   g1: web.service active (running)\n"
        );
        assert_eq!(
            list(&[], Look::default()),
            "nothing found: table, zone, libvirt and guests agree\n"
        );
    }

    #[test]
    fn copies_that_could_not_be_told_are_a_range() {
        let count = |copies, copies_unasked| {
            super::copies(&Finding {
                copies,
                copies_unasked,
                ..stray()
            })
        };
        assert_eq!(
            [
                count(0, 0),
                count(1, 0),
                count(3, 0),
                count(0, 1),
                count(1, 1),
                count(2, 5)
            ],
            ["0", "1", "2+", "0-1", "1-2+", "2+"]
        );
    }
}
