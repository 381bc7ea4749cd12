//! `[evacuation]`: what is done about guests that die.

use std::fmt::{self, Write as _};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::section::Section;
use crate::model::span;
use crate::plan::load::Share;
use crate::watch::blast::Limits;
use crate::watch::cause::{Policy, Treatment};

const HOUR: Duration = Duration::from_secs(3600);
/// How long a guest may take to come back, and within which time deaths count together.
const GRACE: RangeInclusive<Duration> = Duration::ZERO..=HOUR;
/// The word for services that stay where they are.
const LEAVE: &str = "leave";

/// What is done about guests that die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvacuationSettings {
    /// Whether services of dead guests go elsewhere. `enabled`, "yes" or "no".
    pub enabled: bool,
    /// About a guest that powered off or was shut down. `power_off`, 0 s to 1 h or "leave".
    pub power_off: Treatment,
    /// About a guest that somebody destroyed. `destroyed`, the same.
    pub destroyed: Treatment,
    /// How long a guest that is found off for a reason that is not known may take to come back. `found_off`, 0 s to 1 h.
    pub found_off: Duration,
    /// More than this share of guests, in percent, is too many; `freeze_share`, 1 to 100.
    pub freeze_share: u16,
    /// But not fewer than this many; `freeze_least`, 1 to 10000.
    pub freeze_least: u16,
    /// And always more than this many; `freeze_most`, 1 to 10000.
    pub freeze_most: u16,
    /// Deaths within this time count together; `freeze_window`, 0 s to 1 h.
    pub freeze_window: Duration,
}

impl Default for EvacuationSettings {
    fn default() -> Self {
        let (policy, limits) = (Policy::default(), Limits::default());
        let count = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
        Self {
            enabled: true,
            power_off: policy.power_off,
            destroyed: policy.destroyed,
            found_off: policy.found_off,
            freeze_share: 50,
            freeze_least: count(limits.least),
            freeze_most: count(limits.most),
            freeze_window: limits.window,
        }
    }
}

impl EvacuationSettings {
    /// What counts as dead, and when.
    pub fn policy(&self) -> Policy {
        Policy {
            power_off: self.power_off,
            destroyed: self.destroyed,
            found_off: self.found_off,
            ..Policy::default()
        }
    }

    /// When too many guests die at once.
    pub fn limits(&self) -> Limits {
        Limits {
            share: Share::percent(self.freeze_share.into()),
            least: self.freeze_least.into(),
            most: self.freeze_most.into(),
            window: self.freeze_window,
        }
    }
}

pub(super) fn evacuation(mut section: Section<'_>) -> EvacuationSettings {
    let default = EvacuationSettings::default();
    let enabled = section.read("enabled", |text| match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("it must be \"yes\" or \"no\""),
    });
    let mut off = |key, default| {
        let found = section.read(key, treatment);
        found.map_or(default, |found| found.value)
    };
    let settings = EvacuationSettings {
        enabled: enabled.map_or(default.enabled, |found| found.value),
        power_off: off("power_off", default.power_off),
        destroyed: off("destroyed", default.destroyed),
        found_off: section.span("found_off", GRACE, default.found_off),
        freeze_share: section.count("freeze_share", 1..=100, default.freeze_share),
        freeze_least: section.count("freeze_least", 1..=10_000, default.freeze_least),
        freeze_most: section.count("freeze_most", 1..=10_000, default.freeze_most),
        freeze_window: section.span("freeze_window", GRACE, default.freeze_window),
    };
    section.finish();
    settings
}

fn treatment(text: &str) -> Result<Treatment, String> {
    if text == LEAVE {
        return Ok(Treatment::Leave);
    }
    match span::parse(text) {
        Ok(grace) if GRACE.contains(&grace) => Ok(Treatment::Evacuate(grace)),
        Ok(_) => Err("it must be 0s to 1h, or \"leave\"".to_owned()),
        Err(error) => Err(format!("{error}; or \"leave\"")),
    }
}

/// The section as TOML.
pub(super) fn write(out: &mut String, settings: &EvacuationSettings) -> fmt::Result {
    let EvacuationSettings {
        enabled,
        power_off,
        destroyed,
        found_off,
        freeze_share,
        freeze_least,
        freeze_most,
        freeze_window,
    } = settings;
    let enabled = if *enabled { "yes" } else { "no" };
    let word = |treatment: &Treatment| match treatment {
        Treatment::Leave => LEAVE.to_owned(),
        Treatment::Evacuate(grace) => span::show(*grace),
    };
    writeln!(out, "\n[evacuation]\nenabled = \"{enabled}\"")?;
    writeln!(out, "power_off = \"{}\"", word(power_off))?;
    writeln!(out, "destroyed = \"{}\"", word(destroyed))?;
    writeln!(out, "found_off = \"{}\"", span::show(*found_off))?;
    writeln!(
        out,
        "freeze_share = {freeze_share}\nfreeze_least = {freeze_least}"
    )?;
    writeln!(out, "freeze_most = {freeze_most}")?;
    writeln!(out, "freeze_window = \"{}\"", span::show(*freeze_window))
}
