//! What a sign of a guest means: is it dead, asleep, elsewhere, or nothing at all?
//!
//! One row for each cause, as libvirt's source has them; the tests have every row.

use std::fmt;
use std::time::Duration;

use crate::model::guest::DomainState;
use crate::model::lifecycle::{Lifecycle, ShutoffReason, StopReason};

/// Something that was seen of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// An event of its life.
    Lifecycle(Lifecycle),
    /// It was reset from inside (VIR_DOMAIN_EVENT_ID_REBOOT).
    Rebooted,
    /// libvirt's channel to its agent opened (`true`) or closed.
    Agent(bool),
    /// Its agent answered (`true`) or did not when it was asked.
    Answered(bool),
    /// A host listed it.
    Listed {
        /// Its state there.
        state: DomainState,
        /// Why it is off, where it is.
        shutoff: ShutoffReason,
        /// A managed-save image waits.
        managed_save: bool,
    },
    /// Every host was listed and none knows it.
    Absent,
}

/// What `<on_crash>` of a domain says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnCrash {
    /// QEMU goes (`destroy`, `coredump-destroy`).
    #[default]
    Destroy,
    /// The guest is started anew (`restart`, `coredump-restart`).
    Restart,
    /// QEMU stays and the guest does nothing any more (`preserve`).
    Preserve,
}

/// What stands around a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circumstances {
    /// The sign comes from the host where the guest is known to be.
    pub home: bool,
    /// An incoming migration of it was running on the host that the sign comes from.
    pub incoming: bool,
    /// It is known to be active on another host.
    pub active_elsewhere: bool,
    /// Every configured host answers.
    pub all_hosts_answer: bool,
    /// The host that the sign comes from is shutting down.
    pub host_goes_down: bool,
    /// Its agent has spoken since it was started or reset: until then a silence is its boot.
    pub spoke: bool,
    /// Of its definition.
    pub on_crash: OnCrash,
}

impl Default for Circumstances {
    /// At home, and nothing special.
    fn default() -> Self {
        Self {
            home: true,
            incoming: false,
            active_elsewhere: false,
            all_hosts_answer: true,
            host_goes_down: false,
            spoke: true,
            on_crash: OnCrash::Destroy,
        }
    }
}

/// What is done about a guest that somebody switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Its services stay where they are, down.
    Leave,
    /// They go elsewhere if it is not back within this time.
    Evacuate(Duration),
}

/// What is done about guests that are not simply dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// It powered off, or `virsh shutdown` was asked for; the two look the same.
    pub power_off: Treatment,
    /// Somebody destroyed it, as if its power had been cut.
    pub destroyed: Treatment,
    /// How long a guest that is found off, and of which libvirt does not know why, may take to come back: after a boot
    /// of its host all are, until they are started.
    pub found_off: Duration,
    /// Whether a guest that seems to hang may be destroyed (`fence = destroy`). Without it a hung guest is only reported.
    pub may_destroy: bool,
    /// How long an agent may be silent before its guest counts as hung.
    pub silence: Duration,
    /// How long a guest may take to boot before it counts as hung.
    pub boot: Duration,
    /// How long a guest may be paused before it counts as hung; `None`: for ever.
    pub paused: Option<Duration>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            power_off: Treatment::Evacuate(Duration::from_secs(60)),
            destroyed: Treatment::Evacuate(Duration::from_secs(5)),
            found_off: Duration::from_secs(60),
            may_destroy: false,
            silence: Duration::from_secs(120),
            boot: Duration::from_secs(300),
            paused: None,
        }
    }
}

/// What it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is dead: its services go elsewhere now.
    Dead,
    /// It is off: its services go elsewhere if it is not back within this time.
    DeadAfter(Duration),
    /// It is off, and policy leaves its services where they are.
    Left,
    /// Its memory is in a file: it goes on where it was.
    Asleep,
    /// It runs on another host.
    Elsewhere,
    /// It hangs if it is not heard of within this time; then it is destroyed first.
    HungAfter(Duration),
    /// It runs.
    Up,
    /// Nothing that matters, or that another sign will tell better.
    Nothing,
}

/// Why, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// QEMU was killed or died.
    QemuDied,
    /// Its kernel panicked.
    Panicked,
    /// Its kernel panicked, and QEMU is kept (`on_crash` preserve).
    Preserved,
    /// Somebody destroyed it.
    Destroyed,
    /// It powered off or was shut down.
    PoweredOff,
    /// It was migrated away.
    Migrated,
    /// It was saved.
    Saved,
    /// It was reverted to a snapshot.
    Snapshot,
    /// An incoming migration failed; it runs where it was.
    FailedMigration,
    /// The host shuts down.
    HostGoesDown,
    /// It was found off when its host was listed.
    FoundOff,
    /// No host knows it any more.
    Undefined,
    /// It is paused.
    Paused,
    /// It was reset.
    Rebooted,
    /// Its agent is silent.
    AgentSilent,
    /// It was seen running.
    SeenRunning,
    /// Another host than the one where it is known to be says so.
    NotItsHome,
    /// Nothing in particular.
    Other,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::QemuDied => "its QEMU process died",
            Self::Panicked => "its kernel panicked",
            Self::Preserved => "its kernel panicked, and its QEMU process is kept (on_crash preserve)",
            Self::Destroyed => "it was destroyed",
            Self::PoweredOff => "it powered off or was shut down",
            Self::Migrated => "it was migrated to another host",
            Self::Saved => "it was saved; it goes on from there when it is started",
            Self::Snapshot => "it was reverted to a snapshot",
            Self::FailedMigration => "it failed to come in by migration, and runs where it was",
            Self::HostGoesDown => "its host is shutting down",
            Self::FoundOff => "it was found off, and libvirt does not know since when",
            Self::Undefined => "no host knows it any more",
            Self::Paused => "it is paused",
            Self::Rebooted => "it was reset",
            Self::AgentSilent => "its agent is silent",
            Self::SeenRunning => "it runs",
            Self::NotItsHome => "a host where it is not at home said something of it",
            Self::Other => "nothing that matters happened",
        })
    }
}

/// Judges one sign.
pub fn judge(sign: Sign, around: Circumstances, policy: Policy) -> (Verdict, Cause) {
    match sign {
        Sign::Lifecycle(event) => of_event(event, around, policy),
        Sign::Listed {
            state: DomainState::Shutoff,
            managed_save: true,
            ..
        } => (Verdict::Asleep, Cause::Saved),
        Sign::Listed { state, shutoff, .. } => of_listing(state, shutoff, around, policy),
        Sign::Absent if around.all_hosts_answer && !around.active_elsewhere => {
            (Verdict::Dead, Cause::Undefined)
        }
        Sign::Absent => (Verdict::Nothing, Cause::Other),
        Sign::Rebooted => (hung(policy.boot, policy), Cause::Rebooted),
        Sign::Agent(false) | Sign::Answered(false) => {
            let span = if around.spoke {
                policy.silence
            } else {
                policy.boot.max(policy.silence)
            };
            (hung(span, policy), Cause::AgentSilent)
        }
        Sign::Agent(true) | Sign::Answered(true) => (Verdict::Up, Cause::SeenRunning),
    }
}

fn hung(after: Duration, policy: Policy) -> Verdict {
    if policy.may_destroy {
        Verdict::HungAfter(after)
    } else {
        Verdict::Nothing
    }
}

fn off(treatment: Treatment) -> Verdict {
    match treatment {
        Treatment::Leave => Verdict::Left,
        Treatment::Evacuate(grace) if grace.is_zero() => Verdict::Dead,
        Treatment::Evacuate(grace) => Verdict::DeadAfter(grace),
    }
}

/// A guest that is off for one of these reasons went down with its QEMU process; where it is not at home, or was only
/// coming in, it runs where it was.
fn died(cause: Cause, around: Circumstances) -> (Verdict, Cause) {
    if around.incoming || around.active_elsewhere {
        (Verdict::Nothing, Cause::FailedMigration)
    } else if !around.home {
        (Verdict::Nothing, Cause::NotItsHome)
    } else {
        (Verdict::Dead, cause)
    }
}

fn switched_off(treatment: Treatment, cause: Cause, around: Circumstances) -> (Verdict, Cause) {
    if around.host_goes_down {
        return (Verdict::Nothing, Cause::HostGoesDown);
    }
    match died(cause, around) {
        (Verdict::Dead, cause) => (off(treatment), cause),
        other => other,
    }
}

fn paused(around: Circumstances, policy: Policy) -> (Verdict, Cause) {
    match policy.paused {
        // An incoming migration is paused at its destination until it has arrived.
        Some(after) if around.home && !around.incoming => (hung(after, policy), Cause::Paused),
        _ => (Verdict::Nothing, Cause::Paused),
    }
}

fn running(around: Circumstances) -> (Verdict, Cause) {
    if around.home {
        (Verdict::Up, Cause::SeenRunning)
    } else {
        (Verdict::Elsewhere, Cause::Migrated)
    }
}

fn of_event(event: Lifecycle, around: Circumstances, policy: Policy) -> (Verdict, Cause) {
    match event {
        Lifecycle::Stopped(StopReason::Failed) => died(Cause::QemuDied, around),
        Lifecycle::Stopped(StopReason::Crashed) => died(Cause::Panicked, around),
        Lifecycle::Stopped(StopReason::Destroyed) => switched_off(policy.destroyed, Cause::Destroyed, around),
        Lifecycle::Stopped(StopReason::Shutdown) => switched_off(policy.power_off, Cause::PoweredOff, around),
        Lifecycle::Stopped(StopReason::Migrated) => (Verdict::Elsewhere, Cause::Migrated),
        Lifecycle::Stopped(StopReason::Saved) => (Verdict::Asleep, Cause::Saved),
        Lifecycle::Stopped(StopReason::FromSnapshot) => (Verdict::Nothing, Cause::Snapshot),
        Lifecycle::Crashed => match around.on_crash {
            OnCrash::Preserve if around.home => (hung(Duration::ZERO, policy), Cause::Preserved),
            // What follows tells: STOPPED, or REBOOT.
            _ => (Verdict::Nothing, Cause::Panicked),
        },
        Lifecycle::Suspended => paused(around, policy),
        Lifecycle::Started { .. } | Lifecycle::Resumed => running(around),
        // Powering off: STOPPED follows. The others say nothing about its running; a reason that is not known is for the
        // next listing.
        Lifecycle::ShuttingDown { .. }
        | Lifecycle::PmSuspended
        | Lifecycle::Defined
        | Lifecycle::Undefined
        | Lifecycle::Stopped(StopReason::Other(_))
        | Lifecycle::Other(..) => (Verdict::Nothing, Cause::Other),
    }
}

fn of_listing(
    state: DomainState,
    shutoff: ShutoffReason,
    around: Circumstances,
    policy: Policy,
) -> (Verdict, Cause) {
    match state {
        DomainState::Running => running(around),
        DomainState::Paused => paused(around, policy),
        DomainState::Crashed if around.home => (hung(Duration::ZERO, policy), Cause::Preserved),
        DomainState::Crashed | DomainState::ShuttingDown | DomainState::Suspended | DomainState::Unknown => {
            (Verdict::Nothing, Cause::Other)
        }
        DomainState::Shutoff => match shutoff {
            ShutoffReason::Crashed => died(Cause::QemuDied, around),
            ShutoffReason::Failed | ShutoffReason::Daemon => died(Cause::FoundOff, around),
            ShutoffReason::Unknown => {
                switched_off(Treatment::Evacuate(policy.found_off), Cause::FoundOff, around)
            }
            ShutoffReason::Destroyed => switched_off(policy.destroyed, Cause::Destroyed, around),
            ShutoffReason::Shutdown => switched_off(policy.power_off, Cause::PoweredOff, around),
            // A definition that it left behind says nothing of how it is where it went.
            ShutoffReason::Migrated if !around.home => (Verdict::Nothing, Cause::Migrated),
            ShutoffReason::Migrated => (Verdict::Elsewhere, Cause::Migrated),
            ShutoffReason::Saved => (Verdict::Asleep, Cause::Saved),
            ShutoffReason::FromSnapshot => (Verdict::Nothing, Cause::Snapshot),
        },
    }
}

#[cfg(test)]
mod tests;
