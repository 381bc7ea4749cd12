//! The daemon's signals as one ordered queue.
//!
//! A task moves every signal out of zbus as it comes, so that a slow reader never holds up the answers to calls
//! (zbus stops reading from the bus while a stream's queue is full).

use std::collections::HashMap;

use futures_util::StreamExt as _;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use zbus::message::{Message, Sequence, Type};
use zbus::names::UniqueName;
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath};

use super::proxy::{BUS_NAME, MANAGER, Properties, ROOT};

/// What happened at the daemon.
#[derive(Debug)]
pub enum Event {
    /// A job began.
    JobNew {
        /// Its number.
        id: u64,
    },
    /// A job ended, or its object is gone.
    JobRemoved {
        /// Its number.
        id: u64,
        /// Its result.
        result: String,
    },
    /// Properties of an object changed.
    Changed {
        /// Where it stood among everything that came over the connection.
        position: Sequence,
        /// The object.
        path: String,
        /// The interface.
        interface: String,
        /// Names and new values.
        properties: Properties,
        /// Whether there are properties whose new value was not told.
        invalidated: bool,
    },
    /// An object is new.
    Added {
        /// Its properties by interface.
        interfaces: HashMap<String, Properties>,
    },
    /// Interfaces of an object are gone.
    Removed {
        /// The interfaces.
        interfaces: Vec<String>,
    },
    /// The daemon left the bus, or the bus is gone.
    Gone,
}

/// The queue of events.
pub struct Events(UnboundedReceiver<Event>);

impl Events {
    /// Subscribes to all signals of the daemon that owns the unique name `owner`.
    ///
    /// # Errors
    /// The bus refused a match rule or is gone.
    pub async fn subscribe(connection: &Connection, owner: &UniqueName<'_>) -> zbus::Result<Self> {
        // By unique name: zbus compares it on arrival too, so that nobody else can send us "done".
        let signals = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender(owner.to_owned())
            .path_namespace(ROOT)
            .build()?;
        let owners = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender("org.freedesktop.DBus")
            .interface("org.freedesktop.DBus")
            .member("NameOwnerChanged")
            .arg(0, BUS_NAME)
            .build()?;
        let signals = MessageStream::for_match_rule(signals, connection, None).await?;
        let owners = MessageStream::for_match_rule(owners, connection, None).await?;
        let (sender, receiver) = unbounded_channel();
        tokio::spawn(pump(signals, owners, owner.to_string(), sender));
        Ok(Self(receiver))
    }

    /// The next event; [`Event::Gone`] for ever once the daemon or the bus is gone.
    pub async fn next(&mut self) -> Event {
        self.0.recv().await.unwrap_or(Event::Gone)
    }
}

async fn pump(
    mut signals: MessageStream,
    mut owners: MessageStream,
    owner: String,
    sender: UnboundedSender<Event>,
) {
    loop {
        let event = tokio::select! {
            // What the daemon said before it left comes first.
            biased;
            message = signals.next() => match message {
                Some(Ok(message)) => parse(&message),
                Some(Err(_)) | None => Some(Event::Gone),
            },
            message = owners.next() => match message {
                Some(Ok(message)) if !lost_name(&message, &owner) => None,
                Some(_) | None => Some(Event::Gone),
            },
            () = sender.closed() => return,
        };
        let Some(event) = event else { continue };
        let last = matches!(event, Event::Gone);
        if sender.send(event).is_err() || last {
            return;
        }
    }
}

fn lost_name(message: &Message, owner: &str) -> bool {
    let body = message.body();
    match body.deserialize::<(&str, &str, &str)>() {
        Ok((name, old, new)) => name == BUS_NAME && old == owner && new != owner,
        Err(_) => false,
    }
}

/// The event in a signal; `None` for signals that are not known or cannot be read.
fn parse(message: &Message) -> Option<Event> {
    let header = message.header();
    let path = header.path()?.to_string();
    let body = message.body();
    match (header.interface()?.as_str(), header.member()?.as_str()) {
        (MANAGER, "JobNew") => {
            let (id, _): (u64, OwnedObjectPath) = body.deserialize().ok()?;
            Some(Event::JobNew { id })
        }
        (MANAGER, "JobRemoved") => {
            let (id, _, result): (u64, OwnedObjectPath, String) = body.deserialize().ok()?;
            Some(Event::JobRemoved { id, result })
        }
        ("org.freedesktop.DBus.Properties", "PropertiesChanged") => {
            let (interface, properties, invalidated): (String, Properties, Vec<String>) =
                body.deserialize().ok()?;
            Some(Event::Changed {
                position: message.recv_position(),
                path,
                interface,
                properties,
                invalidated: !invalidated.is_empty(),
            })
        }
        ("org.freedesktop.DBus.ObjectManager", "InterfacesAdded") => {
            let (_, interfaces): (OwnedObjectPath, HashMap<String, Properties>) = body.deserialize().ok()?;
            Some(Event::Added { interfaces })
        }
        ("org.freedesktop.DBus.ObjectManager", "InterfacesRemoved") => {
            let (_, interfaces): (OwnedObjectPath, Vec<String>) = body.deserialize().ok()?;
            Some(Event::Removed { interfaces })
        }
        _ => None,
    }
}
