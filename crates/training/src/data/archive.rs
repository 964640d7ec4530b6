//! Files in a zip or tar archive, read into memory within limits; nothing is ever written to a path of theirs.

use crate::error::{Result, TrainingError};
use starling_archives::{
    Fault,
    tar::{BLOCK, Header, close, put},
    zip,
};

/// All files of an archive together, unpacked.
const MAX_BYTES: u64 = 1 << 30;
const MAX_ENTRIES: usize = 200_000;

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
        [b'P', b'K', 3 | 5, 4 | 6, ..] => unzip(bytes, &bad)?,
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
    let mut long_name: Option<String> = None;
    while let Some(block) = bytes.get(at..).and_then(|rest| rest.first_chunk::<BLOCK>()) {
        if block.iter().all(|byte| *byte == 0) {
            return Ok(entries);
        }
        let header =
            Header::read(block).map_err(|fault| bad(long_name.as_deref().or(fault.entry.as_deref()).unwrap_or_default(), fault.why))?;
        let (path, start) = (long_name.take().unwrap_or(header.path), at + BLOCK);
        let data =
            start.checked_add(header.size).and_then(|end| bytes.get(start..end)).ok_or_else(|| bad(&path, "the archive ends within it"))?;
        match header.kind {
            b'0' | 0 => entries.push(ArchiveEntry { path, bytes: data.to_vec() }),
            b'L' => long_name = Some(String::from_utf8_lossy(data.strip_suffix(&[0]).unwrap_or(data)).into_owned()),
            _ => {}
        }
        if entries.len() > MAX_ENTRIES {
            return Err(bad("", "more than 200000 files"));
        }
        at = start + header.size.next_multiple_of(BLOCK);
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
        put(&mut file, path.as_bytes(), b'0', false, bytes);
    }
    close(&mut file);
    Ok(file)
}

fn unzip(bytes: &[u8], bad: Bad<'_>) -> Result<Vec<ArchiveEntry>> {
    let fault = |fault: Fault| bad(fault.entry.as_deref().unwrap_or_default(), fault.why);
    if zip::end(bytes).map_err(fault)?.is_large() {
        return Err(bad("", "archives of more than 65,534 files or 4 GiB are not supported: make several, or a tar"));
    }
    let (mut entries, mut total) = (Vec::new(), 0u64);
    for packed in zip::list(bytes).map_err(fault)? {
        total += packed.size as u64;
        if total > MAX_BYTES {
            return Err(bad(&packed.path, "the files up to it unpack to more than 1 GiB"));
        }
        let bytes = packed.unpack(packed.size).map_err(fault)?;
        entries.push(ArchiveEntry { path: packed.path, bytes });
    }
    Ok(entries)
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;
    use starling_archives::zip::crc32;

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
        assert_eq!(tar.len() % BLOCK, 0);
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
