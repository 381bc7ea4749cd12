//! Every call into libvirt that the `virt` crate does not wrap: events, detaching by alias, a state that tells its
//! errors. The only file with unsafe code.
//!
//! libvirt calls back on the thread of its default event loop, which [`start_event_loop`] starts once and which never
//! ends. What runs there must not block and must not call libvirt.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem;
use std::ptr;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::Error;
use virt_sys as sys;

use super::events::Raw;

/// Where the callbacks put what they are told; called on the event loop's thread, so it must not block.
pub(super) type Sink = Arc<dyn Fn(Raw) + Send + Sync>;

/// Registers libvirt's default event loop and runs it on a thread of its own; silences libvirt's printing of errors.
///
/// Must be called before the first connection is opened: connections opened earlier have neither events nor keepalive.
/// Later calls do nothing.
pub(super) fn start_event_loop() -> Result<(), String> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    STARTED
        .get_or_init(|| {
            virt::error::clear_error_callback();
            virt::event::event_register_default_impl().map_err(|error| error.message().to_owned())?;
            thread::Builder::new()
                .name("libvirt-loop".to_owned())
                .spawn(|| {
                    loop {
                        if let Err(error) = virt::event::event_run_default_impl() {
                            tracing::error!(error = error.message(), "libvirt's event loop");
                            // Only a broken poll(2) comes here; it must not turn into a busy loop.
                            thread::sleep(Duration::from_secs(1));
                        }
                    }
                })
                .map(drop)
                .map_err(|error| format!("its event thread cannot be started: {error}"))
        })
        .clone()
}

/// Has all threads share one heap, and large pieces given back to the system at once.
///
/// Each call into libvirt has a thread of its own, and glibc would keep a heap for every one that ever ran beside
/// others: megabytes that nobody uses. To be called before other threads are started.
#[cfg(target_env = "gnu")]
pub fn share_one_heap() {
    use nix::libc::{M_ARENA_MAX, M_MMAP_THRESHOLD, mallopt};
    const LARGE: c_int = 64 * 1024;
    // SAFETY: mallopt takes two numbers and changes nothing but how later memory is found.
    let set = unsafe { mallopt(M_ARENA_MAX, 1) != 0 && mallopt(M_MMAP_THRESHOLD, LARGE) != 0 };
    if !set {
        tracing::debug!("the heap stays as glibc has it");
    }
}

/// A domain's state as a virDomainState number, and the number of its reason, whose meaning depends on the state. (`virt`'s
/// own `state` swallows the error.)
pub(super) fn domain_state(domain: &Domain) -> Result<(u32, i32), Error> {
    let (mut state, mut reason): (c_int, c_int) = (0, 0);
    // SAFETY: the domain pointer is valid while `domain` lives; both out-pointers are to live integers; no flag is
    // defined for this call, so 0.
    let told = unsafe { sys::virDomainGetState(domain.as_ptr(), &raw mut state, &raw mut reason, 0) };
    if told < 0 {
        return Err(Error::last_error());
    }
    Ok((state.cast_unsigned(), reason))
}

/// One number that libvirt counts of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counted {
    /// Its name, as virConnectGetAllDomainStats documents it.
    pub(super) name: String,
    /// The number.
    pub(super) value: u64,
}

/// virConnectGetAllDomainStats: the groups `stats` of all domains that `flags` choose, by UUID. Only what is an unsigned number
/// is told. (`virt`'s own wrapper gives bare pointers, and never frees them.)
pub(super) fn all_domain_stats(
    connection: &Connect,
    stats: u32,
    flags: u32,
) -> Result<Vec<(Uuid, Vec<Counted>)>, Error> {
    let mut records: *mut sys::virDomainStatsRecordPtr = ptr::null_mut();
    // SAFETY: the connection is valid while `connection` lives; the out-pointer is to a live pointer.
    let count =
        unsafe { sys::virConnectGetAllDomainStats(connection.as_ptr(), stats, &raw mut records, flags) };
    let Ok(count) = usize::try_from(count) else {
        return Err(Error::last_error());
    };
    let mut all = Vec::with_capacity(count);
    for index in 0..count {
        // SAFETY: on success libvirt has written `count` pointers to records, which stay valid until they are freed below.
        let record = unsafe { &**records.add(index) };
        let mut bytes = [0_u8; 16];
        // SAFETY: a record's domain is valid as long as the record; the buffer has the 16 bytes that are written.
        if unsafe { sys::virDomainGetUUID(record.dom, bytes.as_mut_ptr()) } < 0 {
            continue;
        }
        let counted = (0..usize::try_from(record.nparams).unwrap_or(0)).filter_map(|index| {
            // SAFETY: a record has `nparams` parameters at `params`, valid as long as the record.
            let parameter = unsafe { &*record.params.add(index) };
            let value = match parameter.type_.cast_unsigned() {
                // SAFETY: the type says which member of the union was written.
                sys::VIR_TYPED_PARAM_UINT => u64::from(unsafe { parameter.value.ui }),
                // SAFETY: as above.
                sys::VIR_TYPED_PARAM_ULLONG => unsafe { parameter.value.ul },
                _ => return None,
            };
            // SAFETY: by virTypedParameter's documentation the field's name is NUL-terminated within its array.
            let name = unsafe { owned(parameter.field.as_ptr()) };
            Some(Counted { name, value })
        });
        all.push((Uuid::from_bytes(bytes), counted.collect()));
    }
    // SAFETY: the list came from the call above and nothing refers to it any more; it frees records and domains too.
    unsafe { sys::virDomainStatsRecordListFree(records) };
    Ok(all)
}

/// The definition inside a managed-save image.
pub(super) fn managed_save_xml(domain: &Domain) -> Result<String, Error> {
    // SAFETY: the domain pointer is valid while `domain` lives; no flag is given.
    let text = unsafe { sys::virDomainManagedSaveGetXMLDesc(domain.as_ptr(), 0) };
    if text.is_null() {
        return Err(Error::last_error());
    }
    // SAFETY: the text is NUL-terminated and ours until it is freed below.
    let xml = unsafe { owned(text) };
    // SAFETY: by the call's documentation its caller frees the text, which nothing refers to any more.
    unsafe { nix::libc::free(text.cast()) };
    Ok(xml)
}

/// virDomainDetachDeviceAlias: asks for the device with this alias to be detached, in the halves that `flags` names.
pub(super) fn detach_by_alias(domain: &Domain, alias: &str, flags: u32) -> Result<(), Error> {
    let alias = CString::new(alias)?;
    // SAFETY: the domain pointer is valid while `domain` lives, the text is NUL-terminated and only read.
    let told = unsafe { sys::virDomainDetachDeviceAlias(domain.as_ptr(), alias.as_ptr(), flags) };
    if told < 0 {
        Err(Error::last_error())
    } else {
        Ok(())
    }
}

/// Registered callbacks on one connection; dropping it takes them away again.
pub(super) struct Watch {
    connection: Connect,
    callbacks: Vec<c_int>,
    tells_close: bool,
}

impl Watch {
    /// Has lifecycle, reboot, agent, device-removed and removal-failed events of all domains of `connection`, and the
    /// closing of the connection itself, put into `sink`.
    ///
    /// A driver without some of them (libvirt's test driver) is watched for what it has; only lifecycle is required.
    pub(super) fn start(connection: &Connect, sink: &Sink) -> Result<Self, Error> {
        let mut watch = Self {
            connection: connection.clone(),
            callbacks: Vec::new(),
            tells_close: false,
        };
        let on_lifecycle: sys::virConnectDomainEventCallback = Some(lifecycle);
        let on_reboot: sys::virConnectDomainEventGenericCallback = Some(reboot);
        let on_agent: sys::virConnectDomainEventAgentLifecycleCallback = Some(agent_lifecycle);
        let on_removed: sys::virConnectDomainEventDeviceRemovedCallback = Some(device_removed);
        let on_failed: sys::virConnectDomainEventDeviceRemovalFailedCallback = Some(device_removal_failed);
        // SAFETY: virConnectDomainEventRegisterAny takes every callback as the generic type and, by its
        // documentation, calls it with the signature that belongs to the event id. Each callback here has the
        // signature of the id that it is registered for below. All of them are nullable C function pointers, so size
        // and representation agree.
        let callbacks = unsafe {
            [
                (
                    sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                    mem::transmute::<sys::virConnectDomainEventCallback, Generic>(on_lifecycle),
                ),
                (sys::VIR_DOMAIN_EVENT_ID_REBOOT, on_reboot),
                (
                    sys::VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE,
                    mem::transmute::<sys::virConnectDomainEventAgentLifecycleCallback, Generic>(on_agent),
                ),
                (
                    sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
                    mem::transmute::<sys::virConnectDomainEventDeviceRemovedCallback, Generic>(on_removed),
                ),
                (
                    sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED,
                    mem::transmute::<sys::virConnectDomainEventDeviceRemovalFailedCallback, Generic>(
                        on_failed,
                    ),
                ),
            ]
        };
        for (event, callback) in callbacks {
            match watch.register(event, callback, sink) {
                Ok(()) => {}
                Err(error) if event == sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE => return Err(error),
                Err(error) => tracing::debug!(event, error = error.message(), "event is not supported"),
            }
        }
        watch.register_close(sink);
        Ok(watch)
    }

    fn register(&mut self, event: u32, callback: Generic, sink: &Sink) -> Result<(), Error> {
        let opaque = boxed(sink);
        // SAFETY: the connection is valid while `self` lives; a null domain means all domains; `opaque` is a
        // `Box<Sink>` that libvirt hands to the callbacks and, when the callback is deregistered, once to `free_sink`.
        let id = unsafe {
            sys::virConnectDomainEventRegisterAny(
                self.connection.as_ptr(),
                ptr::null_mut(),
                event.cast_signed(),
                callback,
                opaque,
                Some(free_sink),
            )
        };
        if id < 0 {
            let error = Error::last_error();
            // SAFETY: on failure libvirt has not kept the pointer and does not free it, so it is still ours.
            unsafe { free_sink(opaque) };
            return Err(error);
        }
        self.callbacks.push(id);
        Ok(())
    }

    fn register_close(&mut self, sink: &Sink) {
        let opaque = boxed(sink);
        // SAFETY: as in `register`.
        let told = unsafe {
            sys::virConnectRegisterCloseCallback(
                self.connection.as_ptr(),
                Some(closed),
                opaque,
                Some(free_sink),
            )
        };
        if told < 0 {
            tracing::debug!(error = Error::last_error().message(), "closing is not told");
            // SAFETY: on failure libvirt has not kept the pointer and does not free it, so it is still ours.
            unsafe { free_sink(opaque) };
        } else {
            self.tells_close = true;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // On a dead connection libvirt forgets the callback and then fails to tell the daemon: nothing to be done.
        for id in self.callbacks.drain(..) {
            // SAFETY: the id came from a registration on this connection, which is valid while `self` lives.
            if unsafe { sys::virConnectDomainEventDeregisterAny(self.connection.as_ptr(), id) } < 0 {
                tracing::trace!(error = Error::last_error().message(), "deregistering an event");
            }
        }
        if self.tells_close {
            // SAFETY: `closed` was registered on this connection, which is valid while `self` lives.
            let told =
                unsafe { sys::virConnectUnregisterCloseCallback(self.connection.as_ptr(), Some(closed)) };
            if told < 0 {
                tracing::trace!(
                    error = Error::last_error().message(),
                    "deregistering the close callback"
                );
            }
        }
    }
}

type Generic = sys::virConnectDomainEventGenericCallback;

fn boxed(sink: &Sink) -> *mut c_void {
    Box::into_raw(Box::new(Arc::clone(sink))).cast()
}

/// Gives the sink of one registration back.
///
/// # Safety
/// `opaque` must come from [`boxed`] and must not be used afterwards.
unsafe extern "C" fn free_sink(opaque: *mut c_void) {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(opaque.cast::<Sink>()) });
}

/// Puts what `make` makes of the domain's UUID into the sink.
///
/// # Safety
/// `domain` must be valid during the call and `opaque` must come from [`boxed`] and not have been freed.
unsafe fn put(domain: sys::virDomainPtr, opaque: *mut c_void, make: impl FnOnce(Uuid) -> Raw) {
    let mut bytes = [0_u8; 16];
    // SAFETY: the caller's promise for `domain`; the buffer has the 16 bytes (VIR_UUID_BUFLEN) that are written. The
    // UUID is a member of the object, so nothing is sent to the daemon from the event loop.
    if unsafe { sys::virDomainGetUUID(domain, bytes.as_mut_ptr()) } < 0 {
        return;
    }
    // SAFETY: the caller's promise for `opaque`; the sink is only shared, never changed.
    let sink = unsafe { &*opaque.cast::<Sink>() };
    sink(make(Uuid::from_bytes(bytes)));
}

/// The text at `text`; empty if it is null.
///
/// # Safety
/// `text` must be null or NUL-terminated and valid during the call.
unsafe fn owned(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null; the rest is the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

unsafe extern "C" fn lifecycle(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    event: c_int,
    detail: c_int,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: libvirt calls with a valid domain and with the opaque pointer of the registration.
    unsafe { put(domain, opaque, |guest| Raw::Lifecycle { guest, event, detail }) };
    0
}

unsafe extern "C" fn reboot(_: sys::virConnectPtr, domain: sys::virDomainPtr, opaque: *mut c_void) {
    // SAFETY: as in `lifecycle`.
    unsafe { put(domain, opaque, |guest| Raw::Reboot { guest }) };
}

unsafe extern "C" fn agent_lifecycle(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    state: c_int,
    _reason: c_int,
    opaque: *mut c_void,
) {
    // SAFETY: as in `lifecycle`.
    unsafe { put(domain, opaque, |guest| Raw::Agent { guest, state }) };
}

unsafe extern "C" fn device_removed(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    alias: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: as in `lifecycle`; the alias is a C string that is valid during the call.
    unsafe {
        let alias = owned(alias);
        put(domain, opaque, |guest| Raw::DeviceRemoved { guest, alias });
    }
}

unsafe extern "C" fn device_removal_failed(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    alias: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: as in `device_removed`.
    unsafe {
        let alias = owned(alias);
        put(domain, opaque, |guest| Raw::DeviceRemovalFailed { guest, alias });
    }
}

unsafe extern "C" fn closed(_: sys::virConnectPtr, reason: c_int, opaque: *mut c_void) {
    // SAFETY: libvirt calls with the opaque pointer of the registration; the sink is only shared.
    let sink = unsafe { &*opaque.cast::<Sink>() };
    sink(Raw::Closed { reason });
}
