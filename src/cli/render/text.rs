//! Small texts: durations, ages, sizes, and making foreign text harmless.

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
    fn foreign_text_cannot_steer_the_terminal() {
        assert_eq!(clean("g1\u{1b}[31m\n"), "g1\\u{1b}[31m\\n");
        assert_eq!(clean_lines("a\nb\r"), "a\nb\\r");
        assert_eq!(clean("\u{9b}2J"), "\\u{9b}2J");
        assert!(matches!(clean("plain"), Cow::Borrowed(_)));
    }
}
