//! One task for each zone that collects what is ready within the window, and sends it together.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, timeout_at};

use super::batch::Member;
use super::message::Pointer;
use super::primary::Primary;

/// Most that is collected at once; what is ready beyond it waits for the next batch.
const MOST: usize = 4096;

/// What a zone's primary is to be sent.
#[derive(Debug)]
pub(super) enum Work {
    /// A change that somebody waits for.
    Swap(Box<Member>),
    /// A PTR record, which nobody waits for.
    Point(Pointer),
}

/// The queue of one zone. Its task lives as long as the queue.
#[derive(Debug, Default)]
pub(super) struct Publisher(Mutex<Option<UnboundedSender<Work>>>);

impl Publisher {
    /// Puts `work` into the queue of `primary`'s zone. Whoever waits for it is told even if the task ends: its reply is
    /// dropped.
    pub(super) fn submit(&self, primary: &Primary, window: Duration, work: Work) {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut work = work;
        if let Some(sender) = queue.as_ref() {
            match sender.send(work) {
                Ok(()) => return,
                Err(mpsc::error::SendError(back)) => work = back,
            }
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(carry_on(primary.clone(), window, receiver));
        // The receiver was made just now, and its task has not run yet.
        if sender.send(work).is_ok() {
            *queue = Some(sender);
        }
    }
}

/// Batch after batch, until nothing can come any more.
async fn carry_on(primary: Primary, window: Duration, mut queue: UnboundedReceiver<Work>) {
    while let Some(first) = queue.recv().await {
        let end = Instant::now() + window;
        let mut batch = vec![first];
        while batch.len() < MOST
            && let Ok(Some(work)) = timeout_at(end, queue.recv()).await
        {
            batch.push(work);
        }
        let (mut members, mut pointers) = (Vec::new(), Vec::new());
        for work in batch {
            match work {
                Work::Swap(member) => members.push(*member),
                Work::Point(pointer) => pointers.push(pointer),
            }
        }
        primary.carry_out(members).await;
        primary.point(pointers).await;
    }
}
