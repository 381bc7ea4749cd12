//! On which guests a service's units are to be kept installed without its disk.

use std::collections::{BTreeMap, BTreeSet};

use super::choice::PlaceError;
use super::cluster::{Cluster, ServiceView};
use super::fit::Rejection;
use super::placement::candidates;
use crate::model::ids::{GuestId, HostId, ServiceId};

/// What is to be done about a service's standbys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standbys {
    /// Guests that stay standbys.
    pub keep: Vec<GuestId>,
    /// Guests that become standbys, the best first.
    pub add: Vec<GuestId>,
    /// Guests that stop being standbys.
    pub drop: Vec<GuestId>,
    /// How many the manifest asks for beyond those: no guest is left that would do.
    pub missing: usize,
}

/// Chooses the standbys of `service`: as many as its manifest asks for, on guests that could take it now. Those that it
/// has are kept while they would do, since installing is what a standby saves; new ones are looked for on other hosts
/// than its home and its standbys, then where the fewest standbys are, then where the load is lowest.
///
/// # Errors
/// A service that is not there.
pub fn standbys(cluster: &Cluster, service: &ServiceId) -> Result<Standbys, PlaceError> {
    let view = cluster
        .service(service)
        .ok_or_else(|| PlaceError::NoSuchService(service.clone()))?;
    let wanted = usize::try_from(view.needs.standbys).unwrap_or(usize::MAX);
    let fit: BTreeMap<GuestId, _> = candidates(cluster, service)?.into_iter().collect();
    let mut made = Standbys::default();
    for guest in &view.standbys {
        let list = if fit.contains_key(guest) && made.keep.len() < wanted {
            &mut made.keep
        } else if is_only_away(cluster, view, *guest) && made.keep.len() < wanted {
            // It comes back, and with it what is installed there; meanwhile it counts for nothing.
            continue;
        } else {
            &mut made.drop
        };
        list.push(*guest);
    }
    if made.keep.len() >= wanted {
        return Ok(made);
    }
    let host_of = |guest: GuestId| cluster.guest(guest).map(|guest| guest.host.clone());
    let mut hosts: BTreeSet<HostId> = made
        .keep
        .iter()
        .copied()
        .chain(view.home)
        .filter_map(host_of)
        .collect();
    let mut burden: BTreeMap<GuestId, usize> = BTreeMap::new();
    for guest in cluster.services().iter().flat_map(|service| &service.standbys) {
        *burden.entry(*guest).or_default() += 1;
    }
    let mut free: Vec<_> = fit
        .into_iter()
        .filter(|(guest, _)| !view.standbys.contains(guest))
        .collect();
    while made.keep.len() + made.add.len() < wanted {
        let best = free.iter().enumerate().min_by_key(|(_, (guest, score))| {
            let same_host = host_of(*guest).is_some_and(|host| hosts.contains(&host));
            (same_host, burden.get(guest).copied().unwrap_or(0), *score, *guest)
        });
        let Some(at) = best.map(|(at, _)| at) else { break };
        let (guest, _) = free.swap_remove(at);
        hosts.extend(host_of(guest));
        made.add.push(guest);
    }
    made.missing = wanted.saturating_sub(made.keep.len() + made.add.len());
    Ok(made)
}

/// Whether a guest is a good standby but for being off or in maintenance.
fn is_only_away(cluster: &Cluster, service: &ServiceView, guest: GuestId) -> bool {
    let Some(view) = cluster.guest(guest) else {
        return false;
    };
    let off = |obstacle| matches!(Rejection::Obstacle(obstacle).word(), "not-running" | "no-agent");
    let away = view.maintenance.is_some() || !view.obstacles.is_empty();
    service.home != Some(guest)
        && away
        && view.obstacles.iter().cloned().all(off)
        && service
            .needs
            .labels
            .iter()
            .all(|label| view.labels.contains(label))
        && (service.needs.hosts.is_empty() || service.needs.hosts.contains(&view.host))
}

#[cfg(test)]
mod tests {
    use super::super::cluster::GuestView;
    use super::super::samples::{guest, guest_id, id, needing, service};
    use super::*;
    use crate::model::guest::DomainState;
    use crate::model::needs::Needs;
    use crate::model::obstacle::Obstacle;

    fn web(standbys: u32, now: &[u32]) -> ServiceView {
        let needs = Needs {
            standbys,
            ..Needs::default()
        };
        ServiceView {
            standbys: now.iter().map(|n| guest_id(*n)).collect(),
            ..needing("web", 1, needs)
        }
    }

    fn on(host: &str, guest: GuestView) -> GuestView {
        GuestView {
            host: host.parse().unwrap(),
            ..guest
        }
    }

    fn chosen(guests: Vec<GuestView>, services: Vec<ServiceView>) -> Standbys {
        standbys(&Cluster::of(guests, services), &id("web")).unwrap()
    }

    fn guests(ns: &[u32]) -> Vec<GuestId> {
        ns.iter().map(|n| guest_id(*n)).collect()
    }

    #[test]
    fn other_hosts_come_first_then_the_fewest_standbys_then_the_lowest_load() {
        let all = || {
            vec![
                guest(1, 0),
                guest(2, 0),
                on("hv2", guest(3, 60)),
                on("hv2", guest(4, 50)),
                on("hv3", guest(5, 90)),
            ]
        };
        assert_eq!(chosen(all(), vec![web(3, &[])]).add, guests(&[4, 5, 2]));
        let other = ServiceView {
            standbys: guests(&[4]),
            ..service("other", 2)
        };
        let made = chosen(all(), vec![web(1, &[]), other]);
        assert_eq!((made.add, made.missing), (guests(&[3]), 0));
    }

    #[test]
    fn standbys_that_would_do_are_kept_and_the_rest_is_dropped_or_made_up_for() {
        let mut read_only = guest(3, 0);
        read_only.obstacles = vec![Obstacle::EtcReadOnly];
        let made = chosen(
            vec![guest(1, 0), guest(2, 90), read_only, guest(4, 0)],
            vec![web(2, &[2, 3])],
        );
        let wanted = Standbys {
            keep: guests(&[2]),
            add: guests(&[4]),
            drop: guests(&[3]),
            missing: 0,
        };
        assert_eq!(made, wanted);
        let fewer = chosen(
            vec![guest(1, 0), guest(2, 90), guest(4, 0)],
            vec![web(1, &[2, 4])],
        );
        assert_eq!((fewer.keep, fewer.drop), (guests(&[2]), guests(&[4])));
    }

    #[test]
    fn a_standby_that_is_off_is_made_up_for_and_not_dropped() {
        let mut off = guest(2, 0);
        off.obstacles = vec![Obstacle::NotRunning(DomainState::Shutoff)];
        let made = chosen(vec![guest(1, 0), off, guest(3, 0)], vec![web(1, &[2])]);
        assert_eq!((made.add, made.drop), (guests(&[3]), vec![]));
    }

    #[test]
    fn the_home_is_no_standby_and_what_is_missing_is_told() {
        let made = chosen(vec![guest(1, 0), guest(2, 0)], vec![web(3, &[1])]);
        let wanted = Standbys {
            keep: vec![],
            add: guests(&[2]),
            drop: guests(&[1]),
            missing: 2,
        };
        assert_eq!(made, wanted);
        assert_eq!(chosen(vec![guest(1, 0)], vec![web(0, &[])]), Standbys::default());
    }
}
