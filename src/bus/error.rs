//! Typed D-Bus errors: `org.handoverd1.Error.<Name>` with a message for people.

use zbus::message::{Header, Message};
use zbus::names::ErrorName;

use crate::requests::refusal::Refusal;

/// A refusal on its way to the caller.
#[derive(Debug)]
pub struct BusError {
    name: String,
    text: String,
}

impl BusError {
    /// An error of this name, the last part of `org.handoverd1.Error.…`.
    pub fn new(name: &str, text: impl Into<String>) -> Self {
        Self {
            name: format!("org.handoverd1.Error.{name}"),
            text: text.into(),
        }
    }
}

impl From<Refusal> for BusError {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.name(), refusal.to_string())
    }
}

impl From<zbus::Error> for BusError {
    fn from(error: zbus::Error) -> Self {
        Self::new("Internal", error.to_string())
    }
}

impl zbus::DBusError for BusError {
    fn create_reply(&self, call: &Header<'_>) -> zbus::Result<Message> {
        Message::error(call, self.name()).build(&(self.text.as_str(),))
    }

    fn name(&self) -> ErrorName<'_> {
        ErrorName::from_str_unchecked(&self.name)
    }

    fn description(&self) -> Option<&str> {
        Some(&self.text)
    }
}
