//! How a command ends: its exit code, and what is said about it.

use std::io;
use std::process::ExitCode;

use serde::Serialize;
use zbus::fdo;

/// Beginning of the daemon's own error names.
const ERROR_PREFIX: &str = "org.handoverd1.Error.";

/// What `--help` says about exit codes.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done (also: the service was already where it was to be)
  1  the job failed, was cancelled or is stuck; a bundle could not be built or read; an audit leaves differences
  2  the command line is wrong
  3  refused: nothing was begun
  4  the daemon cannot be reached, or went away; what it had begun it goes on with when it is back
  5  the job still runs: --timeout passed, or Ctrl-C was pressed again";

/// Why a command did not end with 0.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A job did not end as it was to; its end was told already.
    #[error("the job did not end as asked")]
    JobEnded,
    /// An audit leaves differences, which were told.
    #[error("differences remain")]
    Differs,
    /// Work of handoverctl itself failed: building or reading a bundle.
    #[error("{0}")]
    Failed(String),
    /// The command line cannot be meant.
    #[error("{0}")]
    Usage(String),
    /// Nothing was begun: the last part of the error's name, and the message for people.
    #[error("{message}")]
    Refused {
        /// Such as `NoSuchService`.
        name: String,
        /// What happened, to which object, what to do next.
        message: String,
    },
    /// The bus or the daemon cannot be reached, or does not answer.
    #[error("{0}")]
    Unreachable(String),
    /// The wait ended before the job did.
    #[error("{0}")]
    StillRunning(String),
    /// Standard output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

/// A failure as `--json` shows it on standard error.
#[derive(Debug, Serialize)]
struct FailureObject<'a> {
    error: &'a str,
    message: String,
    exit_code: u8,
}

impl Failure {
    /// A refusal.
    pub fn refused(name: &str, message: impl Into<String>) -> Self {
        Self::Refused {
            name: name.to_owned(),
            message: message.into(),
        }
    }

    /// A refusal because of what the operator gave.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::refused("InvalidArgument", message)
    }

    /// The exit code, as [`EXIT_CODES`] tells it.
    pub fn code(&self) -> u8 {
        match self {
            // A reader such as `head` that has seen enough is no failure.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::JobEnded | Self::Differs | Self::Failed(_) | Self::Output(_) => 1,
            Self::Usage(_) => 2,
            Self::Refused { .. } => 3,
            Self::Unreachable(_) => 4,
            Self::StillRunning(_) => 5,
        }
    }

    /// A stable word for programs.
    pub fn name(&self) -> &str {
        match self {
            Self::JobEnded => "JobEnded",
            Self::Differs => "Differs",
            Self::Failed(_) => "Failed",
            Self::Usage(_) => "Usage",
            Self::Refused { name, .. } => name,
            Self::Unreachable(_) => "Unreachable",
            Self::StillRunning(_) => "StillRunning",
            Self::Output(_) => "Output",
        }
    }

    /// What standard error gets: `None` where everything was said already.
    pub fn report(&self, json: bool) -> Option<String> {
        if matches!(self, Self::JobEnded | Self::Differs) || self.code() == 0 {
            return None;
        }
        if json {
            let object = FailureObject {
                error: self.name(),
                message: self.to_string(),
                exit_code: self.code(),
            };
            return serde_json::to_string(&object).ok();
        }
        let message = self.to_string();
        let text = crate::cli::render::text::clean_lines(&message);
        Some(match self {
            Self::Refused { name, .. } => format!("handoverctl: refused: {text} ({name})"),
            _ => format!("handoverctl: {text}"),
        })
    }
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        Self::from(failure.code())
    }
}

impl From<fdo::Error> for Failure {
    fn from(error: fdo::Error) -> Self {
        match error {
            fdo::Error::ZBus(inner) => inner.into(),
            fdo::Error::ServiceUnknown(text)
            | fdo::Error::NameHasNoOwner(text)
            | fdo::Error::SpawnServiceNotFound(text) => Self::Unreachable(format!(
                "handoverd does not run: nobody owns org.handoverd1 on this bus ({text}); start it with `systemctl start handoverd`"
            )),
            fdo::Error::NoReply(text)
            | fdo::Error::Timeout(text)
            | fdo::Error::TimedOut(text)
            | fdo::Error::Disconnected(text)
            | fdo::Error::NoServer(text)
            | fdo::Error::NoNetwork(text)
            | fdo::Error::SpawnChildExited(text)
            | fdo::Error::SpawnChildSignaled(text)
            | fdo::Error::SpawnExecFailed(text)
            | fdo::Error::SpawnFailed(text) => Self::Unreachable(format!(
                "handoverd does not answer ({text}); see `systemctl status handoverd`"
            )),
            fdo::Error::AccessDenied(text)
            | fdo::Error::AuthFailed(text)
            | fdo::Error::InteractiveAuthorizationRequired(text) => Self::refused("NotAuthorized", text),
            fdo::Error::UnknownMethod(text)
            | fdo::Error::UnknownInterface(text)
            | fdo::Error::UnknownObject(text)
            | fdo::Error::UnknownProperty(text) => Self::refused(
                "UnknownMethod",
                format!(
                    "the running handoverd does not know this request ({text}); is it of another version?"
                ),
            ),
            fdo::Error::InvalidArgs(text) => Self::refused("InvalidArgument", text),
            other => Self::refused("Failed", other.to_string()),
        }
    }
}

impl From<zbus::Error> for Failure {
    fn from(error: zbus::Error) -> Self {
        match error {
            zbus::Error::MethodError(name, text, _) => {
                let name = name.as_str();
                let short = name.strip_prefix(ERROR_PREFIX).unwrap_or(name);
                let message = text.filter(|text| !text.is_empty());
                Self::refused(
                    short,
                    message.unwrap_or_else(|| format!("handoverd answered {short}")),
                )
            }
            zbus::Error::FDO(inner) => (*inner).into(),
            zbus::Error::InputOutput(error) => {
                Self::Unreachable(format!("the connection to the bus is lost: {error}"))
            }
            zbus::Error::Connection(error, address) => {
                Self::Unreachable(format!("cannot connect to the bus at {address}: {error}"))
            }
            zbus::Error::Handshake(text) => Self::Unreachable(format!("the bus does not accept us: {text}")),
            zbus::Error::Address(text) => Self::Unreachable(format!("the bus address is not valid: {text}")),
            other => Self::Unreachable(format!(
                "handoverd's answer cannot be read ({other}); is it of another version?"
            )),
        }
    }
}

/// Whether the error says that there is no such object (any more).
pub fn is_gone(error: &zbus::Error) -> bool {
    matches!(error, zbus::Error::FDO(inner) if matches!(
        **inner,
        fdo::Error::UnknownObject(_) | fdo::Error::UnknownInterface(_) | fdo::Error::UnknownMethod(_)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_the_exit_code_that_help_promises() {
        let pipe = io::Error::from(io::ErrorKind::BrokenPipe);
        let full = io::Error::from(io::ErrorKind::StorageFull);
        for (failure, code) in [
            (Failure::JobEnded, 1),
            (Failure::Differs, 1),
            (Failure::Failed("x".into()), 1),
            (Failure::Usage("x".into()), 2),
            (Failure::invalid("x"), 3),
            (Failure::Unreachable("x".into()), 4),
            (Failure::StillRunning("x".into()), 5),
            (Failure::Output(pipe), 0),
            (Failure::Output(full), 1),
        ] {
            assert_eq!(failure.code(), code, "{failure:?}");
        }
    }

    #[test]
    fn errors_of_the_bus_are_told_from_refusals() {
        let cases: [(fdo::Error, u8); 6] = [
            (fdo::Error::ServiceUnknown("x".into()), 4),
            (fdo::Error::NoReply("x".into()), 4),
            (fdo::Error::AccessDenied("x".into()), 3),
            (fdo::Error::UnknownMethod("x".into()), 3),
            (fdo::Error::InvalidArgs("x".into()), 3),
            (fdo::Error::ZBus(zbus::Error::Handshake("x".into())), 4),
        ];
        for (error, code) in cases {
            let text = error.to_string();
            assert_eq!(Failure::from(error).code(), code, "{text}");
        }
    }

    #[test]
    fn a_refusal_names_its_error_for_people_and_programs() {
        let refused = Failure::refused("NoSuchGuest", "no guest is called \u{1b}[2Jg9");
        assert_eq!(
            refused.report(false).unwrap(),
            "handoverctl: refused: no guest is called \\u{1b}[2Jg9 (NoSuchGuest)"
        );
        let json: serde_json::Value = serde_json::from_str(&refused.report(true).unwrap()).unwrap();
        assert_eq!(json["error"], "NoSuchGuest");
        assert_eq!(json["exit_code"], 3);
    }

    #[test]
    fn what_was_told_already_is_not_told_again() {
        assert_eq!(Failure::JobEnded.report(false), None);
        assert_eq!(Failure::Differs.report(true), None);
        let pipe = Failure::Output(io::ErrorKind::BrokenPipe.into());
        assert_eq!(pipe.report(false), None);
    }
}
