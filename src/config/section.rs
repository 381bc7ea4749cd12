//! One table while settings are made from it: each key asked for is taken out and checked; what is left at the end
//! is not a key. So the keys that are asked for are the keys that are allowed, and no second list can differ.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::error::{Place, Problem};
use super::inputs::{Input, Table, Value, dotted};
use crate::model::span;

/// A value that was asked for, with the place where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Found<T> {
    pub place: Place,
    pub value: T,
}

/// Where all sections put what is wrong.
#[derive(Debug, Default)]
pub(crate) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    pub fn tell(&self, place: &Place, key: &str, what: impl Into<String>) {
        self.0.borrow_mut().push(Problem {
            place: place.clone(),
            key: key.to_owned(),
            what: what.into(),
        });
    }

    pub fn into_vec(self) -> Vec<Problem> {
        self.0.into_inner()
    }
}

/// A table that is being read.
#[derive(Debug)]
pub(crate) struct Section<'p> {
    path: String,
    /// Where its header stands.
    pub place: Place,
    left: Table,
    asked: Vec<&'static str>,
    problems: &'p Problems,
}

impl<'p> Section<'p> {
    /// The table at the top of all fragments.
    pub fn top(table: Table, place: Place, problems: &'p Problems) -> Self {
        Self::new(String::new(), place, table, problems)
    }

    fn new(path: String, place: Place, left: Table, problems: &'p Problems) -> Self {
        Self {
            path,
            place,
            left,
            asked: Vec::new(),
            problems,
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Input> {
        self.asked.push(key);
        self.left.remove(key)
    }

    /// Where `key` stands, if it does and was not asked for yet.
    pub fn given(&self, key: &str) -> Option<Place> {
        self.left.get(key).map(|input| input.place.clone())
    }

    /// Counts `key` among those that may stand here, without asking for it.
    pub fn allow(&mut self, key: &'static str) {
        self.asked.push(key);
    }

    /// What `read` gives for a key that must be there; `meaning` says what is to be put in.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Option<Found<T>>,
        meaning: &str,
    ) -> Option<Found<T>> {
        if self.given(key).is_none() {
            self.allow(key);
            self.tell(&self.place, key, format!("it is missing: {meaning}"));
            return None;
        }
        read(self, key)
    }

    /// Tells what is wrong with `key`, which stands at `place`.
    pub fn tell(&self, place: &Place, key: &str, what: impl Into<String>) {
        self.problems.tell(place, &dotted(&self.path, key), what);
    }

    fn tell_kind(&self, input: &Input, key: &str, wanted: &str) {
        let kind = input.value.kind();
        self.tell(&input.place, key, format!("it must be {wanted}, not {kind}"));
    }

    /// A text.
    pub fn text(&mut self, key: &'static str) -> Option<Found<String>> {
        let input = self.take(key)?;
        match input.value {
            Value::Text(value) => Some(Found {
                place: input.place,
                value,
            }),
            _ => {
                self.tell_kind(&input, key, "a text in quotes");
                None
            }
        }
    }

    /// A text that `read` makes something of.
    pub fn read<T, E: Display>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Found<T>> {
        let text = self.text(key)?;
        match read(&text.value) {
            Ok(value) => Some(Found {
                place: text.place,
                value,
            }),
            Err(error) => {
                self.tell(&text.place, key, format!("{:?}: {error}", text.value));
                None
            }
        }
    }

    /// A text that is parsed by its type.
    pub fn parse<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Option<Found<T>> {
        self.read(key, str::parse)
    }

    /// A span of time within bounds; `default` where it is not given.
    pub fn span(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let within = |text: &str| {
            let value = span::parse(text).map_err(|error| error.to_string())?;
            if bounds.contains(&value) {
                return Ok(value);
            }
            let (least, most) = (span::show(*bounds.start()), span::show(*bounds.end()));
            Err(format!("it must be {least} to {most}"))
        };
        if let Some(Input {
            place,
            value: Value::Number(number),
        }) = self.left.get(key)
        {
            let what = format!("a span of time needs quotes and a unit: \"{number}s\", \"{number}min\"");
            self.tell(place, key, what);
            self.take(key);
            return default;
        }
        self.read(key, within).map_or(default, |found| found.value)
    }

    /// A whole number within bounds; `default` where it is not given.
    pub fn count(&mut self, key: &'static str, bounds: RangeInclusive<u16>, default: u16) -> u16 {
        let Some(input) = self.take(key) else {
            return default;
        };
        let Value::Number(number) = input.value else {
            self.tell_kind(&input, key, "a whole number without quotes");
            return default;
        };
        match u16::try_from(number).ok().filter(|n| bounds.contains(n)) {
            Some(number) => number,
            None => {
                let (least, most) = (bounds.start(), bounds.end());
                self.tell(
                    &input.place,
                    key,
                    format!("{number}: it must be {least} to {most}"),
                );
                default
            }
        }
    }

    /// A list of texts, each parsed by its type; `None` if it is not given or one of them was refused (and told).
    pub fn list<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Option<Found<Vec<T>>> {
        let input = self.take(key)?;
        let Value::List(items) = &input.value else {
            self.tell_kind(&input, key, "a list of texts");
            return None;
        };
        let values: Vec<Option<T>> = items.iter().map(|item| self.item(item, key)).collect();
        Some(Found {
            place: input.place,
            value: values.into_iter().collect::<Option<_>>()?,
        })
    }

    fn item<T: FromStr<Err: Display>>(&self, item: &Input, key: &str) -> Option<T> {
        let Value::Text(text) = &item.value else {
            self.tell_kind(item, key, "a list of texts");
            return None;
        };
        text.parse()
            .map_err(|error| self.tell(&item.place, key, format!("{text:?}: {error}")))
            .ok()
    }

    /// A table below this one; an empty one where it is not given.
    pub fn section(&mut self, key: &'static str) -> Section<'p> {
        let path = dotted(&self.path, key);
        let (place, table) = match self.take(key) {
            None => (self.place.clone(), Table::new()),
            Some(Input {
                place,
                value: Value::Table(table),
            }) => (place, table),
            Some(input) => {
                self.tell_kind(&input, key, &format!("a table: [{path}]"));
                (input.place, Table::new())
            }
        };
        Self::new(path, place, table, self.problems)
    }

    /// The tables below `key`, by the names that somebody gave them.
    pub fn named(&mut self, key: &'static str) -> Vec<(String, Section<'p>)> {
        let Section {
            path, left, problems, ..
        } = self.section(key);
        let mut tables = Vec::new();
        for (name, input) in left {
            let path = dotted(&path, &name);
            match input.value {
                Value::Table(table) => {
                    let section = Self::new(path, input.place, table, problems);
                    tables.push((name, section));
                }
                _ => problems.tell(&input.place, &path, format!("it must be a table: [{path}]")),
            }
        }
        tables
    }

    /// The tables of a list of tables, in the order in which they were first named.
    pub fn rows(&mut self, key: &'static str) -> Vec<Section<'p>> {
        let path = dotted(&self.path, key);
        let Some(input) = self.take(key) else {
            return Vec::new();
        };
        let wanted = format!("tables: [[{path}]]");
        let Value::List(items) = input.value else {
            self.tell_kind(&input, key, &wanted);
            return Vec::new();
        };
        let mut rows = Vec::new();
        for item in items {
            match item.value {
                Value::Table(table) => {
                    rows.push(Self::new(path.clone(), item.place, table, self.problems));
                }
                _ => self.tell_kind(&item, key, &wanted),
            }
        }
        rows
    }

    /// Tells what nobody asked for, with the nearest key that may stand there.
    pub fn finish(mut self) {
        self.asked.sort_unstable();
        for (key, input) in &self.left {
            let near = self.asked.iter().min_by_key(|asked| distance(key, asked));
            let mut what = "there is no such key".to_owned();
            if let Some(near) = near {
                what.push_str(&format!(
                    "; the nearest is \"{near}\" (allowed here: {})",
                    self.asked.join(", ")
                ));
            }
            self.tell(&input.place, key, what);
        }
    }
}

/// Reads `yes` or `no`.
pub(crate) fn yes_or_no(text: &str) -> Result<bool, &'static str> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("it must be \"yes\" or \"no\""),
    }
}

/// How many letters must be put in, taken out or replaced to make `a` of `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, cell) in b.chars().zip(row.iter_mut().skip(1)) {
            let above = *cell;
            left = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            diagonal = above;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_that_of_levenshtein() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("networks", "network", 1),
            ("name", "name", 0),
            ("srever", "server", 2),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}
