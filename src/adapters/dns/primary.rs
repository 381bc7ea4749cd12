//! One server of a zone: asked, and sent updates. What its answers mean is `verdict`'s.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hickory_proto::op::Message;

use super::answer::{self, Answer, BadAnswer, Request};
use super::message;
use super::transport::{self, Loss};
use super::verdict::{self, Scope, Verdict};
use super::zone::Zone;
use crate::model::name::{DnsName, NameRecords, SrvLabel};
use crate::ports::PortError;

/// Pauses before an update or a question is sent again that the server could not do (SERVFAIL).
pub(super) const PAUSES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
];

/// Names that are read over one connection at once; each has three questions and more.
const READ_AT_ONCE: usize = 200;

/// What is read of one name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The service's name.
    pub name: &'a DnsName,
    /// Where SRV records are looked for.
    pub labels: &'a [SrvLabel],
}

/// A zone's server, and how long and by which clock it is asked.
#[derive(Debug, Clone)]
pub(super) struct Primary {
    /// The zone; its `server` is the one that is asked.
    pub zone: Zone,
    /// The longest time of one exchange.
    pub timeout: Duration,
    /// Seconds that signatures are ahead of the clock.
    pub clock_offset: i64,
}

impl Primary {
    /// Who is asked about `name`, for the words of an error.
    pub(super) fn scope<'a>(&'a self, name: &'a DnsName) -> Scope<'a> {
        Scope {
            zone: &self.zone,
            name,
        }
    }

    /// Seconds since 1970, for signatures.
    fn now(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
            .saturating_add_signed(self.clock_offset)
    }

    /// Seals, sends and checks `messages`: one connection, one round trip after it. An answer for each message.
    pub(super) async fn ask(
        &self,
        messages: Vec<Message>,
    ) -> Result<Vec<Result<Answer, BadAnswer>>, Trouble> {
        let now = self.now();
        // The library's ids are random; the ids of one connection only have to differ.
        let mut id = Message::query().id;
        let mut requests = Vec::with_capacity(messages.len());
        for message in messages {
            let request =
                Request::seal(message, id, self.zone.key.as_ref(), now).map_err(Trouble::Unsendable)?;
            requests.push(request);
            id = id.wrapping_add(1);
        }
        let answers = transport::exchange(self.zone.server, &requests, self.timeout).await?;
        Ok(requests
            .iter()
            .zip(answers)
            .map(|(request, bytes)| answer::check(request, &bytes))
            .collect())
    }

    /// Sends one message and gives its answer.
    pub(super) async fn ask_one(&self, message: Message) -> Result<Answer, Trouble> {
        let mut answers = self.ask(vec![message]).await?;
        match answers.pop() {
            Some(answer) => Ok(answer?),
            None => Err(Loss::Sent("gave no answer".to_owned()).into()),
        }
    }

    /// Reads each of the names; asks again while the server answers SERVFAIL. Never `Unknown`: a question changes
    /// nothing. The answers of one name may stem from two versions of the zone if somebody changes it in that moment.
    pub(super) async fn look(&self, wanted: &[Wanted<'_>]) -> Vec<Result<NameRecords, PortError>> {
        let mut found = Vec::with_capacity(wanted.len());
        for part in wanted.chunks(READ_AT_ONCE) {
            found.extend(self.look_at(part).await);
        }
        found
    }

    async fn look_at(&self, wanted: &[Wanted<'_>]) -> Vec<Result<NameRecords, PortError>> {
        let mut pauses = PAUSES.into_iter();
        let mut found: Vec<Seen> = wanted.iter().map(|_| Seen::Busy(String::new())).collect();
        loop {
            let mut open: Vec<(Wanted<'_>, &mut Seen)> = wanted
                .iter()
                .copied()
                .zip(&mut found)
                .filter(|(_, seen)| matches!(seen, Seen::Busy(_)))
                .collect();
            self.look_once(&mut open).await;
            if !found.iter().any(|seen| matches!(seen, Seen::Busy(_))) {
                break;
            }
            let Some(pause) = pauses.next() else { break };
            tracing::debug!(zone = %self.zone.name, "asking again after SERVFAIL");
            tokio::time::sleep(pause).await;
        }
        found
            .into_iter()
            .map(|seen| match seen {
                Seen::Settled(result) => result,
                Seen::Busy(why) => Err(PortError::unavailable(why)),
            })
            .collect()
    }

    /// One round of questions about all that is `open`.
    async fn look_once(&self, open: &mut [(Wanted<'_>, &mut Seen)]) {
        let mut messages = Vec::new();
        let mut counts = Vec::with_capacity(open.len());
        for (wanted, seen) in open.iter_mut() {
            match message::questions(wanted.name, wanted.labels) {
                Ok(questions) => {
                    counts.push(questions.len());
                    messages.extend(questions);
                }
                Err(error) => {
                    counts.push(0);
                    **seen = Seen::Settled(Err(PortError::refused(error.to_string())));
                }
            }
        }
        match self.ask(messages).await {
            Err(trouble) => {
                for (wanted, seen) in open.iter_mut() {
                    **seen = Seen::Settled(Err(trouble.of_question(self.scope(wanted.name))));
                }
            }
            Ok(answers) => {
                let mut answers = answers.into_iter();
                for ((wanted, seen), count) in open.iter_mut().zip(counts) {
                    if count > 0 {
                        **seen = self.judge(*wanted, answers.by_ref().take(count));
                    }
                }
            }
        }
    }

    /// What the answers to one name's questions say.
    fn judge(&self, wanted: Wanted<'_>, answers: impl Iterator<Item = Result<Answer, BadAnswer>>) -> Seen {
        let scope = self.scope(wanted.name);
        let mut good = Vec::new();
        for answer in answers {
            let answer = match answer {
                Ok(answer) => answer,
                Err(bad) => return Seen::Settled(Err(Trouble::Bad(bad).of_question(scope))),
            };
            match verdict::of_question(scope, &answer) {
                Verdict::Done => good.push(answer),
                Verdict::Failed(error) => return Seen::Settled(Err(error)),
                Verdict::Again(why) => return Seen::Busy(why),
            }
        }
        Seen::Settled(
            answer::records(wanted.name, wanted.labels, &good)
                .map_err(|why| PortError::refused(scope.say(&why))),
        )
    }
}

/// What is known of one name so far.
enum Seen {
    Settled(Result<NameRecords, PortError>),
    /// The server could not answer yet, and why.
    Busy(String),
}

/// Why an exchange gave nothing to judge.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// It was never sent.
    #[error("the message cannot be made: {0}")]
    Unsendable(String),
    /// No answer.
    #[error("{0}")]
    Loss(#[from] Loss),
    /// An answer that is none.
    #[error("{0}")]
    Bad(#[from] BadAnswer),
}

impl Trouble {
    /// Whether an update may have happened, or may still.
    pub(super) fn leaves_open(&self) -> bool {
        matches!(
            self,
            Self::Loss(Loss::Sent(_)) | Self::Bad(BadAnswer::Garbage(_) | BadAnswer::Forged(_))
        )
    }

    /// Whether an update was refused, perhaps for one of its names.
    pub(super) fn blames_names(&self) -> bool {
        matches!(self, Self::Bad(BadAnswer::Denied(_)))
    }

    /// What is known of an update's effect.
    pub(super) fn of_update(&self, scope: Scope<'_>) -> PortError {
        let message = scope.say(&self.to_string());
        match self {
            Self::Unsendable(_) | Self::Bad(BadAnswer::Key(_) | BadAnswer::Denied(_)) => {
                PortError::refused(message)
            }
            Self::Loss(Loss::NotSent(_)) => PortError::unavailable(message),
            Self::Loss(Loss::Sent(_)) | Self::Bad(BadAnswer::Garbage(_) | BadAnswer::Forged(_)) => {
                PortError::unknown(format!(
                    "{message}: read the name to see whether the update happened"
                ))
            }
        }
    }

    /// A question has no effect: it was refused, or may be asked again.
    pub(super) fn of_question(&self, scope: Scope<'_>) -> PortError {
        let message = scope.say(&self.to_string());
        match self {
            Self::Unsendable(_)
            | Self::Bad(BadAnswer::Key(_) | BadAnswer::Denied(_) | BadAnswer::Forged(_)) => {
                PortError::refused(message)
            }
            Self::Loss(_) | Self::Bad(BadAnswer::Garbage(_)) => PortError::unavailable(message),
        }
    }
}
