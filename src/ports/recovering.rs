//! What the recovery of a lost table needs beside the other ports.

use std::fs::File;

use async_trait::async_trait;

use super::PortError;
use crate::model::ids::{Digest, GuestId, HostId};
use crate::model::placement::Placement;

/// Bundle images of the hosts' pools, to be found and read without a table: for its recovery.
#[async_trait]
pub trait ImagePool: Send + Sync {
    /// The digests by which images in a host's pool are named; whether they are whole, reading tells.
    async fn images(&self, host: &HostId) -> Result<Vec<Digest>, PortError>;

    /// An image out of a host's pool, from its beginning; refused if its sha256 is not its name.
    async fn read_image(&self, host: &HostId, digest: &Digest) -> Result<File, PortError>;
}

/// Files in guests, to be read back: for the recovery of the table.
#[async_trait]
pub trait GuestFiles: Send + Sync {
    /// The content of a regular file in the guest, of at most `limit` bytes (more is `Refused`); `None` if there is
    /// none. `placement` is whose file it is.
    async fn read_file(
        &self,
        guest: GuestId,
        placement: &Placement,
        path: &str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, PortError>;
}
