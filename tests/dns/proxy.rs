//! Something between us and the server: it counts updates, spoils answers, or holds updates back and delivers them
//! later, as a network may.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, OpCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What is done with an exchange.
#[derive(Clone, Copy)]
pub enum Treatment {
    /// The server's answer goes back as it is.
    Pass,
    /// The answer goes back as this makes it.
    Spoil(fn(&[u8]) -> Vec<u8>),
    /// The request is kept, and the connection closed.
    Hold,
}

/// The updates that came, and what became of them.
#[derive(Default)]
struct Seen {
    updates: Mutex<Vec<Vec<u8>>>,
    held: Mutex<Vec<Vec<u8>>>,
    holding: Notify,
}

/// A proxy on a port of its own.
pub struct Proxy {
    address: SocketAddr,
    server: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// One before `server`; `treat` gets each request.
    pub async fn before(
        server: SocketAddr,
        treat: impl Fn(&Message) -> Treatment + Copy + Send + Sync + 'static,
    ) -> Self {
        Self::at((Ipv4Addr::LOCALHOST, 0).into(), server, treat).await
    }

    /// One at this address.
    pub async fn at(
        place: SocketAddr,
        server: SocketAddr,
        treat: impl Fn(&Message) -> Treatment + Copy + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(place).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let task = tokio::spawn({
            let seen = seen.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(serve(client, server, treat, seen.clone()));
                }
            }
        });
        Self {
            address,
            server,
            seen,
            task,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The update messages that came so far.
    pub fn updates(&self) -> Vec<Vec<u8>> {
        self.seen.updates.lock().unwrap().clone()
    }

    /// Waits until an update is held back.
    pub async fn holding(&self) {
        self.seen.holding.notified().await;
    }

    /// Delivers what was held back, and tells how the server answered.
    pub async fn deliver(&self) -> Vec<Message> {
        let held = std::mem::take(&mut *self.seen.held.lock().unwrap());
        let mut answers = Vec::new();
        for request in held {
            let mut server = TcpStream::connect(self.server).await.unwrap();
            let answer = exchange(&mut server, &request).await.unwrap();
            answers.push(Message::from_vec(&answer).unwrap());
        }
        answers
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut client: TcpStream,
    server: SocketAddr,
    treat: impl Fn(&Message) -> Treatment,
    seen: Arc<Seen>,
) -> Option<()> {
    client.set_nodelay(true).ok()?;
    let mut server = TcpStream::connect(server).await.ok()?;
    server.set_nodelay(true).ok()?;
    while let Some(request) = receive(&mut client).await {
        let message = Message::from_vec(&request).ok()?;
        if message.op_code == OpCode::Update {
            seen.updates.lock().unwrap().push(request.clone());
        }
        let answer = match treat(&message) {
            Treatment::Pass => exchange(&mut server, &request).await?,
            Treatment::Spoil(spoil) => spoil(&exchange(&mut server, &request).await?),
            Treatment::Hold => {
                seen.held.lock().unwrap().push(request);
                seen.holding.notify_one();
                return None;
            }
        };
        send(&mut client, &answer).await?;
    }
    None
}

async fn exchange(server: &mut TcpStream, request: &[u8]) -> Option<Vec<u8>> {
    send(server, request).await?;
    receive(server).await
}

async fn send(stream: &mut TcpStream, bytes: &[u8]) -> Option<()> {
    let mut frame = u16::try_from(bytes.len()).ok()?.to_be_bytes().to_vec();
    frame.extend_from_slice(bytes);
    stream.write_all(&frame).await.ok()
}

async fn receive(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let length = stream.read_u16().await.ok()?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await.ok()?;
    Some(bytes)
}
