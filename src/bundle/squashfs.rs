//! A bounded reader of squashfs 4.0 images that nobody vouches for.
//!
//! It reads what a bundle's inspection needs and nothing else: the tree, and small files. The layout is that of the
//! kernel's `fs/squashfs/squashfs_fs.h`. Every offset is checked against the image's size, every count against a
//! limit, and no call goes deeper for a deeper tree, so that no image can exhaust memory or the stack. (backhand's
//! own reader loads and unfolds the whole tree at once; here only its decompression is used.)

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::rc::Rc;

use backhand::compression::{CompressionAction as _, DefaultCompressor};

use super::BundleError;
use superblock::{Fields, SUPERBLOCK, Superblock, damaged, superblock};

mod superblock;

/// Largest content of a metadata block, compressed or not.
const METADATA: usize = 8192;
/// Metadata blocks kept unpacked: 8 MiB of them.
const CACHED_BLOCKS: usize = 1024;
/// Longest name of an entry (`SQUASHFS_NAME_LEN`).
const NAME_MAX: usize = 256;
/// Longest target of a symlink that is read (`PATH_MAX`).
const TARGET_MAX: usize = 4096;
const NO_FRAGMENT: u32 = u32::MAX;
const STORED_PLAIN: u32 = 1 << 24;

/// Where an inode is: the start of its metadata block within the inode table, and its offset in the unpacked block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InodeRef {
    block: u32,
    offset: u16,
}

/// A regular file's place.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileNode {
    /// Its length in bytes.
    pub(super) size: u64,
    start: u64,
    fragment: u32,
    fragment_offset: u32,
    /// Where its list of block sizes begins.
    blocks: Cursor,
}

/// What an inode is.
#[derive(Debug, Clone)]
pub(super) enum Node {
    File {
        mode: u16,
        file: FileNode,
    },
    Folder(Listing),
    Symlink(Vec<u8>),
    /// A device, pipe or socket, named.
    Other(&'static str),
}

/// A folder's list of entries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listing {
    block: u32,
    offset: u16,
    bytes: u32,
}

/// One entry of a folder.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) inode: InodeRef,
}

/// A place in a table of metadata blocks: the block's position in the file, and the offset in its unpacked content.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    block: u64,
    offset: usize,
}

/// An unpacked metadata block, and where the next one begins.
type Block = (Rc<[u8]>, u64);

/// An image that is being read.
pub(super) struct Image<'a, R> {
    reader: &'a mut R,
    head: Superblock,
    cache: HashMap<u64, Block>,
}

impl<'a, R: Read + Seek> Image<'a, R> {
    /// Checks the superblock of an image of `file_size` bytes.
    pub(super) fn open(reader: &'a mut R, file_size: u64) -> Result<Self, BundleError> {
        let io = |source| BundleError::Io {
            what: "cannot read the image".to_owned(),
            source,
        };
        reader.seek(SeekFrom::Start(0)).map_err(io)?;
        let mut bytes = Vec::with_capacity(SUPERBLOCK);
        let wanted = u64::try_from(SUPERBLOCK).unwrap_or(u64::MAX);
        reader.by_ref().take(wanted).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() < SUPERBLOCK && bytes.starts_with(b"hsqs") {
            return Err(BundleError::Truncated {
                there: file_size,
                wanted,
            });
        }
        let head = superblock(&bytes, file_size)?;
        Ok(Self {
            reader,
            head,
            cache: HashMap::new(),
        })
    }

    /// The root folder.
    pub(super) fn root(&mut self) -> Result<Listing, BundleError> {
        let block =
            u32::try_from(self.head.root_inode >> 16).map_err(|_| damaged("its root lies outside it"))?;
        let offset =
            u16::try_from(self.head.root_inode & 0xffff).map_err(|_| damaged("its root lies outside it"))?;
        match self.node(InodeRef { block, offset })? {
            Node::Folder(listing) => Ok(listing),
            _ => Err(damaged("its root is not a folder")),
        }
    }

    fn read_at(&mut self, position: u64, length: usize) -> Result<Vec<u8>, BundleError> {
        let end = u64::try_from(length)
            .ok()
            .and_then(|length| position.checked_add(length));
        if end.is_none_or(|end| end > self.head.bytes_used) {
            return Err(damaged(format!("it points behind its end, to byte {position}")));
        }
        let io = |source| BundleError::Io {
            what: "cannot read the image".to_owned(),
            source,
        };
        self.reader.seek(SeekFrom::Start(position)).map_err(io)?;
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes).map_err(io)?;
        Ok(bytes)
    }

    fn unpack(&self, packed: &[u8], most: usize) -> Result<Vec<u8>, BundleError> {
        let mut out = Vec::with_capacity(most);
        DefaultCompressor
            .decompress(packed, &mut out, self.head.compressor)
            .map_err(|_| damaged("a compressed block does not unpack"))?;
        if out.len() > most {
            return Err(damaged("a compressed block unpacks to more than its size"));
        }
        Ok(out)
    }

    /// The metadata block at a position in the file.
    fn block(&mut self, position: u64) -> Result<Block, BundleError> {
        if let Some(block) = self.cache.get(&position) {
            return Ok(block.clone());
        }
        let header = Fields(&self.read_at(position, 2)?).u16()?;
        let (length, plain) = (usize::from(header & 0x7fff), header & 0x8000 != 0);
        if length == 0 || length > METADATA {
            return Err(damaged("a metadata block has a wrong size"));
        }
        let packed = self.read_at(position.saturating_add(2), length)?;
        let content = if plain {
            packed
        } else {
            self.unpack(&packed, METADATA)?
        };
        if content.is_empty() {
            // It would never let a reader get on.
            return Err(damaged("a metadata block is empty"));
        }
        let next = position
            .saturating_add(2)
            .saturating_add(u64::from(header & 0x7fff));
        if self.cache.len() >= CACHED_BLOCKS {
            self.cache.clear();
        }
        let block = (Rc::from(content), next);
        self.cache.insert(position, block.clone());
        Ok(block)
    }

    /// Reads `length` bytes of metadata and moves the cursor behind them.
    fn metadata(&mut self, at: &mut Cursor, length: usize) -> Result<Vec<u8>, BundleError> {
        let mut out = Vec::with_capacity(length);
        while out.len() < length {
            let (content, next) = self.block(at.block)?;
            let rest = content
                .get(at.offset..)
                .ok_or_else(|| damaged("it points behind a metadata block"))?;
            if rest.is_empty() {
                *at = Cursor {
                    block: next,
                    offset: 0,
                };
                continue;
            }
            let part = rest.get(..length - out.len()).unwrap_or(rest);
            out.extend_from_slice(part);
            at.offset += part.len();
        }
        Ok(out)
    }

    /// Reads an inode.
    pub(super) fn node(&mut self, inode: InodeRef) -> Result<Node, BundleError> {
        let block = self.head.inode_table.saturating_add(inode.block.into());
        let mut at = Cursor {
            block,
            offset: inode.offset.into(),
        };
        let header = self.metadata(&mut at, 16)?;
        let mut fields = Fields(&header);
        let (kind, mode) = (fields.u16()?, fields.u16()?);
        let node = match kind {
            1 => {
                let bytes = self.metadata(&mut at, 16)?;
                let mut f = Fields(&bytes);
                let (block, _links, size, offset) = (f.u32()?, f.u32()?, f.u16()?, f.u16()?);
                Node::Folder(Listing {
                    block,
                    offset,
                    bytes: u32::from(size).saturating_sub(3),
                })
            }
            8 => {
                let bytes = self.metadata(&mut at, 24)?;
                let mut f = Fields(&bytes);
                let (_links, size, block, _parent, _indexes, offset) =
                    (f.u32()?, f.u32()?, f.u32()?, f.u32()?, f.u16()?, f.u16()?);
                Node::Folder(Listing {
                    block,
                    offset,
                    bytes: size.saturating_sub(3),
                })
            }
            2 => {
                let bytes = self.metadata(&mut at, 16)?;
                let mut f = Fields(&bytes);
                let (start, fragment, fragment_offset, size) = (f.u32()?, f.u32()?, f.u32()?, f.u32()?);
                let file = FileNode {
                    size: size.into(),
                    start: start.into(),
                    fragment,
                    fragment_offset,
                    blocks: at,
                };
                Node::File { mode, file }
            }
            9 => {
                let bytes = self.metadata(&mut at, 40)?;
                let mut f = Fields(&bytes);
                let (start, size, _sparse, _links) = (f.u64()?, f.u64()?, f.u64()?, f.u32()?);
                let (fragment, fragment_offset) = (f.u32()?, f.u32()?);
                Node::File {
                    mode,
                    file: FileNode {
                        size,
                        start,
                        fragment,
                        fragment_offset,
                        blocks: at,
                    },
                }
            }
            3 | 10 => {
                let bytes = self.metadata(&mut at, 8)?;
                let mut f = Fields(&bytes);
                let (_links, length) = (f.u32()?, f.u32()?);
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if length == 0 || length > TARGET_MAX {
                    return Err(damaged("a symlink has a wrong length"));
                }
                Node::Symlink(self.metadata(&mut at, length)?)
            }
            4 | 11 => Node::Other("a block device"),
            5 | 12 => Node::Other("a character device"),
            6 | 13 => Node::Other("a named pipe"),
            7 | 14 => Node::Other("a socket"),
            other => return Err(damaged(format!("an inode has the unknown type {other}"))),
        };
        Ok(node)
    }

    /// The entries of a folder, at most `most` of them; one more is an error.
    pub(super) fn list(&mut self, listing: Listing, most: usize) -> Result<Vec<Entry>, BundleError> {
        let block = self.head.dir_table.saturating_add(listing.block.into());
        let mut at = Cursor {
            block,
            offset: listing.offset.into(),
        };
        let mut left = usize::try_from(listing.bytes).unwrap_or(usize::MAX);
        let mut entries = Vec::new();
        let short = || damaged("a folder's list ends too early");
        while left > 0 {
            left = left.checked_sub(12).ok_or_else(short)?;
            let header = self.metadata(&mut at, 12)?;
            let mut f = Fields(&header);
            let (last, block) = (f.u32()?, f.u32()?);
            if last > 255 {
                return Err(damaged("a folder's list has a wrong count"));
            }
            for _ in 0..=last {
                left = left.checked_sub(8).ok_or_else(short)?;
                let head = self.metadata(&mut at, 8)?;
                let mut f = Fields(&head);
                let (offset, _number, _kind, length) = (f.u16()?, f.u16()?, f.u16()?, f.u16()?);
                let length = usize::from(length) + 1;
                if length > NAME_MAX {
                    return Err(damaged("an entry's name is longer than 256 bytes"));
                }
                left = left.checked_sub(length).ok_or_else(short)?;
                let name = self.metadata(&mut at, length)?;
                if name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0) {
                    return Err(damaged(format!(
                        "an entry is named {:?}",
                        String::from_utf8_lossy(&name)
                    )));
                }
                if entries.len() >= most {
                    return Err(BundleError::TooManyEntries {
                        limit: super::MAX_ENTRIES,
                    });
                }
                entries.push(Entry {
                    name,
                    inode: InodeRef { block, offset },
                });
            }
        }
        Ok(entries)
    }

    /// A file's content, if it has at most `most` bytes; `None` if it has more.
    pub(super) fn content(&mut self, file: &FileNode, most: usize) -> Result<Option<Vec<u8>>, BundleError> {
        let Some(size) = usize::try_from(file.size).ok().filter(|size| *size <= most) else {
            return Ok(None);
        };
        let block_size = usize::try_from(self.head.block_size).unwrap_or(usize::MAX);
        let (mut out, mut list, mut position) = (Vec::with_capacity(size), file.blocks, file.start);
        let whole = if file.fragment == NO_FRAGMENT {
            size.div_ceil(block_size)
        } else {
            size / block_size
        };
        for _ in 0..whole {
            let wanted = block_size.min(size - out.len());
            let word = Fields(&self.metadata(&mut list, 4)?).u32()?;
            let block = self.data(position, word, block_size)?;
            position = position.saturating_add(u64::from(word & !STORED_PLAIN));
            if word & !STORED_PLAIN == 0 {
                out.resize(out.len() + wanted, 0); // a hole
            } else if block.len() == wanted {
                out.extend_from_slice(&block);
            } else {
                return Err(damaged("a file's block has a wrong size"));
            }
        }
        if out.len() < size {
            let tail = self.fragment(file.fragment)?;
            let from = usize::try_from(file.fragment_offset).unwrap_or(usize::MAX);
            let end = from.checked_add(size - out.len());
            let part = end
                .and_then(|end| tail.get(from..end))
                .ok_or_else(|| damaged("a file's fragment is too short"))?;
            out.extend_from_slice(part);
        }
        Ok(Some(out))
    }

    /// A data or fragment block, by its size word.
    fn data(&mut self, position: u64, word: u32, block_size: usize) -> Result<Vec<u8>, BundleError> {
        let length = usize::try_from(word & !STORED_PLAIN).unwrap_or(usize::MAX);
        if length > block_size {
            return Err(damaged("a block is larger than the block size"));
        }
        if length == 0 {
            return Ok(Vec::new());
        }
        let packed = self.read_at(position, length)?;
        if word & STORED_PLAIN != 0 {
            Ok(packed)
        } else {
            self.unpack(&packed, block_size)
        }
    }

    fn fragment(&mut self, index: u32) -> Result<Vec<u8>, BundleError> {
        if index >= self.head.fragments {
            return Err(damaged("a file names a fragment that is not there"));
        }
        // 512 records of 16 bytes fill one metadata block; the table lists where the blocks are.
        let pointer = self
            .head
            .fragment_table
            .saturating_add(u64::from(index / 512) * 8);
        let block = Fields(&self.read_at(pointer, 8)?).u64()?;
        let offset = usize::try_from(index % 512)
            .unwrap_or(usize::MAX)
            .saturating_mul(16);
        let record = self.metadata(&mut Cursor { block, offset }, 16)?;
        let mut f = Fields(&record);
        let (start, word) = (f.u64()?, f.u32()?);
        let block_size = usize::try_from(self.head.block_size).unwrap_or(usize::MAX);
        self.data(start, word, block_size)
    }
}
