//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::PathBuf;

/// A place in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The fragment's number in reading order, so that problems are told in that order.
    pub order: usize,
    /// The file.
    pub file: PathBuf,
    /// Its line, from 1; `None` where the whole file is meant.
    pub line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        match self.line {
            Some(line) => write!(f, ":{line}"),
            None => Ok(()),
        }
    }
}

/// One thing that is wrong: shown as `file:line: key: what and what to do`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// The dotted key, such as `dns.zone.server`; empty where no key is meant.
    pub key: String,
    /// What is wrong, and what to do.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// `Ok(())` if there are no problems, else an error that holds them in the order of files and lines.
    pub(crate) fn unless_empty(mut problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            return Ok(());
        }
        problems.sort();
        problems.dedup();
        Err(Self { problems })
    }

    /// One thing that is wrong with a key of a file.
    pub(crate) fn of(file: PathBuf, key: &str, what: String) -> Self {
        let place = Place {
            order: 0,
            file,
            line: None,
        };
        let key = key.to_owned();
        Self::from(Problem { place, key, what })
    }

    /// For settings that were not made although nothing was told.
    pub(crate) fn untold() -> Self {
        Self {
            problems: vec![Problem {
                place: Place {
                    order: 0,
                    file: PathBuf::new(),
                    line: None,
                },
                key: String::new(),
                what: "the configuration was refused without a reason; please report this".to_owned(),
            }],
        }
    }

    /// The problems, in the order of files and lines.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
