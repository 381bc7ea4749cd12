//! One zone, one primary: what becomes of two files that name different servers for a zone. Pure.
//!
//! Drop-ins win key by key. But a primary that changes unseen would send the names of a whole host to another server: so a
//! later file that names another server is refused, unless its table says which one it replaces.

use std::collections::BTreeMap;

use super::error::{Place, Problem};
use super::inputs::{Input, Table, Value, row_name};
use super::zone;

/// The key by which a zone's table says that its server is to count instead of this one of an earlier file.
pub(super) const REPLACES: &str = "replaces";

/// A text of a table, and where it stands.
type Said<'a> = (&'a str, &'a Place);

/// The server of each zone, as the files that were read so far name it, and where.
#[derive(Debug, Default)]
pub(super) struct Rivals(BTreeMap<String, (String, Place)>);

impl Rivals {
    /// Takes the next file's table, not yet laid over those before it, and tells what is wrong with its zones' servers.
    pub fn tell(&mut self, file: &Table, problems: &mut Vec<Problem>) {
        let mut named = Vec::new();
        for row in zones(file) {
            let (Some(name), Value::Table(table)) = (row_name(row), &row.value) else {
                continue;
            };
            let before = self.0.get(&name).map(|(server, place)| (server.as_str(), place));
            let server = text(table, "server");
            let wrong = match text(table, REPLACES) {
                Some(replaces) => replacing(&name, before, server.is_some(), replaces),
                None => beside(&name, before, server),
            };
            problems.extend(wrong);
            if let Some((server, place)) = server {
                named.push((name, (server.to_owned(), place.clone())));
            }
        }
        // Two tables of one file are no rivals but twins, which are told as such.
        self.0.extend(named);
    }
}

/// What is wrong with a server that is said to replace another.
fn replacing(name: &str, before: Option<Said<'_>>, server: bool, (said, place): Said<'_>) -> Option<Problem> {
    let what = match before {
        None => format!("no file before this one names a server for {name}; take it out"),
        Some((old, at)) if !same(old, said) => {
            format!("{said:?} is not the server of {name}: that is {old} at {at}; look which one is meant")
        }
        Some(_) if !server => format!("add server = \"…\": what {said} is replaced by"),
        Some(_) => return None,
    };
    Some(problem(place, REPLACES, what))
}

/// What is wrong with a server that replaces none.
fn beside(name: &str, before: Option<Said<'_>>, server: Option<Said<'_>>) -> Option<Problem> {
    let ((old, at), (new, place)) = (before?, server?);
    let what = format!(
        "{name} has the server {old} at {at}, and a zone has one primary; keep one of them, or add {REPLACES} = \
         \"{old}\" here if this one is to count"
    );
    (!same(old, new)).then(|| problem(place, "server", what))
}

fn problem(place: &Place, key: &str, what: String) -> Problem {
    let (place, key) = (place.clone(), format!("dns.zone.{key}"));
    Problem { place, key, what }
}

/// The tables of `[[dns.zone]]`.
fn zones(file: &Table) -> &[Input] {
    let Some(Value::Table(dns)) = file.get("dns").map(|input| &input.value) else {
        return &[];
    };
    match dns.get("zone").map(|input| &input.value) {
        Some(Value::List(rows)) => rows,
        _ => &[],
    }
}

fn text<'a>(table: &'a Table, key: &str) -> Option<Said<'a>> {
    let input = table.get(key)?;
    match &input.value {
        Value::Text(text) => Some((text, &input.place)),
        _ => None,
    }
}

/// Whether two texts mean one server: the port 53 may be left out.
fn same(one: &str, other: &str) -> bool {
    match (zone::server(one), zone::server(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::inputs::{Fragment, merge};

    /// What is told of these files, named `a`, `b` and so on.
    fn told(texts: &[&str]) -> Vec<String> {
        let fragments: Vec<Fragment> = ["a", "b", "c"]
            .into_iter()
            .zip(texts)
            .map(|(name, text)| Fragment {
                path: name.into(),
                text: format!("[[dns.zone]]\nname = 'svc.lab'\n{text}"),
            })
            .collect();
        let (_, problems) = merge(&fragments);
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_second_server_is_refused_with_both_places() {
        let told = told(&["server = '10.0.0.1'", "\nserver = '10.0.0.2'"]);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].starts_with("b:4: dns.zone.server: svc.lab has the server 10.0.0.1 at a:3, "),
            "{told:?}"
        );
    }

    #[test]
    fn the_same_server_in_other_words_is_no_rival_and_neither_is_a_file_without_one() {
        let none: [String; 0] = [];
        assert_eq!(
            told(&["server = '10.0.0.1'", "view = 'x'", "server = '10.0.0.1:53'"]),
            none
        );
    }

    #[test]
    fn a_server_that_says_which_one_it_replaces_counts_also_for_the_next_file() {
        let none: [String; 0] = [];
        let (first, second) = (
            "server = '10.0.0.1'",
            "server = '10.0.0.2'\nreplaces = '10.0.0.1:53'",
        );
        assert_eq!(told(&[first, second]), none);
        let third = told(&[first, second, first]);
        assert!(
            third[0].contains("svc.lab has the server 10.0.0.2 at b:3"),
            "{third:?}"
        );
        assert_eq!(
            told(&[first, second, "server = '10.0.0.3'\nreplaces = '10.0.0.2'"]),
            none
        );
    }

    #[test]
    fn what_is_to_be_replaced_must_be_there() {
        for (files, said) in [
            (
                &["server = '10.0.0.2'\nreplaces = '10.0.0.1'"][..],
                "a:4: dns.zone.replaces: no file before this one names a server",
            ),
            (
                &[
                    "server = '10.0.0.1'",
                    "server = '10.0.0.2'\nreplaces = '10.0.0.9'",
                ],
                "b:4: dns.zone.replaces: \"10.0.0.9\" is not the server of svc.lab: that is 10.0.0.1 at a:3",
            ),
            (
                &["server = '10.0.0.1'", "replaces = '10.0.0.1'"],
                "b:3: dns.zone.replaces: add server = ",
            ),
        ] {
            let told = told(files);
            assert!(
                told.len() == 1 && told[0].starts_with(said),
                "{files:?}: {told:?}"
            );
        }
    }
}
