//! What an answer means for the caller: done, a prerequisite failed, ask again, or a failure with its way out. Pure.

use hickory_proto::op::ResponseCode;

use super::Zone;
use super::answer::Answer;
use crate::model::name::{DnsName, NameChange, NameRecords, Ownership};
use crate::ports::{PortError, Swapped};

/// What the answer to a question means.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Its records may be read.
    Done,
    /// The server could not do it now.
    Again(String),
    /// It failed.
    Failed(PortError),
}

/// What the answer to an UPDATE says of the whole message (RFC 2136 sections 2.2 and 3.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Applied, or silently ignored: reading back tells.
    Done,
    /// A prerequisite of one of its names did not hold; nothing was written.
    Prerequisite(ResponseCode),
    /// Nothing was written, and one of its names may be to blame: the others are worth a message without it.
    Blamed,
    /// The server could not do it now; nothing was written.
    Again,
    /// Nothing was written, for a reason that has nothing to do with the names.
    Failed,
    /// Not believed: only reading the names tells.
    Open,
}

/// Who was asked about what, for the words of an error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    /// The zone and its primary.
    pub zone: &'a Zone,
    /// The service's name.
    pub name: &'a DnsName,
}

impl Scope<'_> {
    /// The beginning of every error: which server, of which zone, for which name.
    pub(super) fn say(&self, what: &str) -> String {
        format!(
            "DNS server {} of zone {}, asked about {}: {what}",
            self.zone.server,
            self.zone.title(),
            self.name
        )
    }

    /// The words for an rcode that refuses, the same for questions and updates.
    fn refusal(&self, code: ResponseCode) -> String {
        let zone = &self.zone.name;
        match code {
            ResponseCode::NotAuth => self.say(&match &self.zone.key {
                Some(key) => format!(
                    "it is not authoritative for zone {zone}, or does not take the TSIG key {} (NOTAUTH): name the \
                     zone's primary and its key in the configuration",
                    key.name()
                ),
                None => format!(
                    "it is not authoritative for zone {zone}, or takes no unsigned updates (NOTAUTH): name the zone's \
                     primary in the configuration, and configure a TSIG key for the zone, here and there"
                ),
            }),
            ResponseCode::NotZone => self.say(&format!("it says that the name is outside zone {zone} (NOTZONE)")),
            ResponseCode::NotImp => self.say("it does not do DNS UPDATE (NOTIMP): enable it there"),
            ResponseCode::FormErr => self.say("it does not understand the message (FORMERR)"),
            other => self.say(&format!("it answered {other} ({})", u16::from(other))),
        }
    }
}

/// How an UPDATE ended that got this answer.
pub(super) fn of_update(answer: &Answer) -> Ending {
    match answer.message.response_code {
        ResponseCode::Refused | ResponseCode::NotZone | ResponseCode::FormErr => Ending::Blamed,
        ResponseCode::NotAuth | ResponseCode::NotImp => Ending::Failed,
        _ if !answer.trusted => Ending::Open,
        ResponseCode::NoError => Ending::Done,
        code @ (ResponseCode::NXRRSet
        | ResponseCode::YXRRSet
        | ResponseCode::NXDomain
        | ResponseCode::YXDomain) => Ending::Prerequisite(code),
        // Knot answers so when another client's update fails in the same moment.
        ResponseCode::ServFail => Ending::Again,
        _ => Ending::Blamed,
    }
}

/// The words for an UPDATE with this answer, which is neither done nor a failed prerequisite.
pub(super) fn failure(scope: Scope<'_>, answer: &Answer) -> PortError {
    let code = answer.message.response_code;
    let unsigned = if answer.trusted {
        ""
    } else {
        " (its answer was not signed)"
    };
    match (of_update(answer), code) {
        (Ending::Again, _) => PortError::unavailable(scope.say("it failed (SERVFAIL): see its log")),
        (Ending::Open, _) => PortError::unknown(scope.say(&format!(
            "its answer to the signed update ({code}) was not signed and is not believed: read the name to see what \
             happened, and mend the server or what stands between"
        ))),
        (_, ResponseCode::Refused) => {
            let name = scope.name;
            PortError::refused(scope.say(&match &scope.zone.key {
                Some(key) => format!(
                    "it refused the update{unsigned} (REFUSED): it is not the primary, or its update policy gives the \
                     TSIG key {} no right to change A and AAAA of {name} and TXT of _handover.{name}",
                    key.name()
                ),
                None => "it refused the unsigned update (REFUSED): configure a TSIG key for the zone, here and there"
                    .to_owned(),
            }))
        }
        (_, code) => PortError::refused(format!("{}{unsigned}", scope.refusal(code))),
    }
}

/// What the answer to a question means. A question changes nothing, so no error is `Unknown`; `Done` means that its
/// records may be read.
pub(super) fn of_question(scope: Scope<'_>, answer: &Answer) -> Verdict {
    let message = &answer.message;
    let code = message.response_code;
    let refused = |why: &str| Verdict::Failed(PortError::refused(scope.say(why)));
    match code {
        ResponseCode::Refused => refused(
            "it refused to answer (REFUSED): it does not serve the zone, or does not let this host or key ask",
        ),
        ResponseCode::ServFail => {
            Verdict::Again(scope.say("it could not answer (SERVFAIL): is the zone loaded? See its log"))
        }
        _ if !answer.trusted => refused(&format!(
            "its answer to a signed question ({code}) was not signed and is not believed: mend the server or what \
             stands between"
        )),
        ResponseCode::NoError | ResponseCode::NXDomain if !message.authoritative => refused(&format!(
            "it is {}: name the primary of zone {} in the configuration, and see that the name is not delegated",
            if message.recursion_available {
                "a resolver, not authoritative for the name"
            } else {
                "not authoritative for the name"
            },
            scope.zone.name
        )),
        ResponseCode::NoError | ResponseCode::NXDomain => Verdict::Done,
        other => Verdict::Failed(PortError::refused(scope.refusal(other))),
    }
}

/// Whether `records` is what `change` wants. The TTL is left out: a server may keep it within its own limits.
pub(super) fn holds(change: &NameChange, records: &NameRecords) -> bool {
    let wanted: Vec<String> = change.ownership.iter().map(ToString::to_string).collect();
    let addresses_hold = change.addresses.as_ref().is_none_or(|(set, _)| {
        let mut set = set.clone();
        set.sort();
        set.dedup();
        set == records.addresses && (set.is_empty() || records.cname.is_none())
    });
    let srv_holds = change.srv.iter().all(|set| {
        let mut wanted = set.records.clone();
        wanted.sort();
        wanted.dedup();
        let stands = records.srv.iter().find(|found| found.label == set.label);
        stands.map_or(&[][..], |found| &found.records) == wanted
    });
    records.ownership == wanted && addresses_hold && srv_holds
}

/// Whether the addresses have the TTL that `change` gives them. Where an answer is lost, nothing else may tell that the
/// change was made: one that lowers a TTL leaves all else as it was.
pub(super) fn has_ttl(change: &NameChange, records: &NameRecords) -> bool {
    let given = change.addresses.as_ref().filter(|(set, _)| !set.is_empty());
    given.is_none_or(|(_, ttl)| *ttl == records.ttl)
}

/// The refusal of a change that sets addresses beside a CNAME.
fn beside_alias(scope: Scope<'_>, change: &NameChange, records: &NameRecords) -> Option<PortError> {
    let sets = change.addresses.as_ref().is_some_and(|(set, _)| !set.is_empty());
    let target = records.cname.as_ref().filter(|_| sets)?;
    Some(PortError::refused(scope.say(&format!(
        "{} is a CNAME to {target}; a service's name must own its addresses: remove the CNAME, or give the service \
         another name",
        change.name
    ))))
}

/// What a look after NOERROR says of `change`.
pub(super) fn after_write(
    scope: Scope<'_>,
    change: &NameChange,
    records: &NameRecords,
) -> Result<Swapped, PortError> {
    if holds(change, records) {
        return Ok(Swapped::Yes);
    }
    if let Some(refusal) = beside_alias(scope, change, records) {
        return Err(refusal);
    }
    let text = |ownership: &Option<Ownership>| -> Vec<String> {
        ownership.iter().map(ToString::to_string).collect()
    };
    let stands = standing(records);
    if records.ownership == text(&change.expect_ownership) {
        return Err(PortError::refused(scope.say(&format!(
            "it acknowledged the update and did not apply it; there stands {stands}: see its update policy or script"
        ))));
    }
    if records.ownership == text(&change.ownership) {
        return Err(PortError::refused(scope.say(&format!(
            "it wrote the ownership and ignored other records; there stands {stands}: mend the name by hand, and see \
             its update policy or script"
        ))));
    }
    Err(PortError::unknown(scope.say(&format!(
        "it acknowledged the update, but there stands {stands}: somebody else changed it right after"
    ))))
}

/// What a look after a failed prerequisite says of `change`: done before, impossible, or lost to somebody else.
pub(super) fn after_prerequisite(
    scope: Scope<'_>,
    change: &NameChange,
    code: ResponseCode,
    records: NameRecords,
) -> Result<Swapped, PortError> {
    if holds(change, &records) {
        return Ok(Swapped::Yes);
    }
    if let Some(refusal) = beside_alias(scope, change, &records) {
        return Err(refusal);
    }
    let wanted_free = change.expect_addresses.as_ref().is_some_and(Vec::is_empty);
    let looks_free = records.addresses.is_empty() && records.cname.is_none();
    if code == ResponseCode::YXDomain && wanted_free && looks_free {
        return Err(PortError::refused(scope.say(&format!(
            "{} owns records of other types (such as MX or TXT), so it is not free: remove them, or give the service \
             another name",
            change.name
        ))));
    }
    Ok(Swapped::No(records))
}

/// What stands at a name, in one line.
fn standing(records: &NameRecords) -> String {
    let addresses: Vec<String> = records.addresses.iter().map(ToString::to_string).collect();
    format!(
        "ownership {:?}, addresses [{}]",
        records.ownership,
        addresses.join(", ")
    )
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
