//! The coordinator: same-origin requests with the session's cookie.

use super::{Failure, Outcome, decode};
use gloo_net::http::{Request, Response};
use js_sys::Uint8Array;
use serde::{Serialize, de::DeserializeOwned};
use starling_http_api::{
    artifact::{MAX_BYTES, Manifest, Stored, UploadState, chunk_count, chunk_value},
    path,
    problem::Problem,
};
use starling_primitives::Hash32;
use std::ops::Range;
use wasm_bindgen_futures::JsFuture;
use web_sys::Blob;

fn away(error: impl std::fmt::Display) -> Failure {
    Failure::new(
        "coordinator_away",
        format!("The coordinator does not answer. Your money is safe on the chain; this page tries again. ({error})"),
    )
}

async fn check(response: Response) -> Outcome<Response> {
    if response.ok() {
        return Ok(response);
    }
    let status = response.status();
    match decode::<Problem>(&response.binary().await.map_err(away)?) {
        Ok(problem) => Err(problem.into()),
        Err(_) => Err(Failure::new(
            "http_status",
            format!("The coordinator answered {status}. Your money is safe on the chain. Try again in a moment."),
        )),
    }
}

async fn read<T: DeserializeOwned>(response: Response) -> Outcome<T> {
    let bytes = check(response).await?.binary().await.map_err(away)?;
    decode(&bytes).map_err(|error| {
        Failure::new("answer_not_understood", format!("The coordinator's answer is not understood; reload the page. ({error})"))
    })
}

pub(crate) async fn get<T: DeserializeOwned>(path: &str) -> Outcome<T> {
    read(Request::get(path).send().await.map_err(away)?).await
}

/// Whether the coordinator, which answers, has read the chain up to now.
pub(crate) async fn is_ready() -> Outcome<bool> {
    Request::get(path::READY).send().await.map(|answer| answer.ok()).map_err(away)
}

/// As [`get`]; nothing on 404.
pub(crate) async fn find<T: DeserializeOwned>(path: &str) -> Outcome<Option<T>> {
    let response = Request::get(path).send().await.map_err(away)?;
    if response.status() == 404 { Ok(None) } else { read(response).await.map(Some) }
}

pub(crate) async fn post<T: DeserializeOwned>(path: &str, body: &impl Serialize) -> Outcome<T> {
    read(Request::post(path).json(body).map_err(away)?.send().await.map_err(away)?).await
}

pub(crate) async fn post_quietly(path: &str, body: &impl Serialize) -> Outcome<()> {
    check(Request::post(path).json(body).map_err(away)?.send().await.map_err(away)?).await.map(|_| ())
}

/// Tries of an upload without any chunk between them.
const TRIES: u32 = 4;

/// What is uploaded: bytes at hand, or a file on the person's disk, of which one chunk is read at a time.
#[derive(Clone, Copy)]
enum Source<'a> {
    Bytes(&'a [u8]),
    File(&'a Blob),
}

impl Source<'_> {
    async fn read(self, range: Range<u64>) -> Outcome<Uint8Array> {
        match self {
            Self::Bytes(bytes) => {
                let part =
                    usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok()).and_then(|(from, to)| bytes.get(from..to));
                Ok(Uint8Array::from(part.unwrap_or_default()))
            }
            Self::File(file) => {
                let unread = |_| Failure::new("file_unread", "The file cannot be read any more: choose it again. Nothing was charged.");
                #[expect(clippy::cast_precision_loss, reason = "no file of a browser has 2^53 bytes")]
                let part = file.slice_with_f64_and_f64(range.start as f64, range.end as f64).map_err(unread)?;
                Ok(Uint8Array::new(&JsFuture::from(part.array_buffer()).await.map_err(unread)?))
            }
        }
    }
}

/// Brings bytes, in chunks if they are many: what broke off goes on with the chunk that is missing.
pub(crate) async fn upload(bytes: &[u8]) -> Outcome<Stored> {
    bring(&Manifest::of(bytes), Source::Bytes(bytes), |_| {}).await
}

/// Brings a file of the person's disk with one chunk in memory at a time; `said` hears how many of its chunks were sent.
pub(crate) async fn upload_file(file: &Blob, said: impl Fn(u32)) -> Outcome<Stored> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a file's size is a whole number")]
    let bytes = file.size() as u64;
    if bytes > MAX_BYTES {
        return Err(too_large());
    }
    let count = chunk_count(bytes);
    let mut manifest = Manifest { bytes, chunks: Vec::new() };
    for number in 0..u32::try_from(count).unwrap_or(0) {
        let chunk = Source::File(file).read(manifest.range(number)).await?.to_vec();
        manifest.chunks.push(chunk_value(number, usize::try_from(count).unwrap_or(usize::MAX), &chunk));
    }
    bring(&manifest, Source::File(file), said).await
}

fn too_large() -> Failure {
    Failure::new("artifact_too_large", "No file may be that large. Nothing was charged.")
}

async fn bring(manifest: &Manifest, source: Source<'_>, said: impl Fn(u32)) -> Outcome<Stored> {
    let hash = manifest.hash().ok_or_else(too_large)?;
    let (mut tries, mut sent) = (TRIES, 0_u32);
    loop {
        let before = sent;
        let failure = match send_missing(hash, manifest, source, &mut sent, &said).await {
            Ok(stored) if stored.hash == hash => return Ok(stored),
            Ok(_) => return Err(Failure::new("upload_damaged", "The upload was damaged on its way. Nothing was charged; try again.")),
            Err(failure) => failure,
        };
        tries = if sent > before { TRIES } else { tries - 1 };
        let passes = ["coordinator_away", "chunk_damaged", "upload_broken", "upload_incomplete"].contains(&failure.code.as_str());
        if tries == 0 || !passes {
            return Err(failure);
        }
    }
}

async fn send_missing(hash: Hash32, manifest: &Manifest, source: Source<'_>, sent: &mut u32, said: &impl Fn(u32)) -> Outcome<Stored> {
    if manifest.chunks.len() == 1 {
        return put(&path::fill(path::ARTIFACT, &[&hash]), source.read(0..manifest.bytes).await?).await?.json().await.map_err(away);
    }
    let state: UploadState = post(&path::fill(path::ARTIFACT_UPLOAD, &[&hash]), manifest).await?;
    for number in state.missing {
        put(&path::fill(path::ARTIFACT_CHUNK, &[&hash, &number]), source.read(manifest.range(number)).await?).await?;
        *sent += 1;
        said(*sent);
    }
    post(&path::fill(path::ARTIFACT_FINISH, &[&hash]), &()).await
}

async fn put(path: &str, bytes: Uint8Array) -> Outcome<Response> {
    check(Request::put(path).body(bytes).map_err(away)?.send().await.map_err(away)?).await
}

/// An artifact, checked against its name.
pub(crate) async fn download(hash: Hash32) -> Outcome<Vec<u8>> {
    let response = check(Request::get(&path::fill(path::ARTIFACT, &[&hash])).send().await.map_err(away)?).await?;
    let bytes = response.binary().await.map_err(away)?;
    if blake3::hash(&bytes).as_bytes() != &hash.0 {
        return Err(Failure::new("hash_differs", format!("What was downloaded has another hash than {hash}. Do not use it; try again.")));
    }
    Ok(bytes)
}

/// Fetches an artifact of any size and checks each chunk against its name; nothing of it is kept.
pub(crate) async fn check_there(hash: Hash32, bytes: u64) -> Outcome<()> {
    if chunk_count(bytes) == 1 {
        return download(hash).await.map(|_| ());
    }
    let differs = || Failure::new("hash_differs", format!("What is stored has another hash than {hash}. Do not use it."));
    let manifest: Manifest = get(&path::fill(path::ARTIFACT_MANIFEST, &[&hash])).await?;
    if manifest.hash() != Some(hash) || manifest.bytes != bytes {
        return Err(differs());
    }
    for number in 0..u32::try_from(manifest.chunks.len()).unwrap_or(u32::MAX) {
        let range = manifest.range(number);
        let header = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
        let request = Request::get(&path::fill(path::ARTIFACT, &[&hash])).header("range", &header);
        let chunk = check(request.send().await.map_err(away)?).await?.binary().await.map_err(away)?;
        if !manifest.has(number, &chunk) {
            return Err(differs());
        }
    }
    Ok(())
}
