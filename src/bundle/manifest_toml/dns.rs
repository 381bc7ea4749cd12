//! `[dns]` and `[[dns.srv]]`: the service's name, its TTL, and the ports that SRV records tell.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::{ManifestError, Source};
use crate::model::ids::InvalidId;
use crate::model::manifest::DnsEntry;
use crate::model::name::{Srv, SrvLabel, SrvSet};

/// The longest TTL in seconds: a week, as long as resolvers keep records.
const MAX_TTL: i64 = 604_800;
const MAX_SRV: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDns {
    name: Spanned<String>,
    ttl: Option<Spanned<i64>>,
    #[serde(default)]
    srv: Vec<RawSrv>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSrv {
    label: Spanned<String>,
    port: Spanned<i64>,
    priority: Option<Spanned<i64>>,
    weight: Option<Spanned<i64>>,
}

pub(super) fn read_dns(source: &Source<'_>, raw: &RawDns) -> Result<DnsEntry, ManifestError> {
    let name = source.text("dns.name", &raw.name, |text| {
        text.parse().map_err(|error: InvalidId| error.reason.to_owned())
    })?;
    let ttl = match &raw.ttl {
        Some(ttl) => source.at(
            "dns.ttl",
            ttl,
            u32::try_from(*ttl.get_ref())
                .ok()
                .filter(|seconds| (1..=MAX_TTL).contains(&i64::from(*seconds)))
                .ok_or_else(|| format!("{} is not valid: a TTL is 1 to {MAX_TTL} seconds", ttl.get_ref())),
        )?,
        None => 60,
    };
    Ok(DnsEntry { name, ttl })
}

/// The SRV records, label by label, each set sorted.
pub(super) fn read_srv(source: &Source<'_>, raw: &RawDns) -> Result<Vec<SrvSet>, ManifestError> {
    let mut sets: BTreeMap<SrvLabel, Vec<Srv>> = BTreeMap::new();
    for (index, row) in raw.srv.iter().enumerate() {
        let label: SrvLabel = source.text("dns.srv.label", &row.label, |text| {
            text.parse().map_err(|error: InvalidId| error.reason.to_owned())
        })?;
        let srv = Srv {
            priority: number(source, "dns.srv.priority", row.priority.as_ref())?,
            weight: number(source, "dns.srv.weight", row.weight.as_ref())?,
            port: number(source, "dns.srv.port", Some(&row.port))?,
        };
        let shown = label.to_string();
        let set = sets.entry(label).or_default();
        let refusal = if index >= MAX_SRV {
            Err(format!("there are at most {MAX_SRV} SRV records"))
        } else if srv.port == 0 {
            Err("0 is not valid: a port is 1 to 65535".to_owned())
        } else if set.iter().any(|other| other.port == srv.port) {
            Err(format!("{} stands twice at {shown}", srv.port))
        } else {
            Ok(())
        };
        source.at("dns.srv.port", &row.port, refusal)?;
        set.push(srv);
        set.sort();
    }
    Ok(sets
        .into_iter()
        .map(|(label, records)| SrvSet { label, records })
        .collect())
}

/// A number of 16 bits; 0 where it is not given.
fn number(source: &Source<'_>, key: &str, value: Option<&Spanned<i64>>) -> Result<u16, ManifestError> {
    let Some(value) = value else { return Ok(0) };
    let checked = u16::try_from(*value.get_ref())
        .map_err(|_| format!("{} is not valid: it is 0 to 65535", value.get_ref()));
    source.at(key, value, checked)
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    /// Three lines that every manifest has.
    const HEAD: &str = "service = \"web\"\nversion = \"1.0\"\nunits = [\"web.service\"]\n";

    /// A `[dns]` with one SRV record, of which this is said.
    fn srv(row: &str) -> String {
        format!("[dns]\nname = \"a.lab\"\n[[dns.srv]]\n{row}\n")
    }

    #[test]
    fn srv_records_are_read_label_by_label() {
        let rows = "label = \"_http._tcp\"\nport = 8081\npriority = 1\n[[dns.srv]]\nlabel = \"_dns._udp\"\nport = 53\n\
                    [[dns.srv]]\nlabel = \"_http._tcp\"\nport = 8080\nweight = 5";
        let manifest = parse(&format!("{HEAD}{}", srv(rows))).unwrap();
        let shown: Vec<String> = manifest
            .srv
            .iter()
            .flat_map(|set| {
                set.records
                    .iter()
                    .map(|srv| format!("{} {} {} {}", set.label, srv.priority, srv.weight, srv.port))
            })
            .collect();
        assert_eq!(
            shown,
            ["_dns._udp 0 0 53", "_http._tcp 0 5 8080", "_http._tcp 1 0 8081"]
        );
        assert_eq!(parse(&format!("{HEAD}[dns]\nname = \"a.lab\"")).unwrap().srv, []);
    }

    #[test]
    fn what_is_wrong_with_an_srv_record_is_told_with_its_line() {
        for (text, says) in [
            (
                srv("label = \"http._tcp\"\nport = 1"),
                "line 7: dns.srv.label: \"http._tcp\" is not valid: it must be _SERVICE._PROTOCOL",
            ),
            (
                srv("label = \"_http._tcp\"\nport = 0"),
                "line 8: dns.srv.port: 0 is not valid",
            ),
            (
                srv("label = \"_http._tcp\"\nport = 65536"),
                "dns.srv.port: 65536 is not valid",
            ),
            (
                srv("label = \"_http._tcp\"\nport = 1\nweight = -1"),
                "line 9: dns.srv.weight: -1 is not valid: it is 0 to 65535",
            ),
            (
                srv("label = \"_http._tcp\"\nport = 1\n[[dns.srv]]\nlabel = \"_HTTP._tcp\"\nport = 1"),
                "dns.srv.port: 1 stands twice at _http._tcp",
            ),
            (
                (1..18).fold("[dns]\nname = \"a.lab\"\n".to_owned(), |text, port| {
                    format!("{text}[[dns.srv]]\nlabel = \"_a._tcp\"\nport = {port}\n")
                }),
                "dns.srv.port: there are at most 16 SRV records",
            ),
        ] {
            let error = parse(&format!("{HEAD}{text}")).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
