//! TSIG keys (RFC 8945): read, sign a message, verify its answer. The secret is never shown.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hickory_proto::ProtoError;
use hickory_proto::op::Message;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::{Name, TSigner};

use crate::model::name::DnsName;

/// Seconds that the clocks of the two sides may differ (RFC 8945 section 10 recommends 300).
const FUDGE: u16 = 300;

/// Why a TSIG key cannot be used. No variant shows any part of the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// The algorithm is unknown or too weak.
    #[error(
        "TSIG algorithm {0:?} is not supported: use hmac-sha256, hmac-sha384 or hmac-sha512, here and at the \
         DNS server"
    )]
    Algorithm(String),
    /// The secret is not base64 (RFC 4648 section 4, with padding).
    #[error("the secret of TSIG key {0} is not base64: give it as tsig-keygen prints it, without quotes")]
    Base64(DnsName),
    /// The secret has no bytes.
    #[error("the secret of TSIG key {0} is empty: make one with tsig-keygen")]
    Empty(DnsName),
    /// The DNS library refused the key's name or algorithm.
    #[error("TSIG key {0} cannot be used: {1}")]
    Unusable(DnsName, String),
}

/// The keyed hashes that RFC 8945 section 6 does not discourage and that need no truncation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// `hmac-sha256`
    HmacSha256,
    /// `hmac-sha384`
    HmacSha384,
    /// `hmac-sha512`
    HmacSha512,
}

impl FromStr for KeyAlgorithm {
    type Err = InvalidKey;

    /// Takes the name as BIND and nsupdate write it, in any case.
    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        match text.to_ascii_lowercase().as_str() {
            "hmac-sha256" => Ok(Self::HmacSha256),
            "hmac-sha384" => Ok(Self::HmacSha384),
            "hmac-sha512" => Ok(Self::HmacSha512),
            _ => Err(InvalidKey::Algorithm(text.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        })
    }
}

/// A shared secret with its name and algorithm, as the DNS server has them too.
#[derive(Clone)]
pub struct TsigKey {
    name: DnsName,
    algorithm: KeyAlgorithm,
    signer: TSigner,
}

impl TsigKey {
    /// A key from its name, its algorithm and its secret in base64 (white space around it is ignored).
    ///
    /// # Errors
    /// [`InvalidKey`] when the secret is empty or not base64; the error never shows it.
    pub fn new(name: DnsName, algorithm: KeyAlgorithm, secret: &str) -> Result<Self, InvalidKey> {
        // The library's error would tell a symbol of the secret, so it is dropped.
        let bytes = STANDARD
            .decode(secret.trim())
            .map_err(|_| InvalidKey::Base64(name.clone()))?;
        if bytes.is_empty() {
            return Err(InvalidKey::Empty(name));
        }
        let hash = match algorithm {
            KeyAlgorithm::HmacSha256 => TsigAlgorithm::HmacSha256,
            KeyAlgorithm::HmacSha384 => TsigAlgorithm::HmacSha384,
            KeyAlgorithm::HmacSha512 => TsigAlgorithm::HmacSha512,
        };
        let signer_name =
            Name::from_ascii(name.as_str()).map_err(|e| InvalidKey::Unusable(name.clone(), e.to_string()))?;
        let signer = TSigner::new(bytes, hash, signer_name, FUDGE)
            .map_err(|e| InvalidKey::Unusable(name.clone(), e.to_string()))?;
        Ok(Self {
            name,
            algorithm,
            signer,
        })
    }

    /// The key's name, as the server knows it.
    pub fn name(&self) -> &DnsName {
        &self.name
    }

    /// The key's algorithm.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// Signs `message` as of `now` (seconds since 1970) and gives the MAC that its answer builds upon.
    /// The message must not be changed afterwards.
    pub(super) fn sign(&self, message: &mut Message, now: u64) -> Result<Vec<u8>, ProtoError> {
        message.finalize(&self.signer, now)?;
        Ok(message
            .signature()
            .map(|record| record.data.mac.clone())
            .unwrap_or_default())
    }

    /// Whether `answer` was made with this key for the request with `request_mac`, signed at `signed_at`.
    /// The caller has decoded `answer` without an error before (RFC 8945 section 5.3).
    pub(super) fn verify(&self, answer: &[u8], request_mac: &[u8], signed_at: u64) -> Result<(), String> {
        let (_, _, valid) = self
            .signer
            .verify_message_byte(answer, Some(request_mac), true)
            .map_err(|e| e.to_string())?;
        if valid.contains(&signed_at) {
            Ok(())
        } else {
            Err(format!(
                "it was signed more than {FUDGE} s before or after its request"
            ))
        }
    }
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TsigKey")
            .field("name", &self.name)
            .field("algorithm", &self.algorithm)
            .field("secret", &"<hidden>")
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "c2VjcmV0LW9mLXRoZS10ZXN0cy1vbmx5ISE=";

    fn name() -> DnsName {
        "handoverd-key".parse().unwrap()
    }

    #[test]
    fn the_algorithms_of_rfc_8945_are_read_in_any_case() {
        for (text, algorithm) in [
            ("hmac-sha256", KeyAlgorithm::HmacSha256),
            ("HMAC-SHA384", KeyAlgorithm::HmacSha384),
            ("hmac-sha512", KeyAlgorithm::HmacSha512),
        ] {
            assert_eq!(text.parse(), Ok(algorithm));
            assert_eq!(algorithm.to_string(), text.to_ascii_lowercase());
        }
    }

    #[test]
    fn weak_and_unknown_algorithms_are_refused_with_the_way_out() {
        for text in ["hmac-md5", "hmac-sha1", "gss-tsig", "", "sha256"] {
            let error = text.parse::<KeyAlgorithm>().unwrap_err();
            assert!(error.to_string().contains("use hmac-sha256"), "{error}");
        }
    }

    #[test]
    fn a_secret_that_is_not_base64_is_refused_without_being_shown() {
        for (secret, expected) in [
            ("", InvalidKey::Empty(name())),
            ("  \n", InvalidKey::Empty(name())),
            ("not~base64!", InvalidKey::Base64(name())),
            ("\"c2VjcmV0\"", InvalidKey::Base64(name())),
            ("c2VjcmV", InvalidKey::Base64(name())),
        ] {
            let error = TsigKey::new(name(), KeyAlgorithm::HmacSha256, secret).unwrap_err();
            assert_eq!(error, expected, "{secret:?}");
            assert!(!error.to_string().contains("c2VjcmV"), "{error}");
            assert!(!error.to_string().contains('~'), "{error}");
        }
    }

    #[test]
    fn debug_output_never_shows_the_secret() {
        let key = TsigKey::new(name(), KeyAlgorithm::HmacSha512, &format!(" {SECRET}\n")).unwrap();
        let shown = format!("{key:?} {key:#?}");
        assert!(
            shown.contains("handoverd-key") && shown.contains("HmacSha512"),
            "{shown}"
        );
        assert!(!shown.contains(SECRET), "{shown}");
        assert!(!shown.contains("secret-of-the-tests"), "{shown}");
        let bytes = format!("{:?}", STANDARD.decode(SECRET).unwrap());
        assert!(!shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
    }
}
