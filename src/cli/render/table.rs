//! Tables without borders: one header line, columns two blanks apart.

use comfy_table::{Attribute, Cell, Color, ColumnConstraint, ContentArrangement, Table};

use super::Look;
use super::text::clean;

/// What a cell's colour is to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing.
    Plain,
    /// All is well.
    Good,
    /// Something is on its way or wants a look.
    Warn,
    /// Something is wrong.
    Bad,
    /// Of no importance.
    Dim,
}

impl Tone {
    fn color(self) -> Option<Color> {
        match self {
            Self::Plain => None,
            Self::Good => Some(Color::Green),
            Self::Warn => Some(Color::Yellow),
            Self::Bad => Some(Color::Red),
            Self::Dim => Some(Color::DarkGrey),
        }
    }
}

/// A cell: its text and its tone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word(pub String, pub Tone);

impl Word {
    /// A cell with a tone.
    pub fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self(text.into(), tone)
    }
}

impl<T: Into<String>> From<T> for Word {
    fn from(text: T) -> Self {
        Self(text.into(), Tone::Plain)
    }
}

/// The table, with a line break at its end. Control characters in cells are escaped. On a terminal cells are
/// wrapped to its width; elsewhere every row is one line.
pub fn table(header: &[&str], rows: Vec<Vec<Word>>, look: Look) -> String {
    let mut table = bare(look);
    let heading = |name: &&str| {
        let cell = Cell::new(name);
        if look.color {
            cell.add_attribute(Attribute::Bold)
        } else {
            cell
        }
    };
    table.set_header(header.iter().map(heading).collect::<Vec<_>>());
    add_rows(&mut table, rows, look);
    finish(&table)
}

/// Names and values, one a line, as `jobs show` lists a job's properties.
pub fn properties(rows: Vec<(&str, Word)>, look: Look) -> String {
    let mut table = bare(look);
    let rows = rows
        .into_iter()
        .map(|(name, value)| vec![Word::from(format!("{name}:")), value])
        .collect();
    add_rows(&mut table, rows, look);
    finish(&table)
}

fn bare(look: Look) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    if look.color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    match look.width {
        Some(width) => {
            table.set_width(width);
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    table
}

fn add_rows(table: &mut Table, rows: Vec<Vec<Word>>, look: Look) {
    let mut texts = vec![false; rows.iter().map(Vec::len).max().unwrap_or(0)];
    for row in &rows {
        for (is_text, Word(text, _)) in texts.iter_mut().zip(row) {
            *is_text |= text.contains(' ');
        }
    }
    for row in rows {
        let cells = row.into_iter().map(|Word(text, tone)| {
            let cell = Cell::new(clean(&text));
            match tone.color() {
                Some(color) if look.color => cell.fg(color),
                _ => cell,
            }
        });
        table.add_row(cells.collect::<Vec<_>>());
    }
    for (column, is_text) in table.column_iter_mut().zip(texts) {
        column.set_padding((0, 2));
        if !is_text {
            // Names, addresses and UUIDs are to be copied: only running text is wrapped.
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
}

fn finish(table: &Table) -> String {
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<Word>> {
        vec![
            vec!["web".into(), Word::new("accessible", Tone::Good)],
            vec!["database".into(), Word::new("failed", Tone::Bad)],
        ]
    }

    #[test]
    fn columns_are_aligned_and_nothing_trails() {
        let text = table(&["SERVICE", "STATE"], rows(), Look::default());
        assert_eq!(text, "SERVICE   STATE\nweb       accessible\ndatabase  failed\n");
    }

    #[test]
    fn colours_are_there_only_when_wanted() {
        let plain = table(&["SERVICE", "STATE"], rows(), Look::default());
        assert!(!plain.contains('\u{1b}'));
        let look = Look {
            color: true,
            width: None,
        };
        assert!(table(&["SERVICE", "STATE"], rows(), look).contains('\u{1b}'));
    }

    #[test]
    fn escape_sequences_in_cells_are_shown_not_sent() {
        let text = table(
            &["A"],
            vec![vec!["\u{1b}[2J".into()]],
            Look {
                color: true,
                width: Some(80),
            },
        );
        assert!(!text.contains("\u{1b}[2J"), "{text:?}");
    }

    #[test]
    fn words_are_never_broken_even_where_they_do_not_fit() {
        let uuid = "6f2c0a52-0000-4000-8000-000000000003";
        let row = vec![vec![Word::from(uuid), uuid.into(), "some text".into()]];
        let text = table(
            &["A", "B", "C"],
            row,
            Look {
                color: false,
                width: Some(60),
            },
        );
        assert_eq!(text.matches(uuid).count(), 2, "{text}");
    }

    #[test]
    fn long_cells_wrap_only_on_a_terminal() {
        let long = "word ".repeat(30);
        let row = || vec![vec![Word::from("x"), Word::from(long.trim())]];
        let piped = table(&["A", "B"], row(), Look::default());
        assert_eq!(piped.lines().count(), 2);
        let terminal = table(
            &["A", "B"],
            row(),
            Look {
                color: false,
                width: Some(60),
            },
        );
        assert!(
            terminal.lines().count() > 2 && terminal.lines().all(|line| line.len() <= 60),
            "{terminal}"
        );
    }
}
