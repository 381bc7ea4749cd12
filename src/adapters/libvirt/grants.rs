//! Grants in a host's storage pool: small qcow2 overlays on the bundle images, made and deleted by libvirt's storage API, so
//! that the pool of a remote host is reached as well.
//!
//! What libvirt made and deleted it knows, so a pool is not refreshed for them: that would open every image in it.

use tracing::{debug, info, warn};
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;
use virt_sys as sys;

use super::domain_xml::escape;
use super::failure::Failure;
use super::host::Host;
use super::images::{Place, delete, find, image_name, known};
use super::link::Call;
use super::look::lookup;
use super::{LibvirtHosts, ffi};
use crate::model::grant::{Grant, GrantFile};
use crate::model::ids::{Digest, GuestId, HostId, ServiceId};
use crate::ports::{Fault, PortError};

impl LibvirtHosts {
    /// The files of a service's grants for a guest, on all hosts, that neither a definition nor a saved memory names.
    ///
    /// Hosts are asked for files first, which is all that is asked where there are none. One that does not answer is passed
    /// over: its files stay until it does.
    pub(super) async fn look_for_spent_grants(
        &self,
        guest: GuestId,
        service: &ServiceId,
    ) -> Result<Vec<GrantFile>, PortError> {
        let mut files = Vec::new();
        let (mut answering, mut silent) = (Vec::new(), None);
        for (host, answer) in self
            .on_every_host(|host| host.grants(Some((guest, service.clone()))))
            .await
        {
            match answer {
                Ok(found) => {
                    answering.push(host);
                    files.extend(found);
                }
                Err(error) => silent = Some(error),
            }
        }
        if let (true, Some(error)) = (answering.is_empty(), silent) {
            return Err(error);
        }
        let paths: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
        if !paths.is_empty() {
            for host in answering {
                // What cannot be read may be what needs it.
                let needed = host.needed(guest, paths.clone()).await?;
                files.retain(|file| !needed.contains(&file.path));
            }
        }
        Ok(files)
    }

    /// Deletes the files that [`LibvirtHosts::look_for_spent_grants`] finds.
    pub(super) async fn delete_grants(&self, guest: GuestId, service: &ServiceId) -> Result<(), PortError> {
        for file in self.look_for_spent_grants(guest, service).await? {
            self.host(&file.host)?.delete_grant(&file.grant).await?;
        }
        Ok(())
    }

    /// Every grant's file of every host.
    pub(super) async fn all_grants(&self) -> Vec<Result<GrantFile, (HostId, PortError)>> {
        let mut all = Vec::new();
        for (host, answer) in self.on_every_host(|host| host.grants(None)).await {
            match answer {
                Ok(files) => all.extend(files.into_iter().map(Ok)),
                Err(error) => all.push(Err((host.id.clone(), error))),
            }
        }
        all
    }
}

impl Host {
    /// Makes a grant's file on the image of a bundle, unless it is there, and tells its path.
    pub(super) async fn make_grant(&self, grant: &Grant, digest: &Digest) -> Result<String, PortError> {
        let (place, grant, image) = (self.place(), grant.clone(), image_name(digest));
        let call = Call::changes(format!("make grant {grant}"), self.timeouts.change);
        self.control
            .call(call, move |connection, _| {
                make(connection, &place, &grant, &image)
            })
            .await
    }

    /// The files of all grants in the pool, or of one service's for one guest.
    async fn grants(&self, of: Option<(GuestId, ServiceId)>) -> Result<Vec<GrantFile>, PortError> {
        let (place, host) = (self.place(), self.id.clone());
        let call = Call::reads("list the grants in its pool", self.timeouts.look);
        self.control
            .call(call, move |connection, _| {
                let pool = match place.pool(connection) {
                    Ok(pool) => pool,
                    // Where there is no pool, no grant was ever made.
                    Err(Failure::Port(error)) if error.fault == Fault::Refused => return Ok(Vec::new()),
                    Err(failure) => return Err(failure),
                };
                let mut files = Vec::new();
                for name in pool.list_volumes()? {
                    let Some(grant) = Grant::named_by(&name) else {
                        continue;
                    };
                    let asked = of
                        .as_ref()
                        .is_none_or(|(guest, service)| grant.guest == *guest && grant.service == *service);
                    if !asked {
                        continue;
                    }
                    // One that has gone since the listing is no error.
                    if let Some(volume) = known(&pool, &name)? {
                        let (host, path) = (host.clone(), volume.path()?);
                        files.push(GrantFile { grant, host, path });
                    }
                }
                Ok(files)
            })
            .await
    }

    /// Which of `paths` this host needs for a guest.
    async fn needed(&self, guest: GuestId, paths: Vec<String>) -> Result<Vec<String>, PortError> {
        let call = Call::reads(format!("look what guest {guest} needs"), self.timeouts.look);
        self.control
            .call(call, move |connection, _| match lookup(connection, guest)? {
                Some(domain) => needed(&domain, paths),
                None => Ok(Vec::new()),
            })
            .await
    }

    async fn delete_grant(&self, grant: &Grant) -> Result<(), PortError> {
        let (place, grant) = (self.place(), grant.clone());
        let call = Call::changes(format!("delete grant {grant}"), self.timeouts.change);
        self.control
            .call(call, move |connection, _| {
                let pool = place.pool(connection)?;
                let name = grant.file_name();
                let Some(volume) = known(&pool, &name)? else {
                    return Ok(());
                };
                if let Err(failure) = delete(&volume) {
                    // In a pool that hosts share another one may have deleted the file: then a refresh tells.
                    pool.refresh(0)?;
                    if known(&pool, &name)?.is_some() {
                        return Err(failure);
                    }
                }
                info!(%grant, host = place.host, "deleted a grant");
                Ok(())
            })
            .await
    }
}

fn make(connection: &Connect, place: &Place, grant: &Grant, image: &str) -> Result<String, Failure> {
    let pool = place.pool(connection)?;
    let Some(image) = find(&pool, image)? else {
        return Err(Failure::Port(PortError::refused(format!(
            "pool {} on {} has no image {image}; register the bundle again",
            place.pool, place.host
        ))));
    };
    let (base, info) = (image.path()?, image.info()?);
    if info.kind != sys::VIR_STORAGE_VOL_FILE {
        debug!(
            image = base,
            host = place.host,
            "its pool has no files: the image itself is given"
        );
        return Ok(base);
    }
    let name = grant.file_name();
    if let Some(volume) = known(&pool, &name)? {
        let path = volume.path()?;
        if backing_of(&volume.xml_desc(0)?).as_deref() == Some(base.as_str()) {
            return Ok(path);
        }
        // Cut off while it was made, or left by a handover to another bundle that was undone.
        if let Some(domain) = lookup(connection, grant.guest)?
            && !needed(&domain, vec![path.clone()])?.is_empty()
        {
            return Err(Failure::Port(PortError::refused(format!(
                "grant {path} on {} is not one of {base}, and a definition, managed-save image or snapshot of guest {} \
                 names it; remove that first",
                place.host, grant.guest
            ))));
        }
        warn!(%grant, host = place.host, "a grant's file is not what it should be; it is made anew");
        delete(&volume)?;
    }
    let volume = match StorageVol::create_xml(&pool, &grant_xml(&name, &base, info.capacity), 0) {
        Ok(volume) => volume,
        Err(error) if error.message().contains("No space left") => {
            return Err(place.full(&pool, SIZE).into());
        }
        Err(error) => return Err(error.into()),
    };
    // A file that QEMU cannot open would keep the guest from booting, where a missing one does not.
    if backing_of(&volume.xml_desc(0)?).as_deref() != Some(base.as_str()) {
        delete(&volume)?;
        return Err(Failure::Port(PortError::unknown(format!(
            "{}: the file of grant {grant} was made, but libvirt does not find {base} behind it",
            place.host
        ))));
    }
    info!(%grant, host = place.host, "made a grant");
    Ok(volume.path()?)
}

/// What the file of a grant takes, in bytes.
const SIZE: u64 = 256 * 1024;

/// Which of `paths` a definition of the domain names, or what it would be restored from.
fn needed(domain: &Domain, mut paths: Vec<String>) -> Result<Vec<String>, Failure> {
    let mut texts = vec![domain.xml_desc(0)?];
    if domain.is_persistent()? {
        texts.push(domain.xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)?);
    }
    // Taken while it ran: they hold the memory of a guest that has the disk. One of a guest that was off boots without.
    for snapshot in
        supported(domain.list_all_snapshots(sys::VIR_DOMAIN_SNAPSHOT_LIST_ACTIVE))?.unwrap_or_default()
    {
        texts.push(snapshot.xml_desc(0)?);
    }
    if supported(domain.has_managed_save(0))? == Some(true) {
        texts.push(ffi::managed_save_xml(domain)?);
    }
    paths.retain(|path| texts.iter().any(|xml| names(xml, path)));
    Ok(paths)
}

/// A driver without such a thing has none.
fn supported<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.code().is(ErrorNumber::NoSupport) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an XML that libvirt wrote has this path as the whole value of an attribute.
fn names(xml: &str, path: &str) -> bool {
    xml.contains(&format!("'{}'", escape(path)))
}

/// The grant in a pool that is on the image at `base`, if one is.
pub(super) fn grant_on(pool: &StoragePool, base: &str) -> Result<Option<Grant>, Error> {
    for volume in pool.list_all_volumes(0)? {
        if let Some(grant) = Grant::named_by(&volume.name()?)
            && backing_of(&volume.xml_desc(0)?).as_deref() == Some(base)
        {
            return Ok(Some(grant));
        }
    }
    Ok(None)
}

/// The path behind an overlay, as its volume XML tells it.
fn backing_of(xml: &str) -> Option<String> {
    let document = roxmltree::Document::parse(xml).ok()?;
    let child = |node: roxmltree::Node<'_, '_>, name: &str| {
        node.children().find(|n| n.has_tag_name(name)).map(|n| n.id())
    };
    let store = document.get_node(child(document.root_element(), "backingStore")?)?;
    let path = document.get_node(child(store, "path")?)?;
    path.text().map(str::to_owned)
}

fn grant_xml(name: &str, base: &str, capacity: u64) -> String {
    format!(
        "<volume><name>{}</name><capacity unit='bytes'>{capacity}</capacity>\
         <target><format type='qcow2'/><permissions><mode>0600</mode></permissions></target>\
         <backingStore><path>{}</path><format type='raw'/></backingStore></volume>",
        escape(name),
        escape(base)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_an_overlay_on_the_raw_image_and_reads_back_as_one() {
        let xml = grant_xml("web@g.g1.qcow2", "/pool/a&b.img", 8192);
        assert_eq!(
            xml,
            "<volume><name>web@g.g1.qcow2</name><capacity unit='bytes'>8192</capacity>\
             <target><format type='qcow2'/><permissions><mode>0600</mode></permissions></target>\
             <backingStore><path>/pool/a&amp;b.img</path><format type='raw'/></backingStore></volume>"
        );
        assert_eq!(backing_of(&xml).as_deref(), Some("/pool/a&b.img"));
        assert_eq!(
            backing_of("<volume><target><path>/a</path></target></volume>"),
            None
        );
    }

    #[test]
    fn a_path_is_named_only_as_a_whole() {
        let xml = "<source file='/pool/web@g.g1.qcow2' startupPolicy='optional'/>";
        assert!(names(xml, "/pool/web@g.g1.qcow2"));
        assert!(!names(xml, "/pool/web@g.g1"));
        assert!(!names(xml, "web@g.g1.qcow2"));
        assert!(names("<source file='/a&amp;b'/>", "/a&b"));
    }
}
