//! `[[dns.zone]]`: a zone, its primary and the TSIG key that signs updates.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::reading::Surroundings;
use super::rivals::REPLACES;
use super::section::Section;
use crate::model::name::DnsName;

/// The port of a name server that is given without one (RFC 1035 section 4.2).
const DNS_PORT: u16 = 53;

/// A zone in which names of services are updated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneSettings {
    /// Its origin.
    pub name: DnsName,
    /// Its primary.
    pub server: SocketAddr,
    /// What signs the messages; `None` only for a server on a loopback address.
    pub key: Option<KeySettings>,
    /// Its other authoritative servers; empty: those of its NS records.
    pub secondaries: Vec<SocketAddr>,
    /// The view of its servers that the key selects.
    pub view: Option<String>,
}

/// A TSIG key (RFC 8945).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySettings {
    /// Its name, fully qualified with its final dot, in lower case.
    pub name: String,
    /// Its algorithm.
    pub algorithm: KeyAlgorithm,
    /// The shared secret.
    pub secret: SecretBytes,
    /// Where the secret was read.
    pub origin: KeyOrigin,
}

/// Where a key's secret is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyOrigin {
    /// `key_file`.
    File(PathBuf),
    /// `key_credential`.
    Credential(String),
}

/// TSIG algorithms that are taken; MD5 and SHA-1 are not (RFC 8945 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyAlgorithm {
    /// `hmac-sha256`.
    #[default]
    HmacSha256,
    /// `hmac-sha384`.
    HmacSha384,
    /// `hmac-sha512`.
    HmacSha512,
}

impl KeyAlgorithm {
    const ALL: [Self; 3] = [Self::HmacSha256, Self::HmacSha384, Self::HmacSha512];

    /// Its name in the configuration and, with a final dot, on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }
}

impl FromStr for KeyAlgorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str() == text)
            .ok_or_else(|| format!("it must be one of {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

/// A secret; its bytes are in no log and no message.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// A secret of these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes, for signing only.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.0.len())
    }
}

/// Makes the zones of `rows`; what is wrong is told, and its zone left out.
pub(super) fn zones(rows: Vec<Section<'_>>, surroundings: &impl Surroundings) -> Vec<ZoneSettings> {
    rows.into_iter()
        .filter_map(|row| zone(row, surroundings))
        .collect()
}

fn zone(mut row: Section<'_>, surroundings: &impl Surroundings) -> Option<ZoneSettings> {
    let name = row.required(
        "name",
        Section::parse::<DnsName>,
        "the zone's origin, as in \"svc.lab.\"",
    );
    let server = row.required(
        "server",
        |row, key| row.read(key, server),
        "the address of its primary, as in \"10.77.0.2:53\"",
    );
    // What it says was looked at when the files were laid over each other.
    row.parse::<ServerAddress>(REPLACES);
    let secondaries = row.list::<ServerAddress>("secondaries");
    let view_place = row.given("view");
    let view = row.read("view", view);
    let key = key(&mut row, surroundings);
    if let (Some(place), Ok(None)) = (&view_place, &key) {
        row.tell(
            place,
            "view",
            "the server tells the view by the key; add key_name and key_file (or key_credential)",
        );
    }
    if let (Ok(None), Some(server)) = (&key, &server)
        && !server.value.ip().is_loopback()
    {
        row.tell(
            &server.place,
            "server",
            "updates to a server that is not on a loopback address must be signed; add key_name and key_file \
             (or key_credential)",
        );
    }
    row.finish();
    Some(ZoneSettings {
        name: name?.value,
        server: server?.value,
        key: key.ok()?,
        secondaries: secondaries.map_or_else(Vec::new, |list| {
            list.value.into_iter().map(|address| address.0).collect()
        }),
        view: view.map(|found| found.value),
    })
}

/// A view's name, as it stands in messages.
fn view(text: &str) -> Result<String, &'static str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if text.is_empty() || text.len() > 64 || !text.bytes().all(allowed) {
        return Err("it must have 1 to 64 letters, digits, '.', '-' and '_'");
    }
    Ok(text.to_owned())
}

/// An address in a list of servers.
struct ServerAddress(SocketAddr);

impl FromStr for ServerAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        server(text).map(Self)
    }
}

/// An IP address with or without a port; an IPv6 address with a port stands in brackets.
pub(super) fn server(text: &str) -> Result<SocketAddr, &'static str> {
    let parsed = text
        .parse::<SocketAddr>()
        .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT)));
    match parsed {
        Err(_) => Err(
            "it must be an IP address, with a port if it is not 53: \"10.77.0.2\", \"10.77.0.2:5353\", \
             \"[fd00::2]:5353\"; a host name is not taken",
        ),
        Ok(server) if server.port() == 0 => Err("port 0 cannot be connected to"),
        Ok(server) if server.ip().is_unspecified() || server.ip().is_multicast() => {
            Err("it must be the address of one server")
        }
        Ok(server) => Ok(server),
    }
}

/// The row's key: `Ok(None)` if it names none, `Err(())` if what it says was refused (and told).
fn key(row: &mut Section<'_>, surroundings: &impl Surroundings) -> Result<Option<KeySettings>, ()> {
    let given = ["key_name", "key_file", "key_credential", "key_algorithm"].map(|key| row.given(key));
    let name = row.parse::<DnsName>("key_name");
    let file = row.read("key_file", absolute);
    let credential = row.read("key_credential", credential_name);
    let algorithm = row.parse::<KeyAlgorithm>("key_algorithm");
    match &given {
        [None, None, None, None] => return Ok(None),
        [None, file, credential, algorithm] => {
            if let Some(place) = file.as_ref().or(credential.as_ref()).or(algorithm.as_ref()) {
                row.tell(
                    place,
                    "key_name",
                    "it is missing: the key's name as the server knows it",
                );
            }
            return Err(());
        }
        [Some(_), Some(place), Some(_), _] => {
            row.tell(
                place,
                "key_file",
                "key_credential is given as well; keep one of them",
            );
            return Err(());
        }
        [Some(place), None, None, _] => {
            let what = "the key's secret is missing; add key_file = \"/path\" or key_credential = \"name\"";
            row.tell(place, "key_name", what);
            return Err(());
        }
        _ => {}
    }
    let (place, key, origin, text) = match (file, credential) {
        (Some(file), _) => {
            let text = surroundings.key_file(&file.value);
            (file.place, "key_file", KeyOrigin::File(file.value), text)
        }
        (None, Some(credential)) => {
            let text = surroundings.credential(&credential.value);
            let origin = KeyOrigin::Credential(credential.value);
            (credential.place, "key_credential", origin, text)
        }
        (None, None) => return Err(()),
    };
    let secret = text
        .and_then(|text| secret(&text).map_err(|why| format!("{}: {why}", shown(&origin))))
        .map_err(|why| row.tell(&place, key, why))?;
    Ok(Some(KeySettings {
        name: name.ok_or(())?.value.as_str().to_owned(),
        algorithm: match (algorithm, &given) {
            (Some(found), _) => found.value,
            (None, [.., None]) => KeyAlgorithm::default(),
            (None, _) => return Err(()),
        },
        secret,
        origin,
    }))
}

fn shown(origin: &KeyOrigin) -> String {
    match origin {
        KeyOrigin::File(path) => format!("the key file {}", path.display()),
        KeyOrigin::Credential(name) => format!("the credential {name}"),
    }
}

/// A path that does not depend on the daemon's working directory.
pub(super) fn absolute(text: &str) -> Result<PathBuf, &'static str> {
    let path = Path::new(text);
    if path.is_absolute() {
        Ok(path.to_owned())
    } else {
        Err("it must be an absolute path")
    }
}

/// A credential's name becomes a file name, so it must be one path component.
fn credential_name(text: &str) -> Result<String, &'static str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if text.is_empty() || text.len() > 255 || text.starts_with('.') || !text.bytes().all(allowed) {
        return Err("it must have 1 to 255 letters, digits, '.', '-' and '_', and not begin with a dot");
    }
    Ok(text.to_owned())
}

/// The bytes of a base64 text (RFC 4648 section 4); blanks and line ends are left out. The text is in no message.
fn secret(text: &str) -> Result<SecretBytes, &'static str> {
    if text.contains('{') {
        return Err(
            "it holds a BIND key clause; put only the text between the quotes behind `secret` into it",
        );
    }
    let bare: String = text.split_whitespace().collect();
    match STANDARD.decode(bare) {
        Err(_) => Err("it is not base64 (letters, digits, + and /, padded with =)"),
        Ok(bytes) if bytes.is_empty() => Err("it is empty"),
        Ok(bytes) => Ok(SecretBytes(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_addresses_with_port_53_unless_told() {
        for (text, expected) in [
            ("10.77.0.2", "10.77.0.2:53"),
            ("10.77.0.2:5353", "10.77.0.2:5353"),
            ("fd00::2", "[fd00::2]:53"),
            ("[fd00::2]:5353", "[fd00::2]:5353"),
        ] {
            assert_eq!(server(text).unwrap(), expected.parse().unwrap(), "{text}");
        }
        for bad in [
            "",
            "ns1.lab",
            "ns1.lab:53",
            "10.77.0.2:",
            "10.77.0.2:70000",
            "10.77.0.2:0",
            "0.0.0.0",
            "ff02::1",
        ] {
            assert!(server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_may_be_broken_into_lines_but_must_be_base64() {
        assert_eq!(secret("c2Vj\ncmV0\n").unwrap().expose(), b"secret");
        for bad in [
            "",
            "\n",
            "c2Vjcm",
            "c2Vj*cmV0",
            "key \"k\" { secret \"c2VjcmV0\"; };",
        ] {
            assert!(secret(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secrets_debug_shows_its_length_only() {
        let secret = SecretBytes::new(b"secret".to_vec());
        assert_eq!(format!("{secret:?}"), "SecretBytes(6 bytes)");
    }

    #[test]
    fn credential_names_cannot_leave_their_folder() {
        assert!(credential_name("svc.lab").is_ok());
        for bad in ["", ".", "..", "../shadow", "a/b", ".hidden", "a\0b"] {
            assert!(credential_name(bad).is_err(), "{bad:?}");
        }
    }
}
