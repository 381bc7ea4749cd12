//! Changes in a domain's life, and why a domain is off, as libvirt tells them.

/// A change in a domain's life (virDomainEventType and its details).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    /// Its persistent definition was made or changed.
    Defined,
    /// Its persistent definition is gone.
    Undefined,
    /// It runs here now.
    Started {
        /// It came by migration.
        migrated: bool,
    },
    /// Paused; it can be resumed.
    Suspended,
    /// No longer paused.
    Resumed,
    /// Its QEMU process is gone.
    Stopped(StopReason),
    /// The guest is powering off; QEMU is still there.
    ShuttingDown {
        /// SIGTERM to QEMU asked for it rather than the guest or `virsh shutdown`.
        by_host: bool,
    },
    /// Suspended to RAM by the guest.
    PmSuspended,
    /// The guest's kernel panicked (pvpanic). QEMU may still be there: `on_crash` decides.
    Crashed,
    /// One that this version does not know: event and detail.
    Other(i32, i32),
}

/// Why a QEMU process is gone (virDomainEventStoppedDetailType).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The guest powered off.
    Shutdown,
    /// virDomainDestroy.
    Destroyed,
    /// A panic with `on_crash` destroy.
    Crashed,
    /// It runs elsewhere now.
    Migrated,
    /// Its memory is in a file: asleep, not dead.
    Saved,
    /// QEMU was killed or died; or an incoming migration failed (then it runs at its source).
    Failed,
    /// A snapshot was reverted to.
    FromSnapshot,
    /// One that this version does not know.
    Other(i32),
}

/// Why a domain is shut off (virDomainShutoffReason).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShutoffReason {
    /// libvirt does not know: it never ran since libvirtd began to know it.
    Unknown,
    /// It powered off.
    Shutdown,
    /// virDomainDestroy.
    Destroyed,
    /// QEMU died, or its kernel panicked.
    Crashed,
    /// It was migrated to another host.
    Migrated,
    /// It was saved to a file.
    Saved,
    /// It could not be started, or could not come in by migration.
    Failed,
    /// It was reverted to a snapshot of it shut off.
    FromSnapshot,
    /// libvirtd found it gone when it came back itself.
    Daemon,
}

impl ShutoffReason {
    /// From virDomainShutoffReason; a number that this version does not know is [`ShutoffReason::Unknown`].
    pub fn from_code(code: i32) -> Self {
        match code {
            1 => Self::Shutdown,
            2 => Self::Destroyed,
            3 => Self::Crashed,
            4 => Self::Migrated,
            5 => Self::Saved,
            6 => Self::Failed,
            7 => Self::FromSnapshot,
            8 => Self::Daemon,
            _ => Self::Unknown,
        }
    }

    /// From the word that libvirt uses in its hooks and tools, such as `destroyed`; `None` for one that is none, `-`
    /// among them.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "unknown" => Self::Unknown,
            "shutdown" => Self::Shutdown,
            "destroyed" => Self::Destroyed,
            "crashed" => Self::Crashed,
            "migrated" => Self::Migrated,
            "saved" => Self::Saved,
            "failed" => Self::Failed,
            "from-snapshot" | "from snapshot" => Self::FromSnapshot,
            "daemon" => Self::Daemon,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_read_from_numbers_and_words() {
        for (code, word, reason) in [
            (0, "unknown", ShutoffReason::Unknown),
            (1, "shutdown", ShutoffReason::Shutdown),
            (2, "destroyed", ShutoffReason::Destroyed),
            (3, "crashed", ShutoffReason::Crashed),
            (4, "migrated", ShutoffReason::Migrated),
            (5, "saved", ShutoffReason::Saved),
            (6, "failed", ShutoffReason::Failed),
            (7, "from snapshot", ShutoffReason::FromSnapshot),
            (8, "daemon", ShutoffReason::Daemon),
        ] {
            assert_eq!(ShutoffReason::from_code(code), reason);
            assert_eq!(ShutoffReason::from_word(word), Some(reason));
        }
        assert_eq!(ShutoffReason::from_code(99), ShutoffReason::Unknown);
        assert_eq!(ShutoffReason::from_word("-"), None);
    }
}
