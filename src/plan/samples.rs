//! Guests and services for the planner's tests.

use std::collections::{BTreeMap, BTreeSet};

use super::cluster::{Cluster, GuestView, ServiceView};
use super::load::{Load, Share};
use super::placement::{Placements, Question, place};
use super::strategy::Strategy;
use crate::model::ids::{Generation, GuestId, ServiceId};
use crate::model::life::LifeState;
use crate::model::needs::{Needs, Resources};
use crate::model::service::Millis;

pub const MIB: u64 = 1 << 20;
/// When everything was looked at.
pub const NOW: Millis = 1_000_000;

pub fn guest_id(n: u32) -> GuestId {
    GuestId(uuid::Uuid::from_u128(u128::from(n)))
}

pub fn id(text: &str) -> ServiceId {
    text.parse().unwrap()
}

/// Guest `g<n>` on host hv1 with 4 GiB and 4 cores, of which `percent` of the CPU is used.
pub fn guest(n: u32, percent: u32) -> GuestView {
    GuestView {
        id: guest_id(n),
        name: format!("g{n}"),
        host: "hv1".parse().unwrap(),
        capacity: Resources {
            memory: 4096 * MIB,
            cpu: 4000,
        },
        load: Some(Load {
            cpu: Share::percent(percent),
            ..Load::default()
        }),
        labels: BTreeSet::new(),
        obstacles: Vec::new(),
        maintenance: None,
    }
}

/// A service that is accessible on guest `home`.
pub fn service(name: &str, home: u32) -> ServiceView {
    ServiceView {
        id: id(name),
        home: Some(guest_id(home)),
        settling: false,
        going: None,
        generation: Generation(1),
        wanted: LifeState::Accessible,
        observed_at: NOW,
        movable: true,
        frozen: None,
        needs: Needs::default(),
        measured: None,
        standbys: Vec::new(),
        draining: None,
        obstacles: BTreeMap::new(),
        expected: None,
    }
}

/// A service with needs.
pub fn needing(name: &str, home: u32, needs: Needs) -> ServiceView {
    ServiceView {
        needs,
        ..service(name, home)
    }
}

pub fn memory(mib: u64) -> Needs {
    Needs {
        memory: Some(mib * MIB),
        ..Needs::default()
    }
}

/// Places all services of `from`, which is gone.
pub fn leave(cluster: &Cluster, from: u32, strategy: Strategy) -> Placements {
    let services: Vec<ServiceId> = cluster.residents(guest_id(from)).map(|s| s.id.clone()).collect();
    let gone = BTreeSet::from([guest_id(from)]);
    let question = Question {
        services: &services,
        strategy,
        gone: &gone,
    };
    place(cluster, question).unwrap()
}

/// The name of the guest that was chosen.
pub fn target(cluster: &Cluster, placements: &Placements, service: &str) -> Option<String> {
    let choice = placements.chosen[&id(service)].as_ref().ok()?;
    Some(cluster.name_of(choice.guest))
}
