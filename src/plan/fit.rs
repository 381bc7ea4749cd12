//! Why a guest does not take a service, for people and for programs.

use std::collections::BTreeSet;
use std::fmt;

use super::load::Share;
use crate::model::ids::{GuestId, HostId, ServiceId};
use crate::model::needs::{Label, Needs, show_cpu, show_memory};
use crate::model::obstacle::Obstacle;

/// One reason why a guest was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// It is the guest that dies or died.
    Gone,
    /// The service is there already.
    Home,
    /// It, or its host, is in maintenance: how long yet, and why.
    Maintenance(String),
    /// Something is in the way there.
    Obstacle(Obstacle),
    /// The service may be on other hosts only.
    Host {
        /// The guest's host.
        host: HostId,
        /// The hosts that its manifest allows; none where the services that must be together allow no common one.
        allowed: Vec<HostId>,
    },
    /// It lacks labels that the service asks for.
    Labels(Vec<Label>),
    /// A service is there, or on its way there, with which this one must not be.
    Apart(ServiceId),
    /// A service with which this one must be is on another guest.
    Together {
        /// That service.
        service: ServiceId,
        /// Where it is.
        guest: String,
    },
    /// Too little memory is free.
    Memory {
        /// Bytes that it needs, together with those that must be with it.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// Too little CPU is free.
    Cpu {
        /// Thousandths of a core that it needs, together with those that must be with it.
        needed: u64,
        /// Thousandths that are free.
        free: u64,
    },
    /// It would do, and another was preferred.
    Outdone(Share),
    /// It would do, and another was named.
    NotNamed,
}

impl Rejection {
    /// A stable word for programs, such as `maintenance`; that of an obstacle is its own.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Home => "home",
            Self::Maintenance(_) => "maintenance",
            Self::Obstacle(obstacle) => obstacle.word(),
            Self::Host { .. } => "host",
            Self::Labels(_) => "labels",
            Self::Apart(_) => "anti-affinity",
            Self::Together { .. } => "affinity",
            Self::Memory { .. } => "memory",
            Self::Cpu { .. } => "cpu",
            Self::Outdone(_) => "outdone",
            Self::NotNamed => "not-named",
        }
    }

    /// Whether the guest would have taken the service.
    pub fn would_do(&self) -> bool {
        matches!(self, Self::Outdone(_) | Self::NotNamed)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("it is the guest that is lost"),
            Self::Home => f.write_str("the service is there already"),
            Self::Maintenance(why) => write!(f, "it is in maintenance ({why})"),
            Self::Obstacle(obstacle) => obstacle.fmt(f),
            Self::Host { host, allowed } if allowed.is_empty() => write!(
                f,
                "it is on host {host}, and the services that must be together have no allowed host in common"
            ),
            Self::Host { host, allowed } => {
                write!(
                    f,
                    "it is on host {host}; the service may be on {} only",
                    list(allowed)
                )
            }
            Self::Labels(labels) => write!(f, "it lacks the label {}", list(labels)),
            Self::Apart(service) => write!(f, "{service} is there, and the two must not be on one guest"),
            Self::Together { service, guest } => {
                write!(f, "it must be on the guest of {service}, which is {guest}")
            }
            Self::Memory { needed, free } => write!(
                f,
                "{} of memory are needed, and {} are free",
                show_memory(*needed),
                show_memory(*free)
            ),
            Self::Cpu { needed, free } => {
                write!(
                    f,
                    "{} are needed, and {} are free",
                    show_cpu(*needed),
                    show_cpu(*free)
                )
            }
            Self::Outdone(score) => write!(f, "it would do; its load would be {score}"),
            Self::NotNamed => f.write_str("it would do, but another guest was named"),
        }
    }
}

/// What a service's manifest says against a guest, whatever is there.
pub fn of_guest(labels: &BTreeSet<Label>, host: &HostId, needs: &Needs) -> Vec<Rejection> {
    let allowed = needs.hosts.is_empty() || needs.hosts.contains(host);
    let host = (!allowed).then(|| Rejection::Host {
        host: host.clone(),
        allowed: needs.hosts.clone(),
    });
    let lacking = needs.labels.iter().filter(|label| !labels.contains(*label));
    let lacking: Vec<Label> = lacking.cloned().collect();
    let labels = (!lacking.is_empty()).then_some(Rejection::Labels(lacking));
    host.into_iter().chain(labels).collect()
}

/// `a, b and c`.
pub(super) fn list<T: fmt::Display>(items: &[T]) -> String {
    match items {
        [] => String::new(),
        [one] => one.to_string(),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(ToString::to_string).collect();
            format!("{} and {last}", first.join(", "))
        }
    }
}

/// A guest that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The guest.
    pub guest: GuestId,
    /// Its name.
    pub name: String,
    /// Every reason.
    pub why: Vec<Rejection>,
}

/// Guests that were not taken for the same reasons, for people: in a large cluster they are many, and the reasons few.
/// The most frequent reasons come first; each line names at most `names` guests.
pub fn summary(rejected: &[Rejected], names: usize) -> Vec<String> {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    let mut of = std::collections::BTreeMap::new();
    for guest in rejected {
        let why: Vec<String> = guest.why.iter().map(ToString::to_string).collect();
        let why = why.join("; ");
        let at = *of.entry(why.clone()).or_insert_with(|| {
            groups.push((why, Vec::new()));
            groups.len() - 1
        });
        groups[at].1.push(&guest.name);
    }
    groups.sort_by_key(|(_, guests)| std::cmp::Reverse(guests.len()));
    let line = |(why, guests): &(String, Vec<&str>)| {
        let shown = guests
            .get(..names.min(guests.len()))
            .unwrap_or_default()
            .join(", ");
        match guests.len().saturating_sub(names) {
            0 => format!("{shown}: {why}"),
            more => format!("{shown} and {more} more: {why}"),
        }
    };
    groups.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(name: &str, why: Rejection) -> Rejected {
        Rejected {
            guest: "6f1d5a2e-0000-4000-8000-000000000001".parse().unwrap(),
            name: name.into(),
            why: vec![why],
        }
    }

    #[test]
    fn guests_with_the_same_reasons_are_told_in_one_line() {
        let label = || Rejection::Labels(vec!["ssd".parse().unwrap()]);
        let all = [
            rejected("g1", Rejection::Gone),
            rejected("g2", label()),
            rejected("g3", label()),
            rejected("g4", label()),
        ];
        assert_eq!(
            summary(&all, 2),
            [
                "g2, g3 and 1 more: it lacks the label ssd",
                "g1: it is the guest that is lost"
            ]
        );
    }

    #[test]
    fn every_reason_says_what_is_missing() {
        let host = |text: &str| text.parse().unwrap();
        for (why, told) in [
            (
                Rejection::Memory {
                    needed: 3 << 30,
                    free: 512 << 20,
                },
                "3 GiB of memory are needed, and 512 MiB are free",
            ),
            (
                Rejection::Cpu {
                    needed: 1500,
                    free: 0,
                },
                "1.5 cores are needed, and 0 cores are free",
            ),
            (
                Rejection::Host {
                    host: host("hv3"),
                    allowed: vec![host("hv1"), host("hv2")],
                },
                "it is on host hv3; the service may be on hv1 and hv2 only",
            ),
            (
                Rejection::Together {
                    service: "cache".parse().unwrap(),
                    guest: "g7".into(),
                },
                "it must be on the guest of cache, which is g7",
            ),
            (
                Rejection::Apart("web2".parse().unwrap()),
                "web2 is there, and the two must not be on one guest",
            ),
            (
                Rejection::Maintenance("for another 20 min: kernel".into()),
                "it is in maintenance (for another 20 min: kernel)",
            ),
        ] {
            assert_eq!(why.to_string(), told);
        }
    }
}
