//! Tar (POSIX ustar, with pax and GNU long names): links and devices are refused by name.

use crate::bundle::{Bundle, Entry, UploadError};
use std::collections::BTreeMap;

const BLOCK: usize = 512;

/// Reads all files. Folders are made by their files.
pub(crate) fn read(bytes: &[u8]) -> Result<Bundle, UploadError> {
    let mut bundle = Bundle::default();
    let (mut at, mut long_name) = (0_usize, None);
    while let Some(block) = bytes.get(at..at.saturating_add(BLOCK)) {
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

struct Header {
    path: String,
    size: usize,
    kind: u8,
    executable: bool,
}

impl Header {
    fn read(block: &[u8]) -> Result<Self, UploadError> {
        let octal = |range: std::ops::Range<usize>| usize::from_str_radix(text(&block[range]).trim(), 8).ok();
        let (prefix, name) = (text(&block[345..500]), text(&block[..100]));
        let path = if prefix.is_empty() || &block[257..262] != b"ustar" { name } else { format!("{prefix}/{name}") };
        // The checksum is taken with eight spaces in its own place.
        let sum: usize =
            block.iter().enumerate().map(|(index, byte)| usize::from(if (148..156).contains(&index) { b' ' } else { *byte })).sum();
        match (octal(124..136), octal(148..156), octal(100..108)) {
            (Some(size), Some(said), mode) if said == sum => {
                Ok(Self { path, size, kind: block[156], executable: mode.is_some_and(|mode| mode & 0o100 != 0) })
            }
            _ => Err(UploadError::Archive { entry: Some(path), why: "its header is damaged" }),
        }
    }
}

/// `./a` is what tar calls `a`.
fn plain(path: &str) -> &str {
    path.strip_prefix("./").unwrap_or(path)
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(&field[..field.iter().position(|byte| *byte == 0).unwrap_or(field.len())]).into_owned()
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
            put(&mut out, "././@LongLink", b'L', false, &[path.as_bytes(), &[0]].concat());
        }
        let short = &path.as_bytes()[..path.len().min(100)];
        put(&mut out, &String::from_utf8_lossy(short), b'0', entry.executable, &entry.bytes);
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

fn put(out: &mut Vec<u8>, name: &str, kind: u8, executable: bool, data: &[u8]) {
    let mut header = [0; BLOCK];
    let name = &name.as_bytes()[..name.len().min(100)];
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

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    fn hostile(name: &str, kind: u8) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, name, kind, false, b"x");
        out.resize(out.len() + 2 * BLOCK, 0);
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
        put(&mut sneaky, "pax", b'x', false, b"16 path=../evil\n");
        put(&mut sneaky, "harmless", b'0', false, b"x");
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
