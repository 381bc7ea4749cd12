//! Guests and hosts that an operator works on: drained, and no targets, until a time that must be given.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::ids::{GuestId, HostId};
use crate::model::service::Millis;
use crate::plan::decided::about;

/// The longest maintenance: a forgotten one must not keep a guest empty for ever.
pub const LONGEST: Duration = Duration::from_secs(30 * 86_400);
/// The longest reason, in characters.
const REASON: usize = 200;

/// What is in maintenance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Object {
    /// One guest.
    Guest(GuestId),
    /// A host, and with it all its guests.
    Host(HostId),
}

/// One maintenance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// What is in maintenance.
    pub object: Object,
    /// When it ends by itself.
    pub until: Millis,
    /// Who asked for it.
    pub by: String,
    /// Why; may be empty.
    pub reason: String,
}

/// Why maintenance cannot begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MaintenanceError {
    /// It would end before it began, or never.
    #[error("maintenance lasts 1 min to 30 d; give its length, such as \"2h\"")]
    Length,
    /// The reason is too long to be shown in a line.
    #[error("a reason has at most {REASON} characters and no control character")]
    Reason,
}

/// All of them. Kept in the service table as a list of [`Entry`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Maintenance {
    entries: BTreeMap<Object, Entry>,
}

impl Maintenance {
    /// From what was kept.
    pub fn of(entries: impl IntoIterator<Item = Entry>) -> Self {
        Self {
            entries: entries
                .into_iter()
                .map(|entry| (entry.object.clone(), entry))
                .collect(),
        }
    }

    /// Begins one, or gives one that is under way another end.
    ///
    /// # Errors
    /// A length that is none, and a reason that cannot be shown.
    pub fn begin(
        &mut self,
        now: Millis,
        object: Object,
        length: Duration,
        by: &str,
        reason: &str,
    ) -> Result<&Entry, MaintenanceError> {
        if length < Duration::from_secs(60) || length > LONGEST {
            return Err(MaintenanceError::Length);
        }
        if reason.chars().count() > REASON || reason.chars().any(char::is_control) {
            return Err(MaintenanceError::Reason);
        }
        let length = u64::try_from(length.as_millis()).map_err(|_| MaintenanceError::Length)?;
        let entry = Entry {
            object: object.clone(),
            until: now.saturating_add(length),
            by: by.to_owned(),
            reason: reason.to_owned(),
        };
        Ok(self.entries.entry(object).insert_entry(entry).into_mut())
    }

    /// Ends one before its time; `None`: there was none.
    pub fn end(&mut self, object: &Object) -> Option<Entry> {
        self.entries.remove(object)
    }

    /// Takes out those whose time is over, so that they can be told and forgotten.
    pub fn expired(&mut self, now: Millis) -> Vec<Entry> {
        let over: Vec<Object> = self
            .entries
            .values()
            .filter(|entry| entry.until <= now)
            .map(|entry| entry.object.clone())
            .collect();
        over.iter()
            .filter_map(|object| self.entries.remove(object))
            .collect()
    }

    /// When the next one ends.
    pub fn due(&self) -> Option<Millis> {
        self.entries.values().map(|entry| entry.until).min()
    }

    /// All of them, guests first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Why and how long yet a guest of this host is in maintenance, for people; `None`: it is not. The value for
    /// [`crate::plan::cluster::GuestView::maintenance`].
    pub fn of_guest(&self, now: Millis, guest: GuestId, host: &HostId) -> Option<String> {
        let own = self.entries.get(&Object::Guest(guest));
        let of_host = self.entries.get(&Object::Host(host.clone()));
        let (entry, whose) = [(own, ""), (of_host, "its host ")]
            .into_iter()
            .filter_map(|(entry, whose)| Some((entry.filter(|entry| entry.until > now)?, whose)))
            .max_by_key(|(entry, _)| entry.until)?;
        let left = about(Duration::from_millis(entry.until.saturating_sub(now)));
        let reason = match entry.reason.as_str() {
            "" => String::new(),
            reason => format!(": {reason}"),
        };
        Some(format!("{whose}for another {left}, by {}{reason}", entry.by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn guest(n: u128) -> GuestId {
        GuestId(uuid::Uuid::from_u128(n))
    }

    fn host(name: &str) -> HostId {
        name.parse().unwrap()
    }

    #[test]
    fn a_guest_is_in_maintenance_until_its_time_is_over() {
        let mut all = Maintenance::default();
        all.begin(0, Object::Guest(guest(1)), HOUR, "uid 0", "new kernel")
            .unwrap();
        let told = |now, n| all.of_guest(now, guest(n), &host("hv1"));
        assert_eq!(
            told(600_000, 1).unwrap(),
            "for another 50 min, by uid 0: new kernel"
        );
        assert_eq!(told(600_000, 2), None);
        assert_eq!(told(3_600_000, 1), None);
        assert_eq!(all.due(), Some(3_600_000));
        assert_eq!(all.expired(3_599_999), []);
        assert_eq!(all.expired(3_600_000).len(), 1);
        assert_eq!(all.entries().count(), 0);
    }

    #[test]
    fn a_host_in_maintenance_takes_its_guests_with_it() {
        let mut all = Maintenance::default();
        all.begin(0, Object::Host(host("hv1")), 2 * HOUR, "admin", "")
            .unwrap();
        all.begin(0, Object::Guest(guest(1)), HOUR, "admin", "").unwrap();
        // The longer of the two is told.
        assert_eq!(
            all.of_guest(0, guest(1), &host("hv1")).unwrap(),
            "its host for another 2 h, by admin"
        );
        assert_eq!(
            all.of_guest(0, guest(1), &host("hv2")).unwrap(),
            "for another 60 min, by admin"
        );
        assert!(all.end(&Object::Host(host("hv1"))).is_some());
        assert!(all.end(&Object::Host(host("hv1"))).is_none());
        assert!(all.of_guest(0, guest(2), &host("hv1")).is_none());
    }

    #[test]
    fn maintenance_without_an_end_or_with_an_odd_reason_is_refused() {
        let mut all = Maintenance::default();
        let mut begin = |length, reason: &str| {
            all.begin(0, Object::Guest(guest(1)), length, "admin", reason)
                .map(drop)
        };
        assert_eq!(begin(Duration::ZERO, ""), Err(MaintenanceError::Length));
        assert_eq!(begin(LONGEST + HOUR, ""), Err(MaintenanceError::Length));
        assert_eq!(begin(HOUR, "a\nb"), Err(MaintenanceError::Reason));
        assert_eq!(begin(HOUR, &"x".repeat(201)), Err(MaintenanceError::Reason));
        assert_eq!(begin(LONGEST, &"x".repeat(200)), Ok(()));
    }

    #[test]
    fn what_is_kept_comes_back() {
        let mut all = Maintenance::default();
        all.begin(5, Object::Guest(guest(1)), HOUR, "admin", "x").unwrap();
        all.begin(5, Object::Host(host("hv1")), HOUR, "admin", "y")
            .unwrap();
        let kept = serde_json::to_string(&all.entries().collect::<Vec<_>>()).unwrap();
        let read: Vec<Entry> = serde_json::from_str(&kept).unwrap();
        assert_eq!(Maintenance::of(read), all);
    }
}
