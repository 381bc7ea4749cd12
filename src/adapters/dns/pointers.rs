//! PTR records, best-effort: the addresses that a name has now point back to it, those that it had no longer do.
//!
//! They stand in a zone of their own, mostly at another server, so they cannot be part of the swap; nothing waits for
//! them, and what goes wrong is logged. Several names may stand at one address, each with a record of its own.

use super::message::{self, Pointer};
use super::primary::Primary;
use super::verdict::{self, Ending};
use crate::model::name::{DnsName, NameChange};

/// Pointers in one message: each has two names of at most 255 bytes, and 80 bytes are the rule.
const AT_ONCE: usize = 100;

/// The pointers that go and come with `change`. Empty where it leaves the addresses.
pub(super) fn pointers(change: &NameChange) -> Vec<Pointer> {
    let Some((set, ttl)) = &change.addresses else {
        return Vec::new();
    };
    let pointer = |address, ttl| Pointer {
        address,
        name: change.name.clone(),
        ttl,
    };
    let before = change.expect_addresses.iter().flatten();
    let gone = before
        .filter(|address| !set.contains(address))
        .map(|address| pointer(*address, None));
    gone.chain(set.iter().map(|address| pointer(*address, Some(*ttl))))
        .collect()
}

impl Primary {
    /// Writes `pointers`, whose reverse names are in this zone. Where a message is refused, each of its pointers is tried
    /// by itself.
    pub(super) async fn point(&self, pointers: Vec<Pointer>) {
        for part in pointers.chunks(AT_ONCE) {
            match self.point_all(part).await {
                Ok(()) => {}
                Err(failure) if failure.blamed && part.len() > 1 => {
                    for pointer in part {
                        if let Err(failure) = self.point_all(std::slice::from_ref(pointer)).await {
                            self.complain(pointer, &failure.why);
                        }
                    }
                }
                Err(failure) => part
                    .iter()
                    .for_each(|pointer| self.complain(pointer, &failure.why)),
            }
        }
    }

    fn complain(&self, pointer: &Pointer, why: &str) {
        tracing::warn!(
            address = %pointer.address,
            name = %pointer.name,
            zone = %self.zone.name,
            why,
            "the PTR record was not changed; nothing else depends on it"
        );
    }

    async fn point_all(&self, pointers: &[Pointer]) -> Result<(), Failure> {
        let Some(first) = pointers.first() else {
            return Ok(());
        };
        let reverse = DnsName::reverse(first.address);
        let scope = self.scope(&reverse);
        let message = message::pointer_message(&self.zone.name, pointers).map_err(|error| Failure {
            blamed: true,
            why: error.to_string(),
        })?;
        let answer = self.ask_one(message).await.map_err(|trouble| Failure {
            blamed: trouble.blames_names(),
            why: trouble.of_update(scope).message,
        })?;
        match verdict::of_update(&answer) {
            Ending::Done => Ok(()),
            ending => Err(Failure {
                blamed: ending == Ending::Blamed,
                why: verdict::failure(scope, &answer).message,
            }),
        }
    }
}

/// Why pointers were not written.
struct Failure {
    /// Whether one of several may be to blame.
    blamed: bool,
    why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_stays_keeps_its_pointer_and_one_that_goes_loses_it() {
        let set = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        let mut change = NameChange {
            name: "web.svc.lab".parse().unwrap(),
            expect_ownership: None,
            expect_addresses: Some(set(&["10.0.0.1", "10.0.0.2"])),
            ownership: None,
            addresses: Some((set(&["10.0.0.2", "fd00::2"]), 5)),
            srv: vec![],
        };
        let shown: Vec<(String, Option<u32>)> = pointers(&change)
            .into_iter()
            .map(|pointer| (pointer.address.to_string(), pointer.ttl))
            .collect();
        assert_eq!(
            shown,
            [
                ("10.0.0.1".to_owned(), None),
                ("10.0.0.2".to_owned(), Some(5)),
                ("fd00::2".to_owned(), Some(5)),
            ]
        );
        change.addresses = None;
        assert_eq!(pointers(&change), []);
    }
}
