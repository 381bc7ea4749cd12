//! What may go wrong with a call of the daemon: `next swap loses its answer`, `next act g2 hangs`.

use handoverd::adapters::sim::call::{Call, Method, PortFault};
use handoverd::adapters::sim::ports::applies;
use handoverd::adapters::sim::words;
use handoverd::adapters::sim::world::SimWorld;
use handoverd::model::ids::GuestId;
use handoverd::model::span;

const METHODS: [(&str, Method); 19] = [
    ("inspect", Method::Inspect),
    ("give", Method::Give),
    ("take", Method::Take),
    ("make-grant", Method::MakeGrant),
    ("delete-grants", Method::DeleteGrants),
    ("image", Method::Image),
    ("probe", Method::Probe),
    ("look", Method::Look),
    ("act", Method::Act),
    ("check", Method::Check),
    ("read-name", Method::ReadName),
    ("read-everywhere", Method::ReadEverywhere),
    ("swap", Method::Swap),
    ("begin", Method::Begin),
    ("save", Method::Save),
    ("commit", Method::Commit),
    ("finish", Method::Finish),
    ("fulfil", Method::Fulfil),
    ("postpone", Method::Postpone),
];

const FAULTS: [(&str, PortFault); 7] = [
    ("is refused", PortFault::Refuse),
    ("is unavailable", PortFault::Unavailable),
    ("hangs", PortFault::Hang),
    ("loses its answer", PortFault::LoseAnswer),
    ("is done twice", PortFault::Twice),
    ("kills before", PortFault::KillBefore),
    ("kills after", PortFault::KillAfter),
];

const LATE: &str = "arrives late";

/// A call, and what goes wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    method: Method,
    guest: Option<GuestId>,
    pub fault: PortFault,
}

impl Fault {
    /// Whether it is this call that goes wrong.
    pub fn is_of(&self, call: &Call) -> bool {
        call.method == self.method && (self.guest.is_none() || call.guest == self.guest)
    }
}

/// Reads `CALL [GUEST] FAULT`.
pub fn read(text: &[&str], world: &SimWorld) -> Result<Fault, String> {
    let listed = |names: Vec<&str>| names.join(", ");
    let [name, rest @ ..] = text else {
        return Err("which call?".to_owned());
    };
    let method = METHODS.iter().find(|(known, _)| known == name);
    let Some((_, method)) = method else {
        let known = listed(METHODS.iter().map(|(known, _)| *known).collect());
        return Err(format!("there is no call {name:?}; calls are {known}"));
    };
    let guest = rest.first().and_then(|name| {
        let found = world.guests.iter().find(|(_, guest)| guest.name == **name);
        found.map(|(id, _)| *id)
    });
    let words = if guest.is_some() { &rest[1..] } else { rest };
    let words = words.join(" ");
    let fault = match words.strip_prefix(LATE) {
        Some(span) => {
            let span = span::parse(span).map_err(|error| error.to_string())?;
            PortFault::Late(u64::try_from(span.as_millis()).unwrap())
        }
        None => {
            let found = FAULTS.iter().find(|(known, _)| *known == words);
            let known = listed(FAULTS.iter().map(|(known, _)| *known).collect());
            let guests = words::guests(world);
            found.map(|(_, fault)| *fault).ok_or_else(|| {
                format!(
                    "{words:?} is neither a fault ({known}, {LATE} SPAN) nor a guest ({guests}) and a fault"
                )
            })?
        }
    };
    if !applies(fault, *method) {
        return Err(format!("{words:?} makes no difference to {name:?}"));
    }
    Ok(Fault {
        method: *method,
        guest,
        fault,
    })
}
