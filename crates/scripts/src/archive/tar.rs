//! Uploads in a tar (with pax and GNU long names): links and devices are refused by name.

use crate::bundle::{Bundle, Entry, UploadError};
use starling_archives::tar::{BLOCK, Header, close, put, text};
use std::collections::BTreeMap;

/// Reads all files. Folders are made by their files.
pub(crate) fn read(bytes: &[u8]) -> Result<Bundle, UploadError> {
    let mut bundle = Bundle::default();
    let (mut at, mut long_name) = (0_usize, None);
    while let Some(block) = bytes.get(at..).and_then(|rest| rest.first_chunk::<BLOCK>()) {
        if block.iter().all(|byte| *byte == 0) {
            break;
        }
        let header = Header::read(block)?;
        let path = long_name.take().unwrap_or_else(|| header.path.clone());
        let wrong = |why| UploadError::Archive { entry: Some(path.clone()), why };
        let start = at + BLOCK;
        let end = start.checked_add(header.size).ok_or_else(|| wrong("the archive ends within it"))?;
        let data = bytes.get(start..end).ok_or_else(|| wrong("the archive ends within it"))?;
        match header.kind {
            b'0' | 0 => bundle.add(plain(&path), Entry { bytes: data.to_vec(), executable: header.executable })?,
            b'5' | b'g' => {}
            b'L' => long_name = Some(text(data)),
            b'x' => long_name = pax_path(data),
            kind => {
                let what = match kind {
                    b'1' | b'2' => "a link",
                    b'3' | b'4' => "a device",
                    b'6' => "a pipe",
                    _ => "of a kind that is not taken",
                };
                return Err(UploadError::NotAFile { path, what });
            }
        }
        at = end.next_multiple_of(BLOCK);
    }
    if at == 0 {
        return Err(UploadError::Archive { entry: None, why: "it is no tar" });
    }
    Ok(bundle)
}

/// `./a` is what tar calls `a`.
fn plain(path: &str) -> &str {
    path.strip_prefix("./").unwrap_or(path)
}

/// The path of a pax header: records of `LENGTH KEY=VALUE\n`.
fn pax_path(data: &[u8]) -> Option<String> {
    let mut rest = data;
    while let Some(space) = rest.iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
        let record = rest.get(space + 1..length)?;
        if let Some(value) = record.strip_prefix(b"path=") {
            return Some(String::from_utf8_lossy(value.strip_suffix(b"\n").unwrap_or(value)).into_owned());
        }
        rest = rest.get(length..)?;
    }
    None
}

/// Writes files in their order; a name of more than 100 bytes goes before its file as GNU tar does it.
pub(crate) fn write(files: &BTreeMap<String, Entry>) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, entry) in files {
        if path.len() > 100 {
            put(&mut out, b"././@LongLink", b'L', false, &[path.as_bytes(), &[0]].concat());
        }
        let short = &path.as_bytes()[..path.len().min(100)];
        put(&mut out, String::from_utf8_lossy(short).as_bytes(), b'0', entry.executable, &entry.bytes);
    }
    close(&mut out);
    out
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    fn hostile(name: &str, kind: u8) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, name.as_bytes(), kind, false, b"x");
        close(&mut out);
        out
    }

    #[test]
    fn tar__should_refuse_what_leads_out_and_what_is_no_file() {
        for (name, kind, word) in [
            ("../../etc/cron.d/x", b'0', "`..`"),
            ("/etc/passwd", b'0', "root"),
            ("link", b'2', "a link"),
            ("link", b'1', "a link"),
            ("null", b'3', "a device"),
            ("pipe", b'6', "a pipe"),
        ] {
            let error = read(&hostile(name, kind)).expect_err(name).to_string();
            assert!(error.contains(word), "{error} lacks {word}");
        }
        // The long names of pax and GNU are paths like any other.
        let mut sneaky = Vec::new();
        put(&mut sneaky, b"pax", b'x', false, b"16 path=../evil\n");
        put(&mut sneaky, b"harmless", b'0', false, b"x");
        assert!(read(&sneaky).expect_err("leads out").to_string().contains("../evil"));
    }

    #[test]
    fn tar__should_never_panic_on_what_is_cut_or_changed() {
        let good = hostile("a.py", b'0');
        for cut in 1..good.len() {
            let _ = read(&good[..cut]);
        }
        let mut changed = good.clone();
        changed[124] = b'7';
        assert!(read(&changed).expect_err("damaged").to_string().contains("damaged"));
    }
}
