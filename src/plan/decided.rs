//! A plan: decided, told, and not begun.
//!
//! It is made from a [`Cluster`] and applied later, perhaps by somebody else. Then the world may have changed: a plan keeps
//! in words what it has relied on of each service and guest, and [`Plan::changes`] compares that with how things are. The
//! [`Fingerprint`] over these words is the plan's generation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::batch::{Batch, BatchError, Limits, Task};
use super::choice::{Choice, NoHome, PlaceError};
use super::cluster::{Cluster, GuestView, ServiceView};
use super::fit::{Rejected, Rejection};
use super::placement::{Placements, Question, place};
use super::strategy::Strategy;
use crate::model::ids::{GuestId, ServiceId};
use crate::model::life::LifeState;
use crate::model::needs::Resources;
use crate::model::service::Millis;

/// What a plan is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How many handovers run side by side.
    pub limits: Limits,
    /// A life state that was last seen longer ago than this is said to be old.
    pub freshness: Duration,
    /// How long a service takes of which nothing is known yet.
    pub expected: Duration,
    /// What happens where `after` leads in a circle.
    pub circles: Circles,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            freshness: Duration::from_secs(120),
            expected: Duration::from_secs(10),
            circles: Circles::Refuse,
        }
    }
}

/// What happens where `after` leads in a circle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circles {
    /// The plan is refused: somebody who asks for it can mend the manifests.
    Refuse,
    /// One `after` of each circle is passed over, and the plan says so: a dead guest's services cannot wait for that.
    Open,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The question is about something that is not there.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// There is no order.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

/// The sha256 over what a plan relies on, cut to 64 bits: two plans with the same one rely on the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One service of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The service.
    pub service: ServiceId,
    /// Where it is; `None`: not deployed yet.
    pub source: Option<GuestId>,
    /// Where it goes and why, or why nowhere.
    pub choice: Result<Choice, NoHome>,
    /// Its wanted life state, which it will have there too.
    pub wanted: LifeState,
    /// How old its life state is, if that is more than the limit.
    pub stale: Option<Duration>,
    /// How long its handover is expected to take.
    pub expected: Duration,
}

impl Entry {
    /// What is to be said about it in a line: why this target, or why none, and what is not certain.
    pub fn told(&self) -> String {
        let why = match &self.choice {
            Ok(choice) => choice.to_string(),
            Err(why) => why.to_string(),
        };
        match self.stale {
            None => why,
            Some(age) => format!(
                "{why}; it was last seen {} {} ago and may be something else by now",
                self.wanted,
                about(age)
            ),
        }
    }
}

/// What a plan relies on: a service or a guest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Object {
    Service(ServiceId),
    Guest(GuestId),
}

/// Something that is not as it was when the plan was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `service web` or `guest g2`.
    pub object: String,
    /// How it was.
    pub was: String,
    /// How it is now.
    pub is: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was {}, and is now {}", self.object, self.was, self.is)
    }
}

/// A batch decided but not begun.
#[derive(Debug, Clone)]
pub struct Plan {
    /// In the order in which they begin; those without a target last.
    pub entries: Vec<Entry>,
    /// How long the whole is expected to take, with the limits that it was made with.
    pub expected: Duration,
    /// Changes with everything that the plan relies on.
    pub fingerprint: Fingerprint,
    /// How the guests were chosen, with its seed.
    pub strategy: Strategy,
    /// When it was made.
    pub made_at: Millis,
    /// What an operator should know of the whole, such as an `after` that was passed over.
    pub notes: Vec<String>,
    placements: Placements,
    relied_on: BTreeMap<Object, String>,
    demands: BTreeMap<GuestId, Resources>,
    tasks: Vec<Task>,
}

impl Plan {
    /// Decides.
    ///
    /// # Errors
    /// What is asked about is not there, or `after` leads in a circle and [`Circles::Refuse`] is asked for. That a service
    /// has no home is part of the plan.
    pub fn of(
        cluster: &Cluster,
        question: Question<'_>,
        terms: Terms,
        now: Millis,
    ) -> Result<Self, PlanError> {
        let placements = place(cluster, question)?;
        let services = || {
            placements
                .chosen
                .iter()
                .filter_map(|(id, choice)| Some((cluster.service(id)?, choice)))
        };
        let mut notes = Vec::new();
        let tasks =
            services().filter_map(|(service, choice)| task(cluster, service, choice.as_ref().ok()?, terms));
        let (batch, tasks) = ordered(tasks.collect(), terms, &mut notes)?;
        let mut entries: Vec<Entry> = services()
            .map(|(service, choice)| entry(service, choice, terms, now))
            .collect();
        let order: BTreeMap<&ServiceId, usize> = batch
            .progress()
            .enumerate()
            .map(|(at, (task, _))| (&task.service, at))
            .collect();
        entries.sort_by_key(|entry| order.get(&entry.service).copied().unwrap_or(usize::MAX));
        let relied_on = relied_on(cluster, &entries);
        let mut demands: BTreeMap<GuestId, Resources> = BTreeMap::new();
        for (service, choice) in services() {
            if let Ok(choice) = choice {
                let sum = demands.entry(choice.guest).or_default();
                *sum = sum.plus(service.needs.demand());
            }
        }
        let expected = batch.expected();
        Ok(Self {
            entries,
            expected,
            fingerprint: fingerprint(&relied_on),
            strategy: question.strategy,
            made_at: now,
            notes,
            placements,
            relied_on,
            demands,
            tasks,
        })
    }

    /// Why `service` was not given each of the other guests; see [`Placements::explain`].
    pub fn rejected(&self, cluster: &Cluster, service: &ServiceId) -> Vec<Rejected> {
        self.placements.explain(cluster, service)
    }

    /// The services that have no target.
    pub fn homeless(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.choice.is_err())
    }

    /// What is not as it was when the plan was made, and targets that have no room any more. Empty: it may be applied.
    /// Loads may change; the guests that were not chosen may as well.
    pub fn changes(&self, cluster: &Cluster) -> Vec<Change> {
        let now = relied_on(cluster, &self.entries);
        let differ = self.relied_on.iter().filter_map(|(object, was)| {
            let is = now.get(object).map_or("gone", String::as_str);
            (is != was).then(|| Change {
                object: match object {
                    Object::Service(id) => format!("service {id}"),
                    Object::Guest(id) => format!("guest {}", cluster.name_of(*id)),
                },
                was: was.clone(),
                is: is.to_owned(),
            })
        });
        let full = self.demands.iter().filter_map(|(guest, demand)| {
            let free = cluster.free(cluster.guest_index(*guest)?);
            let lack = if free.memory < demand.memory {
                Rejection::Memory {
                    needed: demand.memory,
                    free: free.memory,
                }
            } else if free.cpu < demand.cpu {
                Rejection::Cpu {
                    needed: demand.cpu,
                    free: free.cpu,
                }
            } else {
                return None;
            };
            Some(Change {
                object: format!("guest {}", cluster.name_of(*guest)),
                was: "large enough".to_owned(),
                is: format!("too full: {lack}"),
            })
        });
        differ.chain(full).collect()
    }

    /// The batch that carries the plan out; services without a target are left out.
    ///
    /// # Errors
    /// None that [`Plan::of`] has not told already.
    pub fn batch(&self, limits: Limits) -> Result<Batch, BatchError> {
        Batch::of(self.tasks.clone(), limits)
    }
}

fn task(cluster: &Cluster, service: &ServiceView, choice: &Choice, terms: Terms) -> Option<Task> {
    Some(Task {
        service: service.id.clone(),
        target: choice.guest,
        host: cluster.guest(choice.guest)?.host.clone(),
        runs: service.wanted.wants_running(),
        priority: service.needs.priority,
        after: service.needs.after.clone(),
        expected: service.expected.unwrap_or(terms.expected),
    })
}

fn entry(service: &ServiceView, choice: &Result<Choice, NoHome>, terms: Terms, now: Millis) -> Entry {
    let age = Duration::from_millis(now.saturating_sub(service.observed_at));
    Entry {
        service: service.id.clone(),
        source: service.home,
        choice: choice.clone(),
        wanted: service.wanted,
        stale: (age > terms.freshness).then_some(age),
        expected: service.expected.unwrap_or(terms.expected),
    }
}

/// The batch of these tasks, circles opened if the terms say so.
fn ordered(
    mut tasks: Vec<Task>,
    terms: Terms,
    notes: &mut Vec<String>,
) -> Result<(Batch, Vec<Task>), BatchError> {
    loop {
        let circle = match Batch::of(tasks.clone(), terms.limits) {
            Ok(batch) => return Ok((batch, tasks)),
            Err(BatchError::Cycle(circle)) if terms.circles == Circles::Open => circle,
            Err(error) => return Err(error),
        };
        // Each round takes one `after` away, so this ends.
        let first = circle.first();
        let next = circle.get(1).or(first);
        for task in tasks.iter_mut().filter(|task| Some(&task.service) == first) {
            task.after.retain(|after| Some(after) != next);
        }
        notes.push(format!(
            "{}; the first of these was passed over",
            BatchError::Cycle(circle)
        ));
    }
}

/// In words: every service of the plan, their sources and their targets.
fn relied_on(cluster: &Cluster, entries: &[Entry]) -> BTreeMap<Object, String> {
    let guests: BTreeSet<GuestId> = entries
        .iter()
        .flat_map(|entry| {
            [
                entry.source,
                entry.choice.as_ref().ok().map(|choice| choice.guest),
            ]
        })
        .flatten()
        .collect();
    let guests = guests
        .into_iter()
        .filter_map(|id| Some((Object::Guest(id), guest_in_words(cluster.guest(id)?))));
    let services = entries.iter().filter_map(|entry| {
        let service = cluster.service(&entry.service)?;
        Some((
            Object::Service(entry.service.clone()),
            service_in_words(cluster, service),
        ))
    });
    services.chain(guests).collect()
}

fn service_in_words(cluster: &Cluster, service: &ServiceView) -> String {
    let home = service.home.map_or_else(
        || "not deployed".to_owned(),
        |home| {
            format!(
                "on {}, generation {}, {}",
                cluster.name_of(home),
                service.generation,
                service.wanted
            )
        },
    );
    let going = service
        .going
        .map(|guest| format!("on its way to {}", cluster.name_of(guest)));
    let frozen = service.frozen.as_ref().map(|why| format!("frozen ({why})"));
    let bound = (!service.movable).then(|| "bound to its guest".to_owned());
    let words: Vec<String> = [Some(home), going, frozen, bound].into_iter().flatten().collect();
    words.join(", ")
}

fn guest_in_words(guest: &GuestView) -> String {
    let mut words = vec![format!("on host {}", guest.host)];
    if guest.maintenance.is_some() {
        words.push("in maintenance".to_owned());
    }
    if guest.obstacles.is_empty() {
        words.push("fit for services".to_owned());
    }
    words.extend(guest.obstacles.iter().map(|obstacle| obstacle.word().to_owned()));
    words.extend(guest.labels.iter().map(ToString::to_string));
    words.join(", ")
}

fn fingerprint(relied_on: &BTreeMap<Object, String>) -> Fingerprint {
    let mut hash = Sha256::new();
    for (object, words) in relied_on {
        let object = match object {
            Object::Service(id) => format!("service {id}"),
            Object::Guest(id) => format!("guest {id}"),
        };
        // Neither may hold a line break, so nothing can look like something else.
        hash.update(format!("{object}\n{}\n", words.replace('\n', " ")));
    }
    let bytes = hash.finalize();
    let first = bytes
        .iter()
        .take(8)
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    Fingerprint(first)
}

/// A span as people say it: `40 s`, `5 min`, `3 h`.
pub fn about(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests;
