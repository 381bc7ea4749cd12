//! The images of a pool without a table that names them: for its recovery.

use std::fs::File;

use async_trait::async_trait;
use tracing::debug;

use super::LibvirtHosts;
use super::host::Host;
use super::link::Call;
use crate::model::ids::{Digest, HostId};
use crate::ports::{ImagePool, PortError};

impl Host {
    /// The digests of all volumes that are named as images.
    pub(super) async fn images(&self) -> Result<Vec<Digest>, PortError> {
        let place = self.place();
        let call = Call::reads("list its images", self.timeouts.look);
        self.control
            .call(call, move |connection, _| {
                let pool = place.pool(connection)?;
                if let Err(error) = pool.refresh(0) {
                    debug!(error = error.message(), "refreshing the storage pool");
                }
                let mut found = Vec::new();
                for volume in pool.list_all_volumes(0)? {
                    let name = volume.name()?;
                    let digest = name.strip_suffix(".img").and_then(|hex| hex.parse().ok());
                    found.extend(digest);
                }
                found.sort();
                Ok(found)
            })
            .await
    }
}

#[async_trait]
impl ImagePool for LibvirtHosts {
    async fn images(&self, host: &HostId) -> Result<Vec<Digest>, PortError> {
        self.host(host)?.images().await
    }

    async fn read_image(&self, host: &HostId, digest: &Digest) -> Result<File, PortError> {
        let host = self.host(host)?;
        let Some((_, size)) = host.image(digest).await? else {
            return Err(PortError::refused(format!(
                "image {} is not in the pool of {} any more",
                digest.short(),
                host.id
            )));
        };
        let file = tempfile::tempfile().map_err(|error| {
            PortError::unavailable(format!("a temporary file for an image cannot be made: {error}"))
        })?;
        host.fetch_image(digest, file, size).await
    }
}
