//! What we read and write ourselves, callable with any bytes: for the fuzz targets (`fuzz/`) and for their bounded run
//! among the tests. No IO. Each function tells `Err` where it has found a fault of ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::Message;

use super::answer::{self, Request};
use super::key::{KeyAlgorithm, TsigKey};
use super::message::{self, InvalidChange};
use crate::model::name::{DnsName, NameChange, Ownership, Srv, SrvLabel, SrvSet};

/// Seconds since 1970 at which the messages here are signed.
const NOW: u64 = 1_800_000_000;

/// Most names that the bytes of [`update`] are made into; the fuzzer would else be slow.
const MOST: usize = 600;

/// The labels whose SRV records are asked for.
const LABELS: [&str; 2] = ["_http._tcp", "_dns._udp"];

fn key() -> Result<TsigKey, String> {
    let name = "k1".parse().map_err(shown)?;
    TsigKey::new(name, KeyAlgorithm::HmacSha256, "c2VjcmV0").map_err(shown)
}

fn labels() -> Result<Vec<SrvLabel>, String> {
    LABELS.iter().map(|label| label.parse().map_err(shown)).collect()
}

fn shown(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Takes `bytes` for the answer to each question about `web.svc.lab`, once signed and once not. The first two are
/// replaced by the id that is waited for, so that a fuzzer need not guess it.
///
/// # Errors
/// Something was believed although nobody has signed it, or was not read as it must be.
pub fn answer(bytes: &[u8]) -> Result<(), String> {
    let name: DnsName = "web.svc.lab".parse().map_err(shown)?;
    let labels = labels()?;
    for key in [None, Some(key()?)] {
        let questions = message::questions(&name, &labels).map_err(shown)?;
        let mut believed = Vec::new();
        for (question, id) in questions.into_iter().zip(1u16..) {
            let request = Request::seal(question, id, key.as_ref(), NOW)?;
            let mut bytes = bytes.to_vec();
            if let Some(first) = bytes.first_chunk_mut::<2>() {
                *first = id.to_be_bytes();
            }
            if let Ok(answer) = answer::check(&request, &bytes) {
                if key.is_some() && answer.trusted {
                    return Err("an answer was believed that nobody has signed".to_owned());
                }
                believed.push(answer);
            }
        }
        let Ok(records) = answer::records(&name, &labels, &believed) else {
            continue;
        };
        if !records.addresses.is_sorted() || (records.addresses.is_empty() && records.ttl > 0) {
            return Err(format!("these records do not hold together: {records:?}"));
        }
        // What stands in a zone is taken for an ownership only by parsing it.
        records.ownership.iter().try_for_each(|text| ownership(text))?;
    }
    Ok(())
}

/// Reads `text` as an ownership; one that is read is written and read again.
///
/// # Errors
/// It does not survive the way.
pub fn ownership(text: &str) -> Result<(), String> {
    let Ok(first) = text.parse::<Ownership>() else {
        return Ok(());
    };
    match first.to_string().parse::<Ownership>() {
        Ok(second) if second == first => Ok(()),
        other => Err(format!("{text:?} was read as {first:?} and again as {other:?}")),
    }
}

/// Reads `text` as a name; one that is read fits into DNS with what we put before it, and reads again as the same.
///
/// # Errors
/// It does not.
pub fn name(text: &str) -> Result<(), String> {
    let Ok(name) = text.parse::<DnsName>() else {
        return Ok(());
    };
    if name.to_string().parse::<DnsName>().as_ref() != Ok(&name) {
        return Err(format!(
            "{text:?} was read as {name:?}, which reads as something else"
        ));
    }
    message::questions(&name, &[]).map(|_| ()).map_err(shown)
}

/// Makes changes of `bytes`, a message of them for svc.lab, and reads it back, once signed and once not.
///
/// # Errors
/// What is read back is not what was written, or a change that must be refused was not.
pub fn update(bytes: &[u8]) -> Result<(), String> {
    let zone: DnsName = "svc.lab".parse().map_err(shown)?;
    let changes = Dice(bytes).changes()?;
    let outside = changes.iter().any(|change| !change.name.is_in(&zone));
    let written = match message::update_message(&zone, &changes) {
        Err(InvalidChange::OutsideZone { .. }) if outside => return Ok(()),
        Err(InvalidChange::Twice(_) | InvalidChange::Ttl { .. }) => return Ok(()),
        Err(error) => return Err(format!("refused for no reason: {error}")),
        Ok(_) if outside => return Err("a name outside the zone was taken".to_owned()),
        Ok(message) => message,
    };
    for key in [None, Some(key()?)] {
        let Ok(request) = Request::seal(written.clone(), 7, key.as_ref(), NOW) else {
            continue;
        };
        if request.bytes.len() > usize::from(u16::MAX) {
            return Err(format!("a message of {} bytes was sealed", request.bytes.len()));
        }
        let mut read = Message::from_vec(&request.bytes).map_err(|e| format!("unreadable: {e}"))?;
        if read.take_signature().is_some() != key.is_some() {
            return Err("the signature was lost or made up".to_owned());
        }
        read.metadata.id = written.metadata.id;
        if read != written {
            return Err(format!("{written:?} was read as {read:?}"));
        }
    }
    Ok(())
}

/// Bytes from which choices are made; none are left: every choice is 0.
struct Dice<'a>(&'a [u8]);

impl Dice<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn number(&mut self) -> u32 {
        u32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    fn short(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn address(&mut self) -> IpAddr {
        let number = self.number();
        if self.byte().is_multiple_of(2) {
            Ipv4Addr::from_bits(number).into()
        } else {
            Ipv6Addr::from_bits(u128::from(number) << 64 | u128::from(self.number())).into()
        }
    }

    fn addresses(&mut self) -> Vec<IpAddr> {
        (0..self.byte() % 5).map(|_| self.address()).collect()
    }

    fn ownership(&mut self) -> Result<Option<Ownership>, String> {
        let (guest, generation) = ("6f1d5a2e-0000-4000-8000-000000000001", self.number());
        let owner = format!("g={generation} host=hv1 guest={guest}");
        let text = match self.byte() % 6 {
            0 => return Ok(None),
            1 => format!("claim={guest}"),
            2 => format!("claim={guest} {owner}"),
            3 => format!("aborted={guest} {owner}"),
            _ => owner,
        };
        text.parse().map(Some).map_err(shown)
    }

    /// A name of one to four labels of one to 63 letters, mostly in svc.lab.
    fn name(&mut self) -> Result<DnsName, String> {
        let mut name = String::new();
        for _ in 0..=self.byte() % 4 {
            let length = usize::from(self.byte() % 63) + 1;
            let letter = char::from(b'a' + self.byte() % 26);
            name.extend(std::iter::repeat_n(letter, length));
            name.push('.');
        }
        name.push_str(if self.byte() == 255 {
            "other.lab"
        } else {
            "svc.lab"
        });
        // Four labels of full length are too long: the last of them counts.
        name.parse()
            .or_else(|_| "too-long.svc.lab".parse())
            .map_err(shown)
    }

    fn srv(&mut self) -> Result<Vec<SrvSet>, String> {
        let mut sets = Vec::new();
        for label in labels()? {
            if self.byte() % 4 == 1 {
                let records = (0..self.byte() % 4)
                    .map(|_| Srv {
                        priority: self.short(),
                        weight: self.short(),
                        port: self.short(),
                    })
                    .collect();
                sets.push(SrvSet { label, records });
            }
        }
        Ok(sets)
    }

    fn changes(&mut self) -> Result<Vec<NameChange>, String> {
        let mut changes = Vec::new();
        while !self.0.is_empty() && changes.len() < MOST {
            let asks = self.byte();
            changes.push(NameChange {
                name: self.name()?,
                expect_ownership: self.ownership()?,
                expect_addresses: asks.is_multiple_of(2).then(|| self.addresses()),
                ownership: self.ownership()?,
                addresses: (!asks.is_multiple_of(3)).then(|| {
                    let ttl = if asks % 16 == 1 { self.number() } else { 5 };
                    (self.addresses(), ttl)
                }),
                srv: self.srv()?,
            });
        }
        Ok(changes)
    }
}
