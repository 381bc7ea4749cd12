//! Plain questions, as any client of the zone would ask them.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// How long one answer is waited for before the question is asked again.
const LIMIT: Duration = Duration::from_secs(2);

/// A question without recursion.
pub fn question(id: u16, name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_str(name).unwrap(), kind));
    message.to_vec().unwrap()
}

/// What the server answers over UDP; asks until it does.
pub async fn ask(server: SocketAddr, name: &str, kind: RecordType) -> Message {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(server).await.unwrap();
    let mut buffer = [0; 4096];
    loop {
        // A server that is not up yet refuses, which the next call tells.
        drop(socket.send(&question(1, name, kind)).await);
        if let Ok(Ok(length)) = timeout(LIMIT, socket.recv(&mut buffer)).await {
            return Message::from_vec(&buffer[..length]).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The names that an address points back to, sorted.
pub async fn pointers(server: SocketAddr, reverse: &str) -> Vec<String> {
    let answer = ask(server, reverse, RecordType::PTR).await;
    let mut names: Vec<String> = answer
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::PTR(name) => Some(name.0.to_ascii()),
            _ => None,
        })
        .collect();
    names.sort();
    names
}

/// What a client saw that asked again and again.
#[derive(Debug, Default)]
pub struct Polled {
    /// Questions sent.
    pub asked: u32,
    /// Answers with an address.
    pub good: u32,
    /// Answers that the name, or its address, is not there.
    pub vanished: u32,
    /// Answers of any other kind.
    pub other: u32,
}

/// Asks for the A record of `name` a thousand times a second until it is told to stop.
pub async fn poll(
    server: SocketAddr,
    name: &'static str,
    stop: tokio::sync::oneshot::Receiver<()>,
) -> Polled {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(server).await.unwrap();
    let mut polled = Polled::default();
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    let mut buffer = [0; 4096];
    tokio::pin!(stop);
    let mut stopped = false;
    loop {
        tokio::select! {
            _ = &mut stop, if !stopped => stopped = true,
            _ = ticks.tick(), if !stopped => {
                polled.asked += 1;
                let id = u16::try_from(polled.asked % 65536).unwrap();
                socket.send(&question(id, name, RecordType::A)).await.unwrap();
            }
            received = socket.recv(&mut buffer) => {
                let answer = Message::from_vec(&buffer[..received.unwrap()]).unwrap();
                match (answer.response_code, answer.answers.is_empty()) {
                    (ResponseCode::NoError, false) => polled.good += 1,
                    (ResponseCode::NoError, true) | (ResponseCode::NXDomain, _) => polled.vanished += 1,
                    _ => polled.other += 1,
                }
            }
        }
        let answered = polled.good + polled.vanished + polled.other;
        if stopped && answered == polled.asked {
            return polled;
        }
        // What the kernel dropped is not waited for.
        if stopped
            && timeout(Duration::from_millis(500), socket.readable())
                .await
                .is_err()
        {
            return polled;
        }
    }
}
