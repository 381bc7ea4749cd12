//! From values to texts: pure functions, no IO and no clock.

pub mod audit;
pub mod bundles;
pub mod freezes;
pub mod guests;
pub mod jobs;
pub mod maintenance;
pub mod metrics;
pub mod plans;
pub mod services;
pub mod table;
pub mod text;
pub mod watch;

/// What a text is rendered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// Colours are wanted.
    pub color: bool,
    /// Columns of the terminal; `None`: not a terminal, lines may be as long as they are.
    pub width: Option<u16>,
}
