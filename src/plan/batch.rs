//! What of a batch may begin, and when: a value that is told what has ended and says what may begin now.
//!
//! ```text
//!            begin()                ended(outcome)
//!   Waiting ---------> Running ------------------------> Ended(outcome)
//!      |                  | withdraw(): no room after all
//!      | cancel()         +----> Waiting
//!      v
//!   Dropped
//! ```
//!
//! A service begins when those that it comes `after` have ended, however they ended: one that fails never stops the
//! others. Of those that may begin the ones that are to run go first, of these those of the highest priority, and of the
//! same priority the one that is expected to take the shortest. A service that others wait for is at least as urgent as they.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::ids::{GuestId, HostId, ServiceId};

/// How many handovers may run at the same time; each at least 1 (0 counts as 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Onto one guest.
    pub per_guest: usize,
    /// Onto the guests of one host.
    pub per_host: usize,
    /// Of the whole batch.
    pub in_all: usize,
}

impl Default for Limits {
    /// A guest runs one script of its agent at a time, and hot-plug on a host is quick.
    fn default() -> Self {
        Self {
            per_guest: 4,
            per_host: 8,
            in_all: 16,
        }
    }
}

/// One service of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The service.
    pub service: ServiceId,
    /// Where it goes.
    pub target: GuestId,
    /// The target's host.
    pub host: HostId,
    /// It is to run there: somebody waits for it.
    pub runs: bool,
    /// Of its manifest.
    pub priority: i32,
    /// Of its manifest; services that are not of this batch are passed over.
    pub after: Vec<ServiceId>,
    /// How long it is expected to take.
    pub expected: Duration,
}

/// How a service's handover ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is at its target.
    Done,
    /// It is where it was, or stuck; its job says more.
    Failed,
    /// It was cancelled on the way and is where it was.
    Cancelled,
}

/// Where a service of the batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Not begun.
    Waiting,
    /// Begun.
    Running,
    /// Over.
    Ended(Outcome),
    /// Not begun, and not to begin any more: the batch was cancelled.
    Dropped,
}

/// Why a batch cannot be ordered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// `after` leads back to where it began.
    #[error("no order is possible: {}; take one `after` out of these manifests", told(.0))]
    Cycle(Vec<ServiceId>),
    /// A service that is not of this batch, or not in a state in which this can happen.
    #[error("service {service} of the batch is {is}, so it cannot be {not}")]
    Unexpected {
        /// The service.
        service: ServiceId,
        /// What it is.
        is: &'static str,
        /// What it was to become.
        not: &'static str,
    },
}

/// `a is after b, b is after a`.
fn told(cycle: &[ServiceId]) -> String {
    let next = cycle.iter().cycle().skip(1);
    let pairs: Vec<String> = cycle
        .iter()
        .zip(next)
        .map(|(one, other)| format!("{one} is after {other}"))
        .collect();
    pairs.join(", ")
}

#[derive(Debug, Clone)]
struct Member {
    task: Task,
    /// Its own, or that of the most urgent one that waits for it.
    urgency: (bool, i32),
    progress: Progress,
    /// How many of those that it comes after have not ended.
    waits_for: usize,
    /// Those that come after it.
    before: Vec<usize>,
}

/// The state of a batch.
#[derive(Debug, Clone)]
pub struct Batch {
    limits: Limits,
    /// In the order in which they begin if nothing is in the way.
    members: Vec<Member>,
    index: BTreeMap<ServiceId, usize>,
    /// Members that wait for nothing but room.
    ready: BTreeSet<usize>,
    cancelled: bool,
    running: usize,
    on_guest: BTreeMap<GuestId, usize>,
    on_host: BTreeMap<HostId, usize>,
}

impl Batch {
    /// Orders the tasks; a service that is there twice is taken once.
    ///
    /// # Errors
    /// [`BatchError::Cycle`] names the services in a circle.
    pub fn of(tasks: Vec<Task>, limits: Limits) -> Result<Self, BatchError> {
        let mut index = BTreeMap::new();
        let mut members: Vec<Member> = Vec::new();
        for task in tasks {
            if index.contains_key(&task.service) {
                continue;
            }
            index.insert(task.service.clone(), members.len());
            members.push(Member {
                urgency: (task.runs, task.priority),
                task,
                progress: Progress::Waiting,
                waits_for: 0,
                before: Vec::new(),
            });
        }
        let edges: Vec<(usize, usize)> = members
            .iter()
            .enumerate()
            .flat_map(|(later, member)| {
                let earlier: BTreeSet<usize> = member
                    .task
                    .after
                    .iter()
                    .filter_map(|id| index.get(id).copied())
                    .collect();
                earlier.into_iter().map(move |earlier| (earlier, later))
            })
            .collect();
        for (earlier, later) in edges {
            members[earlier].before.push(later);
            members[later].waits_for += 1;
        }
        let order = topological(&members)?;
        pass_urgency_on(&mut members, &order);
        Ok(Self::sorted(members, limits))
    }

    /// Members in the order in which they are to begin, so that a set of positions is a queue.
    fn sorted(members: Vec<Member>, limits: Limits) -> Self {
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_by_key(|at| {
            let member = &members[*at];
            (
                Reverse(member.urgency),
                member.task.expected,
                member.task.service.clone(),
            )
        });
        let mut place = vec![0; members.len()];
        for (new, old) in order.iter().enumerate() {
            place[*old] = new;
        }
        let mut sorted: Vec<(usize, Member)> = members.into_iter().enumerate().collect();
        sorted.sort_by_key(|(old, _)| place[*old]);
        let members: Vec<Member> = sorted
            .into_iter()
            .map(|(_, mut member)| {
                for later in &mut member.before {
                    *later = place[*later];
                }
                member
            })
            .collect();
        let waiting = members.iter().enumerate();
        Self {
            limits,
            index: waiting
                .clone()
                .map(|(at, m)| (m.task.service.clone(), at))
                .collect(),
            ready: waiting
                .filter(|(_, m)| m.waits_for == 0)
                .map(|(at, _)| at)
                .collect(),
            members,
            cancelled: false,
            running: 0,
            on_guest: BTreeMap::new(),
            on_host: BTreeMap::new(),
        }
    }

    /// The services that may begin now; they count as running from here on.
    pub fn begin(&mut self) -> Vec<ServiceId> {
        let mut chosen = Vec::new();
        for at in &self.ready {
            if self.running >= self.limits.in_all.max(1) {
                break;
            }
            let task = &self.members[*at].task;
            let on_guest = self.on_guest.entry(task.target).or_default();
            let on_host = self.on_host.entry(task.host.clone()).or_default();
            if *on_guest < self.limits.per_guest.max(1) && *on_host < self.limits.per_host.max(1) {
                *on_guest += 1;
                *on_host += 1;
                self.running += 1;
                chosen.push(*at);
            }
        }
        let mut begun = Vec::new();
        for at in chosen {
            self.ready.remove(&at);
            self.members[at].progress = Progress::Running;
            begun.push(self.members[at].task.service.clone());
        }
        begun
    }

    /// A running service has ended.
    ///
    /// # Errors
    /// [`BatchError::Unexpected`] if it was not running.
    pub fn ended(&mut self, service: &ServiceId, outcome: Outcome) -> Result<(), BatchError> {
        let at = self.stop_running(service, "ended")?;
        self.members[at].progress = Progress::Ended(outcome);
        for later in self.members[at].before.clone() {
            let member = &mut self.members[later];
            member.waits_for = member.waits_for.saturating_sub(1);
            if member.waits_for == 0 && member.progress == Progress::Waiting {
                self.ready.insert(later);
            }
        }
        Ok(())
    }

    /// A service that [`Batch::begin`] gave could not begin, or whose target failed: it waits again, for the target that is
    /// given; it is dropped if the batch was cancelled.
    ///
    /// # Errors
    /// [`BatchError::Unexpected`] if it was not running.
    pub fn withdraw(&mut self, service: &ServiceId, target: GuestId, host: HostId) -> Result<(), BatchError> {
        let at = self.stop_running(service, "withdrawn")?;
        let member = &mut self.members[at];
        (member.task.target, member.task.host) = (target, host);
        if self.cancelled {
            member.progress = Progress::Dropped;
        } else {
            member.progress = Progress::Waiting;
            self.ready.insert(at);
        }
        Ok(())
    }

    fn stop_running(&mut self, service: &ServiceId, not: &'static str) -> Result<usize, BatchError> {
        let found = self.index.get(service).copied();
        let progress = found.map(|at| self.members[at].progress);
        let (Some(at), Some(Progress::Running)) = (found, progress) else {
            return Err(BatchError::Unexpected {
                service: service.clone(),
                is: match progress {
                    None => "unknown",
                    Some(Progress::Waiting) => "waiting",
                    Some(Progress::Dropped) => "dropped",
                    Some(Progress::Running | Progress::Ended(_)) => "over",
                },
                not,
            });
        };
        let task = &self.members[at].task;
        self.running = self.running.saturating_sub(1);
        for count in [
            self.on_guest.get_mut(&task.target),
            self.on_host.get_mut(&task.host),
        ]
        .into_iter()
        .flatten()
        {
            *count = count.saturating_sub(1);
        }
        Ok(at)
    }

    /// What has not begun is dropped. The services that run are told: each of their handovers is cancelled on its own, and
    /// goes back unless it is past its commit.
    pub fn cancel(&mut self) -> Vec<ServiceId> {
        self.cancelled = true;
        self.ready.clear();
        let mut running = Vec::new();
        for member in &mut self.members {
            match member.progress {
                Progress::Waiting => member.progress = Progress::Dropped,
                Progress::Running => running.push(member.task.service.clone()),
                Progress::Ended(_) | Progress::Dropped => {}
            }
        }
        running
    }

    /// Whether nothing runs and nothing will begin any more.
    pub fn is_over(&self) -> bool {
        self.running == 0 && self.members.iter().all(|m| m.progress != Progress::Waiting)
    }

    /// Where each service stands, in the order in which they begin.
    pub fn progress(&self) -> impl Iterator<Item = (&Task, Progress)> {
        self.members.iter().map(|member| (&member.task, member.progress))
    }

    /// How long what is left takes if each service takes as long as it is expected to; those that run are counted whole.
    pub fn expected(&self) -> Duration {
        self.expected_after(&BTreeMap::new())
    }

    /// The same where these services cannot go on until so long from now, whenever it is their turn: all of them wait at the
    /// same time.
    pub fn expected_after(&self, waits: &BTreeMap<ServiceId, Duration>) -> Duration {
        let mut batch = self.clone();
        let mut running: BTreeSet<(Duration, ServiceId)> = batch
            .members
            .iter()
            .filter(|member| member.progress == Progress::Running)
            .map(|member| (member.task.expected, member.task.service.clone()))
            .collect();
        let mut now = Duration::ZERO;
        loop {
            for service in batch.begin() {
                let expected = batch
                    .index
                    .get(&service)
                    .map(|at| batch.members[*at].task.expected);
                let goes_on = waits.get(&service).copied().unwrap_or_default().max(now);
                running.insert((goes_on.saturating_add(expected.unwrap_or_default()), service));
            }
            let Some((end, service)) = running.pop_first() else {
                return now;
            };
            now = end;
            if batch.ended(&service, Outcome::Done).is_err() {
                return now;
            }
        }
    }
}

/// Members in an order in which each comes behind those that it comes after.
fn topological(members: &[Member]) -> Result<Vec<usize>, BatchError> {
    let mut waits_for: Vec<usize> = members.iter().map(|member| member.waits_for).collect();
    let mut order: Vec<usize> = (0..members.len()).filter(|at| waits_for[*at] == 0).collect();
    let mut done = 0;
    while let Some(at) = order.get(done).copied() {
        done += 1;
        for later in &members[at].before {
            waits_for[*later] -= 1;
            if waits_for[*later] == 0 {
                order.push(*later);
            }
        }
    }
    if order.len() == members.len() {
        return Ok(order);
    }
    Err(BatchError::Cycle(cycle(members, &waits_for)))
}

/// A circle among the members that still wait: each of them waits for another of them.
fn cycle(members: &[Member], waits_for: &[usize]) -> Vec<ServiceId> {
    let names: BTreeMap<&ServiceId, usize> = members
        .iter()
        .enumerate()
        .map(|(at, m)| (&m.task.service, at))
        .collect();
    let blocking = |at: usize| {
        let after = members[at]
            .task
            .after
            .iter()
            .filter_map(|id| names.get(id).copied());
        after.into_iter().find(|earlier| waits_for[*earlier] > 0)
    };
    let mut walked: Vec<usize> = Vec::new();
    let mut at = (0..members.len()).find(|at| waits_for[*at] > 0);
    while let Some(here) = at {
        if let Some(begin) = walked.iter().position(|seen| *seen == here) {
            walked.drain(..begin);
            break;
        }
        walked.push(here);
        at = blocking(here);
    }
    walked
        .iter()
        .map(|at| members[*at].task.service.clone())
        .collect()
}

/// What others wait for is as urgent as they are.
fn pass_urgency_on(members: &mut [Member], topological: &[usize]) {
    for at in topological.iter().rev() {
        let urgent = members[*at]
            .before
            .iter()
            .map(|later| members[*later].urgency)
            .max();
        members[*at].urgency = members[*at].urgency.max(urgent.unwrap_or((false, i32::MIN)));
    }
}

#[cfg(test)]
mod tests;
