//! Zip, stored or deflated: links are refused by name, and nothing unpacks to more than the upload may hold.

use crate::bundle::{Bundle, Entry, UploadError};

/// A file of a zip, still packed.
pub(crate) struct Packed<'a> {
    pub(crate) path: String,
    pub(crate) size: usize,
    method: usize,
    checksum: usize,
    mode: usize,
    data: &'a [u8],
}

/// Reads all files.
pub(crate) fn read(bytes: &[u8]) -> Result<Bundle, UploadError> {
    let mut bundle = Bundle::default();
    for packed in list(bytes)? {
        match packed.mode & 0o170_000 {
            0 | 0o100_000 => {}
            0o120_000 => return Err(UploadError::NotAFile { path: packed.path, what: "a link" }),
            _ => return Err(UploadError::NotAFile { path: packed.path, what: "of a kind that is not taken" }),
        }
        // The directory's word for its size is not believed: what unpacks to more is refused while it does.
        bundle.room_for(&packed.path, packed.size)?;
        let bytes = packed.unpack(bundle.room())?;
        bundle.add(&packed.path, Entry { bytes, executable: packed.mode & 0o100 != 0 })?;
    }
    Ok(bundle)
}

impl Packed<'_> {
    /// The file's bytes, `most` of them at most.
    pub(crate) fn unpack(&self, most: usize) -> Result<Vec<u8>, UploadError> {
        let wrong = |why| UploadError::Archive { entry: Some(self.path.clone()), why };
        let bytes = match self.method {
            0 => self.data.to_vec(),
            8 => miniz_oxide::inflate::decompress_to_vec_with_limit(self.data, self.size.min(most))
                .map_err(|_| wrong("its compressed bytes are damaged"))?,
            _ => return Err(wrong("it is compressed by another method than deflate")),
        };
        if bytes.len() != self.size || usize::try_from(crc32(&bytes)) != Ok(self.checksum) {
            return Err(wrong("its checksum does not hold"));
        }
        Ok(bytes)
    }
}

/// The files of the central directory, without folders.
pub(crate) fn list(bytes: &[u8]) -> Result<Vec<Packed<'_>>, UploadError> {
    let damaged = || UploadError::Archive { entry: None, why: "the directory at its end is damaged" };
    // The end record is 22 bytes and a comment of at most 65,535.
    let from = bytes.len().saturating_sub(22 + 65_535);
    let end = (from..=bytes.len().saturating_sub(22))
        .rev()
        .find(|at| bytes.get(*at..).is_some_and(|rest| rest.starts_with(b"PK\x05\x06")))
        .ok_or_else(damaged)?;
    let (count, mut at) = (short(bytes, end + 10).ok_or_else(damaged)?, long(bytes, end + 16).ok_or_else(damaged)?);
    let mut files = Vec::new();
    for _ in 0..count {
        if !bytes.get(at..).is_some_and(|rest| rest.starts_with(b"PK\x01\x02")) {
            return Err(damaged());
        }
        let field = |offset| short(bytes, at + offset).ok_or_else(damaged);
        let wide = |offset| long(bytes, at + offset).ok_or_else(damaged);
        let (made_by, flags, method, lengths) = (field(4)? >> 8, field(8)?, field(10)?, [field(28)?, field(30)?, field(32)?]);
        let (checksum, packed, size, attributes, local) = (wide(16)?, wide(20)?, wide(24)?, wide(38)?, wide(42)?);
        let path = bytes.get(at + 46..at + 46 + lengths[0]).ok_or_else(damaged)?;
        let path = String::from_utf8_lossy(path).into_owned();
        at += 46 + lengths.iter().sum::<usize>();
        let wrong = |why| UploadError::Archive { entry: Some(path.clone()), why };
        if path.ends_with('/') {
            continue;
        }
        if flags & 1 != 0 {
            return Err(wrong("it is encrypted"));
        }
        let start = short(bytes, local + 26).zip(short(bytes, local + 28)).map(|(name, extra)| local + 30 + name + extra);
        let data =
            start.and_then(|start| bytes.get(start..start.checked_add(packed)?)).ok_or_else(|| wrong("the archive ends within it"))?;
        // The upper half is the file's mode where a Unix made it.
        let mode = if made_by == 3 { attributes >> 16 } else { 0 };
        files.push(Packed { path, size, method, checksum, mode, data });
    }
    Ok(files)
}

fn short(bytes: &[u8], at: usize) -> Option<usize> {
    let field = bytes.get(at..at.checked_add(2)?)?;
    Some(usize::from(u16::from_le_bytes([field[0], field[1]])))
}

fn long(bytes: &[u8], at: usize) -> Option<usize> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes([field[0], field[1], field[2], field[3]])).ok()
}

/// The checksum of zip (ISO 3309).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum: u32, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |value, _| if value & 1 == 1 { 0xEDB8_8320 ^ (value >> 1) } else { value >> 1 })
    })
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
pub(crate) mod tests {
    use super::*;

    /// A zip as Unix programs write it: `(path, mode, bytes, claimed size)`.
    pub(crate) fn zipped(files: &[(&str, u32, &[u8], usize)]) -> Vec<u8> {
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        for (path, mode, bytes, claimed) in files {
            let data = miniz_oxide::deflate::compress_to_vec(bytes, 6);
            let number = |value: usize| u32::try_from(value).expect("small").to_le_bytes();
            let shared = [&8_u16.to_le_bytes()[..], &[0; 4], &crc32(bytes).to_le_bytes(), &number(data.len()), &number(*claimed)].concat();
            let name = u16::try_from(path.len()).expect("short").to_le_bytes();
            let offset = number(out.len());
            out.extend([b"PK\x03\x04\x14\0\0\0".as_slice(), &shared, &name, &[0; 2], path.as_bytes(), &data].concat());
            let attributes = (mode << 16).to_le_bytes();
            directory.extend(
                [b"PK\x01\x02\x14\x03\x14\0\0\0".as_slice(), &shared, &name, &[0; 8], &attributes, &offset, path.as_bytes()].concat(),
            );
        }
        let count = u16::try_from(files.len()).expect("few").to_le_bytes();
        let (size, start) = (u32::try_from(directory.len()).expect("small"), u32::try_from(out.len()).expect("small"));
        out.extend(directory);
        out.extend([b"PK\x05\x06\0\0\0\0".as_slice(), &count, &count, &size.to_le_bytes(), &start.to_le_bytes(), &[0; 2]].concat());
        out
    }

    #[test]
    fn zip__should_read_files_and_their_modes() {
        let zip = zipped(&[("a/main.py", 0o100_644, b"print(1)", 8), ("a/run.sh", 0o100_755, b"x", 1)]);
        let bundle = Bundle::read("a.zip", zip.clone()).expect("readable");
        let modes: Vec<_> = bundle.files().map(|(path, entry)| (path.to_owned(), entry.executable)).collect();
        assert_eq!(modes, [("main.py".to_owned(), false), ("run.sh".to_owned(), true)]);
        for cut in 0..zip.len() {
            assert!(read(&zip[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn zip__should_refuse_traversal_links_and_bombs() {
        let refused = |files: &[(&str, u32, &[u8], usize)]| read(&zipped(files)).expect_err("refused").to_string();
        assert!(refused(&[("../x", 0o100_644, b"x", 1)]).contains("`..`"));
        assert!(refused(&[("x", 0o120_777, b"/etc/passwd", 11)]).contains("a link"));
        assert!(refused(&[("x", 0o20_644, b"", 0)]).contains("kind"));
        assert!(refused(&[("x", 0o100_644, b"1", 1), ("x", 0o100_644, b"2", 1)]).contains("twice"));
        assert!(refused(&[("x", 0o100_644, b"1", 300 << 20)]).contains("more than 256 MiB"));
        // It says that it is small, and is not.
        assert!(refused(&[("x", 0o100_644, &[0; 100_000], 10)]).contains("damaged"));
    }
}
