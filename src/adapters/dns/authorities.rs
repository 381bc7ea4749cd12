//! Every authoritative server of a zone: found, and asked at the same time.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use futures_util::future::join_all;
use hickory_proto::op::Message;
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};

use super::message;
use super::primary::{Primary, Wanted};
use super::verdict::{self, Verdict};
use crate::model::name::DnsName;
use crate::ports::{Authority, PortError};

/// Most NS records of a zone that are followed; the root has 13.
const MAX_SERVERS: usize = 32;

/// A server of the zone: how it is called, and where it may be asked.
#[derive(Debug)]
struct Server {
    title: String,
    addresses: Vec<SocketAddr>,
}

impl Primary {
    /// What this primary and every other server of its zone give for `name` now.
    ///
    /// The others are those that are configured, else those of the zone's NS records, each by its addresses on the
    /// primary's port; of several addresses the first that answers counts.
    pub(super) async fn read_everywhere(&self, name: &DnsName) -> Result<Vec<Authority>, PortError> {
        let mut servers = vec![Server {
            title: format!("{} (primary)", self.zone.server),
            addresses: vec![self.zone.server],
        }];
        if self.zone.secondaries.is_empty() {
            servers.extend(self.named_servers(name).await?);
        } else {
            servers.extend(self.zone.secondaries.iter().map(|address| Server {
                title: address.to_string(),
                addresses: vec![*address],
            }));
        }
        Ok(join_all(servers.into_iter().map(|server| self.ask_server(server, name))).await)
    }

    async fn ask_server(&self, server: Server, name: &DnsName) -> Authority {
        let mut records = Err(PortError::unavailable(self.scope(name).say(&format!(
            "its NS record names {}, which has no address: give it one, or configure the zone's secondaries",
            server.title
        ))));
        for address in server.addresses {
            let other = if address == self.zone.server {
                self.clone()
            } else {
                Self {
                    zone: self.zone.at(address),
                    ..self.clone()
                }
            };
            records = other
                .look(&[Wanted { name, labels: &[] }])
                .await
                .pop()
                .unwrap_or(records);
            if records.is_ok() {
                break;
            }
        }
        Authority {
            server: server.title,
            records,
        }
    }

    /// The servers of the zone's NS records, without this primary itself.
    async fn named_servers(&self, name: &DnsName) -> Result<Vec<Server>, PortError> {
        let origin = message::name_of(&self.zone.name, self.zone.name.as_str())
            .map_err(|e| PortError::refused(e.to_string()))?;
        let answer = self
            .answer_to(name, message::question(&origin, RecordType::NS))
            .await?;
        let hosts: BTreeSet<Name> = of_kind(&answer, &origin, RecordType::NS)
            .filter_map(|data| match data {
                RData::NS(host) => Some(host.0.clone()),
                _ => None,
            })
            .take(MAX_SERVERS)
            .collect();
        if hosts.is_empty() {
            return Err(PortError::refused(self.scope(name).say(
                "it gives no NS records for the zone, so its servers are not known: configure the zone's secondaries",
            )));
        }
        let found = join_all(hosts.iter().map(|host| self.addresses_of(name, host))).await;
        let mut servers = Vec::new();
        for (host, addresses) in hosts.into_iter().zip(found) {
            if !addresses.contains(&self.zone.server) {
                servers.push(Server {
                    title: host.to_ascii(),
                    addresses,
                });
            }
        }
        Ok(servers)
    }

    /// Where a server of that name listens: what the primary says if it knows, else what this machine's resolver says.
    async fn addresses_of(&self, name: &DnsName, host: &Name) -> Vec<SocketAddr> {
        let port = self.zone.server.port();
        let mut addresses: Vec<IpAddr> = Vec::new();
        for kind in [RecordType::A, RecordType::AAAA] {
            match self.answer_to(name, message::question(host, kind)).await {
                Ok(answer) => addresses.extend(of_kind(&answer, host, kind).filter_map(RData::ip_addr)),
                Err(error) => {
                    tracing::debug!(%host, %error, "the primary does not know the server's address");
                }
            }
        }
        if addresses.is_empty() {
            match tokio::time::timeout(self.timeout, tokio::net::lookup_host((host.to_ascii(), port))).await {
                Ok(Ok(found)) => addresses.extend(found.map(|found| found.ip())),
                Ok(Err(error)) => tracing::debug!(%host, %error, "the server's name has no address"),
                Err(_) => tracing::debug!(%host, "nobody tells the server's address in time"),
            }
        }
        addresses
            .into_iter()
            .map(|ip| SocketAddr::new(ip, port))
            .collect()
    }

    /// The primary's answer to one question, authenticated and authoritative.
    async fn answer_to(&self, name: &DnsName, question: Message) -> Result<Message, PortError> {
        let scope = self.scope(name);
        let answer = self
            .ask_one(question)
            .await
            .map_err(|trouble| trouble.of_question(scope))?;
        match verdict::of_question(scope, &answer) {
            Verdict::Done => Ok(answer.message),
            Verdict::Again(why) => Err(PortError::unavailable(why)),
            Verdict::Failed(error) => Err(error),
        }
    }
}

/// The data of the records of `owner` that are of this type.
fn of_kind<'a>(message: &'a Message, owner: &'a Name, kind: RecordType) -> impl Iterator<Item = &'a RData> {
    message
        .answers
        .iter()
        .filter(move |record| {
            record.name == *owner && record.dns_class == DNSClass::IN && record.record_type() == kind
        })
        .map(|record| &record.data)
}
