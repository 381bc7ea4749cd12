//! What would become of the services if a guest died: the planner, asked without anything happening.

use std::collections::BTreeSet;
use std::fmt;

use super::choice::NoHome;
use super::cluster::{Cluster, GuestView};
use super::decided::{Circles, Plan, PlanError, Terms};
use super::placement::{Placements, Question, place};
use super::strategy::Strategy;
use crate::model::ids::{GuestId, ServiceId};
use crate::model::service::Millis;

/// The plan of the evacuation if `guest` died now. Where `after` leads in a circle, the circle is opened.
///
/// # Errors
/// A named target that is not there.
pub fn dies(
    cluster: &Cluster,
    guest: GuestId,
    strategy: Strategy,
    terms: Terms,
    now: Millis,
) -> Result<Plan, PlanError> {
    let services = residents(cluster, guest);
    let question = Question {
        services: &services,
        strategy,
        gone: &BTreeSet::from([guest]),
    };
    let terms = Terms {
        circles: Circles::Open,
        ..terms
    };
    Plan::of(cluster, question, terms, now)
}

fn residents(cluster: &Cluster, guest: GuestId) -> Vec<ServiceId> {
    cluster
        .residents(guest)
        .map(|service| service.id.clone())
        .collect()
}

/// What becomes of the services of one guest if it dies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survival {
    /// The guest.
    pub guest: GuestId,
    /// Its name.
    pub name: String,
    /// How many services it has.
    pub services: usize,
    /// Those that would have no home, with why.
    pub homeless: Vec<(ServiceId, NoHome)>,
}

impl fmt::Display for Survival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, all) = (&self.name, self.services);
        let of_all = if all == 1 {
            "1 service".to_owned()
        } else {
            format!("{all} services")
        };
        match self.homeless.len() {
            0 if all == 1 => write!(f, "if {name} dies, its service has a home"),
            0 => write!(f, "if {name} dies, all {of_all} have a home"),
            lost => {
                let ids: Vec<&str> = self.homeless.iter().map(|(id, _)| id.as_str()).collect();
                let have = if lost == 1 { "has" } else { "have" };
                write!(
                    f,
                    "if {name} dies, {lost} of {of_all} {have} no home: {}",
                    ids.join(", ")
                )
            }
        }
    }
}

/// What becomes of a guest's services if it dies, alone; `None`: it has none. Costs a placement. A service that is on its way to
/// another guest has a home there.
pub fn one_death(cluster: &Cluster, guest: &GuestView, strategy: Strategy) -> Option<Survival> {
    leave(cluster, guest.id, &BTreeSet::new(), strategy)
}

/// The same where these other guests are lost as well; `None`: the guest has no services, or is not there.
pub fn leave(
    cluster: &Cluster,
    guest: GuestId,
    others: &BTreeSet<GuestId>,
    strategy: Strategy,
) -> Option<Survival> {
    let view = cluster.guests().iter().find(|view| view.id == guest)?;
    let services = residents(cluster, guest);
    let mut gone = others.clone();
    gone.insert(guest);
    let question = Question {
        services: &services,
        strategy,
        gone: &gone,
    };
    let placements = (!services.is_empty()).then(|| place(cluster, question))?.ok()?;
    Some(Survival {
        guest,
        name: view.name.clone(),
        services: services.len(),
        homeless: homeless(placements),
    })
}

/// Puts those first that leave most services without a home.
pub fn worst_first(all: &mut [Survival]) {
    all.sort_by_key(|survival| std::cmp::Reverse(survival.homeless.len()));
}

/// Of what is known `now`, what leaves a service without a home that had one `before`.
pub fn worse<'n>(before: &[Survival], now: &'n [Survival]) -> Vec<&'n Survival> {
    let was = |guest: GuestId, service: &ServiceId| {
        let known = before.iter().find(|survival| survival.guest == guest);
        known.is_some_and(|survival| survival.homeless.iter().any(|(id, _)| id == service))
    };
    now.iter()
        .filter(|survival| survival.homeless.iter().any(|(id, _)| !was(survival.guest, id)))
        .collect()
}

fn homeless(placements: Placements) -> Vec<(ServiceId, NoHome)> {
    let lost = placements
        .chosen
        .into_iter()
        .filter_map(|(id, choice)| Some((id, choice.err()?)));
    lost.filter(|(_, why)| !matches!(why, NoHome::Busy(_))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{NOW, guest, guest_id, id, memory, needing, service};
    use super::*;
    use crate::model::needs::Needs;

    fn every_death(cluster: &Cluster, strategy: Strategy) -> Vec<Survival> {
        let guests = cluster.guests().iter();
        let mut all: Vec<Survival> = guests
            .filter_map(|guest| one_death(cluster, guest, strategy))
            .collect();
        worst_first(&mut all);
        all
    }

    #[test]
    fn the_plan_of_a_death_is_that_of_the_evacuation() {
        let cluster = Cluster::of(
            vec![guest(1, 10), guest(2, 20), guest(3, 30)],
            vec![service("web", 1), service("db", 2)],
        );
        let plan = dies(&cluster, guest_id(1), Strategy::Spread, Terms::default(), NOW).unwrap();
        assert_eq!(plan.entries.len(), 1);
        assert_eq!(plan.entries[0].choice.as_ref().unwrap().guest, guest_id(2));
        let unknown = dies(&cluster, guest_id(9), Strategy::Spread, Terms::default(), NOW).unwrap();
        assert!(unknown.entries.is_empty());
    }

    #[test]
    fn a_circle_does_not_keep_the_services_of_a_dead_guest() {
        let after = |name: &str| Needs {
            after: vec![id(name)],
            ..Needs::default()
        };
        let services = vec![needing("a", 1, after("b")), needing("b", 1, after("a"))];
        let cluster = Cluster::of(vec![guest(1, 0), guest(2, 0)], services);
        let plan = dies(&cluster, guest_id(1), Strategy::Spread, Terms::default(), NOW).unwrap();
        assert!(plan.homeless().next().is_none() && plan.notes.len() == 1);
    }

    #[test]
    fn every_guest_with_services_is_asked_about_and_the_worst_comes_first() {
        let mut bound = service("bound", 2);
        bound.movable = false;
        let mut going = service("going", 1);
        going.going = Some(guest_id(2));
        let services = vec![
            needing("a", 3, memory(3000)),
            needing("b", 3, memory(3000)),
            needing("c", 3, memory(3000)),
            needing("small", 1, memory(100)),
            going,
            bound,
        ];
        let mut roomy = guest(3, 0);
        roomy.capacity.memory *= 4;
        let cluster = Cluster::of(vec![guest(1, 0), guest(2, 0), roomy, guest(4, 0)], services);
        let told: Vec<String> = every_death(&cluster, Strategy::LeastLoaded)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            told,
            [
                "if g2 dies, 1 of 1 service has no home: bound",
                "if g1 dies, all 2 services have a home",
                "if g3 dies, all 3 services have a home"
            ]
        );
        let mut guests = cluster.guests().to_vec();
        guests.truncate(3);
        let smaller = Cluster::of(guests, cluster.services().to_vec());
        let all = every_death(&smaller, Strategy::LeastLoaded);
        let worst = all.iter().find(|survival| survival.name == "g3").unwrap();
        assert_eq!(worst.to_string(), "if g3 dies, 1 of 3 services has no home: c");
        assert_eq!(worst.homeless[0].1, NoHome::NoneFits);
    }

    #[test]
    fn worse_is_only_what_leaves_a_service_without_a_home_that_had_one() {
        let lost = |guest: u8, services: &[&str]| Survival {
            guest: guest_id(guest.into()),
            name: format!("g{guest}"),
            services: 9,
            homeless: services
                .iter()
                .map(|service| (id(service), NoHome::NoneFits))
                .collect(),
        };
        let names = |before: &[Survival], now: &[Survival]| -> Vec<String> {
            worse(before, now)
                .iter()
                .map(|survival| survival.name.clone())
                .collect()
        };
        let before = [lost(1, &["a", "b"]), lost(2, &["c"])];
        assert_eq!(names(&[], &before), ["g1", "g2"]);
        assert!(names(&before, &before).is_empty());
        assert!(
            names(&before, &[lost(1, &["a"]), lost(3, &[])]).is_empty(),
            "it became better"
        );
        assert_eq!(names(&before, &[lost(1, &["a"]), lost(2, &["c", "d"])]), ["g2"]);
        assert_eq!(
            names(&before, &[lost(1, &["b", "c"])]),
            ["g1"],
            "another service, although as many"
        );
    }
}
