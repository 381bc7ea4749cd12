//! Where output goes: results to standard output, everything else to standard error.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use super::exit::Failure;
use super::render::Look;

/// The two outputs and how they are to look.
#[derive(Debug, Clone, Copy)]
pub struct Ui {
    /// Results are JSON.
    pub json: bool,
    /// No progress.
    pub quiet: bool,
    /// Progress is drawn live.
    pub live: bool,
    /// How tables are to look.
    pub look: Look,
}

impl Ui {
    /// Finds out what standard output and error are.
    pub fn new(json: bool, quiet: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let terminal = io::stdout().is_terminal();
        // A serial console says 0; below 40 columns a wrapped table cannot be read any more.
        let width = || comfy_table::Table::new().width().filter(|columns| *columns >= 40);
        Self {
            json,
            quiet,
            live: io::stderr().is_terminal() && !dumb && !json && !quiet,
            look: Look {
                color: terminal && !dumb && !no_color,
                width: if terminal { width() } else { None },
            },
        }
    }

    /// Writes a result for people; a line break is added if it has none.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            out.write_all(b"\n")?;
        }
        out.flush()?;
        Ok(())
    }

    /// Writes a result as indented JSON.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print_json<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
        self.print(&text)
    }

    /// Writes a result as JSON on one line.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print_json_line<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(io::Error::from)?;
        self.print(&text)
    }

    /// The value as JSON, or the text that people get.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn show<T: Serialize>(&self, value: &T, text: impl FnOnce(Look) -> String) -> Result<(), Failure> {
        if self.json {
            self.print_json(value)
        } else {
            self.print(&text(self.look))
        }
    }

    /// A remark for people on standard error; programs and `--quiet` get none.
    pub fn note(&self, text: &str) {
        if !self.json && !self.quiet {
            complain(text);
        }
    }
}

/// Writes to standard error; if that is closed, there is nobody to tell.
pub fn complain(text: &str) {
    writeln!(io::stderr().lock(), "{text}").ok();
}

/// Milliseconds since 1970.
pub fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_millis()).ok())
        .unwrap_or_default()
}
