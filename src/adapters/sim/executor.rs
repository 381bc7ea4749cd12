//! A single-threaded executor with virtual time: when no task can go on, time jumps to the next timer or happening.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::call::Shared;
use crate::model::service::Millis;

/// Who sleeps until when, in the order in which they are woken.
#[derive(Default)]
pub struct Timers {
    sleeping: BTreeMap<(Millis, u64), Waker>,
    next: u64,
}

impl Timers {
    /// The next time at which somebody is woken.
    fn first(&self) -> Option<Millis> {
        self.sleeping.first_key_value().map(|((at, _), _)| *at)
    }

    fn wake_due(&mut self, now: Millis) {
        while let Some(entry) = self.sleeping.first_entry()
            && entry.key().0 <= now
        {
            entry.remove().wake();
        }
    }
}

/// A sleep in virtual time.
struct Sleep {
    shared: Arc<Shared>,
    until: Millis,
    key: Option<(Millis, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let shared = self.shared.clone();
        let mut inner = shared.lock();
        if inner.world.now >= self.until {
            return Poll::Ready(());
        }
        let key = self.key.unwrap_or_else(|| {
            inner.timers.next = inner.timers.next.saturating_add(1);
            (self.until, inner.timers.next)
        });
        self.key = Some(key);
        inner.timers.sleeping.insert(key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.shared.lock().timers.sleeping.remove(&key);
        }
    }
}

impl Shared {
    /// Returns when this much of the world's time has passed.
    pub async fn sleep(self: &Arc<Self>, duration: Duration) {
        if let Some(pace) = &self.pace {
            return tokio::time::sleep(pace.real(duration)).await;
        }
        let now = {
            let inner = self.lock();
            if inner.timeless {
                return;
            }
            inner.world.now
        };
        let millis = Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX);
        Sleep {
            shared: self.clone(),
            until: now.saturating_add(millis),
            key: None,
        }
        .await;
    }
}

/// Set by a waker: the task can go on.
struct Ready(AtomicBool);

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Task {
    future: BoxFuture<'static, ()>,
    ready: Arc<Ready>,
}

/// Tasks that were begun while another one runs.
#[derive(Clone, Default)]
pub struct Spawner(Arc<Mutex<Vec<BoxFuture<'static, ()>>>>);

impl Spawner {
    /// Runs a task beside the others.
    pub fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    fn drain(&self) -> Vec<BoxFuture<'static, ()>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Why a run of the executor ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// The daemon is to be killed.
    Killed,
    /// What was waited for holds.
    Reached,
    /// The time is up, or nothing can happen any more.
    TimeUp,
}

/// The tasks of one daemon.
pub struct Executor {
    shared: Arc<Shared>,
    spawner: Spawner,
    tasks: Vec<Task>,
}

impl Executor {
    /// Without a task.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            spawner: Spawner::default(),
            tasks: Vec::new(),
        }
    }

    /// Where tasks are begun.
    pub fn spawner(&self) -> Spawner {
        self.spawner.clone()
    }

    /// Runs tasks and time until `reached`, a kill, or the time `until`.
    pub fn run(&mut self, until: Millis, mut reached: impl FnMut(&super::call::Inner) -> bool) -> Rest {
        loop {
            if self.poll_ready() {
                return Rest::Killed;
            }
            let shared = self.shared.clone();
            let mut inner = shared.lock();
            if reached(&inner) {
                return Rest::Reached;
            }
            let agenda = inner.world.agenda.first_key_value().map(|((at, _), _)| *at);
            let next = [inner.timers.first(), agenda].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else {
                inner.pass(until);
                return Rest::TimeUp;
            };
            inner.pass(next);
            let now = inner.world.now;
            inner.timers.wake_due(now);
        }
    }

    /// Polls until no task can go on; whether the daemon is to be killed.
    fn poll_ready(&mut self) -> bool {
        loop {
            for future in self.spawner.drain() {
                let ready = Arc::new(Ready(AtomicBool::new(true)));
                self.tasks.push(Task { future, ready });
            }
            let mut progress = false;
            let mut index = 0;
            while let Some(task) = self.tasks.get_mut(index) {
                if !task.ready.0.swap(false, Ordering::Relaxed) {
                    index += 1;
                    continue;
                }
                progress = true;
                let waker = Waker::from(task.ready.clone());
                let done = task
                    .future
                    .as_mut()
                    .poll(&mut Context::from_waker(&waker))
                    .is_ready();
                if self.shared.lock().killed {
                    return true;
                }
                if done {
                    drop(self.tasks.remove(index));
                } else {
                    index += 1;
                }
            }
            if !progress {
                return false;
            }
        }
    }
}
