//! A rebuilt table for people.

use std::fmt::Write as _;
use std::path::Path;

use super::rebuild::{Rebuilt, Told};
use crate::handover::verdict;

/// What was found, service by service. `damage`: what was wrong with the table that was there. `written`: `None`: nothing
/// was (a dry run); else where the damaged one was copied, if there was one.
pub fn describe(
    path: &Path,
    rebuilt: &Rebuilt,
    damage: Option<&str>,
    written: Option<Option<&Path>>,
) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        // Writing to a String cannot fail.
        writeln!(out, "{text}").ok();
    };
    line(match damage {
        Some(why) => format!("table {} is damaged: {why}", path.display()),
        None => format!("there is no table {}", path.display()),
    });
    line(format!(
        "found {} in the pools, {} on guests",
        count(rebuilt.bundles.len(), "bundle"),
        count(rebuilt.services.len(), "service")
    ));
    for told in &rebuilt.services {
        line(String::new());
        service(&mut line, told);
    }
    line(String::new());
    for note in &rebuilt.notes {
        line(format!("note: {note}"));
    }
    let recovered = rebuilt.rows().count();
    let left_out = rebuilt.services.len().saturating_sub(recovered);
    let sum = format!("{} recovered, {left_out} left out", count(recovered, "service"));
    line(match written {
        None => format!("{sum}; nothing was written: this was a dry run"),
        Some(None) => format!("{sum}; {} is written: start handoverd", path.display()),
        Some(Some(copy)) => format!(
            "{sum}; {} is written: start handoverd; the damaged one was copied to {}",
            path.display(),
            copy.display()
        ),
    });
    out
}

fn service(line: &mut impl FnMut(String), told: &Told) {
    match &told.row {
        Some(row) => {
            let address = match row.addresses.as_slice() {
                [] => String::new(),
                all => format!(" at {}", verdict::list(all)),
            };
            let volume = row
                .volume
                .as_ref()
                .map_or_else(String::new, |volume| format!(", data volume {}", volume.path));
            let files = match row.files.len() {
                0 => String::new(),
                number => format!(", {} read back", count(number, "config or secret file")),
            };
            line(format!(
                "{}: on {} ({}){address}, bundle {}, generation {}, {}, {}{volume}{files}",
                told.service,
                row.guest_name,
                row.host,
                row.bundle.short(),
                row.generation,
                row.wanted,
                row.enablement.as_str()
            ));
        }
        None => line(format!("{}: LEFT OUT", told.service)),
    }
    for why in &told.left_out {
        line(format!("  left out: {why}"));
    }
    for what in &told.uncertain {
        line(format!("  uncertain: {what}"));
    }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 {
        format!("1 {what}")
    } else {
        format!("{number} {what}s")
    }
}
