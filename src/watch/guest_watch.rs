//! One guest that has services: is it there, and what is to be done when it is not?
//!
//! ```text
//!                 off, by policy                        time is up
//!         +-----> Grace ---------------------------------------+
//!         |         | seen running: nothing was done           |
//!         |         v                                          v  Evacuate
//!   +--> Up <-------+               dead ------------------> Dead
//!   |     |  ^                                              ^  |
//!   |     |  | heard of again                  Ended(true)  |  | seen running: CancelEvacuation
//!   |     v  |          time is up: Destroy                 |  v
//!   |   Silent -------------------------> Fencing ----------+  Returned
//!   |     ^                                  |                 |
//!   |     +---- Ended(false): later again ---+                 | its agent speaks: Leftovers
//!   +----------------------------------------------------------+
//! ```
//! Besides: `Asleep` (saved) and `Left` (off, and left alone by policy), which end when it is seen running. While its host
//! does not answer, no time is up: what cannot be seen is not dead.

use std::time::Duration;

use super::cause::{Cause, Circumstances, Policy, Sign, Verdict, judge};
use crate::model::service::Millis;

/// Where a guest stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As far as is known it runs.
    Up,
    /// It is off; it is dead if it is not back by then.
    Grace {
        /// When it counts as dead.
        until: Millis,
        /// Why it is off.
        cause: Cause,
    },
    /// Nothing is heard of it; it hangs if that is still so then.
    Silent {
        /// When it counts as hung.
        until: Millis,
        /// What began it.
        cause: Cause,
    },
    /// It is being destroyed.
    Fencing {
        /// Why.
        cause: Cause,
    },
    /// It is dead; its services go elsewhere, or have gone.
    Dead {
        /// Since when that is known.
        since: Millis,
        /// Why.
        cause: Cause,
        /// The evacuation has ended.
        evacuated: bool,
    },
    /// It runs again after it was dead; what is left of its services is removed as soon as its agent speaks.
    Returned,
    /// It is saved.
    Asleep,
    /// It is off, and policy leaves its services there.
    Left {
        /// Why it is off.
        cause: Cause,
    },
}

impl State {
    /// A stable word for tables and programs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Grace { .. } => "grace",
            Self::Silent { .. } => "silent",
            Self::Fencing { .. } => "fencing",
            Self::Dead { .. } => "dead",
            Self::Returned => "returned",
            Self::Asleep => "asleep",
            Self::Left { .. } => "left",
        }
    }
}

/// Something that concerns one guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A sign of it.
    Seen(Sign, Circumstances),
    /// The connection to its host is lost: nothing more is known until it is listed.
    HostLost,
    /// Time has passed.
    Tick,
    /// The destroying that was asked for has ended: whether the guest is off now.
    Destroyed(bool),
    /// Another evacuation of it has begun: what the last one left.
    EvacuationBegun,
    /// The evacuation that was asked for has ended, well or not.
    EvacuationEnded,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Move all its services elsewhere.
    Evacuate(Cause),
    /// It is back. What of the evacuation has not committed goes back to it; what has not begun stays.
    CancelEvacuation(Cause),
    /// Destroy it (and answer with [`Input::Destroyed`]): it hangs.
    Destroy(Cause),
    /// Remove what is left of services that went elsewhere: its agent speaks.
    Leftovers,
}

/// The machine of one guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestWatch {
    state: State,
    /// Its host does not answer.
    blind: bool,
    /// It was dead and has not been rid of its leftovers.
    owes: bool,
}

impl Default for GuestWatch {
    fn default() -> Self {
        Self {
            state: State::Up,
            blind: false,
            owes: false,
        }
    }
}

impl GuestWatch {
    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether its host does not answer, so that its state may be another one by now.
    pub fn is_blind(&self) -> bool {
        self.blind
    }

    /// When a [`Input::Tick`] is due; `None`: nothing waits for time to pass.
    pub fn due(&self) -> Option<Millis> {
        match self.state {
            State::Grace { until, .. } | State::Silent { until, .. } if !self.blind => Some(until),
            _ => None,
        }
    }

    /// The one place where a guest's state changes. At most two decisions come of one input.
    pub fn step(&mut self, now: Millis, input: Input, policy: Policy) -> Vec<Decision> {
        match input {
            Input::Seen(sign, around) => {
                self.blind = false;
                let (verdict, cause) = judge(sign, around, policy);
                let spoke = matches!(sign, Sign::Agent(true) | Sign::Answered(true));
                self.seen(now, verdict, cause, spoke)
            }
            Input::HostLost => {
                self.blind = true;
                Vec::new()
            }
            Input::Tick if self.due().is_none_or(|due| due > now) => Vec::new(),
            Input::Tick => match self.state {
                State::Silent { cause, .. } => {
                    self.state = State::Fencing { cause };
                    vec![Decision::Destroy(cause)]
                }
                State::Grace { cause, .. } => self.die(now, cause),
                _ => Vec::new(),
            },
            Input::Destroyed(done) => match (self.state, done) {
                (State::Fencing { cause }, true) => self.die(now, cause),
                (State::Fencing { cause }, false) => {
                    let until = after(now, policy.silence);
                    self.state = State::Silent { until, cause };
                    Vec::new()
                }
                _ => Vec::new(),
            },
            Input::EvacuationBegun | Input::EvacuationEnded => {
                if let State::Dead { evacuated, .. } = &mut self.state {
                    *evacuated = matches!(input, Input::EvacuationEnded);
                }
                Vec::new()
            }
        }
    }

    fn die(&mut self, now: Millis, cause: Cause) -> Vec<Decision> {
        self.owes = true;
        self.state = State::Dead {
            since: now,
            cause,
            evacuated: false,
        };
        vec![Decision::Evacuate(cause)]
    }

    fn seen(&mut self, now: Millis, verdict: Verdict, cause: Cause, spoke: bool) -> Vec<Decision> {
        match (verdict, self.state) {
            // Every listing tells again what is known, and a guest that is off is silent besides.
            (Verdict::Nothing, _)
            | (Verdict::Dead | Verdict::DeadAfter(_) | Verdict::Left, State::Dead { .. })
            | (Verdict::DeadAfter(_), State::Grace { .. })
            | (
                Verdict::HungAfter(_),
                State::Grace { .. }
                | State::Fencing { .. }
                | State::Dead { .. }
                | State::Asleep
                | State::Left { .. },
            ) => Vec::new(),
            (Verdict::Up | Verdict::Elsewhere, _) => self.runs(cause, spoke),
            // The end of the destroying is what is waited for; that it is off may be told first.
            (Verdict::Dead | Verdict::DeadAfter(_) | Verdict::Left, State::Fencing { cause }) => {
                self.die(now, cause)
            }
            (Verdict::Dead, _) => self.die(now, cause),
            (Verdict::DeadAfter(grace), _) => {
                let until = after(now, grace);
                self.state = State::Grace { until, cause };
                Vec::new()
            }
            (Verdict::Left, _) => {
                self.state = State::Left { cause };
                Vec::new()
            }
            (Verdict::Asleep, _) => {
                let cancel = self.cancel(cause);
                self.state = State::Asleep;
                cancel
            }
            (Verdict::HungAfter(span), State::Up | State::Returned) => {
                let until = after(now, span);
                self.state = State::Silent { until, cause };
                Vec::new()
            }
            // A reset that follows the silence is its reason, and has a longer time; otherwise the first silence counts.
            (Verdict::HungAfter(span), State::Silent { until, .. }) => {
                if cause == Cause::Rebooted {
                    let until = until.max(after(now, span));
                    self.state = State::Silent { until, cause };
                }
                Vec::new()
            }
        }
    }

    /// It runs. That its domain runs does not end a silence; that its agent speaks does.
    fn runs(&mut self, cause: Cause, spoke: bool) -> Vec<Decision> {
        if matches!(self.state, State::Fencing { .. })
            || (matches!(self.state, State::Silent { .. }) && !spoke)
        {
            return Vec::new();
        }
        let mut decisions = self.cancel(cause);
        if self.owes && spoke {
            self.owes = false;
            decisions.push(Decision::Leftovers);
        }
        self.state = if self.owes { State::Returned } else { State::Up };
        decisions
    }

    fn cancel(&self, cause: Cause) -> Vec<Decision> {
        match self.state {
            State::Dead { evacuated: false, .. } => vec![Decision::CancelEvacuation(cause)],
            _ => Vec::new(),
        }
    }
}

fn after(now: Millis, span: Duration) -> Millis {
    now.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
