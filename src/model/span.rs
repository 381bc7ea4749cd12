//! Spans of time as people write them: a whole number and a unit.

use std::time::Duration;

/// Units with their length in milliseconds, the longest first.
const UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("min", 60_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Why a text is not a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpan {
    /// There is no unit behind the number.
    #[error("a span of time needs a unit: ms, s, min, h or d, as in \"90s\"")]
    NoUnit,
    /// It does not begin with a whole number.
    #[error("a span of time is a whole number and a unit (ms, s, min, h, d), as in \"90s\"")]
    NotANumber,
    /// The unit is not one of those known.
    #[error("its unit is not known; use ms, s, min, h or d, as in \"90s\"")]
    UnknownUnit,
    /// It does not fit.
    #[error("it is too long")]
    TooLong,
}

/// Reads `500ms`, `2s`, `5min` (or `5m`), `1h`, `7d`; a blank between number and unit is allowed.
///
/// # Errors
/// Signs, fractions, several units in a row and other units are refused.
pub fn parse(text: &str) -> Result<Duration, InvalidSpan> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    if number.is_empty() {
        return Err(InvalidSpan::NotANumber);
    }
    let number: u64 = number.parse().map_err(|_| InvalidSpan::TooLong)?;
    let unit = unit.trim_start();
    if unit.is_empty() {
        return Err(InvalidSpan::NoUnit);
    }
    if unit.starts_with(['.', ',']) {
        return Err(InvalidSpan::NotANumber);
    }
    let (_, factor) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or(InvalidSpan::UnknownUnit)?;
    number
        .checked_mul(*factor)
        .map(Duration::from_millis)
        .ok_or(InvalidSpan::TooLong)
}

/// Writes a span in the longest unit that gives a whole number; what is below a millisecond is dropped.
pub fn show(span: Duration) -> String {
    let millis = span.as_millis();
    UNITS
        .iter()
        .filter(|(name, _)| *name != "m")
        .find(|(name, factor)| {
            (millis > 0 && millis.is_multiple_of(u128::from(*factor))) || (millis == 0 && *name == "s")
        })
        .map_or_else(
            || format!("{millis}ms"),
            |(name, factor)| format!("{}{name}", millis / u128::from(*factor)),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_every_unit_are_read_and_written_again() {
        for (text, millis, shown) in [
            ("0s", 0, "0s"),
            ("500ms", 500, "500ms"),
            ("2s", 2_000, "2s"),
            ("2 s", 2_000, "2s"),
            ("90s", 90_000, "90s"),
            ("60s", 60_000, "1min"),
            ("5m", 300_000, "5min"),
            ("5min", 300_000, "5min"),
            ("1h", 3_600_000, "1h"),
            ("24h", 86_400_000, "1d"),
            ("1500ms", 1_500, "1500ms"),
        ] {
            let span = parse(text).unwrap();
            assert_eq!(span, Duration::from_millis(millis), "{text}");
            assert_eq!(show(span), shown);
            assert_eq!(parse(shown), Ok(span));
        }
    }

    #[test]
    fn what_is_not_a_whole_number_and_one_unit_is_refused() {
        for (text, why) in [
            ("", InvalidSpan::NotANumber),
            ("s", InvalidSpan::NotANumber),
            ("-1s", InvalidSpan::NotANumber),
            ("1.5s", InvalidSpan::NotANumber),
            ("5", InvalidSpan::NoUnit),
            ("5 weeks", InvalidSpan::UnknownUnit),
            ("1h30min", InvalidSpan::UnknownUnit),
            ("18446744073709551616s", InvalidSpan::TooLong),
            ("18446744073709551615d", InvalidSpan::TooLong),
        ] {
            assert_eq!(parse(text), Err(why), "{text:?}");
        }
    }
}
