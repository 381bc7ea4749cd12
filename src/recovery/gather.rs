//! Reads what a table can be rebuilt from, through the ports. Changes nothing anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::IpAddr;
use std::sync::Arc;

use super::evidence::{CopySeen, Evidence};
use crate::handover::world::AddressRule;
use crate::model::guest::GuestDomain;
use crate::model::ids::{Digest, GuestId, HostId};
use crate::model::manifest::EnvironmentFile;
use crate::model::placement::{MAX_ENVIRONMENT_FILE, PlacedFile, Placement};
use crate::model::service::{BundleRecord, Millis};
use crate::ports::{Guest, GuestFiles, Hypervisor, ImagePool, NameServer};

/// The ports that are read.
pub struct Sources {
    /// libvirt.
    pub hypervisor: Arc<dyn Hypervisor>,
    /// The pools.
    pub pools: Arc<dyn ImagePool>,
    /// The guests.
    pub guest: Arc<dyn Guest>,
    /// Files in guests.
    pub files: Arc<dyn GuestFiles>,
    /// The zones.
    pub names: Arc<dyn NameServer>,
    /// Which addresses a guest publishes.
    pub address_rule: AddressRule,
    /// The daemon's own host.
    pub own: HostId,
}

/// Reads everything; what does not answer is in the evidence as such. Takes as long as the bundle images are large: each is
/// read once.
pub async fn gather(sources: &Sources, now: Millis) -> Evidence {
    let mut evidence = Evidence {
        own: sources.own.clone(),
        now,
        bundles: Vec::new(),
        bad_images: Vec::new(),
        silent_hosts: BTreeMap::new(),
        guests: Vec::new(),
        names: BTreeMap::new(),
        copies: BTreeMap::new(),
        addresses: BTreeMap::new(),
        grants: Vec::new(),
        volumes: BTreeMap::new(),
    };
    read_pools(sources, &mut evidence).await;
    read_guests(sources, &mut evidence).await;
    for one in sources.hypervisor.grants().await {
        match one {
            Ok(file) => evidence.grants.push(file),
            Err((host, error)) => {
                evidence.silent_hosts.insert(host, error.message);
            }
        }
    }
    read_names(sources, &mut evidence).await;
    for service in evidence.services() {
        for host in sources.hypervisor.hosts() {
            if let Ok(Some(found)) = sources.hypervisor.volume(&host, &service).await {
                evidence.volumes.insert((host, service.clone()), found);
            }
        }
        for holder in evidence.holders(&service) {
            for digest in &holder.bundles {
                let seen = ask(sources, &evidence, holder.guest, digest).await;
                evidence
                    .copies
                    .insert((service.clone(), holder.guest, digest.clone()), seen);
            }
            if let Some(addresses) = addresses_of(sources, &evidence, holder.guest).await {
                evidence.addresses.insert(holder.guest, addresses);
            }
        }
    }
    evidence
}

async fn read_pools(sources: &Sources, evidence: &mut Evidence) {
    for host in sources.hypervisor.hosts() {
        let digests = match sources.pools.images(&host).await {
            Ok(digests) => digests,
            Err(error) => {
                evidence.silent_hosts.insert(host, error.message);
                continue;
            }
        };
        for digest in digests {
            // The same image on another host is the same bundle.
            if evidence.bundle(&digest).is_some() {
                continue;
            }
            let image = sources.pools.read_image(&host, &digest).await;
            let read = image
                .map_err(|error| error.message)
                .and_then(|image| inspect(image, &digest, evidence.now));
            match read {
                Ok(bundle) => evidence.bundles.push(bundle),
                Err(why) => evidence.bad_images.push((host.clone(), digest, why)),
            }
        }
    }
    evidence
        .bundles
        .sort_by(|a, b| (&a.manifest.service, &a.digest).cmp(&(&b.manifest.service, &b.digest)));
    let bundles = &evidence.bundles;
    evidence
        .bad_images
        .retain(|(_, digest, _)| !bundles.iter().any(|bundle| bundle.digest == *digest));
}

fn inspect(mut image: File, digest: &Digest, now: Millis) -> Result<BundleRecord, String> {
    let bundle = crate::bundle::inspect(&mut image).map_err(|error| error.to_string())?;
    if bundle.digest != *digest {
        return Err(format!("its sha256 is {}", bundle.digest.short()));
    }
    Ok(BundleRecord {
        digest: bundle.digest,
        size: bundle.size,
        manifest: bundle.manifest,
        units: bundle.units,
        registered: now,
    })
}

async fn read_guests(sources: &Sources, evidence: &mut Evidence) {
    let mut ids = BTreeSet::new();
    for one in sources.hypervisor.guests().await {
        match one {
            Ok(guest) => {
                ids.insert(guest.id);
            }
            Err((host, error)) => {
                evidence.silent_hosts.insert(host, error.message);
            }
        }
    }
    for id in ids {
        let found: Vec<GuestDomain> = match sources.hypervisor.everywhere(id).await {
            Ok(all) => all,
            // A host is silent, which is told; the others are believed.
            Err(_) => match sources.hypervisor.inspect(id).await {
                Ok(one) => one.into_iter().collect(),
                Err(error) => {
                    tracing::warn!(guest = %id, %error, "a guest cannot be looked at");
                    continue;
                }
            },
        };
        evidence.guests.extend(found);
    }
}

async fn read_names(sources: &Sources, evidence: &mut Evidence) {
    let names: BTreeSet<_> = evidence
        .bundles
        .iter()
        .filter_map(|bundle| bundle.manifest.dns.as_ref())
        .map(|dns| dns.name.clone())
        .collect();
    for name in names {
        if sources.names.zone_of(&name).is_none() {
            continue;
        }
        let records = sources.names.read(&name).await.map_err(|error| error.message);
        evidence.names.insert(name, records);
    }
}

async fn ask(sources: &Sources, evidence: &Evidence, guest: GuestId, digest: &Digest) -> CopySeen {
    let (Some(domain), Some(bundle)) = (evidence.guest(guest), evidence.bundle(digest)) else {
        return CopySeen::Off;
    };
    if !domain.is_active() {
        return CopySeen::Off;
    }
    let bare = Placement::of(bundle, &[]);
    let copy = match sources.guest.look(guest, &bare).await {
        Ok(copy) => copy,
        Err(error) => return CopySeen::Silent(error.message),
    };
    let mut files = Ok(Vec::new());
    for wanted in bundle.manifest.config.iter().chain(&bundle.manifest.secrets) {
        let read = read_back(sources, guest, &bare, wanted).await;
        files = match (files, read) {
            (Ok(mut files), Ok(file)) => {
                files.push(file);
                Ok(files)
            }
            (Ok(_), Err(why)) | (Err(why), _) => Err(why),
        };
    }
    CopySeen::Seen(Box::new(copy), files)
}

/// A config or secret file as it is in the guest: its content, with the mode and owners that the manifest says.
async fn read_back(
    sources: &Sources,
    guest: GuestId,
    placement: &Placement,
    wanted: &EnvironmentFile,
) -> Result<PlacedFile, String> {
    match sources
        .files
        .read_file(guest, placement, &wanted.path, MAX_ENVIRONMENT_FILE)
        .await
    {
        Ok(Some(content)) => Ok(PlacedFile {
            path: wanted.path.clone(),
            content,
            mode: wanted.mode,
            owner: wanted.owner.clone(),
            group: wanted.group.clone(),
        }),
        Ok(None) => Err(format!("{} is not there", wanted.path)),
        Err(error) => Err(error.message),
    }
}

async fn addresses_of(sources: &Sources, evidence: &Evidence, guest: GuestId) -> Option<Vec<IpAddr>> {
    if !evidence.guest(guest)?.is_active() {
        return None;
    }
    match sources.guest.addresses(guest).await {
        Ok(addresses) => Some((sources.address_rule)(&addresses)),
        Err(error) => {
            tracing::warn!(guest = %guest, %error, "a guest's addresses cannot be told");
            None
        }
    }
}
