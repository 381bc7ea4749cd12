//! The zones' primaries over TCP: names are read there and changed by DNS UPDATE (RFC 2136), signed by TSIG (RFC 8945).
//!
//! A change is a compare-and-swap: its prerequisites are the values that must stand there, and one message is all or
//! nothing. NOERROR is not believed by itself, for a server ignores addresses beside a CNAME and still answers so:
//! after every update the name is read back. [`message`] builds messages, `answer` holds answers against their
//! requests, `verdict` says what they mean, `transport` carries them; only this file and `transport` do IO.

mod answer;
mod key;
pub mod message;
mod transport;
mod verdict;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use hickory_proto::op::{Message, ResponseCode};

use self::answer::{Answer, BadAnswer, Request};
pub use self::key::{InvalidKey, KeyAlgorithm, TsigKey};
use self::transport::Loss;
use self::verdict::{Scope, Verdict};
use crate::model::name::{DnsName, NameChange, NameRecords};
use crate::ports::{NameServer, PortError, Swapped};

/// Pauses before an update or a question is sent again that the server could not do (SERVFAIL): three attempts in all.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

/// A zone, its primary, and the key that may change it.
#[derive(Debug, Clone)]
pub struct Zone {
    /// The zone's origin.
    pub name: DnsName,
    /// Where its primary listens on TCP.
    pub server: SocketAddr,
    /// The key that signs every message; without it nothing is signed and answers are believed as they come.
    pub key: Option<TsigKey>,
}

/// The primaries of the configured zones: [`NameServer`] for the real world.
#[derive(Debug)]
pub struct DnsPrimaries {
    zones: Vec<Zone>,
    timeout: Duration,
    clock_offset: i64,
}

impl DnsPrimaries {
    /// The primaries of `zones`. `timeout` is the longest time of one exchange (connect, send, answer); a `read` is
    /// one exchange, a `swap` two, each up to three times while the server answers SERVFAIL.
    pub fn new(zones: Vec<Zone>, timeout: Duration) -> Self {
        Self {
            zones,
            timeout,
            clock_offset: 0,
        }
    }

    /// The same, signing as if the clock were `seconds` ahead (behind if negative). For tests of skewed clocks.
    #[must_use]
    pub fn with_clock_offset(mut self, seconds: i64) -> Self {
        self.clock_offset = seconds;
        self
    }

    /// The configured zone with the longest name that covers `name`.
    fn zone(&self, name: &DnsName) -> Option<&Zone> {
        self.zones
            .iter()
            .filter(|zone| name.is_in(&zone.name))
            .max_by_key(|zone| zone.name.labels())
    }

    fn covering(&self, name: &DnsName) -> Result<&Zone, PortError> {
        self.zone(name).ok_or_else(|| {
            PortError::refused(format!(
                "no configured DNS zone covers {name}: configure its zone with its primary, or give the service \
                 another name"
            ))
        })
    }

    /// Seconds since 1970, for signatures.
    fn now(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
            .saturating_add_signed(self.clock_offset)
    }

    /// Seals, sends and checks `messages`: one connection, one round trip after it.
    async fn ask(&self, scope: Scope<'_>, messages: Vec<Message>) -> Result<Vec<Answer>, Trouble> {
        let now = self.now();
        // The library's ids are random; the ids of one connection only have to differ.
        let mut id = Message::query().id;
        let mut requests = Vec::with_capacity(messages.len());
        for message in messages {
            let request =
                Request::seal(message, id, scope.zone.key.as_ref(), now).map_err(Trouble::Unsendable)?;
            requests.push(request);
            id = id.wrapping_add(1);
        }
        let answers = transport::exchange(scope.zone.server, &requests, self.timeout).await?;
        let mut checked = Vec::with_capacity(answers.len());
        for (request, bytes) in requests.iter().zip(answers) {
            checked.push(answer::check(request, &bytes)?);
        }
        Ok(checked)
    }

    /// Reads the name; asks again while the server answers SERVFAIL.
    async fn look(&self, scope: Scope<'_>) -> Result<NameRecords, PortError> {
        let mut pauses = PAUSES.into_iter();
        'ask: loop {
            let questions = message::questions(scope.name).map_err(|e| PortError::refused(e.to_string()))?;
            let answers = self
                .ask(scope, questions)
                .await
                .map_err(|trouble| trouble.of_question(scope))?;
            for answer in &answers {
                match verdict::of_question(scope, answer) {
                    Verdict::Done | Verdict::Prerequisite(_) => {}
                    Verdict::Failed(error) => return Err(error),
                    Verdict::Again(why) => match pauses.next() {
                        Some(pause) => {
                            tracing::debug!(why, "asking again");
                            tokio::time::sleep(pause).await;
                            continue 'ask;
                        }
                        None => return Err(PortError::unavailable(why)),
                    },
                }
            }
            return answer::records(scope.name, &answers).map_err(|e| PortError::refused(scope.say(&e)));
        }
    }

    /// Sends the update until it is settled. `Ok(None)`: acknowledged; `Ok(Some(rcode))`: a prerequisite failed.
    async fn update(&self, scope: Scope<'_>, change: &NameChange) -> Result<Option<ResponseCode>, PortError> {
        let mut pauses = PAUSES.into_iter();
        loop {
            // Built and signed anew each time: a signature is good for one message and its moment.
            let message = message::update_message(&scope.zone.name, std::slice::from_ref(change))
                .map_err(|e| PortError::refused(e.to_string()))?;
            let answers = self
                .ask(scope, vec![message])
                .await
                .map_err(|trouble| trouble.of_update(scope))?;
            let Some(answer) = answers.first() else {
                return Err(PortError::unknown(
                    scope.say("it gave no answer to the update: read the name"),
                ));
            };
            match verdict::of_update(scope, answer) {
                Verdict::Done => return Ok(None),
                Verdict::Prerequisite(code) => return Ok(Some(code)),
                Verdict::Failed(error) => return Err(error),
                Verdict::Again(why) => match pauses.next() {
                    Some(pause) => {
                        tracing::debug!(why, "sending the update again");
                        tokio::time::sleep(pause).await;
                    }
                    None => return Err(PortError::unavailable(why)),
                },
            }
        }
    }
}

#[async_trait]
impl NameServer for DnsPrimaries {
    fn zone_of(&self, name: &DnsName) -> Option<DnsName> {
        self.zone(name).map(|zone| zone.name.clone())
    }

    /// Four questions over one connection. Never `Unknown`: a question changes nothing. The answers may stem from two
    /// versions of the zone if somebody changes it in that moment; the TTL is the greater of A and AAAA, the CNAME's
    /// target has its final dot.
    async fn read(&self, name: &DnsName) -> Result<NameRecords, PortError> {
        let zone = self.covering(name)?;
        self.look(Scope { zone, name }).await
    }

    /// `Yes` also where the wanted state stood there already (a swap sent again after `Unknown`).
    async fn swap(&self, change: &NameChange) -> Result<Swapped, PortError> {
        let zone = self.covering(&change.name)?;
        let scope = Scope {
            zone,
            name: &change.name,
        };
        let failed = self.update(scope, change).await?;
        // Whatever keeps us from looking, the update was answered: the caller has to look.
        let records = self.look(scope).await.map_err(|error| {
            PortError::unknown(format!(
                "the update was answered, but not read back: {}",
                error.message
            ))
        })?;
        match failed {
            None => verdict::after_write(scope, change, &records),
            Some(code) => verdict::after_prerequisite(scope, change, code, records),
        }
    }
}

/// Why an exchange gave nothing to judge.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the message cannot be made: {0}")]
    Unsendable(String),
    #[error("{0}")]
    Loss(#[from] Loss),
    #[error("{0}")]
    Bad(#[from] BadAnswer),
}

impl Trouble {
    /// What is known of an update's effect.
    fn of_update(&self, scope: Scope<'_>) -> PortError {
        let message = scope.say(&self.to_string());
        match self {
            Self::Unsendable(_) | Self::Bad(BadAnswer::Key(_)) => PortError::refused(message),
            Self::Loss(Loss::NotSent(_)) => PortError::unavailable(message),
            Self::Loss(Loss::Sent(_)) | Self::Bad(BadAnswer::Garbage(_) | BadAnswer::Forged(_)) => {
                PortError::unknown(format!(
                    "{message}: read the name to see whether the update happened"
                ))
            }
        }
    }

    /// A question has no effect: it was refused, or may be asked again.
    fn of_question(&self, scope: Scope<'_>) -> PortError {
        let message = scope.say(&self.to_string());
        match self {
            Self::Unsendable(_) | Self::Bad(BadAnswer::Key(_) | BadAnswer::Forged(_)) => {
                PortError::refused(message)
            }
            Self::Loss(_) | Self::Bad(BadAnswer::Garbage(_)) => PortError::unavailable(message),
        }
    }
}
