//! Bundles.

pub mod manifest_toml;
mod values;
