//! `[balance]`: whether and how the loads of guests are evened out.

use std::fmt::{self, Write as _};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::section::{Section, yes_or_no};
use crate::model::span;
use crate::plan::damper::Damping;
use crate::plan::load::Share;
use crate::plan::rebalance::Balance;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long a gap must last; loads are measured every 30 s.
const PATIENCE: RangeInclusive<Duration> = Duration::from_secs(30)..=DAY;
/// The span in which moves are counted.
const WINDOW: RangeInclusive<Duration> = Duration::from_secs(60)..=DAY;
/// How long a service that was moved stays.
const REST: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(30 * 24 * 3600);

/// Whether and how the loads of guests are evened out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BalanceSettings {
    /// Whether the daemon does it by itself. `enabled`, "yes" or "no".
    pub enabled: bool,
    /// The gap in percent at which it begins by itself, 2 to 100. `begin`.
    pub begin: u16,
    /// The gap in percent at which moves end, 1 to 99, less than `begin`. `end`.
    pub end: u16,
    /// By how many percent a move must at least lower the larger of the two loads, 1 to 50. `gain`.
    pub gain: u16,
    /// How long the gap must have been too large. `patience`, 30 s to 1 d.
    pub patience: Duration,
    /// The span in which moves are counted. `window`, 1 min to 1 d.
    pub window: Duration,
    /// How many moves are allowed in any window, 1 to 64. `per_window`.
    pub per_window: u16,
    /// How long a service that was moved stays. `rest`, 0 s to 30 d.
    pub rest: Duration,
}

impl Default for BalanceSettings {
    /// As [`Balance`] and [`Damping`] have it, and not by itself.
    fn default() -> Self {
        let damping = Damping::default();
        Self {
            enabled: false,
            begin: 30,
            end: 15,
            gain: 3,
            patience: damping.patience,
            window: damping.window,
            per_window: u16::try_from(damping.per_window).unwrap_or(u16::MAX),
            rest: damping.rest,
        }
    }
}

impl BalanceSettings {
    /// When loads are far enough apart, and how far moves go.
    pub fn balance(&self) -> Balance {
        Balance {
            begin: Share::percent(self.begin.into()),
            end: Share::percent(self.end.into()),
            gain: Share::percent(self.gain.into()),
        }
    }

    /// How restless it may be.
    pub fn damping(&self) -> Damping {
        Damping {
            patience: self.patience,
            window: self.window,
            per_window: self.per_window.into(),
            rest: self.rest,
        }
    }
}

pub(super) fn balance(mut section: Section<'_>) -> BalanceSettings {
    let default = BalanceSettings::default();
    let enabled = section.read("enabled", yes_or_no);
    let place = ["end", "begin"].iter().find_map(|key| section.given(key));
    let settings = BalanceSettings {
        enabled: enabled.map_or(default.enabled, |found| found.value),
        begin: section.count("begin", 2..=100, default.begin),
        end: section.count("end", 1..=99, default.end),
        gain: section.count("gain", 1..=50, default.gain),
        patience: section.span("patience", PATIENCE, default.patience),
        window: section.span("window", WINDOW, default.window),
        per_window: section.count("per_window", 1..=64, default.per_window),
        rest: section.span("rest", REST, default.rest),
    };
    if settings.end >= settings.begin {
        let (begin, end) = (settings.begin, settings.end);
        let what = format!(
            "{end}: it must be less than begin, which is {begin}, or every small change would begin anew"
        );
        let place = place.unwrap_or_else(|| section.place.clone());
        section.tell(&place, "end", what);
    }
    section.finish();
    settings
}

/// The section as TOML.
pub(super) fn write(out: &mut String, settings: &BalanceSettings) -> fmt::Result {
    let BalanceSettings {
        enabled,
        begin,
        end,
        gain,
        patience,
        window,
        per_window,
        rest,
    } = settings;
    let enabled = if *enabled { "yes" } else { "no" };
    writeln!(out, "\n[balance]\nenabled = \"{enabled}\"")?;
    writeln!(out, "begin = {begin}\nend = {end}\ngain = {gain}")?;
    writeln!(out, "patience = \"{}\"", span::show(*patience))?;
    writeln!(out, "window = \"{}\"", span::show(*window))?;
    writeln!(out, "per_window = {per_window}")?;
    writeln!(out, "rest = \"{}\"", span::show(*rest))
}
