//! How moves and maintenances are asked for: the options of requests.

use std::time::Duration;

use super::error::BusError;
use super::values::{Options, invalid, known_only, number, text, yes};
use crate::requests::maintenance::Begins;
use crate::requests::{BatchChoices, MoveOptions};

/// The `drain` option in milliseconds: `ttl` (or absent) is `None`, `0`, or a duration such as `30s`.
///
/// # Errors
/// `InvalidArgument` if it is none of these.
pub fn drain(options: &Options) -> Result<Option<u64>, BusError> {
    let Some(text) = text(options, "drain")? else {
        return Ok(None);
    };
    if text == "ttl" {
        return Ok(None);
    }
    if text == "0" {
        return Ok(Some(0));
    }
    let duration = crate::model::span::parse(&text).map_err(|why| {
        invalid(format!(
            "option \"drain\" is {text:?}: {why}; it must be ttl, 0, or like 30s"
        ))
    })?;
    u64::try_from(duration.as_millis())
        .map(Some)
        .map_err(|_| invalid(format!("option \"drain\" is {text:?}: too long")))
}

/// An option that counts services: 1 to 64.
///
/// # Errors
/// `InvalidArgument` if it is something else.
pub fn from_1_to_64(options: &Options, key: &str) -> Result<Option<u32>, BusError> {
    match number(options, key)? {
        None => Ok(None),
        Some(count) => match u32::try_from(count) {
            Ok(count @ 1..=64) => Ok(Some(count)),
            _ => Err(invalid(format!("option {key:?} is {count}; it must be 1 to 64"))),
        },
    }
}

/// The options of `Move` and `Plan`.
///
/// # Errors
/// `InvalidArgument` if one is not known or not valid.
pub fn move_options(options: &Options) -> Result<MoveOptions, BusError> {
    known_only(
        options,
        &["drain", "partial", "parallel", "per_guest", "per_host"],
    )?;
    let limit = |key| from_1_to_64(options, key);
    Ok(MoveOptions {
        drain: drain(options)?,
        files: Vec::new(),
        batch: BatchChoices {
            partial: yes(options, "partial")?,
            parallel: limit("parallel")?,
            per_guest: limit("per_guest")?,
            per_host: limit("per_host")?,
        },
        held_by: None,
    })
}

/// How long a maintenance lasts where nobody says.
const MAINTENANCE: Duration = Duration::from_secs(2 * 3600);

/// How a maintenance begins, by the state that is asked for; `None`: it ends.
///
/// # Errors
/// `InvalidArgument` if the state or an option is not known or not valid.
pub fn maintenance(state: &str, options: &Options) -> Result<Option<Begins>, BusError> {
    match state {
        "off" => known_only(options, &[]).map(|()| None),
        "on" => {
            known_only(options, &["for", "reason", "drain"])?;
            let length = match text(options, "for")? {
                None => MAINTENANCE,
                Some(text) => crate::model::span::parse(&text).map_err(|why| {
                    invalid(format!("option \"for\" is {text:?}: {why}; it must be like 2h"))
                })?,
            };
            let drains = match options.contains_key("drain") {
                true => yes(options, "drain")?,
                false => true,
            };
            Ok(Some(Begins {
                length,
                reason: text(options, "reason")?.unwrap_or_default(),
                drains,
            }))
        }
        other => Err(invalid(format!("the state is {other:?}; it must be on or off"))),
    }
}
