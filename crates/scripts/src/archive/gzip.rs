//! Gzip (RFC 1952), the outside of most compressed tars.

use crate::bundle::{MAX_BUNDLE_BYTES, UploadError};

/// What a tar's headers may add to the files in it.
const MOST_INFLATED: u64 = MAX_BUNDLE_BYTES + (32 << 20);

/// The bytes inside, of the first member.
pub(crate) fn inflate(bytes: &[u8]) -> Result<Vec<u8>, UploadError> {
    let wrong = |why| UploadError::Archive { entry: None, why };
    let damaged = || wrong("its gzip header is damaged");
    let (method, flags) = bytes.get(2).zip(bytes.get(3)).ok_or_else(damaged)?;
    if *method != 8 {
        return Err(wrong("it is compressed by another method than deflate"));
    }
    let mut at = 10;
    if flags & 4 != 0 {
        let extra = bytes.get(at..at + 2).ok_or_else(damaged)?;
        at += 2 + usize::from(u16::from_le_bytes([extra[0], extra[1]]));
    }
    // A name, then a comment, each up to a zero byte.
    for flag in [8, 16] {
        if flags & flag != 0 {
            at += 1 + bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == 0)).ok_or_else(damaged)?;
        }
    }
    if flags & 2 != 0 {
        at += 2;
    }
    let body = bytes.get(at..).ok_or_else(damaged)?;
    let most = usize::try_from(MOST_INFLATED).unwrap_or(usize::MAX);
    miniz_oxide::inflate::decompress_to_vec_with_limit(body, most).map_err(|error| match error.status {
        miniz_oxide::inflate::TINFLStatus::HasMoreOutput => {
            UploadError::TooLarge(format!("it unpacks to more than {} MiB", MAX_BUNDLE_BYTES >> 20))
        }
        _ => wrong("its compressed bytes are damaged"),
    })
}
