//! Looks through the ports, at many guests at once. A guest or host that does not answer never holds up the others.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join4;
use futures_util::stream::{self, StreamExt as _};

use super::picture::{Asked, Candidate, Picture};
use crate::handover::world::World;
use crate::model::grant::GrantFile;
use crate::model::guest::GuestDomain;
use crate::model::ids::{Digest, GuestId, HostId, ServiceId};
use crate::model::name::{DnsName, NameRecords};
use crate::ports::{Fault, TableError};

/// How many guests, names or images are asked about at once.
const AT_ONCE: usize = 16;

/// What is looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scope<'a> {
    /// Only this service; `None`: all.
    pub service: Option<&'a ServiceId>,
    /// A picture of a moment ago: only the guests that it shows for the service are looked at again, and those that were
    /// silent count as silent.
    pub before: Option<&'a Picture>,
}

impl Scope<'_> {
    fn covers(&self, service: &ServiceId) -> bool {
        self.service.is_none_or(|only| only == service)
    }
}

/// Looks at everything in scope. What does not answer is in the picture as such.
///
/// # Errors
/// The table cannot be read.
pub async fn gather(world: &World, scope: Scope<'_>) -> Result<Picture, TableError> {
    let table = &world.table;
    let mut picture = Picture {
        own: world.host.clone(),
        // Handovers first: one that ends meanwhile is then judged as open, which asks for less.
        handovers: table.unfinished().await?,
        duties: table.duties().await?,
        standbys: table.standbys().await?,
        services: table.services().await?,
        bundles: table.bundles().await?,
        guests: BTreeMap::new(),
        silent_hosts: BTreeSet::new(),
        unreadable: BTreeMap::new(),
        copies: BTreeMap::new(),
        names: BTreeMap::new(),
        images: BTreeMap::new(),
        volumes: BTreeMap::new(),
        spent_grants: Vec::new(),
    };
    look_at_guests(world, scope, &mut picture).await;
    let candidates: Vec<Candidate> = picture
        .candidates()
        .into_iter()
        .filter(|candidate| scope.covers(&candidate.service))
        .collect();
    let (copies, names, images, volumes) = join4(
        ask_guests(world, scope, &picture, candidates),
        read_names(world, scope, &picture),
        find_images(world, scope, &picture),
        find_volumes(world, scope, &picture),
    )
    .await;
    picture.copies = copies;
    picture.names = names;
    picture.images = images;
    picture.volumes = volumes;
    picture.spent_grants = find_spent_grants(world, scope, &picture).await;
    Ok(picture)
}

/// Runs `ask` for each of `items`, a bounded number at once.
async fn each<I, T, F, A>(items: I, ask: A) -> Vec<T>
where
    I: IntoIterator,
    A: FnMut(I::Item) -> F,
    F: Future<Output = T>,
{
    stream::iter(items.into_iter().map(ask))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// The guests that a picture shows for a service: its candidates, and whoever has a disk of it.
fn shown(picture: &Picture, service: &ServiceId) -> BTreeSet<GuestId> {
    let known = picture.own_disks();
    let has = |domains: &Vec<GuestDomain>| {
        domains.iter().any(|domain| {
            Picture::definitions(domain).any(|(_, definition)| {
                let serials = definition.disks.iter().filter_map(|disk| disk.serial.as_ref());
                serials
                    .filter_map(|serial| known.get(serial))
                    .any(|own| own.service == *service)
            })
        })
    };
    let volume = picture.service(service).and_then(|row| row.volume.as_ref());
    let by_path = |domains: &Vec<GuestDomain>| {
        domains.iter().any(|domain| {
            Picture::definitions(domain).any(|(_, definition)| {
                definition.disks.iter().any(|disk| {
                    volume.is_some_and(|volume| disk.source.as_deref() == Some(volume.path.as_str()))
                })
            })
        })
    };
    let holders = picture
        .guests
        .iter()
        .filter(|(_, domains)| has(domains) || by_path(domains))
        .map(|(id, _)| *id);
    let named = picture
        .candidates()
        .into_iter()
        .filter(|candidate| candidate.service == *service)
        .map(|candidate| candidate.guest);
    holders.chain(named).collect()
}

async fn look_at_guests(world: &World, scope: Scope<'_>, picture: &mut Picture) {
    let mut ids = BTreeSet::new();
    match (scope.before, scope.service) {
        (Some(before), Some(service)) => {
            picture.silent_hosts.clone_from(&before.silent_hosts);
            ids = shown(before, service);
            let now = picture.candidates().into_iter();
            ids.extend(now.filter(|one| one.service == *service).map(|one| one.guest));
        }
        _ => {
            for one in world.hypervisor.guests().await {
                match one {
                    Ok(guest) => {
                        ids.insert(guest.id);
                    }
                    Err((host, _)) => {
                        picture.silent_hosts.insert(host);
                    }
                }
            }
            // One whose host does not answer may be known to another.
            ids.extend(picture.services.iter().map(|service| service.guest));
        }
    }
    for (id, looked) in each(ids, |id| async move { (id, look_at_guest(world, id).await) }).await {
        match looked {
            Ok(domains) if domains.is_empty() => {}
            Ok(domains) => {
                picture.guests.insert(id, domains);
            }
            Err(why) => {
                picture.unreadable.insert(id, why);
            }
        }
    }
}

/// A guest as every host has it; while a host does not answer, as the others have it.
async fn look_at_guest(world: &World, id: GuestId) -> Result<Vec<GuestDomain>, String> {
    if let Ok(all) = world.hypervisor.everywhere(id).await {
        return Ok(all);
    }
    match world.hypervisor.inspect(id).await {
        Ok(domain) => Ok(domain.into_iter().collect()),
        Err(error) => Err(error.message),
    }
}

type Copies = BTreeMap<(ServiceId, GuestId), Asked>;

async fn ask_guests(
    world: &World,
    scope: Scope<'_>,
    picture: &Picture,
    candidates: Vec<Candidate>,
) -> Copies {
    let mut by_guest: BTreeMap<GuestId, Vec<Candidate>> = BTreeMap::new();
    for candidate in candidates {
        by_guest.entry(candidate.guest).or_default().push(candidate);
    }
    let asked = each(by_guest, |(guest, candidates)| async move {
        ask_guest(world, scope, picture, guest, candidates).await
    })
    .await;
    asked.into_iter().flatten().collect()
}

/// Asks one guest about all its copies, one after the other: its agent takes one command at a time. Once it was silent
/// it is asked no more.
async fn ask_guest(
    world: &World,
    scope: Scope<'_>,
    picture: &Picture,
    guest: GuestId,
    candidates: Vec<Candidate>,
) -> Copies {
    let mut answers = Copies::new();
    let Some(domain) = picture.guest(guest) else {
        return answers;
    };
    let was_silent = |candidate: &Candidate| match scope.before?.copy(&candidate.service, guest)? {
        Asked::Silent(why) => Some(why.clone()),
        Asked::Seen(_) | Asked::Off => None,
    };
    let mut silent = candidates.iter().find_map(was_silent);
    if silent.is_none() && !domain.summary.agent_connected {
        silent = Some("libvirt has no channel to its agent".to_owned());
    }
    for candidate in candidates {
        let answer = if !domain.summary.is_running() {
            Asked::Off
        } else if let Some(why) = &silent {
            Asked::Silent(why.clone())
        } else if let Some(placement) = picture.placement(&candidate) {
            match world.guest.look(guest, &placement).await {
                Ok(copy) => Asked::Seen(Box::new(copy)),
                Err(error) => {
                    if error.fault != Fault::Refused {
                        silent = Some(error.message.clone());
                    }
                    Asked::Silent(error.message)
                }
            }
        } else {
            continue;
        };
        answers.insert((candidate.service, guest), answer);
    }
    answers
}

type Names = BTreeMap<DnsName, Result<NameRecords, String>>;

async fn read_names(world: &World, scope: Scope<'_>, picture: &Picture) -> Names {
    let names: BTreeSet<DnsName> = idle(scope, picture)
        .filter_map(|service| service.dns.as_ref())
        .map(|dns| dns.name.clone())
        .collect();
    let read = each(names, |name| async move {
        let records = world.names.read(&name).await.map_err(|error| error.message);
        (name, records)
    });
    read.await.into_iter().collect()
}

/// Services in scope that no job has.
fn idle<'a>(
    scope: Scope<'a>,
    picture: &'a Picture,
) -> impl Iterator<Item = &'a crate::model::service::ServiceRecord> {
    picture
        .services
        .iter()
        .filter(move |service| scope.covers(&service.id) && !picture.is_busy(&service.id))
}

type Images = BTreeMap<(HostId, Digest), Result<Option<u64>, String>>;

/// The images on the hosts of the services' homes; where one is missing, on the other hosts too.
async fn find_images(world: &World, scope: Scope<'_>, picture: &Picture) -> Images {
    let home = |service: &crate::model::service::ServiceRecord| {
        let domain = picture.guest(service.guest);
        domain
            .map_or(&service.host, |domain| &domain.summary.host)
            .clone()
    };
    let wanted: BTreeSet<(HostId, Digest)> = idle(scope, picture)
        .map(|service| (home(service), service.bundle.clone()))
        .collect();
    let find = |(host, digest): (HostId, Digest)| async move {
        let image = world.hypervisor.image(&host, &digest).await;
        let size = image.map(|image| image.map(|(_, size)| size));
        ((host, digest), size.map_err(|error| error.message))
    };
    let mut found: Images = each(wanted, find).await.into_iter().collect();
    let whole = |digest: &Digest, size: u64| picture.bundle(digest).is_some_and(|bundle| size >= bundle.size);
    let missing: BTreeSet<Digest> = found
        .iter()
        .filter(
            |((_, digest), size)| matches!(size, Ok(size) if !size.is_some_and(|size| whole(digest, size))),
        )
        .map(|((_, digest), _)| digest.clone())
        .collect();
    let mut elsewhere = BTreeSet::new();
    for host in world.hypervisor.hosts() {
        for digest in &missing {
            let key = (host.clone(), digest.clone());
            if !found.contains_key(&key) {
                elsewhere.insert(key);
            }
        }
    }
    found.extend(each(elsewhere, find).await);
    found
}

/// Files of grants that nothing needs, of services that no job has. What does not answer is told by other looks.
async fn find_spent_grants(world: &World, scope: Scope<'_>, picture: &Picture) -> Vec<GrantFile> {
    let all = world.hypervisor.grants().await.into_iter().filter_map(Result::ok);
    let of: BTreeSet<(GuestId, ServiceId)> = all
        .filter(|file| scope.covers(&file.grant.service) && !picture.is_busy(&file.grant.service))
        .map(|file| (file.grant.guest, file.grant.service))
        .collect();
    let spent = each(of, |(guest, service)| async move {
        world
            .hypervisor
            .spent_grants(guest, &service)
            .await
            .unwrap_or_default()
    });
    let mut files: Vec<GrantFile> = spent.await.into_iter().flatten().collect();
    files.sort_by(|one, other| (&one.grant, &one.host).cmp(&(&other.grant, &other.host)));
    files
}

type Volumes = BTreeMap<(HostId, ServiceId), Result<Option<u64>, String>>;

async fn find_volumes(world: &World, scope: Scope<'_>, picture: &Picture) -> Volumes {
    let wanted: BTreeSet<(HostId, ServiceId)> = idle(scope, picture)
        .filter_map(|service| Some((service.volume.as_ref()?.host.clone(), service.id.clone())))
        .collect();
    let found = each(wanted, |(host, service)| async move {
        let volume = world.hypervisor.volume(&host, &service).await;
        let size = volume.map(|volume| volume.map(|(_, size)| size));
        ((host, service), size.map_err(|error| error.message))
    });
    found.await.into_iter().collect()
}
