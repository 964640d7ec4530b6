//! Zip, stored or deflated.

use crate::Fault;

/// A file of a zip, still packed.
#[derive(Clone, Debug)]
pub struct Packed<'a> {
    /// Its path.
    pub path: String,
    /// Bytes that it says to unpack to.
    pub size: usize,
    /// The file's mode where a Unix made the zip; 0 elsewhere.
    pub mode: usize,
    method: usize,
    checksum: usize,
    data: &'a [u8],
}

impl Packed<'_> {
    /// The file's bytes, `most` of them at most. The directory's word for their number is not believed.
    ///
    /// # Errors
    /// Bytes that are damaged or of another method, more than `most` of them, a checksum that does not hold.
    pub fn unpack(&self, most: usize) -> Result<Vec<u8>, Fault> {
        let wrong = |why| Fault::of(&self.path, why);
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

/// Where the central directory stands.
#[derive(Clone, Copy, Debug)]
pub struct End {
    files: usize,
    directory: usize,
}

impl End {
    /// Whether it does not say: more than 65,534 files or 4 GiB are told elsewhere, which is not read.
    pub fn is_large(self) -> bool {
        self.files == 0xFFFF || self.directory == 0xFFFF_FFFF
    }
}

fn damaged() -> Fault {
    Fault { entry: None, why: "the directory at its end is damaged" }
}

/// Reads the record at a zip's end.
///
/// # Errors
/// There is none.
pub fn end(bytes: &[u8]) -> Result<End, Fault> {
    // The end record is 22 bytes and a comment of at most 65,535.
    let from = bytes.len().saturating_sub(22 + 65_535);
    let end = (from..=bytes.len().saturating_sub(22))
        .rev()
        .find(|at| bytes.get(*at..).is_some_and(|rest| rest.starts_with(b"PK\x05\x06")))
        .ok_or_else(damaged)?;
    let (files, directory) = (short(bytes, end + 10).ok_or_else(damaged)?, long(bytes, end + 16).ok_or_else(damaged)?);
    Ok(End { files, directory })
}

/// The files of the central directory, without folders, in its order.
///
/// # Errors
/// A directory that is damaged, a file that is encrypted or that the archive ends within.
pub fn list(bytes: &[u8]) -> Result<Vec<Packed<'_>>, Fault> {
    let End { files: count, directory: mut at } = end(bytes)?;
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
        if path.ends_with('/') {
            continue;
        }
        if flags & 1 != 0 {
            return Err(Fault::of(&path, "it is encrypted"));
        }
        let start = short(bytes, local + 26).zip(short(bytes, local + 28)).map(|(name, extra)| local + 30 + name + extra);
        let data = start
            .and_then(|start| bytes.get(start..start.checked_add(packed)?))
            .ok_or_else(|| Fault::of(&path, "the archive ends within it"))?;
        // The upper half is the file's mode.
        let mode = if made_by == 3 { attributes >> 16 } else { 0 };
        files.push(Packed { path, size, mode, method, checksum, data });
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

/// The checksum of zip and PNG (ISO 3309).
pub fn crc32(bytes: &[u8]) -> u32 {
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
