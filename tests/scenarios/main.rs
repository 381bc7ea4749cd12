//! Stories of handovers: the real daemon in a simulated cluster, in virtual time. Each folder here is one; what its
//! daemon logs and how all ends is its golden log, byte for byte. `BLESS=1` writes golden logs anew, `SCENARIO=name` runs one.

// Every function here is part of a test; clippy knows only those marked #[test].
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod difference;
mod faults;
mod log;
mod play;
mod script;
mod unknown_words;

use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

/// The folders of all scenarios, by name; `SCENARIO` names the one that is wanted.
fn scenarios() -> Vec<PathBuf> {
    let wanted = std::env::var("SCENARIO").ok();
    let mut found: Vec<PathBuf> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .filter(|path| wanted.as_deref().is_none_or(|wanted| path.ends_with(wanted)))
        .collect();
    found.sort();
    found
}

/// What is wrong with a scenario; `None` if nothing is.
fn judge(path: &Path) -> Option<String> {
    if fs::read_to_string(path.join("README.md")).is_ok_and(|text| text.trim().is_empty()) {
        return Some("its README.md is empty".to_owned());
    }
    let played = match play::play(path) {
        Ok(log) => log,
        Err(why) => return Some(why),
    };
    if play::play(path).as_ref() != Ok(&played) {
        return Some("it went another way the second time: it is not deterministic".to_owned());
    }
    let golden = path.join("golden.log");
    if std::env::var_os("BLESS").is_some() {
        fs::write(golden, played).unwrap();
        return None;
    }
    match fs::read_to_string(&golden) {
        Ok(wanted) if wanted == played => None,
        Ok(wanted) => Some(format!(
            "it went another way than golden.log says (BLESS=1 writes it anew):\n{}",
            difference::of(&wanted, &played)
        )),
        Err(error) => Some(format!("golden.log cannot be read (BLESS=1 writes it): {error}")),
    }
}

#[test]
fn every_scenario_goes_as_its_golden_log_says() {
    let scenarios = scenarios();
    assert!(!scenarios.is_empty(), "no scenario in {}", folder().display());
    let mut wrong = Vec::new();
    for path in &scenarios {
        let name = path.file_name().unwrap().to_string_lossy();
        let begun = std::time::Instant::now();
        let judged = judge(path);
        let word = if judged.is_none() { "as told" } else { "OTHERWISE" };
        println!("{name:<40} {word:<10} {:>5} ms", begun.elapsed().as_millis());
        wrong.extend(judged.map(|why| format!("{name}: {why}")));
    }
    assert!(
        wrong.is_empty(),
        "{} of {} scenarios:\n{}",
        wrong.len(),
        scenarios.len(),
        wrong.join("\n\n")
    );
}

#[test]
fn every_scenario_says_what_it_shows() {
    for path in scenarios() {
        for name in ["README.md", "cluster.toml", "script", "golden.log"] {
            assert!(path.join(name).is_file(), "{} has no {name}", path.display());
        }
    }
}
