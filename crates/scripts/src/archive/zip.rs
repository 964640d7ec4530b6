//! Uploads in a zip: links are refused by name, and nothing unpacks to more than the upload may hold.

use crate::bundle::{Bundle, Entry, UploadError};
use starling_archives::zip::list;

/// Reads all files.
pub(crate) fn read(bytes: &[u8]) -> Result<Bundle, UploadError> {
    let mut bundle = Bundle::default();
    for packed in list(bytes)? {
        match packed.mode & 0o170_000 {
            0 | 0o100_000 => {}
            0o120_000 => return Err(UploadError::NotAFile { path: packed.path, what: "a link" }),
            _ => return Err(UploadError::NotAFile { path: packed.path, what: "of a kind that is not taken" }),
        }
        bundle.room_for(&packed.path, packed.size)?;
        let bytes = packed.unpack(bundle.room())?;
        bundle.add(&packed.path, Entry { bytes, executable: packed.mode & 0o100 != 0 })?;
    }
    Ok(bundle)
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
pub(crate) mod tests {
    use super::*;
    use starling_archives::zip::crc32;

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
