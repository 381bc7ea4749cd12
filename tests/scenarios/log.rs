//! What a simulated daemon logs, with the time of its world.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use handoverd::adapters::sim::story::LOG;
use handoverd::adapters::sim::world::SimWorld;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// The target of what an operator is answered.
pub const OPERATOR: &str = "handoverd::operator";

/// The lines so far.
#[derive(Clone, Default)]
pub struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    clock: Arc<Mutex<Option<Arc<AtomicU64>>>>,
}

impl Log {
    /// Tells the time by this clock from now on.
    pub fn by(&self, clock: Arc<AtomicU64>) {
        *self.clock.lock().unwrap() = Some(clock);
    }

    pub fn add(&self, line: String) {
        self.lines.lock().unwrap().push(line);
    }

    /// The number of the line after the first one from `since` on that has `text` in it.
    pub fn after(&self, since: usize, text: &str) -> Option<usize> {
        let lines = self.lines.lock().unwrap();
        let found = lines.iter().skip(since).position(|line| line.contains(text));
        found.map(|at| since + at + 1)
    }

    pub fn text(&self) -> String {
        let mut text = self.lines.lock().unwrap().join("\n");
        text.push('\n');
        text
    }

    fn now(&self) -> u64 {
        let clock = self.clock.lock().unwrap();
        let now = clock.as_ref().map(|clock| clock.load(Ordering::Relaxed));
        now.unwrap_or(SimWorld::BEGINNING) - SimWorld::BEGINNING
    }
}

/// A span's or an event's fields.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Fields {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.others.iter().find(|(field, _)| *field == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            name => self.others.push((name, text)),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// Whose words the events in a span are: `job 3`.
struct Who(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Log {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let Some(span) = context.span(id) else { return };
        let number = fields.get("id").unwrap_or_default();
        let who = format!("{} {number}", attributes.metadata().name());
        span.extensions_mut().insert(Who(who));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || !metadata.target().starts_with("handoverd") {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let span = context.event_span(event);
        let span = span.as_ref().map(|span| span.extensions());
        let who = match (
            metadata.target(),
            span.as_ref().and_then(|span| span.get::<Who>()),
        ) {
            (LOG, _) => "world",
            (OPERATOR, _) => "operator",
            (_, Some(who)) => &who.0,
            (_, None) => "daemon",
        };
        let now = self.now();
        let mut line = format!("{:>5}.{:03} {who}: {}", now / 1000, now % 1000, fields.message);
        for (name, value) in fields.others.iter().filter(|(_, value)| !value.is_empty()) {
            write!(line, " {name}={value}").unwrap();
        }
        self.add(line);
    }
}
