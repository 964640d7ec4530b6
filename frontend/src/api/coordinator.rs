//! The coordinator: same-origin requests with the session's cookie.

use super::{Failure, Outcome, decode};
use gloo_net::http::{Request, Response};
use js_sys::Uint8Array;
use serde::{Serialize, de::DeserializeOwned};
use starling_http_api::{
    artifact::{Manifest, Stored, UploadState},
    path,
    problem::Problem,
};
use starling_primitives::Hash32;

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
        Err(_) => Err(Failure::new("http_status", format!("The coordinator answered {status}. Try again in a moment."))),
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

/// Whether the coordinator answers and has read the chain up to now.
pub(crate) async fn is_ready() -> bool {
    Request::get(path::READY).send().await.is_ok_and(|answer| answer.ok())
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

/// Brings bytes, in chunks if they are many: what broke off goes on with the chunk that is missing.
pub(crate) async fn upload(bytes: &[u8]) -> Outcome<Stored> {
    let manifest = Manifest::of(bytes);
    let hash = manifest.hash().ok_or_else(|| Failure::new("artifact_too_large", "No file may be that large. Nothing was charged."))?;
    let (mut tries, mut sent) = (TRIES, 0_u32);
    loop {
        let before = sent;
        let failure = match send_missing(hash, &manifest, bytes, &mut sent).await {
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

async fn send_missing(hash: Hash32, manifest: &Manifest, bytes: &[u8], sent: &mut u32) -> Outcome<Stored> {
    if manifest.chunks.len() == 1 {
        return put(&path::fill(path::ARTIFACT, &[&hash]), bytes).await?.json().await.map_err(away);
    }
    let state: UploadState = post(&path::fill(path::ARTIFACT_UPLOAD, &[&hash]), manifest).await?;
    for number in state.missing {
        let range = manifest.range(number);
        let chunk = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok()).and_then(|(from, to)| bytes.get(from..to));
        put(&path::fill(path::ARTIFACT_CHUNK, &[&hash, &number]), chunk.unwrap_or_default()).await?;
        *sent += 1;
    }
    post(&path::fill(path::ARTIFACT_FINISH, &[&hash]), &()).await
}

async fn put(path: &str, bytes: &[u8]) -> Outcome<Response> {
    check(Request::put(path).body(Uint8Array::from(bytes)).map_err(away)?.send().await.map_err(away)?).await
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
