//! Services that must be on one guest are placed as one: their needs added, their conditions joined.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::cluster::Cluster;
use crate::model::ids::{GuestId, HostId, ServiceId};
use crate::model::needs::{Label, Resources};

/// What a guest must have, whatever else is there: groups with the same kind share their candidates.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub demand: Resources,
    pub traits: Traits,
}

/// What a guest must be, whatever its size.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Traits {
    pub labels: BTreeSet<Label>,
    /// `None`: any host. Empty where no host is allowed to all of the group.
    pub hosts: Option<BTreeSet<HostId>>,
}

/// Services that are placed together. Most groups have one member.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// By id.
    pub members: Vec<usize>,
    pub kind: Kind,
    pub weight: Resources,
    pub priority: i32,
    /// Services that must not be where the group is.
    pub apart: BTreeSet<usize>,
    /// Services outside the batch that must be where the group is.
    pub with: BTreeSet<usize>,
    /// Two members that must, and must not, be on one guest.
    pub contradiction: Option<(ServiceId, ServiceId)>,
}

/// The groups of these services, in the order in which they choose: the highest priority first, of those the ones that
/// are bound to a guest, then the largest (small ones fit into what is left), then by id. `gone` guests bind nobody.
pub(super) fn groups(cluster: &Cluster, services: &BTreeSet<usize>, gone: &BTreeSet<GuestId>) -> Vec<Group> {
    let mut roots: BTreeMap<usize, usize> = services.iter().map(|s| (*s, *s)).collect();
    for service in services {
        for other in cluster
            .together(*service)
            .filter(|other| services.contains(other))
        {
            let (a, b) = (root(&mut roots, *service), root(&mut roots, other));
            roots.insert(a.max(b), a.min(b));
        }
    }
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for service in services {
        members
            .entry(root(&mut roots, *service))
            .or_default()
            .push(*service);
    }
    let mut groups: Vec<Group> = members
        .into_values()
        .map(|members| group(cluster, members, gone))
        .collect();
    groups.sort_by_key(|group| {
        let first = group.members.first().copied();
        (
            Reverse(group.priority),
            group.with.is_empty(),
            Reverse(group.kind.demand),
            first,
        )
    });
    groups
}

/// The root of a service's tree; the way to it is made half as long.
fn root(roots: &mut BTreeMap<usize, usize>, mut service: usize) -> usize {
    while let Some(up) = roots.get(&service).copied().filter(|up| *up != service) {
        let above = roots.get(&up).copied().unwrap_or(up);
        roots.insert(service, above);
        service = above;
    }
    service
}

fn group(cluster: &Cluster, members: Vec<usize>, gone: &BTreeSet<GuestId>) -> Group {
    let all = cluster.services();
    let is_lost =
        |other: usize| all[other].home.is_none_or(|home| gone.contains(&home)) && all[other].going.is_none();
    let mut made = Group {
        kind: Kind {
            demand: Resources::NONE,
            traits: Traits {
                labels: BTreeSet::new(),
                hosts: None,
            },
        },
        weight: Resources::NONE,
        priority: i32::MIN,
        apart: BTreeSet::new(),
        with: BTreeSet::new(),
        contradiction: None,
        members,
    };
    for member in &made.members {
        let needs = &all[*member].needs;
        made.kind.demand = made.kind.demand.plus(needs.demand());
        made.weight = made.weight.plus(all[*member].weight());
        made.priority = made.priority.max(needs.priority);
        made.kind.traits.labels.extend(needs.labels.iter().cloned());
        if !needs.hosts.is_empty() {
            let own: BTreeSet<HostId> = needs.hosts.iter().cloned().collect();
            made.kind.traits.hosts = Some(match made.kind.traits.hosts.take() {
                None => own,
                Some(hosts) => hosts.intersection(&own).cloned().collect(),
            });
        }
        made.apart.extend(cluster.apart(*member));
        let outside = cluster
            .together(*member)
            .filter(|other| made.members.binary_search(other).is_err() && !is_lost(*other));
        made.with.extend(outside);
    }
    let inside = |other: &usize| made.members.binary_search(other).is_ok();
    made.contradiction = made.members.iter().find_map(|member| {
        let other = cluster.apart(*member).find(inside)?;
        Some((all[*member].id.clone(), all[other].id.clone()))
    });
    made
}
