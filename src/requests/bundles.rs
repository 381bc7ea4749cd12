//! Registering bundles: an image is inspected, kept in the pool, and entered in the table.

use std::fs::File;
use std::io::Seek as _;

use super::Requests;
use super::refusal::Refusal;
use crate::bundle::Bundle;
use crate::model::ids::Digest;
use crate::model::service::BundleRecord;
use crate::ports::{Fault, PortError};

impl Requests {
    /// Keeps a bundle image in the pool of the daemon's own host and enters it in the table; doing it twice is fine.
    ///
    /// # Errors
    /// The image is no bundle, is not what the caller said, or the pool has no room.
    pub async fn register(&self, image: File, expected: Option<Digest>) -> Result<Digest, Refusal> {
        let (image, inspected) = tokio::task::spawn_blocking(move || {
            let mut image = image;
            let inspected = inspect(&mut image);
            (image, inspected)
        })
        .await
        .map_err(|e| Refusal::BadBundle(format!("the image could not be inspected: {e}")))?;
        let bundle = inspected.map_err(Refusal::BadBundle)?;
        if let Some(expected) = expected
            && expected != bundle.digest
        {
            return Err(Refusal::DigestMismatch {
                expected: expected.to_string(),
                found: bundle.digest.to_string(),
            });
        }
        let digest = bundle.digest.clone();
        let host = self.world.host.clone();
        let stored = self.world.hypervisor.image(&host, &digest).await?;
        let known = self.world.table.bundle(&digest).await?.is_some();
        if !(known && stored.is_some_and(|(_, size)| size == bundle.size)) {
            self.world
                .hypervisor
                .store_image(&host, &digest, image, bundle.size)
                .await
                .map_err(storing)?;
        }
        self.world
            .table
            .put_bundle(&BundleRecord {
                digest: digest.clone(),
                size: bundle.size,
                manifest: bundle.manifest,
                units: bundle.units,
                registered: self.world.clock.now(),
            })
            .await?;
        Ok(digest)
    }
}

/// Reads an image from its beginning, and leaves the file there again.
fn inspect(image: &mut File) -> Result<Bundle, String> {
    image
        .rewind()
        .map_err(|error| format!("the image cannot be read: {error}; give a file, not a pipe"))?;
    let bundle = crate::bundle::inspect(image).map_err(|error| chain(&error))?;
    image
        .rewind()
        .map_err(|error| format!("the image cannot be read: {error}"))?;
    Ok(bundle)
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn storing(error: PortError) -> Refusal {
    match error.fault {
        Fault::Refused => Refusal::PoolRefused(error.message),
        Fault::Unavailable | Fault::Unknown => Refusal::Unavailable(error.message),
    }
}
