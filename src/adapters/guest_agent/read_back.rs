//! Reading a file back out of a guest: the script, and what it prints.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::answer::InvalidAnswer;
use super::protocol::printable;
use super::script::{RUN, Root, Unrenderable, body, named, path, set};
use crate::model::placement::Placement;

const READ_FILE: &str = include_str!("scripts/read_file.sh");

/// The script that reads a file back. Its answer is read by [`parse_file`].
pub fn render(root: &Root, placement: &Placement, file: &str, limit: usize) -> Result<String, Unrenderable> {
    named(placement, || {
        let mut out = String::new();
        set(&mut out, "PATH", &root.path);
        set(
            &mut out,
            "file",
            &format!("{}{}", root.prefix, path("path", file)?),
        );
        // One byte more than there may be, so that more is seen.
        set(&mut out, "limit", &limit.saturating_add(1).to_string());
        Ok(out + &body(&[READ_FILE]) + RUN)
    })
}

/// Reads what a script that reads a file back printed: its content, at most `limit` bytes; `None` if it is not there.
pub fn parse_file(text: &str, limit: usize) -> Result<Option<Vec<u8>>, InvalidAnswer> {
    let (data, result) = text
        .strip_suffix('\n')
        .and_then(|text| text.rsplit_once("result="))
        .ok_or_else(|| InvalidAnswer::new("it is cut off"))?;
    match result {
        "absent" if data.is_empty() => return Ok(None),
        "done" => {}
        other => {
            return Err(InvalidAnswer::new(format!(
                "{:?} is no result of reading a file",
                printable(other)
            )));
        }
    }
    let mut encoded = String::with_capacity(data.len());
    for line in data.lines() {
        let part = line
            .strip_prefix("data=")
            .ok_or_else(|| InvalidAnswer::new(format!("{:?} is no line of it", printable(line))))?;
        encoded.push_str(part);
    }
    let content = STANDARD
        .decode(encoded)
        .map_err(|_| InvalidAnswer::new("its content is not base64"))?;
    if content.len() > limit {
        return Err(InvalidAnswer::new(format!(
            "the file has more than {limit} bytes"
        )));
    }
    Ok(Some(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_strictly() {
        let read = |text: &str| parse_file(text, 5);
        assert_eq!(
            read("data=aGVs\ndata=bG8=\nresult=done\n"),
            Ok(Some(b"hello".to_vec()))
        );
        assert_eq!(read("result=done\n"), Ok(Some(vec![])), "an empty file");
        assert_eq!(read("result=absent\n"), Ok(None));
        for (text, why) in [
            ("data=aGVsbG8h\nresult=done\n", "it is longer than it may be"),
            ("data=aGVsbG8=\n", "no result"),
            ("data=aGVsbG8=\nresult=done", "cut in its last line"),
            ("data=%%\nresult=done\n", "no base64"),
            ("noise\nresult=done\n", "a line without a key"),
            ("data=aGVs\nresult=absent\n", "there and absent"),
            ("result=failed\n", "it cannot be read"),
        ] {
            assert!(read(text).is_err(), "{why}");
        }
    }
}
