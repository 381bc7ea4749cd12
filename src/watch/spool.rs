//! What the libvirt hook (`packaging/hooks/qemu`) has written while nobody listened. Pure: the files come in as they were read.
//!
//! A spool file is small text; its name is `<uuid>.<operation>` (`unnamed.<operation>` where libvirt gave no UUID):
//! ```text
//! handoverd-spool 1
//! uuid=6f1d5a2e-0000-4000-8000-000000000001
//! name=g1
//! op=release
//! subop=end
//! extra=destroyed
//! ```
//! There is one file for each guest and operation, the latest; its time is that of the file. Since libvirt 10.5 `extra` of
//! `release` is the reason why the guest is off, `-` before. A listing tells what is now; the spool tells since when, and
//! that a migration came in.

use crate::model::ids::GuestId;
use crate::model::lifecycle::ShutoffReason;
use crate::model::service::Millis;

/// The first line of a spool file.
const HEADER: &str = "handoverd-spool 1";
/// The largest spool file in bytes; the hook writes far less.
pub const MAX_FILE: usize = 4096;
/// The most files that are read at once.
pub const MAX_FILES: usize = 10_000;

/// What libvirt did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `started`: the guest runs.
    Started,
    /// `stopped`: its QEMU is gone, its resources are not free yet.
    Stopped,
    /// `release`: it is off.
    Release,
    /// `migrate`: it comes in by migration.
    Migrate,
    /// `restore`: it goes on from a saved image.
    Restore,
}

impl Operation {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "started" => Self::Started,
            "stopped" => Self::Stopped,
            "release" => Self::Release,
            "migrate" => Self::Migrate,
            "restore" => Self::Restore,
            _ => return None,
        })
    }
}

/// A file of the spool folder as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolFile {
    /// Its name.
    pub name: String,
    /// When it was written.
    pub modified: Millis,
    /// Its first [`MAX_FILE`] + 1 bytes; so it is known whether there are more.
    pub content: Vec<u8>,
}

/// What one file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spooled {
    /// When.
    pub at: Millis,
    /// The guest; `None`: libvirt gave no UUID, only the name.
    pub guest: Option<GuestId>,
    /// Its name.
    pub name: String,
    /// What libvirt did.
    pub operation: Operation,
    /// Why the guest is off, where libvirt said so.
    pub reason: Option<ShutoffReason>,
}

/// Why a file is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSpooled {
    /// There is nothing in it: the host went down before it was on the disk.
    #[error("it is empty")]
    Empty,
    /// It is larger than anything that the hook writes.
    #[error("it is larger than {MAX_FILE} bytes")]
    TooLarge,
    /// It is not text, or does not begin as ours do.
    #[error("the hook of this version did not write it")]
    Foreign,
    /// A line is missing or not understood.
    #[error("its line `{0}` is missing or not understood")]
    Line(&'static str),
}

/// Reads one file.
///
/// # Errors
/// Everything that the hook does not write; such a file is to be removed and told.
pub fn parse(file: &SpoolFile) -> Result<Spooled, NotSpooled> {
    if file.content.is_empty() {
        return Err(NotSpooled::Empty);
    }
    if file.content.len() > MAX_FILE {
        return Err(NotSpooled::TooLarge);
    }
    let text = std::str::from_utf8(&file.content).map_err(|_| NotSpooled::Foreign)?;
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        return Err(NotSpooled::Foreign);
    }
    let mut next = |key: &'static str| {
        let line = lines.next().and_then(|line| line.strip_prefix(key));
        line.and_then(|rest| rest.strip_prefix('='))
            .ok_or(NotSpooled::Line(key))
    };
    let guest = match next("uuid")? {
        "" => None,
        uuid => Some(uuid.parse().map_err(|_| NotSpooled::Line("uuid"))?),
    };
    let name = next("name")?.to_owned();
    let operation = Operation::of(next("op")?).ok_or(NotSpooled::Line("op"))?;
    next("subop")?;
    let extra = next("extra")?;
    if lines.next().is_some() {
        return Err(NotSpooled::Foreign);
    }
    // A file that was cut short must not give half a word.
    if !text.ends_with('\n') {
        return Err(NotSpooled::Line("extra"));
    }
    Ok(Spooled {
        at: file.modified,
        guest,
        name,
        operation,
        reason: match operation {
            Operation::Release => ShutoffReason::from_word(extra),
            _ => None,
        },
    })
}

/// A spool folder, sorted out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sifted {
    /// Of guests that are known, oldest first.
    pub known: Vec<Spooled>,
    /// Of guests that nobody knows: they have no services.
    pub unknown: usize,
    /// Files that are not the hook's, with why.
    pub refused: Vec<(String, NotSpooled)>,
}

/// Sorts out what was read. A file without a UUID is of the guest with that name, if there is just one.
pub fn sift(
    files: &[SpoolFile],
    is_known: impl Fn(GuestId) -> bool,
    named: impl Fn(&str) -> Vec<GuestId>,
) -> Sifted {
    let mut sifted = Sifted::default();
    for file in files {
        match parse(file) {
            Err(why) => sifted.refused.push((file.name.clone(), why)),
            Ok(mut spooled) => {
                spooled.guest = spooled.guest.or_else(|| match named(&spooled.name).as_slice() {
                    [only] => Some(*only),
                    _ => None,
                });
                if spooled.guest.is_some_and(&is_known) {
                    sifted.known.push(spooled);
                } else {
                    sifted.unknown += 1;
                }
            }
        }
    }
    sifted.known.sort_by_key(|spooled| spooled.at);
    sifted
}

/// The names of files that are not needed any more: those that are not the hook's, and those of guests that are not waited
/// for (they run, or nobody knows them).
pub fn spent(files: &[SpoolFile], is_waited_for: impl Fn(&Spooled) -> bool) -> Vec<String> {
    let spent = |file: &&SpoolFile| !parse(file).is_ok_and(|spooled| is_waited_for(&spooled));
    files.iter().filter(spent).map(|file| file.name.clone()).collect()
}

/// What the spool says of the last time that a guest went off: when, and why. `None`: it said nothing, or the guest was
/// started after that.
pub fn last_stop(known: &[Spooled], guest: GuestId) -> Option<(Millis, Option<ShutoffReason>)> {
    let mut of_guest = known.iter().filter(|spooled| spooled.guest == Some(guest));
    let last_start = of_guest
        .clone()
        .filter(|spooled| matches!(spooled.operation, Operation::Started | Operation::Restore))
        .map(|spooled| spooled.at)
        .max();
    let reason = of_guest
        .clone()
        .rfind(|spooled| spooled.operation == Operation::Release)
        .and_then(|spooled| spooled.reason);
    of_guest
        .rfind(|spooled| matches!(spooled.operation, Operation::Stopped | Operation::Release))
        .filter(|stop| last_start.is_none_or(|start| start <= stop.at))
        .map(|stop| (stop.at, reason))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UUID: &str = "6f1d5a2e-0000-4000-8000-000000000001";

    fn file(at: Millis, content: &str) -> SpoolFile {
        SpoolFile {
            name: format!("{UUID}.release"),
            modified: at,
            content: content.as_bytes().to_vec(),
        }
    }

    fn text(uuid: &str, name: &str, op: &str, extra: &str) -> String {
        format!("{HEADER}\nuuid={uuid}\nname={name}\nop={op}\nsubop=end\nextra={extra}\n")
    }

    fn guest() -> GuestId {
        UUID.parse().unwrap()
    }

    #[test]
    fn a_file_of_the_hook_is_read() {
        let spooled = parse(&file(7, &text(UUID, "g 1=ü", "release", "destroyed"))).unwrap();
        assert_eq!(
            spooled,
            Spooled {
                at: 7,
                guest: Some(guest()),
                name: "g 1=ü".into(),
                operation: Operation::Release,
                reason: Some(ShutoffReason::Destroyed),
            }
        );
        // Before libvirt 10.5.
        assert_eq!(
            parse(&file(7, &text("", "g1", "release", "-"))).unwrap().reason,
            None
        );
    }

    #[test]
    fn files_that_are_empty_huge_foreign_or_cut_are_refused() {
        let huge = text(UUID, &"x".repeat(MAX_FILE), "release", "-");
        for (content, why) in [
            (String::new(), NotSpooled::Empty),
            (huge, NotSpooled::TooLarge),
            ("hello\n".into(), NotSpooled::Foreign),
            ("handoverd-spool 2\nuuid=\n".into(), NotSpooled::Foreign),
            (HEADER.into(), NotSpooled::Line("uuid")),
            (text("../../etc", "g1", "release", "-"), NotSpooled::Line("uuid")),
            (text(UUID, "g1", "reconnect", "-"), NotSpooled::Line("op")),
            (text(UUID, "g1", "release", "-") + "more\n", NotSpooled::Foreign),
            (
                text(UUID, "g1", "release", "-").replace("extra=", "xtra="),
                NotSpooled::Line("extra"),
            ),
        ] {
            assert_eq!(parse(&file(0, &content)), Err(why), "{content:.60}");
        }
        let mut binary = file(0, "");
        binary.content = vec![0xff, 0xfe, 0];
        assert_eq!(parse(&binary), Err(NotSpooled::Foreign));
    }

    #[test]
    fn a_folder_is_sorted_out_by_guests_and_time() {
        let other = "6f1d5a2e-0000-4000-8000-000000000002";
        let files = [
            file(9, &text(UUID, "g1", "release", "crashed")),
            file(5, &text("", "g1", "started", "-")),
            file(4, &text("", "twice", "started", "-")),
            file(3, &text(other, "g2", "release", "crashed")),
            file(2, "garbage"),
        ];
        let named = |name: &str| {
            if name == "g1" {
                vec![guest()]
            } else {
                vec![guest(), other.parse().unwrap()]
            }
        };
        let sifted = sift(&files, |id| id == guest(), named);
        assert_eq!(sifted.known.iter().map(|s| s.at).collect::<Vec<_>>(), [5, 9]);
        assert_eq!(sifted.unknown, 2);
        assert_eq!(sifted.refused.len(), 1);
        assert_eq!(
            last_stop(&sifted.known, guest()),
            Some((9, Some(ShutoffReason::Crashed)))
        );
        assert_eq!(last_stop(&sifted.known, other.parse().unwrap()), None);
    }

    #[test]
    fn a_guest_that_was_started_afterwards_is_not_off() {
        let stops = [
            file(1, &text(UUID, "g1", "stopped", "-")),
            file(2, &text(UUID, "g1", "release", "shutdown")),
        ];
        let known = |files: &[SpoolFile]| sift(files, |_| true, |_| vec![]).known;
        assert_eq!(
            last_stop(&known(&stops), guest()),
            Some((2, Some(ShutoffReason::Shutdown)))
        );
        let restarted = [
            stops[0].clone(),
            stops[1].clone(),
            file(3, &text(UUID, "g1", "started", "-")),
        ];
        assert_eq!(last_stop(&known(&restarted), guest()), None);
        // Only `stopped` was written before the host lost power.
        assert_eq!(last_stop(&known(&stops[..1]), guest()), Some((1, None)));
    }

    proptest! {
        #[test]
        fn no_content_is_too_odd(content in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..150) {
            let read = |content| parse(&SpoolFile { name: String::new(), modified: 0, content });
            prop_assert!(read(content).is_err());
            let mut whole = text(UUID, "g1", "release", "crashed").into_bytes();
            let all = whole.len();
            whole.truncate(cut);
            prop_assert_eq!(read(whole).is_ok(), cut >= all);
        }
    }
}
