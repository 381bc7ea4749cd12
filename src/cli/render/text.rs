//! Small texts: durations, ages, sizes, times, and making foreign text harmless.

use std::borrow::Cow;

/// The text on one line without control characters: names and messages come from guests and from other users, and
/// must not steer the operator's terminal.
pub fn clean(text: &str) -> Cow<'_, str> {
    escape(text, char::is_control)
}

/// Like [`clean`], but line breaks stay.
pub fn clean_lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| c.is_control() && c != '\n')
}

fn escape(text: &str, is_bad: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_bad) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if is_bad(c) {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    Cow::Owned(clean)
}

/// A text, or `-` in its place.
pub fn or_dash(text: Option<&str>) -> Cow<'_, str> {
    match text {
        Some(text) if !text.is_empty() => clean(text),
        _ => Cow::Borrowed("-"),
    }
}

/// Milliseconds for people: `0.4 s`, `1 min 05 s`, `2 h 03 min`.
pub fn duration(ms: u64) -> String {
    let tenths = ms.saturating_add(50) / 100;
    if tenths < 600 {
        return format!("{}.{} s", tenths / 10, tenths % 10);
    }
    let seconds = ms.saturating_add(500) / 1000;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    if hours == 0 {
        format!("{minutes} min {:02} s", seconds % 60)
    } else {
        format!("{hours} h {minutes:02} min")
    }
}

/// How long ago something was, both in milliseconds since 1970; `-` for 0.
pub fn age(now: u64, at: u64) -> String {
    if at == 0 {
        return "-".to_owned();
    }
    let seconds = now.saturating_sub(at) / 1000;
    match seconds {
        0 => "now".to_owned(),
        1..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86400),
    }
}

/// Bytes for people: `512 B`, `4.0 KiB`, `12.3 MiB`.
pub fn bytes(size: u64) -> String {
    let units = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    for (unit, name) in units {
        if size >= unit {
            return format!("{}.{} {name}", size / unit, size % unit * 10 / unit);
        }
    }
    format!("{size} B")
}

/// Milliseconds since 1970 as `2026-11-23 01:51:07 UTC`; `-` for 0.
pub fn utc(ms: u64) -> String {
    if ms == 0 {
        return "-".to_owned();
    }
    let (days, seconds) = (ms / 86_400_000, ms / 1000 % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Year, month and day of a day since 1970-01-01 (Howard Hinnant's `civil_from_days`, for days after 1970).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// The first 12 digits of a digest.
pub fn short_digest(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rounded_and_grow_units() {
        for (ms, text) in [
            (0, "0.0 s"),
            (44, "0.0 s"),
            (50, "0.1 s"),
            (400, "0.4 s"),
            (2345, "2.3 s"),
            (59_940, "59.9 s"),
            (59_960, "1 min 00 s"),
            (65_000, "1 min 05 s"),
            (3_599_600, "1 h 00 min"),
            (7_380_000, "2 h 03 min"),
        ] {
            assert_eq!(duration(ms), text, "{ms}");
        }
    }

    #[test]
    fn ages_are_told_in_one_unit() {
        for (ms, text) in [
            (0, "now"),
            (59_999, "59 s ago"),
            (60_000, "1 min ago"),
            (7_200_000, "2 h ago"),
            (200_000_000, "2 d ago"),
        ] {
            assert_eq!(age(1_000_000_000_000 + ms, 1_000_000_000_000), text);
        }
        assert_eq!(age(5, 0), "-");
        assert_eq!(age(1, 5000), "now", "a clock that is ahead");
    }

    #[test]
    fn sizes_are_told_in_binary_units() {
        for (size, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (4096, "4.0 KiB"),
            (1_572_864, "1.5 MiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn times_are_told_in_utc() {
        for (ms, text) in [
            (1, "1970-01-01 00:00:00 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (1_795_398_667_000, "2026-11-23 01:51:07 UTC"),
            (4_102_444_799_000, "2099-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(utc(ms), text);
        }
        assert_eq!(utc(0), "-");
    }

    #[test]
    fn foreign_text_cannot_steer_the_terminal() {
        assert_eq!(clean("g1\u{1b}[31m\n"), "g1\\u{1b}[31m\\n");
        assert_eq!(clean_lines("a\nb\r"), "a\nb\\r");
        assert_eq!(clean("\u{9b}2J"), "\\u{9b}2J");
        assert!(matches!(clean("plain"), Cow::Borrowed(_)));
    }
}
