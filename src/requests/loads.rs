//! How much guests can bear, and how much they carry.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::model::guest::GuestSummary;
use crate::model::ids::GuestId;
use crate::model::needs::Resources;
use crate::plan::load::Load;

/// What is known of one guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// What it has.
    pub capacity: Resources,
    /// Its smoothed load; `None`: not known.
    pub load: Option<Load>,
}

/// Tells how loaded guests are.
#[async_trait]
pub trait Loads: Send + Sync {
    /// What is known of each of these guests now.
    async fn of(&self, guests: &[GuestSummary]) -> BTreeMap<GuestId, Measured>;

    /// How that is known, for people; empty where it is measured.
    fn how(&self) -> &'static str;
}

/// Nothing is measured: guests are told apart by what the services there need, and no need is too large for one.
pub struct NotMeasured;

impl NotMeasured {
    /// Large enough for every guest, and so small that one service more shows in the score.
    const CAPACITY: Resources = Resources {
        memory: 1 << 40,
        cpu: 1_000_000,
    };
}

#[async_trait]
impl Loads for NotMeasured {
    async fn of(&self, guests: &[GuestSummary]) -> BTreeMap<GuestId, Measured> {
        let measured = Measured {
            capacity: Self::CAPACITY,
            load: None,
        };
        guests.iter().map(|guest| (guest.id, measured)).collect()
    }

    fn how(&self) -> &'static str {
        "not measured yet: guests are compared by the services that they have, whatever their size"
    }
}
