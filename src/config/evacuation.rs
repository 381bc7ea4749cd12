//! `[evacuation]`: what is done about guests that die.

use std::fmt::{self, Write as _};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::section::{Section, yes_or_no};
use crate::model::span;
use crate::plan::load::Share;
use crate::watch::blast::Limits;
use crate::watch::cause::{Policy, Treatment};

const HOUR: Duration = Duration::from_secs(3600);
/// How long a guest may take to come back, and within which time deaths count together.
const GRACE: RangeInclusive<Duration> = Duration::ZERO..=HOUR;
/// The word for services that stay where they are.
const LEAVE: &str = "leave";
/// How long an agent may be silent: below that a heartbeat cannot tell.
const SILENCE: RangeInclusive<Duration> = Duration::from_secs(5)..=HOUR;

/// What may be done to a guest that hangs, before its services go elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fence {
    /// Nothing.
    #[default]
    None,
    /// It is destroyed.
    Destroy,
}

impl Fence {
    fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Destroy => "destroy",
        }
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        [Self::None, Self::Destroy]
            .into_iter()
            .find(|fence| fence.word() == text)
            .ok_or("it must be \"none\" or \"destroy\"")
    }
}

/// What is done about guests that die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvacuationSettings {
    /// Whether services of dead guests go elsewhere. `enabled`, "yes" or "no".
    pub enabled: bool,
    /// Whether the name of a service on a dead guest leads to the target before the service is there. `lead`, "yes" or "no".
    pub lead: bool,
    /// About a guest that powered off or was shut down. `power_off`, 0 s to 1 h or "leave".
    pub power_off: Treatment,
    /// About a guest that somebody destroyed. `destroyed`, the same.
    pub destroyed: Treatment,
    /// How long a guest that is found off for a reason that is not known may take to come back. `found_off`, 0 s to 1 h.
    pub found_off: Duration,
    /// What may be done to a guest that hangs. `fence`, "none" or "destroy".
    pub fence: Fence,
    /// How long its agent may be silent before a guest counts as hung. `silence`, 5 s to 1 h.
    pub silence: Duration,
    /// The same from when it was started or reset until its agent speaks for the first time. `boot`, 5 s to 1 h.
    pub boot: Duration,
    /// About a guest that is paused. `paused`, 0 s to 1 h or "leave".
    pub paused: Treatment,
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
            lead: true,
            power_off: policy.power_off,
            destroyed: policy.destroyed,
            found_off: policy.found_off,
            fence: Fence::default(),
            silence: policy.silence,
            boot: policy.boot,
            paused: policy.paused.map_or(Treatment::Leave, Treatment::Evacuate),
            freeze_share: 50,
            freeze_least: count(limits.least),
            freeze_most: count(limits.most),
            freeze_window: limits.window,
        }
    }
}

impl EvacuationSettings {
    /// What counts as dead, and when. Where services stay anyway no guest is destroyed for them.
    pub fn policy(&self) -> Policy {
        Policy {
            power_off: self.power_off,
            destroyed: self.destroyed,
            found_off: self.found_off,
            may_destroy: self.enabled && self.fence == Fence::Destroy,
            silence: self.silence,
            boot: self.boot,
            paused: match self.paused {
                Treatment::Leave => None,
                Treatment::Evacuate(span) => Some(span),
            },
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
    let enabled = section.read("enabled", yes_or_no);
    let lead = section.read("lead", yes_or_no);
    let fence = section.read("fence", Fence::read);
    let mut off = |key, default| {
        let found = section.read(key, treatment);
        found.map_or(default, |found| found.value)
    };
    let settings = EvacuationSettings {
        enabled: enabled.map_or(default.enabled, |found| found.value),
        lead: lead.map_or(default.lead, |found| found.value),
        power_off: off("power_off", default.power_off),
        destroyed: off("destroyed", default.destroyed),
        paused: off("paused", default.paused),
        fence: fence.map_or(default.fence, |found| found.value),
        silence: section.span("silence", SILENCE, default.silence),
        boot: section.span("boot", SILENCE, default.boot),
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
        lead,
        power_off,
        destroyed,
        found_off,
        fence,
        silence,
        boot,
        paused,
        freeze_share,
        freeze_least,
        freeze_most,
        freeze_window,
    } = settings;
    let word_of = |yes: &bool| if *yes { "yes" } else { "no" };
    let (enabled, lead) = (word_of(enabled), word_of(lead));
    let word = |treatment: &Treatment| match treatment {
        Treatment::Leave => LEAVE.to_owned(),
        Treatment::Evacuate(grace) => span::show(*grace),
    };
    writeln!(out, "\n[evacuation]\nenabled = \"{enabled}\"\nlead = \"{lead}\"")?;
    writeln!(out, "power_off = \"{}\"", word(power_off))?;
    writeln!(out, "destroyed = \"{}\"", word(destroyed))?;
    writeln!(out, "found_off = \"{}\"", span::show(*found_off))?;
    writeln!(out, "fence = \"{}\"", fence.word())?;
    writeln!(out, "silence = \"{}\"", span::show(*silence))?;
    writeln!(out, "boot = \"{}\"", span::show(*boot))?;
    writeln!(out, "paused = \"{}\"", word(paused))?;
    writeln!(
        out,
        "freeze_share = {freeze_share}\nfreeze_least = {freeze_least}"
    )?;
    writeln!(out, "freeze_most = {freeze_most}")?;
    writeln!(out, "freeze_window = \"{}\"", span::show(*freeze_window))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::reading::Surroundings;
    use crate::config::{ConfigError, Fragment, Settings, describe, settings};

    struct Nothing;

    impl Surroundings for Nothing {
        fn host_name(&self) -> Result<String, String> {
            Ok("paper".to_owned())
        }

        fn key_file(&self, path: &Path) -> Result<String, String> {
            Err(path.display().to_string())
        }

        fn credential(&self, name: &str) -> Result<String, String> {
            Err(name.to_owned())
        }
    }

    fn read(text: &str) -> Result<Settings, ConfigError> {
        let fragment = Fragment {
            path: "handoverd.toml".into(),
            text: text.to_owned(),
        };
        settings(&[fragment], &Nothing)
    }

    #[test]
    fn what_is_done_about_guests_that_die_can_be_chosen() {
        let text = "[evacuation]\nenabled = 'no'\nlead = 'no'\npower_off = 'leave'\ndestroyed = '0s'\nfreeze_share = 20";
        let evacuation = read(text).unwrap().evacuation;
        assert!(!evacuation.enabled && !evacuation.lead);
        assert_eq!(evacuation.policy().power_off, Treatment::Leave);
        assert_eq!(evacuation.policy().destroyed, Treatment::Evacuate(Duration::ZERO));
        assert_eq!(evacuation.limits().share, Share::percent(20));
        let again = describe(&read(text).unwrap());
        assert_eq!(read(&again).unwrap().evacuation, evacuation);
    }

    #[test]
    fn a_guest_is_destroyed_only_where_that_is_said_and_its_services_may_go() {
        let policy = |text: &str| {
            read(&format!("[evacuation]\n{text}"))
                .unwrap()
                .evacuation
                .policy()
        };
        assert!(!policy("").may_destroy);
        assert!(!policy("silence = '5s'").may_destroy);
        let hung = policy("fence = 'destroy'\nsilence = '5s'\nboot = '90s'\npaused = '10s'");
        assert!(hung.may_destroy);
        assert_eq!(
            (hung.silence, hung.boot, hung.paused),
            (
                Duration::from_secs(5),
                Duration::from_secs(90),
                Some(Duration::from_secs(10))
            )
        );
        assert!(!policy("fence = 'destroy'\nenabled = 'no'").may_destroy);
        let text = "[evacuation]\nfence = 'destroy'\npaused = '10s'\nsilence = '7s'";
        let settings = read(text).unwrap();
        assert_eq!(
            read(&describe(&settings)).unwrap().evacuation,
            settings.evacuation
        );
    }

    #[test]
    fn what_cannot_be_is_told_with_what_can() {
        for (text, said) in [
            ("enabled = 'maybe'", "it must be \"yes\" or \"no\""),
            ("lead = 'perhaps'", "it must be \"yes\" or \"no\""),
            ("power_off = '2h'", "it must be 0s to 1h, or \"leave\""),
            ("destroyed = 'never'", "or \"leave\""),
            ("fence = 'stonith'", "it must be \"none\" or \"destroy\""),
            ("silence = '1s'", "it must be 5s to 1h"),
            ("paused = '2h'", "it must be 0s to 1h, or \"leave\""),
            ("freeze_share = 101", "it must be 1 to 100"),
            ("grace = '5s'", "there is no such key"),
        ] {
            let error = read(&format!("[evacuation]\n{text}")).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
