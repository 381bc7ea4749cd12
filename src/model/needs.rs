//! What a service asks of the guest that it is placed on (`[placement]` of its manifest).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::{HostId, InvalidId, ServiceId};

const MIB: u64 = 1 << 20;

/// What a service without a declared need is reckoned to use when the load of its target is projected; without it a
/// whole batch would seem to weigh nothing and go to one guest.
pub const ASSUMED: Resources = Resources {
    memory: 64 * MIB,
    cpu: 100,
};

/// Memory and CPU, needed or there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Resources {
    /// Bytes.
    pub memory: u64,
    /// Thousandths of a core.
    pub cpu: u64,
}

impl Resources {
    /// Nothing.
    pub const NONE: Self = Self { memory: 0, cpu: 0 };

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            memory: self.memory.saturating_add(other.memory),
            cpu: self.cpu.saturating_add(other.cpu),
        }
    }

    /// What is left of it; nothing where `other` is more.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            memory: self.memory.saturating_sub(other.memory),
            cpu: self.cpu.saturating_sub(other.cpu),
        }
    }

    /// Whether `other` fits in it.
    pub fn covers(self, other: Self) -> bool {
        self.memory >= other.memory && self.cpu >= other.cpu
    }
}

/// A property of a guest that a service may ask for: `ssd`, or `zone=a`.
///
/// 1–63 of `A-Z a-z 0-9 . - _`, with at most one `=` that is neither first nor last.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(String);

impl Label {
    /// The label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let err = |reason| Err(InvalidId::new("label", text, reason));
        if text.is_empty() || text.len() > 63 {
            return err("it must have 1 to 63 characters");
        }
        if !text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-=".contains(&b))
        {
            return err("only letters, digits, '.', '-', '_' and one '=' may stand in it");
        }
        if text.matches('=').count() > 1 || text.starts_with('=') || text.ends_with('=') {
            return err("it is a word, or key=value");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Label {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0
    }
}

/// What a service asks of a guest. Parsed by [`crate::bundle::manifest_toml`]; the default asks nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Needs {
    /// Memory in bytes; `None`: not declared.
    pub memory: Option<u64>,
    /// CPU in thousandths of a core; `None`: not declared.
    pub cpu: Option<u64>,
    /// Labels that a guest must have, every one of them.
    pub labels: Vec<Label>,
    /// Hosts whose guests it may be on; empty: any.
    pub hosts: Vec<HostId>,
    /// Services that must be on the same guest. Holds both ways: naming it in one of two manifests is enough.
    pub affinity: Vec<ServiceId>,
    /// Services that must not be on the same guest. Holds both ways.
    pub anti_affinity: Vec<ServiceId>,
    /// Higher ones are placed and moved first.
    pub priority: i32,
    /// Services of the same batch that must have ended before it begins.
    pub after: Vec<ServiceId>,
    /// How many further guests have its units without its disk.
    pub standbys: u32,
}

impl Needs {
    /// What must be free on a guest: the declared needs.
    pub fn demand(&self) -> Resources {
        Resources {
            memory: self.memory.unwrap_or(0),
            cpu: self.cpu.unwrap_or(0),
        }
    }

    /// What it is reckoned to add to a guest's load: the declared needs, and [`ASSUMED`] for what is not declared.
    pub fn weight(&self) -> Resources {
        Resources {
            memory: self.memory.unwrap_or(ASSUMED.memory),
            cpu: self.cpu.unwrap_or(ASSUMED.cpu),
        }
    }
}

/// Memory for people: whole MiB, or GiB with one digit behind the point; rounded down.
pub fn show_memory(bytes: u64) -> String {
    let mib = bytes / MIB;
    if mib >= 1024 {
        let tenths = mib % 1024 * 10 / 1024;
        match tenths {
            0 => format!("{} GiB", mib / 1024),
            _ => format!("{}.{tenths} GiB", mib / 1024),
        }
    } else {
        format!("{mib} MiB")
    }
}

/// CPU for people: `0.5 cores`.
pub fn show_cpu(thousandths: u64) -> String {
    let (whole, rest) = (thousandths / 1000, thousandths % 1000);
    let number = if rest == 0 {
        whole.to_string()
    } else {
        format!("{whole}.{rest:03}").trim_end_matches('0').to_owned()
    };
    let plural = if number == "1" { "" } else { "s" };
    format!("{number} core{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_word_or_a_key_with_a_value() {
        for good in ["ssd", "zone=a", "a.b-c_d", "K=V"] {
            assert_eq!(good.parse::<Label>().unwrap().as_str(), good);
        }
        for bad in ["", "=", "a=", "=a", "a=b=c", "a b", "ä", "a,b", &"x".repeat(64)] {
            assert!(bad.parse::<Label>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn amounts_are_told_in_the_units_that_people_use() {
        for (bytes, told) in [
            (0, "0 MiB"),
            (64 * MIB, "64 MiB"),
            (1 << 30, "1 GiB"),
            (1536 * MIB, "1.5 GiB"),
        ] {
            assert_eq!(show_memory(bytes), told);
        }
        for (cpu, told) in [
            (0, "0 cores"),
            (500, "0.5 cores"),
            (1000, "1 core"),
            (1250, "1.25 cores"),
        ] {
            assert_eq!(show_cpu(cpu), told);
        }
    }

    #[test]
    fn needs_that_were_stored_before_there_were_any_are_none() {
        assert_eq!(serde_json::from_str::<Needs>("{}").unwrap(), Needs::default());
    }

    #[test]
    fn what_is_not_declared_demands_nothing_but_weighs_something() {
        let needs = Needs {
            memory: Some(MIB),
            ..Needs::default()
        };
        assert_eq!(needs.demand(), Resources { memory: MIB, cpu: 0 });
        assert_eq!(
            needs.weight(),
            Resources {
                memory: MIB,
                cpu: ASSUMED.cpu
            }
        );
    }
}
