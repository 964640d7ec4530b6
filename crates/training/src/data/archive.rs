//! Files in a zip or tar archive, read into memory within limits; nothing is ever written to a path of theirs.

use crate::error::{Result, TrainingError};

/// All files of an archive together, unpacked.
const MAX_BYTES: u64 = 1 << 30;
const MAX_ENTRIES: usize = 200_000;
const TAR_BLOCK: usize = 512;

/// One file of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveEntry {
    /// Its path in the archive, with `/` between the parts.
    pub path: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The files of a zip (stored or deflated) or of a tar (not compressed), sorted by path; `name` stands for the archive in
/// errors. Folders and links are left out.
///
/// # Errors
/// [`TrainingError::BadData`], naming the entry: damage, a checksum that does not hold, encryption or a compression that is
/// not supported, more than 200,000 entries or 1 GiB.
pub fn read_archive(bytes: &[u8], name: &str) -> Result<Vec<ArchiveEntry>> {
    let bad = |entry: &str, why: &str| TrainingError::bad_data(name, 0, entry, why.to_owned());
    let mut entries = match bytes {
        [b'P', b'K', 3 | 5, 4 | 6, ..] => zip(bytes, &bad)?,
        [0x1F, 0x8B, ..] => return Err(bad("", "a compressed tar: unpack it to a .tar first, or make a .zip")),
        _ if bytes.get(257..262) == Some(b"ustar") => tar(bytes, &bad)?,
        _ => return Err(bad("", "neither a zip nor a tar archive")),
    };
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    if entries.is_empty() {
        return Err(bad("", "the archive holds no file"));
    }
    Ok(entries)
}

type Bad<'a> = &'a dyn Fn(&str, &str) -> TrainingError;

fn tar(bytes: &[u8], bad: Bad<'_>) -> Result<Vec<ArchiveEntry>> {
    let (mut entries, mut at) = (Vec::new(), 0);
    let mut long_name = None;
    while let Some(header) = bytes.get(at..at + TAR_BLOCK) {
        if header.iter().all(|byte| *byte == 0) {
            return Ok(entries);
        }
        let text = |range: std::ops::Range<usize>| {
            let field = &header[range];
            String::from_utf8_lossy(&field[..field.iter().position(|byte| *byte == 0).unwrap_or(field.len())]).into_owned()
        };
        let octal = |range| usize::from_str_radix(text(range).trim(), 8).ok();
        let (prefix, path) = (text(345..500), text(0..100));
        let path = long_name.take().unwrap_or_else(|| if prefix.is_empty() { path.clone() } else { format!("{prefix}/{path}") });
        let size = octal(124..136).ok_or_else(|| bad(&path, "its size cannot be read"))?;
        // The checksum is taken with eight spaces in its own place.
        let sum: usize =
            header.iter().enumerate().map(|(index, byte)| usize::from(if (148..156).contains(&index) { b' ' } else { *byte })).sum();
        if octal(148..156) != Some(sum) {
            return Err(bad(&path, "its header is damaged"));
        }
        let start = at + TAR_BLOCK;
        let data = start.checked_add(size).and_then(|end| bytes.get(start..end)).ok_or_else(|| bad(&path, "the archive ends within it"))?;
        match header[156] {
            b'0' | 0 => entries.push(ArchiveEntry { path, bytes: data.to_vec() }),
            b'L' => long_name = Some(String::from_utf8_lossy(data.strip_suffix(&[0]).unwrap_or(data)).into_owned()),
            _ => {}
        }
        if entries.len() > MAX_ENTRIES {
            return Err(bad("", "more than 200000 files"));
        }
        at = start + size.next_multiple_of(TAR_BLOCK);
    }
    Err(bad("", "the archive ends without the empty blocks that close it"))
}

/// A tar archive of `entries`, in order: equal entries are equal bytes.
///
/// # Errors
/// [`TrainingError::BadRequest`] for a path longer than 100 bytes.
pub fn write_tar(entries: &[ArchiveEntry]) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    for ArchiveEntry { path, bytes } in entries {
        if path.len() > 100 {
            return Err(TrainingError::BadRequest(format!("{path:?} is longer than the 100 bytes of a tar's path")));
        }
        let mut header = [0; TAR_BLOCK];
        header[..path.len()].copy_from_slice(path.as_bytes());
        for (at, field) in [
            (100, "0000644\0".to_owned()),
            (108, "0000000\0".to_owned()),
            (116, "0000000\0".to_owned()),
            (124, format!("{:011o}\0", bytes.len())),
            (136, "00000000000\0".to_owned()),
            (148, "        ".to_owned()),
            (156, "0".to_owned()),
            (257, "ustar\0".to_owned()),
            (263, "00".to_owned()),
        ] {
            header[at..at + field.len()].copy_from_slice(field.as_bytes());
        }
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        file.extend_from_slice(&header);
        file.extend_from_slice(bytes);
        file.resize(file.len().next_multiple_of(TAR_BLOCK), 0);
    }
    file.resize(file.len() + 2 * TAR_BLOCK, 0);
    Ok(file)
}

fn zip(bytes: &[u8], bad: Bad<'_>) -> Result<Vec<ArchiveEntry>> {
    let damaged = || bad("", "the directory at its end is damaged");
    // The end record is 22 bytes and a comment of at most 65,535.
    let from = bytes.len().saturating_sub(22 + 65_535);
    let end = (from..=bytes.len().saturating_sub(22)).rev().find(|at| bytes[*at..].starts_with(b"PK\x05\x06")).ok_or_else(damaged)?;
    let (count, mut at) = (short(bytes, end + 10).ok_or_else(damaged)?, long(bytes, end + 16).ok_or_else(damaged)?);
    if count == 0xFFFF || at == 0xFFFF_FFFF {
        return Err(bad("", "archives of more than 65,534 files or 4 GiB are not supported: make several, or a tar"));
    }
    let (mut entries, mut total) = (Vec::new(), 0u64);
    for _ in 0..count {
        if !bytes.get(at..).is_some_and(|rest| rest.starts_with(b"PK\x01\x02")) {
            return Err(damaged());
        }
        let field = |offset| short(bytes, at + offset).ok_or_else(damaged);
        let wide = |offset| long(bytes, at + offset).ok_or_else(damaged);
        let (flags, method, lengths) = (field(8)?, field(10)?, [field(28)?, field(30)?, field(32)?]);
        let (checksum, packed, size, local) = (wide(16)?, wide(20)?, wide(24)?, wide(42)?);
        let path = bytes.get(at + 46..at + 46 + lengths[0]).ok_or_else(damaged)?;
        let path = String::from_utf8_lossy(path).into_owned();
        at += 46 + lengths.iter().sum::<usize>();
        if path.ends_with('/') {
            continue;
        }
        total += size as u64;
        if total > MAX_BYTES {
            return Err(bad(&path, "the files up to it unpack to more than 1 GiB"));
        }
        if flags & 1 != 0 {
            return Err(bad(&path, "it is encrypted"));
        }
        let start = short(bytes, local + 26).zip(short(bytes, local + 28)).map(|(name, extra)| local + 30 + name + extra);
        let data =
            start.and_then(|start| bytes.get(start..start.checked_add(packed)?)).ok_or_else(|| bad(&path, "the archive ends within it"))?;
        let unpacked = match method {
            0 => data.to_vec(),
            8 => miniz_oxide::inflate::decompress_to_vec_with_limit(data, size)
                .map_err(|_| bad(&path, "its compressed bytes are damaged"))?,
            _ => return Err(bad(&path, "it is compressed by another method than deflate")),
        };
        if unpacked.len() != size || crc32(&unpacked) as usize != checksum {
            return Err(bad(&path, "its checksum does not hold"));
        }
        entries.push(ArchiveEntry { path, bytes: unpacked });
    }
    Ok(entries)
}

fn short(bytes: &[u8], at: usize) -> Option<usize> {
    let field = bytes.get(at..at.checked_add(2)?)?;
    Some(usize::from(u16::from_le_bytes([field[0], field[1]])))
}

fn long(bytes: &[u8], at: usize) -> Option<usize> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes([field[0], field[1], field[2], field[3]])).ok()
}

/// The checksum of zip and PNG (ISO 3309).
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let (mut table, mut index) = ([0; 256], 0u32);
        while index < 256 {
            let (mut value, mut bit) = (index, 0);
            while bit < 8 {
                value = if value & 1 == 1 { 0xEDB8_8320 ^ (value >> 1) } else { value >> 1 };
                bit += 1;
            }
            table[index as usize] = value;
            index += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |sum: u32, byte| TABLE[((sum ^ u32::from(*byte)) & 0xFF) as usize] ^ (sum >> 8))
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    fn entries() -> Vec<ArchiveEntry> {
        let entry = |path: &str, bytes: Vec<u8>| ArchiveEntry { path: path.to_owned(), bytes };
        vec![entry("a/one.pgm", vec![7; 700]), entry("b/two", b"second".to_vec()), entry("empty", Vec::new())]
    }

    /// As other programs write it: the first file deflated, the others stored.
    fn zipped(entries: &[ArchiveEntry]) -> Vec<u8> {
        let (mut file, mut directory) = (Vec::new(), Vec::new());
        for (index, ArchiveEntry { path, bytes }) in entries.iter().enumerate() {
            let (method, data) = if index == 0 { (8u16, miniz_oxide::deflate::compress_to_vec(bytes, 6)) } else { (0, bytes.clone()) };
            let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("small").to_le_bytes();
            let shared = [&method.to_le_bytes()[..], &[0; 4], &crc32(bytes).to_le_bytes(), &length(&data), &length(bytes)].concat();
            let name = u16::try_from(path.len()).expect("short").to_le_bytes();
            let offset = length(&file);
            file.extend([b"PK\x03\x04\x14\0\0\0".as_slice(), &shared, &name, &[0; 2], path.as_bytes(), &data].concat());
            directory.extend([b"PK\x01\x02\x14\0\x14\0\0\0".as_slice(), &shared, &name, &[0; 12], &offset, path.as_bytes()].concat());
        }
        let count = u16::try_from(entries.len()).expect("few").to_le_bytes();
        let (size, start) = (u32::try_from(directory.len()).expect("small"), u32::try_from(file.len()).expect("small"));
        file.extend(directory);
        file.extend([b"PK\x05\x06\0\0\0\0".as_slice(), &count, &count, &size.to_le_bytes(), &start.to_le_bytes(), &[0; 2]].concat());
        file
    }

    #[test]
    fn archive__should_read_zip_and_tar_alike() {
        let tar = write_tar(&entries()).expect("short paths");
        assert_eq!(tar.len() % TAR_BLOCK, 0);
        for file in [tar, zipped(&entries())] {
            assert_eq!(read_archive(&file, "t").expect("readable"), entries());
        }
    }

    #[test]
    fn archive__should_name_the_file_at_fault() {
        let refused = |file: &[u8]| read_archive(file, "t").expect_err("refused").to_string();
        assert!(refused(b"text").contains("neither a zip nor a tar"));
        assert!(refused(&[0x1F, 0x8B, 8]).contains("compressed tar"));
        let mut tar = write_tar(&entries()).expect("short paths");
        assert!(refused(&tar[..600]).contains("a/one.pgm"));
        tar[3] ^= 1;
        assert!(refused(&tar).contains("header is damaged"));
        let zip = zipped(&entries());
        let mut damaged = zip.clone();
        let at = zip.windows(6).position(|bytes| bytes == b"second").expect("stored");
        damaged[at] ^= 1;
        assert_eq!(refused(&damaged), "t, `b/two`: its checksum does not hold");
        assert!(refused(&zip[..zip.len() - 30]).contains("directory"));
        for cut in 0..zip.len() {
            assert!(read_archive(&zip[..cut], "t").is_err(), "cut at {cut}");
        }
    }
}
