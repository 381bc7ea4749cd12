//! Whether what was written at a zone's primary has come to every server of the zone. Pure.

use super::record::Handover;
use super::verdict;
use crate::model::name::{NameRecords, Ownership};
use crate::ports::Authority;

/// Servers that do not give what is new, or of which that is not known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spread {
    /// They give something older.
    pub behind: Vec<String>,
    /// They could not be asked, and why.
    pub unasked: Vec<String>,
}

/// How far it has come, by what every server says, the primary first; `is_new` judges what one server gives.
///
/// A server that gives the same as the primary is as new as it can be, whatever that is.
pub fn spread(all: &[Authority], is_new: impl Fn(&NameRecords) -> bool) -> Spread {
    let primary = all.first().and_then(|server| server.records.as_ref().ok());
    let mut spread = Spread::default();
    for server in all {
        match &server.records {
            Ok(records) if is_new(records) || same(primary, records) => {}
            Ok(_) => spread.behind.push(server.server.clone()),
            Err(error) => spread.unasked.push(format!("{}: {error}", server.server)),
        }
    }
    spread
}

fn same(primary: Option<&NameRecords>, records: &NameRecords) -> bool {
    primary.is_some_and(|primary| {
        primary.addresses == records.addresses
            && primary.ownership == records.ownership
            && primary.ttl == records.ttl
    })
}

/// Whether a name's records are those of this handover's commit, or of a later one.
pub fn is_committed(handover: &Handover, records: &NameRecords) -> bool {
    match verdict::owner_text(records) {
        Some(Ownership::Free(owner)) => owner.generation >= handover.generation,
        Some(Ownership::Claimed(_, owner) | Ownership::Aborted(_, owner)) => {
            owner.is_some_and(|owner| owner.generation >= handover.generation)
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::handover::record::tests::handover;
    use crate::model::ids::Generation;
    use crate::model::name::Owner;
    use crate::ports::PortError;

    fn records(generation: u64, last: u8) -> NameRecords {
        let owner = Owner {
            generation: Generation(generation),
            host: "hv1".parse().unwrap(),
            guest: "6f1d5a2e-0000-4000-8000-000000000001".parse().unwrap(),
            after: None,
        };
        NameRecords {
            addresses: vec![IpAddr::from([10, 77, 0, last])],
            ttl: 5,
            ownership: vec![Ownership::Free(owner).to_string()],
            ..NameRecords::default()
        }
    }

    fn server(name: &str, records: Result<NameRecords, PortError>) -> Authority {
        Authority {
            server: name.to_owned(),
            records,
        }
    }

    fn judged(all: &[Authority]) -> Spread {
        let handover = handover("6f1d5a2e-0000-4000-8000-000000000009");
        spread(all, |records| is_committed(&handover, records))
    }

    #[test]
    fn it_has_come_everywhere_when_every_server_gives_this_commit_or_a_later_one() {
        let all = [server("ns1", Ok(records(3, 3))), server("ns2", Ok(records(2, 2)))];
        assert_eq!(judged(&all), Spread::default());
    }

    #[test]
    fn a_server_that_gives_what_was_before_or_nothing_yet_is_behind() {
        let all = [
            server("ns1", Ok(records(2, 2))),
            server("ns2", Ok(records(1, 1))),
            server("ns3", Ok(NameRecords::default())),
        ];
        assert_eq!(judged(&all).behind, ["ns2", "ns3"]);
    }

    #[test]
    fn what_somebody_else_wrote_at_the_primary_is_waited_for_as_well() {
        let foreign = NameRecords {
            ownership: vec!["mine".to_owned()],
            ..records(1, 9)
        };
        let all = [
            server("ns1", Ok(foreign.clone())),
            server("ns2", Ok(foreign)),
            server("ns3", Ok(records(1, 1))),
        ];
        assert_eq!(judged(&all).behind, ["ns3"]);
    }

    #[test]
    fn of_a_server_that_does_not_answer_nothing_is_known() {
        let all = [
            server("ns1", Err(PortError::unavailable("no route"))),
            server("ns2", Ok(records(2, 2))),
        ];
        let spread = judged(&all);
        assert_eq!(spread.behind, Vec::<String>::new());
        assert_eq!(spread.unasked, ["ns1: no route"]);
    }
}
