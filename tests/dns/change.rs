//! Changes that the cases ask for, and what stands after them.

use handoverd::model::name::{NameChange, NameRecords, Ownership};

use crate::server::NEGATIVE_TTL;

/// The ownership `g=<generation> host=<host> guest=…`.
pub fn owned(generation: u64, host: &str) -> Ownership {
    let guest = "6f1d5a2e-0000-4000-8000-000000000001";
    format!("g={generation} host={host} guest={guest}")
        .parse()
        .unwrap()
}

/// A first publication of `name` at `address` with generation 1 and TTL 5.
pub fn create(name: &str, address: &str) -> NameChange {
    NameChange {
        name: name.parse().unwrap(),
        expect_ownership: None,
        expect_addresses: Some(vec![]),
        ownership: Some(owned(1, "hv1")),
        addresses: Some((vec![address.parse().unwrap()], 5)),
        srv: vec![],
    }
}

/// A move from generation 1 at `from` to generation 2 at `to`.
pub fn swap(name: &str, from: &str, to: &str) -> NameChange {
    NameChange {
        expect_ownership: Some(owned(1, "hv1")),
        expect_addresses: Some(vec![from.parse().unwrap()]),
        ownership: Some(owned(2, "hv2")),
        ..create(name, to)
    }
}

/// What stands after `change` with TTL 5.
pub fn state(ownership: &Ownership, addresses: &[&str]) -> NameRecords {
    NameRecords {
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        ttl: if addresses.is_empty() { 0 } else { 5 },
        negative_ttl: if addresses.is_empty() { NEGATIVE_TTL } else { 0 },
        ownership: vec![ownership.to_string()],
        ..NameRecords::default()
    }
}

/// What stands at a name that is not there.
pub fn absent() -> NameRecords {
    NameRecords {
        negative_ttl: NEGATIVE_TTL,
        ..NameRecords::default()
    }
}
