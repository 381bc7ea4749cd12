//! Squashfs images made by hand, without compression, so that they can say what no honest writer would.

/// What to put into an image.
pub enum Raw {
    /// A file with this content.
    File(Vec<u8>),
    /// A file that says it has so many bytes and has none.
    Claims(u32),
    /// A folder.
    Folder(Vec<(String, Raw)>),
    /// A symlink.
    Link(String),
    /// A character device.
    Device,
    /// The root folder once more.
    Root,
}

/// A file.
pub fn file(text: &str) -> Raw {
    Raw::File(text.as_bytes().to_vec())
}

/// A folder.
pub fn folder(entries: Vec<(&str, Raw)>) -> Raw {
    Raw::Folder(
        entries
            .into_iter()
            .map(|(name, raw)| (name.to_owned(), raw))
            .collect(),
    )
}

#[derive(Default)]
struct Writer {
    data: Vec<u8>,
    inodes: Vec<u8>,
    lists: Vec<u8>,
    number: u32,
    /// Where in `lists` the root's inode offset is still missing.
    roots: Vec<usize>,
}

const SUPERBLOCK: usize = 96;
const BLOCK: u32 = 131_072;

fn put16(out: &mut Vec<u8>, value: usize) {
    out.extend_from_slice(&u16::try_from(value).unwrap().to_le_bytes());
}

fn put32(out: &mut Vec<u8>, values: &[u32]) {
    values
        .iter()
        .for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
}

impl Writer {
    fn header(&mut self, kind: usize) -> usize {
        let offset = self.inodes.len();
        put16(&mut self.inodes, kind);
        put16(&mut self.inodes, 0o755);
        put16(&mut self.inodes, 0);
        put16(&mut self.inodes, 0);
        self.number += 1;
        let number = self.number;
        put32(&mut self.inodes, &[0, number]);
        offset
    }

    fn file(&mut self, size: u32, content: &[u8]) -> usize {
        let start = u32::try_from(SUPERBLOCK + self.data.len()).unwrap();
        self.data.extend_from_slice(content);
        let offset = self.header(2);
        put32(&mut self.inodes, &[start, u32::MAX, 0, size]);
        if !content.is_empty() {
            put32(&mut self.inodes, &[size | 1 << 24]);
        }
        offset
    }

    /// Writes an inode and what is below it; gives its type and its offset in the inode table.
    fn add(&mut self, raw: Raw) -> (usize, usize) {
        match raw {
            Raw::File(content) => (2, self.file(u32::try_from(content.len()).unwrap(), &content)),
            Raw::Claims(size) => (2, self.file(size, &[])),
            Raw::Link(target) => {
                let offset = self.header(3);
                put32(&mut self.inodes, &[1, u32::try_from(target.len()).unwrap()]);
                self.inodes.extend_from_slice(target.as_bytes());
                (3, offset)
            }
            Raw::Device => {
                let offset = self.header(5);
                put32(&mut self.inodes, &[1, 0x103]);
                (5, offset)
            }
            Raw::Root => (1, usize::MAX),
            Raw::Folder(entries) => {
                let entries: Vec<_> = entries
                    .into_iter()
                    .map(|(name, raw)| (name, self.add(raw)))
                    .collect();
                let start = self.lists.len();
                if !entries.is_empty() {
                    put32(
                        &mut self.lists,
                        &[u32::try_from(entries.len() - 1).unwrap(), 0, 1],
                    );
                }
                for (name, (kind, offset)) in entries {
                    if offset == usize::MAX {
                        self.roots.push(self.lists.len());
                    }
                    put16(&mut self.lists, if offset == usize::MAX { 0 } else { offset });
                    put16(&mut self.lists, 0);
                    put16(&mut self.lists, kind);
                    put16(&mut self.lists, name.len() - 1);
                    self.lists.extend_from_slice(name.as_bytes());
                }
                let offset = self.header(1);
                let size = self.lists.len() - start + 3;
                put32(&mut self.inodes, &[0, 2]);
                put16(&mut self.inodes, size);
                put16(&mut self.inodes, start);
                put32(&mut self.inodes, &[1]);
                (1, offset)
            }
        }
    }
}

/// An image, padded, whose tables are stored as they are.
pub fn image(root: Raw) -> Vec<u8> {
    let mut writer = Writer::default();
    let (_, root) = writer.add(root);
    for at in &writer.roots {
        writer.lists[*at..at + 2].copy_from_slice(&u16::try_from(root).unwrap().to_le_bytes());
    }
    // A table of one block; the test's trees are small.
    writer.lists.resize(writer.lists.len().max(1), 0);
    assert!(writer.inodes.len() <= 8192 && writer.lists.len() <= 8192);
    let mut out = vec![0; SUPERBLOCK];
    out.extend_from_slice(&writer.data);
    let mut tables = Vec::new();
    for table in [&writer.inodes, &writer.lists] {
        tables.push(u64::try_from(out.len()).unwrap());
        put16(&mut out, table.len() | 0x8000);
        out.extend_from_slice(table);
    }
    let used = u64::try_from(out.len()).unwrap();
    let mut head = b"hsqs".to_vec();
    put32(&mut head, &[writer.number, 0, BLOCK, 0]);
    for value in [1, 17, 0, 1, 4, 0] {
        put16(&mut head, value);
    }
    let unset = u64::MAX;
    for value in [
        u64::try_from(root).unwrap(),
        used,
        used,
        unset,
        tables[0],
        tables[1],
        unset,
        unset,
    ] {
        head.extend_from_slice(&value.to_le_bytes());
    }
    out[..SUPERBLOCK].copy_from_slice(&head);
    out.resize(out.len().next_multiple_of(4096), 0);
    out
}

/// Where the tables of an image begin.
pub fn tables_of(image: &[u8]) -> usize {
    usize::try_from(u64::from_le_bytes(image[64..72].try_into().unwrap())).unwrap()
}
