//! The words of the design as types: parse, don't validate.

pub mod batch;
pub mod disk;
pub mod grant;
pub mod guest;
pub mod ids;
pub mod life;
pub mod lifecycle;
pub mod manifest;
pub mod name;
pub mod needs;
pub mod obstacle;
pub mod placement;
pub mod service;
pub mod span;
pub mod standby;
pub mod unit;
pub mod unit_file;
pub mod utc;
pub mod vitals;
pub mod volume;
