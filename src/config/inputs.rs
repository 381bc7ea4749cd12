//! Fragments made into one tree of values, each with the place where it stands. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Place, Problem};
use super::rivals::Rivals;

/// One configuration file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// Its path, for messages.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// A value with the place where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub place: Place,
    pub value: Value,
}

/// A value as TOML knows it, as far as a key of ours may have it.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    Number(i64),
    List(Vec<Input>),
    Table(Table),
    /// A boolean, float or date: no key takes one. With the word for its kind.
    Other(&'static str),
}

/// A table's keys.
pub(crate) type Table = BTreeMap<String, Input>;

impl Value {
    /// The kind's name in messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Number(_) => "a number",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// All fragments as one table: later ones win key by key. What is not TOML is told and left out; what two files may not
/// both say is told as well.
pub(crate) fn merge(fragments: &[Fragment]) -> (Table, Vec<Problem>) {
    let mut whole = Table::new();
    let mut problems = Vec::new();
    let mut rivals = Rivals::default();
    for (order, fragment) in fragments.iter().enumerate() {
        let file = File { order, fragment };
        let (table, errors) = DeTable::parse_recoverable(&fragment.text);
        problems.extend(errors.iter().map(|error| Problem {
            place: file.place(error.span().map(|span| span.start)),
            key: String::new(),
            what: format!("this is not TOML: {}", error.message().replace('\n', "; ")),
        }));
        if errors.is_empty() {
            let table = file.table(table.get_ref());
            tell_twins(&table, "", &mut problems);
            rivals.tell(&table, &mut problems);
            lay_over(&mut whole, table);
        }
    }
    (whole, problems)
}

/// Lays `over` on `under`: tables key by key, lists of tables name by name, all else replaced.
fn lay_over(under: &mut Table, over: Table) {
    for (key, input) in over {
        let Some(old) = under.get_mut(&key) else {
            under.insert(key, input);
            continue;
        };
        match (&mut old.value, input.value) {
            (Value::Table(old), Value::Table(new)) => lay_over(old, new),
            (Value::List(old), Value::List(new)) if are_rows(old) && are_rows(&new) => {
                for row in new {
                    lay_row(old, row);
                }
            }
            (_, value) => {
                *old = Input {
                    place: input.place,
                    value,
                };
            }
        }
    }
}

/// Lays one table of a list on the one of the same name, or appends it.
fn lay_row(rows: &mut Vec<Input>, row: Input) {
    let name = row_name(&row);
    let old = rows
        .iter_mut()
        .find(|old| name.is_some() && row_name(old) == name);
    match (old.map(|old| &mut old.value), row.value) {
        (Some(Value::Table(old)), Value::Table(new)) => lay_over(old, new),
        (_, value) => rows.push(Input {
            place: row.place,
            value,
        }),
    }
}

/// Tells of tables of one list in one file that have the same name: a mistake, as nobody means the second to win.
fn tell_twins(table: &Table, path: &str, problems: &mut Vec<Problem>) {
    for (key, input) in table {
        let path = dotted(path, key);
        match &input.value {
            Value::Table(table) => tell_twins(table, &path, problems),
            Value::List(rows) => {
                let mut first = BTreeMap::new();
                for row in rows {
                    let Some(name) = row_name(row) else { continue };
                    let Some(twin) = first.insert(name.clone(), &row.place) else {
                        continue;
                    };
                    problems.push(Problem {
                        place: row.place.clone(),
                        key: path.clone(),
                        what: format!("{name} is there twice, before at {twin}; keep one of them"),
                    });
                }
            }
            _ => {}
        }
    }
}

fn are_rows(list: &[Input]) -> bool {
    !list.is_empty() && list.iter().all(|row| matches!(row.value, Value::Table(_)))
}

/// A row's name as far as merging is concerned: names differ neither by case nor by a final dot (RFC 4343).
pub(super) fn row_name(row: &Input) -> Option<String> {
    let Value::Table(table) = &row.value else {
        return None;
    };
    match &table.get("name")?.value {
        Value::Text(name) => Some(name.trim_end_matches('.').to_ascii_lowercase()),
        _ => None,
    }
}

/// `parent.key`, or `key` at the top.
pub(crate) fn dotted(parent: &str, key: &str) -> String {
    if parent.is_empty() {
        key.to_owned()
    } else {
        format!("{parent}.{key}")
    }
}

/// A fragment while its values are taken from it.
struct File<'a> {
    order: usize,
    fragment: &'a Fragment,
}

impl File<'_> {
    /// The place of a byte offset.
    fn place(&self, offset: Option<usize>) -> Place {
        let before = offset.and_then(|offset| self.fragment.text.as_bytes().get(..offset));
        Place {
            order: self.order,
            file: self.fragment.path.clone(),
            line: before.map(|before| before.iter().filter(|b| **b == b'\n').count() + 1),
        }
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let mut inputs = Table::new();
        for (key, value) in table {
            let mut input = self.input(value);
            // A key's own line is what a reader looks for, also where its value begins further down.
            input.place = self.place(Some(key.span().start));
            inputs.insert(key.get_ref().to_string(), input);
        }
        inputs
    }

    fn input(&self, value: &Spanned<DeValue<'_>>) -> Input {
        let place = self.place(Some(value.span().start));
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Number(number),
                Err(_) => Value::Other("a number that is out of range"),
            },
            DeValue::Float(_) => Value::Other("a number with a fraction"),
            DeValue::Boolean(_) => Value::Other("a boolean"),
            DeValue::Datetime(_) => Value::Other("a date"),
            DeValue::Array(items) => Value::List(items.iter().map(|item| self.input(item)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Input { place, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(name: &str, text: &str) -> Fragment {
        Fragment {
            path: name.into(),
            text: text.into(),
        }
    }

    fn text_at<'a>(table: &'a Table, key: &str) -> &'a str {
        match &table[key].value {
            Value::Text(text) => text,
            other => panic!("{key} is {other:?}"),
        }
    }

    fn rows(table: &Table) -> Vec<&Table> {
        let Value::Table(dns) = &table["dns"].value else {
            panic!("no [dns]")
        };
        let Value::List(rows) = &dns["zone"].value else {
            panic!("no zones")
        };
        rows.iter()
            .map(|row| match &row.value {
                Value::Table(row) => row,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_later_fragment_wins_key_by_key_and_leaves_the_others() {
        let (table, problems) = merge(&[
            fragment("a", "host = 'one'\n[pool]\nname = 'p'\n[libvirt]\nuri = 'x'"),
            fragment("b", "host = 'two'\n[libvirt]\nuri = 'y'"),
        ]);
        assert_eq!(problems, []);
        assert_eq!(text_at(&table, "host"), "two");
        assert_eq!(table["host"].place.to_string(), "b:1");
        let Value::Table(pool) = &table["pool"].value else {
            panic!("no pool")
        };
        assert_eq!(text_at(pool, "name"), "p");
        assert_eq!(pool["name"].place.to_string(), "a:3");
    }

    #[test]
    fn zones_are_merged_by_name_whatever_its_case_and_final_dot() {
        let (table, problems) = merge(&[
            fragment(
                "a",
                "[[dns.zone]]\nname = 'svc.lab.'\nserver = 'one'\nkey_name = 'k'",
            ),
            fragment(
                "b",
                "[[dns.zone]]\nname = 'SVC.lab'\nview = 'two'\n[[dns.zone]]\nname = 'x.lab'",
            ),
        ]);
        assert_eq!(problems, []);
        let rows = rows(&table);
        assert_eq!(rows.len(), 2);
        assert_eq!(text_at(rows[0], "server"), "one");
        assert_eq!(text_at(rows[0], "view"), "two");
        assert_eq!(text_at(rows[0], "key_name"), "k");
        assert_eq!(text_at(rows[1], "name"), "x.lab");
    }

    #[test]
    fn twins_in_one_file_are_told_with_both_places() {
        let (_, problems) = merge(&[fragment(
            "a",
            "[[dns.zone]]\nname = 'svc.lab.'\n\n[[dns.zone]]\nname = 'svc.lab'\n",
        )]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        let said = problems[0].to_string();
        assert!(
            said.starts_with("a:4: dns.zone: svc.lab is there twice"),
            "{said}"
        );
        assert!(said.contains("before at a:1"), "{said}");
    }

    #[test]
    fn every_syntax_error_is_told_with_its_line() {
        let (_, problems) = merge(&[fragment("a", "host = \n[pool\nname = 'p'\n")]);
        let lines: Vec<_> = problems.iter().filter_map(|p| p.place.line).collect();
        assert!(lines.contains(&1) && lines.contains(&2), "{problems:?}");
    }
}
