//! `[guests.NAME]`: what is said of single guests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use super::section::Section;
use crate::model::guest::GuestSummary;
use crate::model::needs::Label;

/// Labels of guests, by libvirt's name or by UUID.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GuestLabels(BTreeMap<String, BTreeSet<Label>>);

impl GuestLabels {
    /// Every label of a guest: those of its metadata, and those that are configured for its name or its UUID.
    pub fn of(&self, guest: &GuestSummary) -> BTreeSet<Label> {
        let configured = [guest.name.clone(), guest.id.to_string()];
        let configured = configured.iter().filter_map(|key| self.0.get(key)).flatten();
        guest.labels.iter().chain(configured).cloned().collect()
    }
}

pub(super) fn guests(rows: Vec<(String, Section<'_>)>) -> GuestLabels {
    let mut all = BTreeMap::new();
    for (name, mut section) in rows {
        let labels = section.list::<Label>("labels");
        section.finish();
        if let Some(labels) = labels {
            all.insert(name, labels.value.into_iter().collect());
        }
    }
    GuestLabels(all)
}

pub(super) fn write(out: &mut String, guests: &GuestLabels) -> fmt::Result {
    for (name, labels) in &guests.0 {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        let labels: Vec<String> = labels.iter().map(|label| quoted(label.as_str())).collect();
        let bare = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        let name = if !name.is_empty() && name.bytes().all(bare) {
            name.clone()
        } else {
            quoted(name)
        };
        writeln!(out, "\n[guests.{name}]\nlabels = [{}]", labels.join(", "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::reading::Surroundings;
    use crate::config::{ConfigError, Fragment, Settings, describe, settings};
    use crate::model::guest::DomainState;

    /// A machine on which nothing is read but its name.
    struct Named;

    impl Surroundings for Named {
        fn host_name(&self) -> Result<String, String> {
            Ok("hv1".to_owned())
        }

        fn key_file(&self, path: &std::path::Path) -> Result<String, String> {
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
        settings(&[fragment], &Named)
    }

    const UUID: &str = "6f1d5a2e-0000-4000-8000-000000000001";

    #[test]
    fn a_guest_has_the_labels_of_its_metadata_its_name_and_its_uuid() {
        let text = format!(
            "[guests.g1]\nlabels = ['ssd', 'zone=a']\n[guests.\"{UUID}\"]\nlabels = ['role=db']\n[guests.'g 2']\nlabels = ['hdd']"
        );
        let made = read(&text).unwrap();
        let guest = |name: &str, labels: &[&str]| GuestSummary {
            id: UUID.parse().unwrap(),
            name: name.to_owned(),
            host: "hv1".parse().unwrap(),
            state: DomainState::Running,
            agent_connected: true,
            persistent: true,
            managed_save: false,
            controller: None,
            labels: labels.iter().map(|label| label.parse().unwrap()).collect(),
        };
        let told = |guest: &GuestSummary| {
            let labels = made.guests.of(guest);
            labels.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            told(&guest("g1", &["gpu", "ssd"])),
            ["gpu", "role=db", "ssd", "zone=a"]
        );
        assert_eq!(told(&guest("g 2", &[])), ["hdd", "role=db"]);
        assert_eq!(told(&guest("g3", &[])), ["role=db"]);
        assert_eq!(read(&describe(&made)).unwrap(), made);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, said) in [
            (
                "[guests.g1]\nlabel = ['ssd']",
                ":2: guests.g1.label: there is no such key",
            ),
            ("[guests.g1]\nlabels = ['a b']", ":2: guests.g1.labels: \"a b\""),
            ("[guests.g1]\nlabels = 'ssd'", "it must be a list of texts"),
            (
                "[guests]\ng1 = 'ssd'",
                ":2: guests.g1: it must be a table: [guests.g1]",
            ),
            ("guests = 'ssd'", "it must be a table: [guests]"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
