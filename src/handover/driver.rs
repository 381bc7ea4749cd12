//! Runs one handover: look, act, look again; journals, and says where it stands.
//!
//! One task owns each handover. Recovery is the same loop: a handover read back from the journal is looked at from
//! the goal where it stood.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{Either, select};
use tracing::{debug, info, warn};

use super::goals::{Goal, applies, commit_goal, goals};
use super::machine::{Direction, Event, Illegal, Phase, State, Terms, transition};
use super::protocol::{Protocol, Rule};
use super::record::{Handover, Reason};
use super::run::{Copies, Recent, Run};
use super::verdict::Seen;
use super::world::{StepError, World};
use crate::ports::{JobRecord, JournalEntry};

/// What a running handover tells and asks the outside: progress out, cancel in.
#[async_trait]
pub trait JobControl: Send + Sync {
    /// It stands here now; `waiting` says what it waits for, or nothing.
    fn report(&self, handover: &Handover, waiting: &str);
    /// Who asked for it to be undone, if somebody did.
    fn cancel_requested(&self) -> Option<String>;
    /// Returns when somebody asks for it to be undone.
    async fn cancelled(&self);
    /// Returns when a handover that has seen what there is, and has waited for its TTL, may begin to change guests; whether its
    /// batch has held it until then.
    async fn admitted(&self, handover: &Handover) -> bool;
}

/// First wait after something failed; doubled for each try.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
/// Longest wait between two tries.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// Units that are still not up after being started so often do not start.
const STARTS: u32 = 2;

/// The wait before the next look: doubling from 0.2 s up to 5 s.
fn backoff(tries: u32) -> Duration {
    FIRST_BACKOFF
        .saturating_mul(2_u32.saturating_pow(tries.saturating_sub(1).min(10)))
        .min(LONGEST_BACKOFF)
}

/// The share of a handover's goals that lie behind it, 0 to 1.
pub fn progress(handover: &Handover) -> f64 {
    let list: Vec<Goal> = goals(handover.kind)
        .iter()
        .copied()
        .filter(|g| applies(*g, handover.kind, &handover.facts))
        .collect();
    match handover.state {
        State::At { goal, .. } | State::Stuck { goal, .. } => {
            let at = u32::try_from(list.iter().position(|g| *g == goal).unwrap_or(0)).unwrap_or(0);
            let all = u32::try_from(list.len().max(1)).unwrap_or(1);
            f64::from(at) / f64::from(all)
        }
        State::Done { .. } | State::Undone => 1.0,
    }
}

/// Whether a handover may still be cancelled.
pub fn is_cancelable(handover: &Handover) -> bool {
    terms(handover, Protocol::default()).is_cancelable(handover.state)
}

fn terms(handover: &Handover, protocol: Protocol) -> Terms<'_> {
    Terms {
        protocol,
        kind: handover.kind,
        committed: handover.committed,
        facts: &handover.facts,
    }
}

/// The job's result and error once its handover has ended; `None` while it has not.
pub fn outcome(handover: &Handover) -> Option<(&'static str, Option<&Reason>)> {
    match handover.state {
        State::At { .. } => None,
        State::Done { .. } => Some(("done", None)),
        State::Undone => {
            let cancelled = handover.reason.as_ref().is_some_and(|r| r.name == "Cancelled");
            Some((
                if cancelled { "cancelled" } else { "failed" },
                handover.reason.as_ref(),
            ))
        }
        State::Stuck { .. } => Some(("stuck", handover.reason.as_ref())),
    }
}

/// Runs a handover to its end and returns its job as it is kept.
pub async fn drive(world: &World, handover: Handover, job: JobRecord, control: &dyn JobControl) -> JobRecord {
    if handover.state.is_final() {
        // A daemon was killed before it could say so.
        return end(world, &handover, job).await;
    }
    let (mut tries, began) = (0, world.clock.now());
    let mut driver = loop {
        match Driver::take_up(world, handover.clone()).await {
            Ok(driver) => break driver,
            Err(StepError::Refused(reason)) => return end_unstarted(world, handover, job, reason).await,
            Err(StepError::Failed(text)) => {
                tries += 1;
                let tried = Duration::from_millis(world.clock.now().saturating_sub(began));
                if tried > world.limits.undo {
                    return end_unstarted(world, handover, job, Reason::new("Internal", text)).await;
                }
                warn!("what the handover needs cannot be read: {text}; trying again");
                control.report(&handover, &text);
                world.clock.sleep(backoff(tries)).await;
            }
        }
    };
    control.report(&driver.run.handover, "");
    while !driver.is_final() {
        driver.round(control).await;
    }
    driver.finish(job).await
}

/// A handover that is driven, round by round: a look, an act or a wait, and the transition that follows from it.
pub struct Driver<'w> {
    run: Run<'w>,
    at: Position,
}

/// What a daemon knows of a handover between two rounds, beside its journal and the world: [`Driver::go_on`] makes the
/// same driver of it. A model checker keeps it; nothing of it outlives a daemon.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Memory {
    /// The record, as it will be journalled next.
    pub handover: Handover,
    /// What was seen a moment ago.
    pub seen: Recent,
    /// Where in time it is with the goal at hand.
    pub at: Position,
}

impl<'w> Driver<'w> {
    /// Takes up a handover as it stands in the journal: the position inside a goal is forgotten.
    ///
    /// # Errors
    /// A bundle of it is not in the table.
    pub async fn take_up(world: &'w World, handover: Handover) -> Result<Self, StepError> {
        let copies = Copies::read(world, &handover).await?;
        Ok(Self::take_up_with(world, handover, copies))
    }

    /// As [`Driver::take_up`], where its copies are known already.
    pub fn take_up_with(world: &'w World, mut handover: Handover, copies: Copies) -> Self {
        handover.state = handover.state.after_restart();
        let run = Run::take_up(world, handover, copies);
        let at = Position::new(world);
        Self { run, at }
    }

    /// Goes on from what [`Driver::memory`] told, with the copies of its handover.
    pub fn go_on(world: &'w World, memory: Memory, copies: Copies) -> Self {
        let mut run = Run::take_up(world, memory.handover, copies);
        run.recent = memory.seen;
        Self { run, at: memory.at }
    }

    /// What it knows between two rounds.
    pub fn memory(&self) -> Memory {
        Memory {
            handover: self.run.handover.clone(),
            seen: self.run.recent.clone(),
            at: self.at.clone(),
        }
    }

    /// Whether nothing is left to be done but to [`Driver::finish`].
    pub fn is_final(&self) -> bool {
        self.run.handover.state.is_final()
    }

    /// One round. Does nothing where the handover is at its end.
    pub async fn round(&mut self, control: &dyn JobControl) {
        let (run, at) = (&mut self.run, &mut self.at);
        let State::At {
            direction,
            goal,
            phase,
            tries,
        } = run.handover.state
        else {
            return;
        };
        let event = match control.cancel_requested() {
            Some(who) if is_cancelable(&run.handover) => {
                Event::Cancel(Reason::new("Cancelled", format!("cancelled by {who}")))
            }
            _ => at.next_event(run, direction, goal, phase, tries, control).await,
        };
        let event = at.expire(run, direction, goal, tries, event);
        let event = match event {
            Event::Holds if direction == Direction::Forward && work_follows(goal, &run.handover) => {
                at.admit(run, control).await
            }
            event => event,
        };
        if let Err(illegal) = advance(run, &event, at).await {
            warn!(%illegal, "a bug: the handover is left where it stands");
            run.handover.state = State::Stuck { direction, goal };
            run.handover.reason = Some(Reason::new("Internal", illegal.to_string()));
        }
        control.report(&run.handover, "");
    }

    /// Ends the job of a handover that is at its end.
    pub async fn finish(self, job: JobRecord) -> JobRecord {
        end(self.run.world, &self.run.handover, job).await
    }
}

async fn end(world: &World, handover: &Handover, mut job: JobRecord) -> JobRecord {
    let (result, reason) = outcome(handover).unwrap_or(("failed", None));
    job.finished = Some(world.clock.now());
    job.result = Some(result.to_owned());
    job.error_name = reason.map(|r| r.name.clone()).unwrap_or_default();
    job.error_details = reason.map(|r| r.text.clone()).unwrap_or_default();
    let entry = JournalEntry {
        at: world.clock.now(),
        step: "end".into(),
        text: result.to_owned(),
    };
    keep_trying(world, || world.table.finish(handover, &job, &entry)).await;
    info!(result, error = job.error_details, "job ended");
    job
}

/// Where in time the driver is with the goal at hand.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Position {
    /// When the goal was come to, in milliseconds since 1970: its deadline counts from there.
    pub began: u64,
    /// What was known of it last, for people.
    pub last: String,
    /// How long to wait, where a look said so.
    pub again_in: Option<Duration>,
    /// How many waits there were since something was done.
    pub waits: u32,
    /// Why it waits, as it was logged last.
    pub said: String,
}

impl Position {
    fn new(world: &World) -> Self {
        Self {
            began: world.clock.now(),
            last: String::new(),
            again_in: None,
            waits: 0,
            said: String::new(),
        }
    }

    async fn next_event(
        &mut self,
        run: &mut Run<'_>,
        direction: Direction,
        goal: Goal,
        phase: Phase,
        tries: u32,
        control: &dyn JobControl,
    ) -> Event {
        let world = run.world;
        match phase {
            // Only without that rule: what was done a moment ago is believed.
            Phase::Looking if tries > 0 && self.waits == 0 && !world.protocol.keeps(Rule::LookAgain) => {
                Event::Holds
            }
            Phase::Looking => {
                let _guard = world.service_lock(&run.handover.service).await;
                let seen = match direction {
                    Direction::Forward => run.look(goal).await,
                    Direction::Back => run.look_undone(goal).await,
                };
                self.again_in = None;
                match seen {
                    Ok(Seen::Holds) => Event::Holds,
                    Ok(Seen::Committed) => Event::Committed,
                    Ok(Seen::Never(reason)) => Event::Refused(reason),
                    Ok(Seen::Missing(why)) => Event::Missing(why),
                    Ok(Seen::Pending { why, again_in }) => {
                        self.again_in = Some(again_in);
                        Event::Pending(why)
                    }
                    Err(error) => failed(error),
                }
            }
            Phase::Acting => {
                if tries > 1 {
                    control.report(&run.handover, &self.last);
                    world.clock.sleep(backoff(tries - 1)).await;
                }
                let _guard = world.service_lock(&run.handover.service).await;
                let done = match direction {
                    Direction::Forward => run.act(goal).await,
                    Direction::Back => run.undo(goal).await,
                };
                match done {
                    Ok(()) => {
                        self.waits = 0;
                        Event::Acted
                    }
                    Err(error) => failed(error),
                }
            }
            Phase::Waiting => {
                self.waits = self.waits.saturating_add(1);
                let wait = self
                    .again_in
                    .take()
                    .unwrap_or_else(|| backoff(tries.max(self.waits)));
                control.report(&run.handover, &self.last);
                run.forget_fresh();
                if is_cancelable(&run.handover) {
                    let sleep = world.clock.sleep(wait);
                    select(sleep, control.cancelled()).await;
                } else {
                    world.clock.sleep(wait).await;
                }
                Event::Elapsed
            }
        }
    }

    /// Waits until the work may begin. What was seen before a handover was held is old by then, and seen anew.
    async fn admit(&mut self, run: &mut Run<'_>, control: &dyn JobControl) -> Event {
        let admitted = control.admitted(&run.handover);
        let Either::Left((true, _)) = select(admitted, control.cancelled()).await else {
            return Event::Holds;
        };
        run.handover.facts.observed_at = None;
        self.began = run.world.clock.now();
        Event::Pending("its turn has come".to_owned())
    }

    /// Logs a transition; a wait that goes on for the same reason is told once.
    fn log(&mut self, from: State, to: State, event: &Event, why: &str) {
        let repeated = match event {
            Event::Failed(_) | Event::Pending(_) => std::mem::replace(&mut self.said, why.to_owned()) == why,
            Event::Elapsed => !self.said.is_empty(),
            _ => false,
        };
        if repeated {
            debug!("{} -> {}: {why}", name(from), name(to));
        } else {
            info!("{} -> {}: {why}", name(from), name(to));
        }
    }

    /// Turns what did not succeed into the end of the goal's time, once that has passed.
    fn expire(&mut self, run: &Run<'_>, direction: Direction, goal: Goal, tries: u32, event: Event) -> Event {
        let (Event::Missing(text) | Event::Failed(text) | Event::Pending(text)) = &event else {
            return event;
        };
        self.last.clone_from(text);
        if let (Goal::Start, Direction::Forward, Event::Missing(text)) = (goal, direction, &event)
            && tries >= STARTS
        {
            return Event::Expired(Reason::new(
                "StartFailed",
                format!(
                    "{} does not start on {}: {text}",
                    run.handover.service, run.handover.target.guest_name
                ),
            ));
        }
        let Some(deadline) = run.world.limits.deadline(goal, direction, &run.manifest) else {
            return event;
        };
        let deadline = match (direction, goal) {
            (Direction::Forward, Goal::Lower) => {
                deadline.saturating_add(super::lower::longest(&run.handover.facts, &run.world.limits))
            }
            _ => deadline,
        };
        let elapsed = Duration::from_millis(run.world.clock.now().saturating_sub(self.began));
        if elapsed < deadline {
            return event;
        }
        let name = match (goal, &event) {
            (Goal::Confirm, _) => "CheckFailed",
            _ => "Timeout",
        };
        Event::Expired(Reason::new(
            name,
            format!(
                "{} did not come about within {} s: {text}",
                goal.as_str(),
                deadline.as_secs()
            ),
        ))
    }
}

/// Whether guests are changed after this goal that were not before.
fn work_follows(goal: Goal, handover: &Handover) -> bool {
    match goal {
        Goal::Observe => !applies(Goal::Lower, handover.kind, &handover.facts),
        Goal::Lower => true,
        _ => false,
    }
}

fn failed(error: StepError) -> Event {
    match error {
        StepError::Refused(reason) => Event::Refused(reason),
        StepError::Failed(text) => Event::Failed(text),
    }
}

/// The one place where a handover's state changes; logs `from -> to: reason` and journals what must be durable.
async fn advance(run: &mut Run<'_>, event: &Event, at: &mut Position) -> Result<(), Illegal> {
    let from = run.handover.state;
    let to = transition(from, event, terms(&run.handover, run.world.protocol))?;
    let why = match event {
        Event::Missing(text) | Event::Pending(text) | Event::Failed(text) => text.clone(),
        Event::Refused(reason) | Event::Expired(reason) | Event::Cancel(reason) => reason.text.clone(),
        Event::Holds => "holds".to_owned(),
        Event::Committed => "the zone says that the update arrived".to_owned(),
        Event::Acted => "done, look again".to_owned(),
        Event::Elapsed | Event::Resume => "look again".to_owned(),
    };
    if let Event::Refused(reason) | Event::Expired(reason) | Event::Cancel(reason) = event {
        run.handover.reason = Some(match (run.handover.reason.take(), to) {
            (None, _) => reason.clone(),
            (Some(first), State::Stuck { goal, .. }) => first.stuck(goal.as_str(), reason),
            (Some(first), _) => first,
        });
    }
    run.handover.state = to;
    if *event == Event::Committed {
        // From here it only goes forward: a cancel that is still asked for would turn it back again and again.
        committed(run);
    }
    if let State::At {
        direction: Direction::Forward,
        goal,
        ..
    } = from
    {
        let commit = commit_goal(run.handover.kind, &run.handover.facts);
        if *event == Event::Holds && goal == commit {
            committed(run);
        }
        if goal == Goal::Start && *event == Event::Holds {
            end_gap(run);
        }
        if goal == Goal::Retire && !matches!(event, Event::Holds) && goal_of(to) == Some(Goal::Forget) {
            run.handover.facts.retire_owed = true;
        }
        if goal == Goal::Retire && *event == Event::Holds {
            fulfil(run).await;
        }
    }
    at.log(from, to, event, &why);
    if goal_of(from) != goal_of(to) || direction_of(from) != direction_of(to) {
        at.began = run.world.clock.now();
        at.last.clear();
        at.waits = 0;
        at.said.clear();
        let entry = JournalEntry {
            at: run.world.clock.now(),
            step: goal_of(from).map_or("end", Goal::as_str).to_owned(),
            text: format!("{} -> {}: {why}", name(from), name(to)),
        };
        let world = run.world;
        let handover = &run.handover;
        keep_trying(world, || world.table.save(handover, &entry)).await;
    }
    Ok(())
}

fn committed(run: &mut Run<'_>) {
    run.handover.committed = true;
    if run.handover.facts.published_at.is_none() {
        run.handover.facts.published_at = Some(run.world.clock.now());
    }
}

/// The source was told to stop at the gap's beginning, and the target is up now.
fn end_gap(run: &mut Run<'_>) {
    let facts = &mut run.handover.facts;
    if let (Some(began), None) = (facts.gap_began, facts.gap) {
        facts.gap = Some(run.world.clock.now().saturating_sub(began));
    }
}

/// Ends the duty of this handover, unless another one has it now; where that cannot be read, whoever carries duties ends it.
async fn fulfil(run: &Run<'_>) {
    let (Some(place), Ok(Some(_))) = (&run.handover.source, run.own_duty().await) else {
        return;
    };
    let world = run.world;
    let (service, guest, generation) = (&run.handover.service, place.guest, run.handover.generation);
    keep_trying(world, || world.table.fulfil(service, guest, generation)).await;
}

/// Nothing is done without the journal: a table that cannot be written is tried again until it can.
async fn keep_trying<'a, F>(world: &World, write: F)
where
    F: Fn() -> std::pin::Pin<Box<dyn Future<Output = Result<(), crate::ports::TableError>> + Send + 'a>>,
{
    let mut tries = 0;
    while let Err(error) = write().await {
        tries += 1;
        warn!(%error, "the journal cannot be written; trying again");
        if !matches!(error, crate::ports::TableError::Storage(_)) {
            return;
        }
        world.clock.sleep(backoff(tries)).await;
    }
}

async fn end_unstarted(
    world: &World,
    mut handover: Handover,
    mut job: JobRecord,
    reason: Reason,
) -> JobRecord {
    let (direction, goal) = match handover.state {
        State::At { direction, goal, .. } => (direction, goal),
        _ => (Direction::Forward, Goal::Reserve),
    };
    handover.state = State::Stuck { direction, goal };
    job.finished = Some(world.clock.now());
    job.result = Some("stuck".into());
    job.error_name.clone_from(&reason.name);
    job.error_details.clone_from(&reason.text);
    handover.reason = Some(reason);
    let entry = JournalEntry {
        at: world.clock.now(),
        step: "end".into(),
        text: "stuck".into(),
    };
    keep_trying(world, || world.table.finish(&handover, &job, &entry)).await;
    job
}

fn goal_of(state: State) -> Option<Goal> {
    match state {
        State::At { goal, .. } | State::Stuck { goal, .. } => Some(goal),
        State::Done { .. } | State::Undone => None,
    }
}

fn direction_of(state: State) -> Option<Direction> {
    match state {
        State::At { direction, .. } | State::Stuck { direction, .. } => Some(direction),
        State::Done { .. } | State::Undone => None,
    }
}

fn name(state: State) -> String {
    match state {
        State::At {
            direction,
            goal,
            phase,
            ..
        } => {
            let back = if direction == Direction::Back { "undo " } else { "" };
            let phase = match phase {
                Phase::Looking => "looking",
                Phase::Acting => "acting",
                Phase::Waiting => "waiting",
            };
            format!("{back}{} ({phase})", goal.as_str())
        }
        State::Done { owed: false } => "done".into(),
        State::Done { owed: true } => "done, duty owed".into(),
        State::Undone => "undone".into(),
        State::Stuck { goal, .. } => format!("stuck at {}", goal.as_str()),
    }
}
