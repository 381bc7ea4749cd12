//! Changes of one zone that are ready together: as few messages as they fit into, each member settled by itself.
//!
//! ```text
//!   members --waves--> no name twice --parts--> what fits into 65535 bytes --> UPDATE
//!      ^                                                                         |
//!      |   one half, then the other: <-- refused or a prerequisite failed <------+
//!      |   so one bad name stops only itself                                     |
//!      +-- each is told what stands at its own name <-- done, or answer lost <---+
//! ```

use std::collections::{HashSet, VecDeque};

use hickory_proto::op::ResponseCode;
use tokio::sync::oneshot;

use super::answer::{Answer, Request};
use super::message;
use super::primary::{PAUSES, Primary, Trouble, Wanted};
use super::verdict::{self, Ending, Scope};
use super::zone::Zone;
use crate::model::name::{NameChange, NameRecords, SrvLabel};
use crate::ports::{PortError, Swapped};

/// A change and who waits for its end.
#[derive(Debug)]
pub(super) struct Member {
    /// What is wanted.
    pub change: NameChange,
    /// Gets the end. A member that nobody waits for any more is not sent.
    pub reply: oneshot::Sender<Result<Swapped, PortError>>,
}

impl Member {
    fn end(self, result: Result<Swapped, PortError>) {
        // Whoever asked may have gone; the zone says what happened.
        drop(self.reply.send(result));
    }
}

/// How the message of a group ended.
enum Sent {
    /// It was answered with NOERROR.
    Done,
    /// A prerequisite failed.
    Prerequisite(ResponseCode),
    /// It was refused, perhaps for one of its names.
    Blamed(Failure),
    /// It was refused or not sent, for a reason that all share.
    Failed(Failure),
    /// Nobody knows.
    Open(Failure),
}

/// What kept a message from being done.
enum Failure {
    Answer(Answer),
    Trouble(Trouble),
}

impl Failure {
    fn of(&self, scope: Scope<'_>) -> PortError {
        match self {
            Self::Answer(answer) => verdict::failure(scope, answer),
            Self::Trouble(trouble) => trouble.of_update(scope),
        }
    }
}

impl Primary {
    /// Carries out the changes of `members`, all of this zone, and tells each how it ended. Changes of one name are made
    /// in their order.
    pub(super) async fn carry_out(&self, members: Vec<Member>) {
        for wave in waves(members) {
            let mut groups: VecDeque<Vec<Member>> = self.parts(wave).into();
            while let Some(group) = groups.pop_front() {
                for half in self.settle(group).await.into_iter().rev() {
                    groups.push_front(half);
                }
            }
        }
    }

    /// `members` in groups of which each fits into a message; one that cannot be sent at all is told so.
    fn parts(&self, members: Vec<Member>) -> Vec<Vec<Member>> {
        let mut rest = VecDeque::new();
        for member in members {
            match fits(&self.zone, std::slice::from_ref(&member.change)) {
                Ok(true) => rest.push_back(member),
                Ok(false) => {
                    let why = "its records do not fit into one message of 65535 bytes";
                    let error = PortError::refused(self.scope(&member.change.name).say(why));
                    member.end(Err(error));
                }
                Err(why) => member.end(Err(PortError::refused(why))),
            }
        }
        let changes: Vec<NameChange> = rest.iter().map(|member| member.change.clone()).collect();
        let mut parts = Vec::new();
        for count in counts(&self.zone, &changes) {
            parts.push(rest.drain(..count.min(rest.len())).collect());
        }
        parts
    }

    /// Sends one message for the group and ends its members, or gives back what is to be sent by itself.
    async fn settle(&self, mut group: Vec<Member>) -> Vec<Vec<Member>> {
        group.retain(|member| !member.reply.is_closed());
        if group.is_empty() {
            return Vec::new();
        }
        let sent = self.send(&group).await;
        if matches!(sent, Sent::Prerequisite(_) | Sent::Blamed(_)) && group.len() > 1 {
            tracing::debug!(zone = %self.zone.name, names = group.len(), "refused; sent again in two halves");
            let other = group.split_off(group.len() / 2);
            return vec![group, other];
        }
        let failure = match sent {
            Sent::Blamed(failure) | Sent::Failed(failure) => failure,
            Sent::Done | Sent::Prerequisite(_) | Sent::Open(_) => {
                self.read_back(group, &sent).await;
                return Vec::new();
            }
        };
        for member in group {
            let error = failure.of(self.scope(&member.change.name));
            member.end(Err(error));
        }
        Vec::new()
    }

    /// Sends the message until it is answered with something else than "not now".
    async fn send(&self, group: &[Member]) -> Sent {
        let changes: Vec<NameChange> = group.iter().map(|member| member.change.clone()).collect();
        let mut pauses = PAUSES.into_iter();
        loop {
            // Built and signed anew each time: a signature is good for one message and its moment.
            let message = match message::update_message(&self.zone.name, &changes) {
                Ok(message) => message,
                Err(error) => return Sent::Failed(Failure::Trouble(Trouble::Unsendable(error.to_string()))),
            };
            let answer = match self.ask_one(message).await {
                Ok(answer) => answer,
                Err(trouble) if trouble.leaves_open() => return Sent::Open(Failure::Trouble(trouble)),
                Err(trouble) if trouble.blames_names() => return Sent::Blamed(Failure::Trouble(trouble)),
                Err(trouble) => return Sent::Failed(Failure::Trouble(trouble)),
            };
            match verdict::of_update(&answer) {
                Ending::Done => return Sent::Done,
                Ending::Prerequisite(code) => return Sent::Prerequisite(code),
                Ending::Blamed => return Sent::Blamed(Failure::Answer(answer)),
                Ending::Failed => return Sent::Failed(Failure::Answer(answer)),
                Ending::Open => return Sent::Open(Failure::Answer(answer)),
                Ending::Again => match pauses.next() {
                    Some(pause) => {
                        tracing::debug!(zone = %self.zone.name, "sending the update again after SERVFAIL");
                        tokio::time::sleep(pause).await;
                    }
                    None => return Sent::Failed(Failure::Answer(answer)),
                },
            }
        }
    }

    /// Reads every name of the group and ends its member by what stands there.
    async fn read_back(&self, group: Vec<Member>, sent: &Sent) {
        let labels: Vec<Vec<SrvLabel>> = group
            .iter()
            .map(|member| member.change.srv.iter().map(|set| set.label.clone()).collect())
            .collect();
        let wanted: Vec<Wanted<'_>> = group
            .iter()
            .zip(&labels)
            .map(|(member, labels)| Wanted {
                name: &member.change.name,
                labels,
            })
            .collect();
        let found = self.look(&wanted).await;
        for (member, records) in group.into_iter().zip(found) {
            let result = self.judge_member(&member.change, sent, records);
            member.end(result);
        }
    }

    fn judge_member(
        &self,
        change: &NameChange,
        sent: &Sent,
        records: Result<NameRecords, PortError>,
    ) -> Result<Swapped, PortError> {
        let scope = self.scope(&change.name);
        match (sent, records) {
            // The answer is lost, but the name itself says that the message came through.
            (Sent::Open(_), Ok(records))
                if verdict::holds(change, &records) && verdict::has_ttl(change, &records) =>
            {
                Ok(Swapped::Yes)
            }
            (Sent::Open(failure), _) => Err(failure.of(scope)),
            // Whatever keeps us from looking, the update was answered: the caller has to look.
            (_, Err(error)) => Err(PortError::unknown(format!(
                "the update was answered, but not read back: {}",
                error.message
            ))),
            (Sent::Prerequisite(code), Ok(records)) => {
                verdict::after_prerequisite(scope, change, *code, records)
            }
            (_, Ok(records)) => verdict::after_write(scope, change, &records),
        }
    }
}

/// `members` in waves in which no name stands twice, each name's changes in their order.
fn waves(members: Vec<Member>) -> Vec<Vec<Member>> {
    let mut waves = Vec::new();
    let mut rest = members;
    while !rest.is_empty() {
        let mut seen = HashSet::new();
        let (wave, later) = rest
            .into_iter()
            .partition(|member| seen.insert(member.change.name.clone()));
        waves.push(wave);
        rest = later;
    }
    waves
}

/// Whether all of `changes` fit into one message.
///
/// # Errors
/// A text when no message can be made of them.
fn fits(zone: &Zone, changes: &[NameChange]) -> Result<bool, String> {
    let message = message::update_message(&zone.name, changes).map_err(|e| e.to_string())?;
    // The time stands in a field of fixed length, so that any will do.
    Ok(Request::seal(message, 0, zone.key.as_ref(), 0).is_ok())
}

/// How many of `changes`, in their order, go into each message: as many as fit. Each fits by itself.
fn counts(zone: &Zone, mut changes: &[NameChange]) -> Vec<usize> {
    let mut counts = Vec::new();
    let mut near = changes.len();
    while !changes.is_empty() {
        near = longest(zone, changes, near);
        counts.push(near);
        changes = changes.get(near..).unwrap_or_default();
    }
    counts
}

/// The greatest number of leading `changes` that fit into one message; the search begins at `near`.
fn longest(zone: &Zone, changes: &[NameChange], near: usize) -> usize {
    // `low` fits, `high` does not.
    let (mut low, mut high) = (1, changes.len() + 1);
    let narrow = |count: usize, low: &mut usize, high: &mut usize| {
        let part = changes.get(..count).unwrap_or_default();
        if fits(zone, part) == Ok(true) {
            *low = count;
        } else {
            *high = count;
        }
    };
    // The messages of one batch hold nearly the same number of names.
    for count in [near, near + 1] {
        if low < count && count < high {
            narrow(count, &mut low, &mut high);
        }
    }
    while high - low > 1 {
        narrow(low.midpoint(high), &mut low, &mut high);
    }
    low
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
