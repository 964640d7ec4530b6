//! The headers of tar (POSIX ustar).

use crate::Fault;
use std::ops::Range;

/// Bytes of a header; what follows it is filled up to a multiple of them.
pub const BLOCK: usize = 512;

/// What stands before the bytes of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its path, as far as a header has room for it.
    pub path: String,
    /// Bytes that follow.
    pub size: usize,
    /// `0` or a zero byte for a file; others for links, folders, names that are too long for a header.
    pub kind: u8,
    /// Whether its owner may run it.
    pub executable: bool,
}

impl Header {
    /// Reads a block of [`BLOCK`] bytes.
    ///
    /// # Errors
    /// A checksum that does not hold, or a size that is no number.
    pub fn read(block: &[u8; BLOCK]) -> Result<Self, Fault> {
        let field = |range: Range<usize>| text(&block[range]);
        let octal = |range| usize::from_str_radix(field(range).trim(), 8).ok();
        let (prefix, name) = (field(345..500), field(0..100));
        let path = if prefix.is_empty() || &block[257..262] != b"ustar" { name } else { format!("{prefix}/{name}") };
        // The checksum is taken with eight spaces in its own place.
        let sum: usize =
            block.iter().enumerate().map(|(index, byte)| usize::from(if (148..156).contains(&index) { b' ' } else { *byte })).sum();
        if octal(148..156) != Some(sum) {
            return Err(Fault::of(&path, "its header is damaged"));
        }
        let size = octal(124..136).ok_or_else(|| Fault::of(&path, "its size cannot be read"))?;
        let executable = octal(100..108).is_some_and(|mode| mode & 0o100 != 0);
        Ok(Self { path, size, kind: block[156], executable })
    }
}

/// A field up to its first zero byte.
pub fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(&field[..field.iter().position(|byte| *byte == 0).unwrap_or(field.len())]).into_owned()
}

/// Adds an entry: equal arguments give equal bytes. Of the name the first 100 bytes are written.
pub fn put(out: &mut Vec<u8>, name: &[u8], kind: u8, executable: bool, data: &[u8]) {
    let mut header = [0; BLOCK];
    let name = &name[..name.len().min(100)];
    header[..name.len()].copy_from_slice(name);
    header[156] = kind;
    for (at, field) in [
        (100, if executable { "0000755\0" } else { "0000644\0" }.to_owned()),
        (108, "0000000\0".to_owned()),
        (116, "0000000\0".to_owned()),
        (124, format!("{:011o}\0", data.len())),
        (136, "00000000000\0".to_owned()),
        (148, "        ".to_owned()),
        (257, "ustar\0".to_owned()),
        (263, "00".to_owned()),
    ] {
        header[at..at + field.len()].copy_from_slice(field.as_bytes());
    }
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

/// Adds the empty blocks that close an archive.
pub fn close(out: &mut Vec<u8>) {
    out.resize(out.len() + 2 * BLOCK, 0);
}
