//! A small TCP server for the tests, which answers as it is told, well or badly.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Message, OpCode};
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::{Name, TSigResponseContext, TSigner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::{DnsPrimaries, TsigKey, Zone};

/// What the server does with one request.
pub(super) enum Reply {
    /// Answers with this message, signed with the secret if one is given.
    Message(Message, Option<&'static [u8]>),
    /// Writes these bytes as they are.
    Raw(Vec<u8>),
    /// Closes the connection.
    Close,
    /// Says nothing and keeps the connection.
    Silence,
}

/// A server on loopback; every request that it gets is kept.
pub(super) struct Server {
    pub address: SocketAddr,
    pub requests: Arc<Mutex<Vec<Message>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// One that answers so: `answer` gets each request and how many came before it.
    pub async fn start(answer: impl Fn(&Message, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                serve(&mut stream, &answer, &seen).await;
                // A silent server's connections stay open until it ends.
                open.push(stream);
            }
        });
        Self {
            address,
            requests,
            task,
        }
    }

    /// The updates among them.
    pub fn updates(&self) -> Vec<Message> {
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .filter(|m| m.op_code == OpCode::Update)
            .cloned()
            .collect()
    }

    /// The primaries that have this server for svc.lab.
    pub fn primaries(&self, key: Option<TsigKey>) -> DnsPrimaries {
        let zone = Zone::new("svc.lab".parse().unwrap(), self.address, key);
        DnsPrimaries::new(vec![zone], Duration::from_millis(400))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves one connection until the client closes it or a reply ends it.
async fn serve(
    stream: &mut TcpStream,
    answer: &(impl Fn(&Message, usize) -> Reply + Sync),
    seen: &Mutex<Vec<Message>>,
) {
    while let Ok(length) = stream.read_u16().await {
        let mut bytes = vec![0; usize::from(length)];
        stream.read_exact(&mut bytes).await.unwrap();
        let request = Message::from_vec(&bytes).unwrap();
        let before = {
            let mut seen = seen.lock().unwrap();
            seen.push(request.clone());
            seen.len() - 1
        };
        let bytes = match answer(&request, before) {
            Reply::Message(message, None) => framed(&message.to_vec().unwrap()),
            Reply::Message(message, Some(secret)) => framed(&signed(&request, &message, secret)),
            Reply::Raw(bytes) => bytes,
            Reply::Close => {
                // With a request unread the kernel would reset; an orderly end is the harder case to notice.
                stream.shutdown().await.unwrap();
                return;
            }
            Reply::Silence => return,
        };
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// A message as it goes over TCP.
pub(super) fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut frame = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(bytes);
    frame
}

fn signed(request: &Message, message: &Message, secret: &[u8]) -> Vec<u8> {
    let tsig = &request.signature().unwrap().data;
    let key = Name::from_ascii("k1.").unwrap();
    let signer = TSigner::new(secret.to_vec(), TsigAlgorithm::HmacSha256, key, 300).unwrap();
    let context = TSigResponseContext::new(request.id, tsig.time, signer, tsig.mac.clone(), None);
    let mut answer = message.clone();
    answer.set_signature(context.sign(&message.to_vec().unwrap()).unwrap());
    answer.to_vec().unwrap()
}
