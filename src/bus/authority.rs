//! Who may do what: polkit is asked for each verb.

use std::collections::HashMap;

use zbus::Connection;
use zbus::message::Header;
use zbus_polkit::policykit1::{AuthorityProxy, CheckAuthorizationFlags, Subject};

use crate::requests::refusal::Refusal;

/// How callers are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// By polkit: on the system bus.
    Polkit,
    /// A caller of the daemon's own user may do all: on a bus of one's own, where no polkit is.
    SameUser,
}

/// A caller who may do it: what the audit calls it.
pub struct Caller(pub String);

impl Authority {
    /// Whether the sender of a call may do `verb` (the last part of the polkit action `org.handoverd1.…`).
    ///
    /// # Errors
    /// It may not, or polkit does not answer.
    pub async fn check(
        self,
        connection: &Connection,
        header: &Header<'_>,
        verb: &str,
    ) -> Result<Caller, Refusal> {
        let denied = |why: String| Refusal::NotAuthorized(why);
        let sender = header
            .sender()
            .ok_or_else(|| denied("a call without a sender is not answered".into()))?;
        let bus = zbus::fdo::DBusProxy::new(connection)
            .await
            .map_err(|e| denied(format!("the bus does not answer: {e}")))?;
        let uid = bus
            .get_connection_unix_user(sender.clone().into())
            .await
            .map_err(|e| denied(format!("the bus does not tell who calls: {e}")))?;
        let who = name_of(uid);
        let own = nix::unistd::Uid::current().as_raw();
        match self {
            Self::SameUser if uid == own || uid == 0 => Ok(Caller(who)),
            Self::SameUser => Err(denied(format!(
                "{who} may not {verb}: this daemon answers its own user only"
            ))),
            Self::Polkit => {
                let action = format!("org.handoverd1.{verb}");
                let answer = ask_polkit(connection, header, &action).await;
                match answer {
                    Ok(true) => Ok(Caller(who)),
                    Ok(false) => Err(denied(format!(
                        "{who} may not {verb}: polkit denies action {action}; root and members of group handoverd may"
                    ))),
                    // Without polkit only root is known to be allowed.
                    Err(_) if uid == 0 => Ok(Caller(who)),
                    Err(error) => Err(denied(format!(
                        "{who} may not {verb}: polkit does not answer ({error})"
                    ))),
                }
            }
        }
    }
}

async fn ask_polkit(connection: &Connection, header: &Header<'_>, action: &str) -> Result<bool, String> {
    let subject = Subject::new_for_message_header(header).map_err(|e| e.to_string())?;
    let polkit = AuthorityProxy::new(connection).await.map_err(|e| e.to_string())?;
    let flags = CheckAuthorizationFlags::ALLOW_USER_INTERACTION;
    let result = polkit
        .check_authorization(&subject, action, &HashMap::new(), flags, "")
        .await
        .map_err(|e| e.to_string())?;
    Ok(result.is_authorized)
}

fn name_of(uid: u32) -> String {
    match nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => format!("uid {uid}"),
    }
}
