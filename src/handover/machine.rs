//! States, events and the one transition function of a handover.
//!
//! ```text
//!              Missing                Acted
//!   Looking ------------> Acting ---------------> Looking
//!     |  ^ \                |  \ Failed(may pass)
//!     |  |  \ Failed(may    |   v
//!     |  |   \  pass)       |  Waiting
//!     |  |    `-------------+--->|   (Pending: nothing to do but wait)
//!     |  `----- Elapsed ---------'
//!     |
//!     | Holds: the next goal, or Done          (forward)
//!     | Holds: the goal before, or Undone      (back)
//!
//!   forward, before the commit:  Refused | Expired | Cancel      -> back, looking at the same goal's undo
//!   forward, after the commit:   Refused | Expired  in a duty    -> Done, the duty stays owed
//!                                Refused | Expired  elsewhere    -> Stuck
//!   back:  Committed (the zone says that the message arrived)    -> forward, past the commit
//!          Refused | Expired                                     -> Stuck
//!   Stuck: Resume                                                -> looking again where it stood
//! ```
//!
//! The function is pure. The driver turns what the ports say into events, and does what the new state asks for.

use serde::{Deserialize, Serialize};

use super::goals::{Goal, Kind, applies, commit_goal, goals};
use super::protocol::Protocol;
use super::record::{Facts, Reason};

/// Which way a handover goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Towards the target.
    Forward,
    /// Undoing.
    Back,
}

/// What is being done about a goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// A fresh look is asked for.
    Looking,
    /// The goal does not hold: its act is to be done.
    Acting,
    /// Time is to pass before the next look.
    Waiting,
}

/// Where a handover stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// At a goal.
    At {
        /// Which way.
        direction: Direction,
        /// Which goal.
        goal: Goal,
        /// What is being done about it.
        phase: Phase,
        /// How many acts were done for it: the back-off follows from it.
        tries: u32,
    },
    /// All goals hold; `owed`: a duty is left to be carried on.
    Done {
        /// Whether a duty is still owed.
        owed: bool,
    },
    /// Everything was undone.
    Undone,
    /// It can go neither on nor back by itself.
    Stuck {
        /// Which way it was going.
        direction: Direction,
        /// At which goal.
        goal: Goal,
    },
}

impl State {
    /// Where every handover begins.
    pub fn first(kind: Kind) -> Self {
        let goal = goals(kind).first().copied().unwrap_or(Goal::Reserve);
        Self::at(Direction::Forward, goal)
    }

    fn at(direction: Direction, goal: Goal) -> Self {
        Self::At {
            direction,
            goal,
            phase: Phase::Looking,
            tries: 0,
        }
    }

    /// Whether nothing is left to be done by the driver.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::At { .. })
    }

    /// The state from which a restarted daemon goes on: the position inside a goal is forgotten, so it looks.
    pub fn after_restart(self) -> Self {
        match self {
            Self::At { direction, goal, .. } => Self::at(direction, goal),
            other => other,
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A look: the goal (going back: its undo) holds.
    Holds,
    /// A look: it does not hold, and why; its act is needed.
    Missing(String),
    /// A look: nothing is left to be done but to wait, and for what.
    Pending(String),
    /// A look going back at the commit: the message had arrived after all.
    Committed,
    /// The act returned.
    Acted,
    /// A look or an act was refused for good.
    Refused(Reason),
    /// A look or an act failed in a way that may pass, or whose effect is unknown.
    Failed(String),
    /// The goal's deadline passed; the last thing known about it.
    Expired(Reason),
    /// The wait is over.
    Elapsed,
    /// Somebody wants it undone.
    Cancel(Reason),
    /// An operator wants a stuck handover to try again.
    Resume,
}

impl Event {
    fn name(&self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Missing(_) => "missing",
            Self::Pending(_) => "pending",
            Self::Committed => "committed",
            Self::Acted => "acted",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
            Self::Expired(_) => "expired",
            Self::Elapsed => "elapsed",
            Self::Cancel(_) => "cancel",
            Self::Resume => "resume",
        }
    }
}

/// An event that cannot happen in that state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {event} is illegal in state {state:?}")]
pub struct Illegal {
    /// The state.
    pub state: State,
    /// The event.
    pub event: &'static str,
}

/// What the transition function needs to know about the handover beside its state.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// What it does.
    pub kind: Kind,
    /// Whether the commit was seen.
    pub committed: bool,
    /// What was observed and decided.
    pub facts: &'a Facts,
    /// Which goals there are.
    pub protocol: Protocol,
}

impl Terms<'_> {
    /// Whether a handover in this state may still be cancelled.
    pub fn is_cancelable(self, state: State) -> bool {
        matches!(
            state,
            State::At {
                direction: Direction::Forward,
                ..
            }
        ) && !self.committed
    }

    /// Whether the goal stands behind the commit goal, so that it is only reached by a commit.
    fn is_after_commit(self, goal: Goal) -> bool {
        let commit = commit_goal(self.kind, self.facts);
        self.protocol.index_of(self.kind, goal) > self.protocol.index_of(self.kind, commit)
    }

    fn next(self, goal: Goal) -> Option<Goal> {
        let list = self.protocol.goals(self.kind);
        let at = self.protocol.index_of(self.kind, goal)?;
        list.iter()
            .skip(at + 1)
            .copied()
            .find(|g| applies(*g, self.kind, self.facts))
    }

    fn before(self, goal: Goal) -> Option<Goal> {
        let list = self.protocol.goals(self.kind);
        let at = self.protocol.index_of(self.kind, goal)?;
        list.iter()
            .take(at)
            .rev()
            .copied()
            .find(|g| applies(*g, self.kind, self.facts))
    }
}

/// The new state after an event.
///
/// # Errors
/// [`Illegal`] where the event cannot happen in that state.
pub fn transition(state: State, event: &Event, terms: Terms<'_>) -> Result<State, Illegal> {
    let illegal = || {
        Err(Illegal {
            state,
            event: event.name(),
        })
    };
    match state {
        State::At {
            direction: Direction::Forward,
            goal,
            phase,
            tries,
        } => forward(goal, phase, tries, event, terms).map_or_else(illegal, Ok),
        State::At {
            direction: Direction::Back,
            goal,
            phase,
            tries,
        } => back(goal, phase, tries, event, terms).map_or_else(illegal, Ok),
        State::Stuck { direction, goal } => match event {
            Event::Resume => Ok(State::at(direction, goal)),
            _ => illegal(),
        },
        State::Done { .. } | State::Undone => illegal(),
    }
}

#[expect(
    clippy::match_same_arms,
    reason = "the table has a row for each phase and event"
)]
fn forward(goal: Goal, phase: Phase, tries: u32, event: &Event, terms: Terms<'_>) -> Option<State> {
    let to = |phase, tries| {
        Some(State::At {
            direction: Direction::Forward,
            goal,
            phase,
            tries,
        })
    };
    match (phase, event) {
        (Phase::Looking, Event::Holds) => Some(match terms.next(goal) {
            Some(next) => State::at(Direction::Forward, next),
            None => State::Done { owed: false },
        }),
        (Phase::Looking, Event::Pending(_)) => to(Phase::Waiting, tries),
        (Phase::Looking, Event::Missing(_)) => to(Phase::Acting, tries.saturating_add(1)),
        (Phase::Acting, Event::Acted) => to(Phase::Looking, tries),
        (Phase::Looking | Phase::Acting, Event::Failed(_)) => to(Phase::Waiting, tries),
        (Phase::Waiting, Event::Elapsed) => to(Phase::Looking, tries),
        (_, Event::Refused(_) | Event::Expired(_)) => Some(give_up(goal, terms)),
        (_, Event::Cancel(_)) if !terms.committed && !terms.is_after_commit(goal) => {
            Some(State::at(Direction::Back, goal))
        }
        _ => None,
    }
}

fn give_up(goal: Goal, terms: Terms<'_>) -> State {
    if !terms.committed && !terms.is_after_commit(goal) {
        State::at(Direction::Back, goal)
    } else if goal.is_duty() {
        match terms.next(goal) {
            // A removal has still to forget the row: its duty row carries what is left.
            Some(Goal::Forget) => State::at(Direction::Forward, Goal::Forget),
            _ => State::Done { owed: true },
        }
    } else {
        State::Stuck {
            direction: Direction::Forward,
            goal,
        }
    }
}

#[expect(
    clippy::match_same_arms,
    reason = "the table has a row for each phase and event"
)]
fn back(goal: Goal, phase: Phase, tries: u32, event: &Event, terms: Terms<'_>) -> Option<State> {
    let to = |phase, tries| {
        Some(State::At {
            direction: Direction::Back,
            goal,
            phase,
            tries,
        })
    };
    match (phase, event) {
        (Phase::Looking, Event::Holds) => Some(match terms.before(goal) {
            Some(before) => State::at(Direction::Back, before),
            None => State::Undone,
        }),
        (Phase::Looking, Event::Committed) if goal == commit_goal(terms.kind, terms.facts) => {
            Some(State::at(Direction::Forward, goal))
        }
        (Phase::Looking, Event::Pending(_)) => to(Phase::Waiting, tries),
        (Phase::Looking, Event::Missing(_)) => to(Phase::Acting, tries.saturating_add(1)),
        (Phase::Acting, Event::Acted) => to(Phase::Looking, tries),
        (Phase::Looking | Phase::Acting, Event::Failed(_)) => to(Phase::Waiting, tries),
        (Phase::Waiting, Event::Elapsed) => to(Phase::Looking, tries),
        (_, Event::Refused(_) | Event::Expired(_)) => Some(State::Stuck {
            direction: Direction::Back,
            goal,
        }),
        _ => None,
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
