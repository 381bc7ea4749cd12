//! The first bytes of an image, and its numbers.

use backhand::compression::Compressor;

use crate::bundle::BundleError;

/// Length of the superblock.
pub(super) const SUPERBLOCK: usize = 96;

pub(super) fn damaged(what: impl Into<String>) -> BundleError {
    BundleError::Damaged { reason: what.into() }
}

/// Little-endian numbers, one after the other; reading past the end is damage.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], BundleError> {
        let (head, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or_else(|| damaged("a record ends too early"))?;
        self.0 = rest;
        Ok(*head)
    }
    pub(super) fn u16(&mut self) -> Result<u16, BundleError> {
        Ok(u16::from_le_bytes(self.take()?))
    }
    pub(super) fn u32(&mut self) -> Result<u32, BundleError> {
        Ok(u32::from_le_bytes(self.take()?))
    }
    pub(super) fn u64(&mut self) -> Result<u64, BundleError> {
        Ok(u64::from_le_bytes(self.take()?))
    }
}

/// The first 96 bytes, checked.
#[derive(Debug)]
pub(super) struct Superblock {
    pub(super) block_size: u32,
    pub(super) fragments: u32,
    pub(super) compressor: Compressor,
    pub(super) root_inode: u64,
    pub(super) bytes_used: u64,
    pub(super) inode_table: u64,
    pub(super) dir_table: u64,
    pub(super) fragment_table: u64,
}

/// Checks the first bytes of a file of `file_size` bytes.
pub(super) fn superblock(bytes: &[u8], file_size: u64) -> Result<Superblock, BundleError> {
    let mut fields = Fields(bytes);
    if bytes.get(..4) != Some(b"hsqs".as_slice()) {
        return Err(BundleError::NotSquashfs);
    }
    let (_magic, _inodes, _mtime) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let (block_size, fragments) = (fields.u32()?, fields.u32()?);
    let (compression, block_log) = (fields.u16()?, fields.u16()?);
    let (_flags, _ids, major, minor) = (fields.u16()?, fields.u16()?, fields.u16()?, fields.u16()?);
    let (root_inode, bytes_used) = (fields.u64()?, fields.u64()?);
    let (_ids, _xattrs) = (fields.u64()?, fields.u64()?);
    let (inode_table, dir_table, fragment_table) = (fields.u64()?, fields.u64()?, fields.u64()?);
    if (major, minor) != (4, 0) {
        return Err(damaged(format!("it is squashfs {major}.{minor}; 4.0 is needed")));
    }
    if bytes_used > file_size {
        return Err(BundleError::Truncated {
            there: file_size,
            wanted: bytes_used,
        });
    }
    if !(4096..=1 << 20).contains(&block_size) || 1_u32.checked_shl(block_log.into()) != Some(block_size) {
        return Err(damaged(format!(
            "its block size {block_size} is not a power of two from 4096 to 1048576"
        )));
    }
    let compressor = match compression {
        1 => Compressor::Gzip,
        6 => Compressor::Zstd,
        other => {
            let name = ["none", "gzip", "lzma", "lzo", "xz", "lz4"]
                .get(usize::from(other))
                .copied();
            return Err(BundleError::Compression {
                name: name.map_or_else(|| format!("number {other}"), str::to_owned),
            });
        }
    };
    if inode_table >= dir_table || dir_table >= bytes_used {
        return Err(damaged("its tables do not lie inside it"));
    }
    Ok(Superblock {
        block_size,
        fragments,
        compressor,
        root_inode,
        bytes_used,
        inode_table,
        dir_table,
        fragment_table,
    })
}
