//! Messages over TCP (RFC 7766): each has its length before it in two bytes; answers come in any order.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::time::{Instant, timeout_at};

use super::answer::Request;

/// Greatest answer that is read, in bytes: 64 addresses or texts with a signature are far below it.
const MAX_ANSWER: usize = 32 * 1024;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Loss {
    /// Nothing was sent.
    #[error("{0}")]
    NotSent(String),
    /// Sending had begun: the server may have acted.
    #[error("{0}")]
    Sent(String),
}

/// Sends all requests over one connection at once and gives their answers in the order of the requests. Everything
/// happens within `limit`.
///
/// # Errors
/// [`Loss::NotSent`] when no connection came about, [`Loss::Sent`] for everything after the first byte.
pub(super) async fn exchange(
    server: SocketAddr,
    requests: &[Request],
    limit: Duration,
) -> Result<Vec<Vec<u8>>, Loss> {
    let deadline = Instant::now() + limit;
    let mut stream = match timeout_at(deadline, TcpStream::connect(server)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            return Err(Loss::NotSent(format!(
                "cannot be reached over TCP: {error}; nothing was sent: see that it runs and can be reached"
            )));
        }
        Err(_) => {
            return Err(Loss::NotSent(format!(
                "took no TCP connection within {} ms; nothing was sent: see that it runs and can be reached",
                limit.as_millis()
            )));
        }
    };
    let mut frames = Vec::new();
    for request in requests {
        let length = u16::try_from(request.bytes.len()).map_err(|_| {
            Loss::NotSent("the message is longer than 65535 bytes; nothing was sent".to_owned())
        })?;
        frames.extend_from_slice(&length.to_be_bytes());
        frames.extend_from_slice(&request.bytes);
    }
    match timeout_at(deadline, converse(&mut stream, &frames, requests)).await {
        Ok(done) => done.map_err(Loss::Sent),
        Err(_) => Err(Loss::Sent(format!(
            "did not answer within {} ms",
            limit.as_millis()
        ))),
    }
}

async fn converse(
    stream: &mut TcpStream,
    frames: &[u8],
    requests: &[Request],
) -> Result<Vec<Vec<u8>>, String> {
    // Without it the kernel may hold the last piece of several back until the first is acknowledged.
    stream.set_nodelay(true).map_err(|error| lost(&error))?;
    let (mut reader, mut writer) = stream.split();
    let write = async { writer.write_all(frames).await.map_err(|error| lost(&error)) };
    // Both at once: a server that answers the first of many requests would wait for us to read before it takes the rest.
    let ((), answers) = tokio::try_join!(write, read_all(&mut reader, requests))?;
    Ok(answers)
}

/// The answers, in the order of their requests.
async fn read_all(reader: &mut ReadHalf<'_>, requests: &[Request]) -> Result<Vec<Vec<u8>>, String> {
    let mut open: HashMap<u16, usize> = requests
        .iter()
        .enumerate()
        .map(|(index, request)| (request.id, index))
        .collect();
    let mut answers = Vec::with_capacity(requests.len());
    while !open.is_empty() {
        let length = usize::from(reader.read_u16().await.map_err(|error| lost(&error))?);
        if length > MAX_ANSWER {
            return Err(format!(
                "sent an answer of {length} bytes; the most is {MAX_ANSWER}"
            ));
        }
        let mut answer = vec![0; length];
        reader
            .read_exact(&mut answer)
            .await
            .map_err(|error| lost(&error))?;
        let Some(&[high, low]) = answer.first_chunk::<2>() else {
            return Err("sent an answer without an id".to_owned());
        };
        match open.remove(&u16::from_be_bytes([high, low])) {
            Some(index) => answers.push((index, answer)),
            None => return Err("sent an answer with an id that was not asked for".to_owned()),
        }
    }
    answers.sort_by_key(|(index, _)| *index);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

fn lost(error: &std::io::Error) -> String {
    format!("broke the connection before it answered: {error}")
}
