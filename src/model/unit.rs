//! systemd unit names and path escaping (systemd.unit(5), systemd-escape(1)).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::InvalidId;

/// Unit types that a bundle may bring. Mounts are handoverd's own; slices, targets and paths are allowed.
const TYPES: [&str; 5] = [".service", ".socket", ".timer", ".path", ".target"];

/// The name of a unit of a service, such as `web.service`, `api@1.service` or the template `api@.service`.
///
/// At most 255 characters of `A-Z a-z 0-9 : - _ . \ @` (systemd.unit(5)); no slash can stand in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UnitName(String);

impl UnitName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is a template (`api@.service`), which cannot be started as it is.
    pub fn is_template(&self) -> bool {
        self.0.contains("@.")
    }

    /// The unit file that defines this unit: `api@.service` for `api@1.service`, else the name itself.
    pub fn file_name(&self) -> String {
        match (self.0.find('@'), self.0.rfind('.')) {
            (Some(at), Some(dot)) if at < dot => {
                let (head, tail) = (self.0.get(..=at).unwrap_or(""), self.0.get(dot..).unwrap_or(""));
                format!("{head}{tail}")
            }
            _ => self.0.clone(),
        }
    }

    /// The unit's type with its dot, such as `.service`.
    pub fn suffix(&self) -> &str {
        self.0.rfind('.').and_then(|dot| self.0.get(dot..)).unwrap_or("")
    }
}

impl FromStr for UnitName {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let err = |reason| Err(InvalidId::new("unit name", text, reason));
        if text.contains('/') {
            return err("a slash may not stand in it");
        }
        if text.len() > 255 {
            return err("it is longer than 255 characters");
        }
        if !text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b))
        {
            return err("only letters, digits and : - _ . \\ @ may stand in it");
        }
        let Some(suffix) = TYPES.iter().find(|t| text.ends_with(**t)) else {
            return err("it must end in .service, .socket, .timer, .path or .target");
        };
        let stem = text.strip_suffix(*suffix).unwrap_or("");
        if stem.is_empty() || stem.starts_with('.') || stem.starts_with('@') || stem.starts_with('-') {
            return err("it needs a name before its type, which begins with a letter or digit");
        }
        if stem.matches('@').count() > 1 {
            return err("only one @ may stand in it");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for UnitName {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<UnitName> for String {
    fn from(value: UnitName) -> String {
        value.0
    }
}

/// Escapes an absolute path as systemd does for unit names: `/opt/my-app.v2` becomes `opt-my\x2dapp.v2`.
///
/// Everything but ASCII letters, digits, `:`, `_` and `.` becomes `\xNN`; so does a dot in first place
/// (systemd.unit(5), "String Escaping for Inclusion in Unit Names").
pub fn escape_path(path: &str) -> String {
    use fmt::Write as _;
    let trimmed = path.trim_matches('/');
    if trimmed.is_empty() {
        return "-".to_owned();
    }
    let mut out = String::with_capacity(trimmed.len());
    for (index, byte) in trimmed.bytes().enumerate() {
        match byte {
            b'/' => out.push('-'),
            b'.' if index == 0 => out.push_str("\\x2e"),
            b if b.is_ascii_alphanumeric() || b":_.".contains(&b) => out.push(char::from(b)),
            b => {
                // Writing to a String cannot fail.
                if write!(out, "\\x{b:02x}").is_err() {
                    return out;
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_escaped_as_systemd_escape_does() {
        assert_eq!(escape_path("/opt/web"), "opt-web");
        assert_eq!(escape_path("/opt/my-app.v2"), "opt-my\\x2dapp.v2");
        assert_eq!(
            escape_path("/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_ho12"),
            "dev-disk-by\\x2did-scsi\\x2d0QEMU_QEMU_HARDDISK_ho12"
        );
        assert_eq!(escape_path("/.hidden/x"), "\\x2ehidden-x");
        assert_eq!(escape_path("/"), "-");
    }

    #[test]
    fn an_instance_is_defined_by_its_templates_file() {
        let unit: UnitName = "api@1.service".parse().unwrap();
        assert_eq!(unit.file_name(), "api@.service");
        assert!(!unit.is_template());
        let unit: UnitName = "api@.service".parse().unwrap();
        assert!(unit.is_template());
        assert_eq!(
            "web.socket".parse::<UnitName>().unwrap().file_name(),
            "web.socket"
        );
    }

    #[test]
    fn unit_names_with_slashes_or_without_a_type_are_refused() {
        for bad in [
            "a/b.service",
            "../x.service",
            "web",
            ".service",
            "web.mount",
            "a b.service",
            "a@b@c.service",
            "@.service",
        ] {
            assert!(bad.parse::<UnitName>().is_err(), "{bad}");
        }
    }
}
