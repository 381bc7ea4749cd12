//! Bundle images in a host's storage pool: volumes `<sha256>.img`.
//!
//! A volume is created with capacity 0 and grows while it is written, front to back. So what a killed upload leaves
//! behind is shorter than the image (or, in pools of block devices, has wrong content), is told as such by
//! [`Host::image`], and is made anew by the next [`Host::store_image`], which trusts no volume whose sha256 it has
//! not read back. libvirt cannot rename volumes, so there is no temporary name.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek as _, Write as _};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tracing::{debug, info, warn};
use virt::connect::Connect;
use virt::error::{Error, ErrorNumber};
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;
use virt::stream::Stream;

use super::domain_xml::escape;
use super::failure::Failure;
use super::grants::grant_on;
use super::host::Host;
use super::link::{Call, Ticket};
use super::look::{config_xml, live_xml};
use crate::model::ids::Digest;
use crate::ports::PortError;

/// Bytes handed to libvirt at once. Far more than its message size: small sends cost a round of bookkeeping each.
const CHUNK: usize = 1 << 20;

/// The name of a bundle's image in the pool.
pub(super) fn image_name(digest: &Digest) -> String {
    format!("{digest}.img")
}

impl Host {
    /// The image's path and its size as it is on storage: less than the bundle's if an upload was cut off.
    pub(super) async fn image(&self, digest: &Digest) -> Result<Option<(String, u64)>, PortError> {
        let (place, name) = (self.place(), image_name(digest));
        let call = Call::reads(format!("look for image {name}"), self.timeouts.look);
        self.control
            .call(call, move |connection, _| {
                let pool = place.pool(connection)?;
                let Some(volume) = find(&pool, &name)? else {
                    return Ok(None);
                };
                Ok(Some((volume.path()?, volume.info()?.capacity)))
            })
            .await
    }

    /// Puts an image into the pool unless it is there with the right content, and tells its path.
    pub(super) async fn store_image(
        &self,
        digest: &Digest,
        image: File,
        size: u64,
    ) -> Result<String, PortError> {
        let upload = Upload {
            place: self.place(),
            name: image_name(digest),
            digest: digest.clone(),
            size,
        };
        let deadline = self.timeouts.transfer + Duration::from_secs(size >> 20);
        let call = Call::changes(format!("store image {}", upload.name), deadline);
        self.transfer
            .call(call, move |connection, ticket| {
                upload.run(connection, image, ticket)
            })
            .await
    }

    /// Reads an image out of the pool into a file; its sha256 is checked on the way.
    pub(super) async fn fetch_image(
        &self,
        digest: &Digest,
        mut into: File,
        size: u64,
    ) -> Result<File, PortError> {
        let source = Upload {
            place: self.place(),
            name: image_name(digest),
            digest: digest.clone(),
            size,
        };
        let deadline = self.timeouts.transfer + Duration::from_secs(size >> 20);
        let call = Call::reads(format!("read image {}", source.name), deadline);
        self.transfer
            .call(call, move |connection, ticket| {
                source.fetch(connection, &mut into, ticket)?;
                Ok(into)
            })
            .await
    }

    /// Deletes an image unless a guest of this host has it.
    pub(super) async fn delete_image(&self, digest: &Digest) -> Result<(), PortError> {
        let (place, name) = (self.place(), image_name(digest));
        let call = Call::changes(format!("delete image {name}"), self.timeouts.change);
        self.control
            .call(call, move |connection, _| {
                let pool = place.pool(connection)?;
                let Some(volume) = find(&pool, &name)? else {
                    return Ok(());
                };
                let path = volume.path()?;
                let used = match user_of(connection, &[&path])? {
                    Some(guest) => Some(format!("guest {guest} has it as a disk")),
                    None => grant_on(&pool, &path)?.map(|grant| format!("grant {grant} is on it")),
                };
                match used {
                    Some(used) => Err(Failure::Port(PortError::refused(format!(
                        "{}: image {name} is not deleted: {used}; remove the service there first",
                        place.host
                    )))),
                    None => delete(&volume),
                }
            })
            .await
    }

    /// Its pool, as messages name it.
    pub(super) fn place(&self) -> Place {
        Place {
            host: self.id.to_string(),
            uri: self.uri.clone(),
            pool: self.pool.clone(),
        }
    }
}

/// A pool on a host, as messages name it.
pub(super) struct Place {
    pub(super) host: String,
    pub(super) uri: String,
    pub(super) pool: String,
}

impl Place {
    /// The pool, started if it was not.
    pub(super) fn pool(&self, connection: &Connect) -> Result<StoragePool, Failure> {
        let Self {
            host,
            uri,
            pool: name,
        } = self;
        let pool = match connection.lookup_storage_pool_by_name(name) {
            Ok(pool) => pool,
            Err(error) if error.code().is(ErrorNumber::NoStoragePool) => {
                return Err(Failure::Port(PortError::refused(format!(
                    "{host} has no storage pool {name}; make it: virsh -c {uri} pool-define-as {name} dir --target \
                     /var/lib/libvirt/images/{name} && virsh -c {uri} pool-build {name} && virsh -c {uri} \
                     pool-autostart {name} && virsh -c {uri} pool-start {name}"
                ))));
            }
            Err(error) => return Err(error.into()),
        };
        if !pool.is_active()? {
            match pool.create(0) {
                Ok(()) => info!(host, pool = name, "started the storage pool"),
                // Somebody else may have started it in between.
                Err(_) if pool.is_active()? => {}
                Err(error) => {
                    return Err(Failure::Port(PortError::refused(format!(
                        "storage pool {name} on {host} is not active and cannot be started: {}; see virsh -c {uri} \
                         pool-start {name}",
                        error.message()
                    ))));
                }
            }
        }
        Ok(pool)
    }

    /// The error for a pool without room for `size` more bytes.
    pub(super) fn full(&self, pool: &StoragePool, size: u64) -> PortError {
        let free = pool
            .info()
            .map_or_else(|_| "less".to_owned(), |info| mebibytes(info.available));
        PortError::refused(format!(
            "pool {} on {} is full: {} are needed, it has {free} free; remove bundles that nothing uses, or \
             enlarge it",
            self.pool,
            self.host,
            mebibytes(size)
        ))
    }
}

/// Bytes for people.
pub(super) fn mebibytes(bytes: u64) -> String {
    let tenths = u128::from(bytes) * 10 / (1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// The volume with this name, also if its file came into the pool without libvirt.
pub(super) fn find(pool: &StoragePool, name: &str) -> Result<Option<StorageVol>, Error> {
    if let Some(volume) = known(pool, name)? {
        return Ok(Some(volume));
    }
    if let Err(error) = pool.refresh(0) {
        // It is refused while an upload is under way in the pool; then what libvirt knows is what there is.
        debug!(error = error.message(), "refreshing the storage pool");
    }
    known(pool, name)
}

/// The volume with this name, if libvirt knows it.
pub(super) fn known(pool: &StoragePool, name: &str) -> Result<Option<StorageVol>, Error> {
    match pool.lookup_storage_vol_by_name(name) {
        Ok(volume) => Ok(Some(volume)),
        Err(error) if error.code().is(ErrorNumber::NoStorageVolume) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Deletes a volume; absent is fine.
pub(super) fn delete(volume: &StorageVol) -> Result<(), Failure> {
    match volume.delete(0) {
        Ok(()) => Ok(()),
        Err(error) if error.code().is(ErrorNumber::NoStorageVolume) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The name of a guest that has one of `sources` as a disk, live or persistently.
pub(super) fn user_of(connection: &Connect, sources: &[&str]) -> Result<Option<String>, Failure> {
    for domain in connection.list_all_domains(0)? {
        for half in [live_xml(&domain), config_xml(&domain)] {
            let (_, xml) = match half {
                Ok(Some(half)) => half,
                Ok(None) => continue,
                Err(Failure::Libvirt(error)) if error.code().is(ErrorNumber::NoDomain) => continue,
                Err(failure) => return Err(failure),
            };
            let has = |disk: &crate::model::guest::DomainDisk| {
                disk.source
                    .as_deref()
                    .is_some_and(|source| sources.contains(&source))
            };
            if xml.definition.disks.iter().any(has) {
                return Ok(Some(domain.name()?));
            }
        }
    }
    Ok(None)
}

/// An image on its way into or out of a pool.
struct Upload {
    place: Place,
    name: String,
    digest: Digest,
    size: u64,
}

impl Upload {
    fn run(&self, connection: &Connect, mut image: File, ticket: &Ticket) -> Result<String, Failure> {
        let pool = self.place.pool(connection)?;
        if let Some(volume) = find(&pool, &self.name)? {
            if self.holds_it(connection, &volume, ticket)? {
                return Ok(volume.path()?);
            }
            warn!(
                volume = self.name,
                host = self.place.host,
                "an image was cut off or has changed; it is written anew"
            );
            delete(&volume)?;
        }
        if pool.info()?.available < self.size {
            return Err(self.place.full(&pool, self.size).into());
        }
        let volume = StorageVol::create_xml(&pool, &self.volume_xml(), 0)?;
        let written = self
            .send(connection, &volume, &mut image, ticket)
            .and_then(|()| self.holds_it(connection, &volume, ticket))
            .and_then(|good| if good { Ok(()) } else { Err(self.spoilt()) });
        match written {
            Ok(()) => {
                info!(
                    volume = self.name,
                    host = self.place.host,
                    bytes = self.size,
                    "stored an image"
                );
                Ok(volume.path()?)
            }
            Err(failure) => {
                if let Err(Failure::Libvirt(error)) = delete(&volume) {
                    warn!(
                        volume = self.name,
                        error = error.message(),
                        "the half-written image stays for now"
                    );
                }
                Err(match failure {
                    Failure::Libvirt(error) if error.message().contains("No space left") => {
                        self.place.full(&pool, self.size).into()
                    }
                    other => other,
                })
            }
        }
    }

    fn volume_xml(&self) -> String {
        format!(
            "<volume><name>{}</name><capacity unit='bytes'>0</capacity><allocation unit='bytes'>0</allocation>\
             <target><format type='raw'/></target></volume>",
            escape(&self.name)
        )
    }

    /// Sends the whole file, provided that it is what it is said to be.
    fn send(
        &self,
        connection: &Connect,
        volume: &StorageVol,
        image: &mut File,
        ticket: &Ticket,
    ) -> Result<(), Failure> {
        let stream = Stream::new(connection, 0)?;
        volume.upload(&stream, 0, self.size, 0)?;
        match self.pump(&stream, image, ticket) {
            // Only finishing tells whether the last bytes were written.
            Ok(()) => Ok(stream.finish()?),
            Err(failure) => {
                if let Err(error) = stream.abort() {
                    debug!(error = error.message(), "aborting the upload");
                }
                Err(failure)
            }
        }
    }

    fn pump(&self, stream: &Stream, image: &mut File, ticket: &Ticket) -> Result<(), Failure> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; CHUNK];
        let mut total = 0_u64;
        loop {
            self.go_on(ticket)?;
            let filled = match image.read(&mut buffer) {
                Ok(0) => break,
                Ok(filled) => filled,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(Failure::Port(PortError::refused(format!(
                        "image {} cannot be read: {error}",
                        self.name
                    ))));
                }
            };
            let mut rest = buffer.get(..filled).unwrap_or_default();
            hash.update(rest);
            total = total.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
            if total > self.size {
                break;
            }
            while !rest.is_empty() {
                let sent = usize::try_from(stream.send(rest)?).unwrap_or(0);
                if sent == 0 {
                    return Err(Failure::Port(PortError::unknown(
                        "libvirt took no more bytes of the image",
                    )));
                }
                rest = rest.get(sent..).unwrap_or_default();
            }
        }
        let found = Digest::from_sha256(&hash.finalize().into());
        if total != self.size || found != self.digest {
            return Err(Failure::Port(PortError::refused(format!(
                "the image has changed on its way: {} bytes with sha256 {} were announced, {total} with {} came; \
                 register it again",
                self.size,
                self.digest.short(),
                found.short()
            ))));
        }
        Ok(())
    }

    /// Whether the volume has the image's size and, read back, its sha256.
    fn holds_it(&self, connection: &Connect, volume: &StorageVol, ticket: &Ticket) -> Result<bool, Failure> {
        // A block device's volume is larger than what was written to it.
        if volume.info()?.capacity < self.size {
            return Ok(false);
        }
        Ok(self.read(connection, volume, ticket, |_| Ok(()))? == self.digest)
    }

    /// Reads the image into a file.
    fn fetch(&self, connection: &Connect, into: &mut File, ticket: &Ticket) -> Result<(), Failure> {
        let Place { host, pool, .. } = &self.place;
        let volume = find(&self.place.pool(connection)?, &self.name)?.ok_or_else(|| {
            PortError::refused(format!(
                "pool {pool} on {host} has no image {}; register the bundle again",
                self.name
            ))
        })?;
        let found = self.read(connection, &volume, ticket, |bytes| into.write_all(bytes))?;
        if found != self.digest {
            return Err(Failure::Port(PortError::refused(format!(
                "image {} in pool {pool} on {host} is not what was registered (sha256 {}); register it again",
                self.name,
                found.short()
            ))));
        }
        into.rewind()
            .map_err(|error| PortError::unavailable(format!("a temporary file cannot be read: {error}")))?;
        Ok(())
    }

    /// Reads the volume, gives every piece to `keep`, and tells the sha256 of all.
    fn read(
        &self,
        connection: &Connect,
        volume: &StorageVol,
        ticket: &Ticket,
        keep: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<Digest, Failure> {
        let stream = Stream::new(connection, 0)?;
        volume.download(&stream, 0, self.size, 0)?;
        match self.receive(&stream, ticket, keep) {
            Ok(found) => {
                stream.finish()?;
                Ok(found)
            }
            Err(failure) => {
                if let Err(error) = stream.abort() {
                    debug!(error = error.message(), "aborting the reading back");
                }
                Err(failure)
            }
        }
    }

    fn receive(
        &self,
        stream: &Stream,
        ticket: &Ticket,
        mut keep: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<Digest, Failure> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; CHUNK];
        loop {
            self.go_on(ticket)?;
            let told = stream.recv(&mut buffer)?;
            if told == 0 {
                return Ok(Digest::from_sha256(&hash.finalize().into()));
            }
            // `virt` passes -2 and -3 (would block, hole) on as values; neither was asked for.
            let Some(got) = usize::try_from(told).ok().and_then(|got| buffer.get(..got)) else {
                return Err(Failure::Port(PortError::unavailable(format!(
                    "image {} cannot be read back: libvirt's stream told {told}",
                    self.name
                ))));
            };
            hash.update(got);
            keep(got).map_err(|error| {
                PortError::refused(format!("image {} cannot be kept on its way: {error}", self.name))
            })?;
        }
    }

    /// Stops work for which nobody waits any more.
    fn go_on(&self, ticket: &Ticket) -> Result<(), Failure> {
        if ticket.abandoned() {
            return Err(Failure::Port(PortError::unknown(format!(
                "storing image {} was given up",
                self.name
            ))));
        }
        Ok(())
    }

    fn spoilt(&self) -> Failure {
        Failure::Port(PortError::refused(format!(
            "image {} read back from pool {} on {} is not what was written; check that host's storage",
            self.name, self.place.pool, self.place.host
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_mebibytes() {
        assert_eq!(mebibytes(0), "0.0 MiB");
        assert_eq!(mebibytes(1 << 20), "1.0 MiB");
        assert_eq!(mebibytes((1 << 20) + (1 << 19)), "1.5 MiB");
        assert_eq!(mebibytes(u64::MAX), "17592186044415.9 MiB");
    }
}
