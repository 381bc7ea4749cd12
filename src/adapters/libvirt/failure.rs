//! What a libvirt error says about the effect of the call that it answers.

use virt::error::{Error, ErrorNumber};

use super::link::{Call, Effect};
use crate::model::ids::HostId;
use crate::ports::{Fault, PortError};

/// Why work on a connection failed: with libvirt's words, which still are to be judged, or judged already.
#[derive(Debug)]
pub(super) enum Failure {
    /// As libvirt told it.
    Libvirt(Error),
    /// Judged already.
    Port(PortError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Libvirt(error)
    }
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        Self::Port(error)
    }
}

/// The host's libvirtd cannot be asked.
pub(super) fn unreachable(host: &HostId, uri: &str, why: &str) -> PortError {
    PortError::unavailable(format!(
        "libvirtd on {host} ({uri}) cannot be reached: {why}; check that it runs there and that handoverd may use it"
    ))
}

/// What of a failed call is known, and a message that says what to do next.
///
/// libvirt's codes are coarse (many failures of QEMU come as INTERNAL_ERROR or OPERATION_FAILED), so its English words
/// decide where the code alone does not; an unknown text falls on the safe side: look again.
pub(super) fn classify(host: &HostId, call: &Call, code: Option<ErrorNumber>, message: &str) -> PortError {
    let (fault, next) = judge(call.effect, code, message);
    let next = next.map(|next| format!("; {next}")).unwrap_or_default();
    PortError {
        fault,
        message: format!("{host}: cannot {}: {message}{next}", call.what),
    }
}

fn judge(effect: Effect, code: Option<ErrorNumber>, message: &str) -> (Fault, Option<&'static str>) {
    use ErrorNumber as E;
    let says = |words: &str| message.contains(words);
    if says("state change lock") {
        let next =
            "something else works on the guest (migration, snapshot, backup); try again when it has ended";
        return (Fault::Unavailable, Some(next));
    }
    if says("non unique alias") || says("Duplicate device ID") || says("Duplicate ID") {
        let next = "the disk is there already, or an earlier detach has not ended: look again";
        return (Fault::Unavailable, Some(next));
    }
    let target_taken = says("target") && (says("already exists") || says("duplicated for disk sources"));
    if target_taken || says("already contains a disk with that address") {
        let next = "another disk took this target name or address meanwhile: look again and choose others";
        return (Fault::Unavailable, Some(next));
    }
    // QEMU's image lock. The guest that had it lets go of it a moment after its definition has lost the disk.
    if says("Failed to get") && says("lock") {
        let next = "another guest has this image open: see which (virsh domblklist) and detach it there";
        return (Fault::Unavailable, Some(next));
    }
    if says("Cannot access storage file") || says("No such file or directory") {
        let next =
            "the image is not where it should be: register the bundle again, or refresh the storage pool";
        return (Fault::Refused, Some(next));
    }
    if says("No more available PCI slots") {
        let next =
            "add <controller type='scsi' model='virtio-scsi'/> or a pcie-root-port while the guest is off";
        return (Fault::Refused, Some(next));
    }
    match code {
        Some(
            E::AuthFailed | E::AuthCancelled | E::AuthUnavailable | E::AccessDenied | E::OperationDenied,
        ) => {
            let next = "allow it to handoverd's user (polkit org.libvirt.unix.manage, group libvirt)";
            (Fault::Refused, Some(next))
        }
        Some(
            E::XmlError
            | E::XmlDetail
            | E::XmlInvalidSchema
            | E::InvalidArg
            | E::ConfigUnsupported
            | E::OperationUnsupported
            | E::ArgumentUnsupported
            | E::NoSupport,
        ) => (Fault::Refused, None),
        Some(E::OperationInvalid | E::ResourceBusy | E::BlockCopyActive) => (
            Fault::Unavailable,
            Some("its state does not allow it now: look again"),
        ),
        Some(E::NoDomain) => (
            Fault::Unavailable,
            Some("it is not on this host any more: look again"),
        ),
        // QEMU has answered, and libvirt has taken back what it had begun.
        _ if says("unable to execute QEMU command") => (Fault::Refused, None),
        _ => match effect {
            Effect::Reads => (Fault::Unavailable, None),
            Effect::Changes => (Fault::Unknown, Some("look whether it happened")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn errors_of_libvirt_9_are_judged_by_code_and_words() {
        use ErrorNumber as E;
        let cases = [
            // (code, libvirt's words as seen, what is known)
            (
                E::OperationTimeout,
                "Timed out during operation: cannot acquire state change lock (held by monitor=remoteDispatchDomainMigratePerform3Params)",
                Fault::Unavailable,
            ),
            (
                E::ConfigUnsupported,
                "unsupported configuration: non unique alias detected: ua-ho1",
                Fault::Unavailable,
            ),
            (
                E::OperationInvalid,
                "Requested operation is not valid: Domain already contains a disk with that address",
                Fault::Unavailable,
            ),
            (
                E::OperationFailed,
                "operation failed: target sdc already exists",
                Fault::Unavailable,
            ),
            (
                E::XmlError,
                "XML error: target 'sdq' duplicated for disk sources '/p/a.img' and '/p/b.img'",
                Fault::Unavailable,
            ),
            (
                E::SystemError,
                "Cannot access storage file '/p/y.img': No such file or directory",
                Fault::Refused,
            ),
            (
                E::OperationInvalid,
                "Requested operation is not valid: domain is not running",
                Fault::Unavailable,
            ),
            (
                E::NoDomain,
                "Domain not found: no domain with matching uuid",
                Fault::Unavailable,
            ),
            (
                E::ConfigUnsupported,
                "unsupported configuration: nothing of this kind",
                Fault::Refused,
            ),
            (E::AccessDenied, "access denied", Fault::Refused),
            (
                E::InternalError,
                "internal error: unable to execute QEMU command 'blockdev-add': Failed to get \"write\" lock",
                Fault::Unavailable,
            ),
            (
                E::InternalError,
                "internal error: unable to execute QEMU command 'device_add': Bus not found",
                Fault::Refused,
            ),
            (
                E::InternalError,
                "internal error: No more available PCI slots",
                Fault::Refused,
            ),
            (E::InternalError, "internal error: something new", Fault::Unknown),
            (
                E::OperationFailed,
                "operation failed: something new",
                Fault::Unknown,
            ),
        ];
        for (code, message, wanted) in cases {
            let call = Call::changes("attach disk ho1 to guest g1", Duration::from_secs(1));
            let error = classify(&"hv1".parse().unwrap(), &call, Some(code), message);
            assert_eq!(error.fault, wanted, "{message}");
            assert!(
                error
                    .message
                    .starts_with("hv1: cannot attach disk ho1 to guest g1: "),
                "{error}"
            );
            assert!(error.message.contains(message), "{error}");
        }
    }

    #[test]
    fn a_failed_reading_has_done_nothing() {
        let call = Call::reads("list guests", Duration::from_secs(1));
        let error = classify(&"hv1".parse().unwrap(), &call, None, "something new");
        assert_eq!(error.fault, Fault::Unavailable);
    }
}
