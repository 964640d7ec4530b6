//! Artifacts up and down in chunks: what broke off goes on with the chunk that is missing, and what was damaged is found by its number.

use crate::{api::Api, output::Output, profile::Context};
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use starling_http_api::{
    artifact::{CHUNK_BYTES, Manifest, Stored, UploadState},
    path,
    problem::Problem,
};
use starling_primitives::Hash32;
use std::{
    fs::{self, File},
    io::{Cursor, Read, Seek, SeekFrom, Write},
    path::Path,
    time::Duration,
};

/// Failures one after the other, without a chunk between them, after which a transfer is given up.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(500);
/// Damaged that often in a row, a chunk is damaged where it lies.
const DAMAGED_TRIES: u32 = 3;
/// The time of one chunk.
const CHUNK_TIME: Duration = Duration::from_secs(150);

/// `starling upload`.
pub(crate) async fn upload(context: &Context, file: &Path, out: Output) -> Result<()> {
    let api = Api::of(context)?;
    let mut source = File::open(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let manifest = Manifest::read(&mut source).with_context(|| format!("{} cannot be read", file.display()))?;
    let sent = send(&api, &manifest, &mut source).await?;
    let hash = sent.stored.hash;
    let told = json!({ "hash": hash, "bytes": manifest.bytes, "chunks": manifest.chunks.len(), "sent": sent.chunks, "interruptions": sent.failures });
    out.say("uploaded", &told, &format!("{hash}  {} ({} bytes)", file.display(), manifest.bytes));
    Ok(())
}

/// `starling download`.
pub(crate) async fn download(context: &Context, hash: Hash32, file: &Path, out: Output) -> Result<()> {
    let part = file.with_added_extension("part");
    let mut target = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&part)
        .with_context(|| format!("{} cannot be written", part.display()))?;
    let bytes = fetch(&Api::of(context)?, hash, &mut target).await?;
    target.set_len(bytes)?;
    fs::rename(&part, file).with_context(|| format!("{} cannot be written", file.display()))?;
    out.say("downloaded", &json!({ "hash": hash, "bytes": bytes }), &format!("{} ({bytes} bytes)", file.display()));
    Ok(())
}

/// Brings bytes in memory.
pub(crate) async fn send_bytes(api: &Api, bytes: &[u8]) -> Result<Hash32> {
    Ok(send(api, &Manifest::of(bytes), &mut Cursor::new(bytes)).await?.stored.hash)
}

/// Fetches into memory.
pub(crate) async fn fetch_bytes(api: &Api, hash: Hash32) -> Result<Vec<u8>> {
    let mut target = Cursor::new(Vec::new());
    fetch(api, hash, &mut target).await?;
    Ok(target.into_inner())
}

/// What an upload took.
struct Sent {
    stored: Stored,
    chunks: u32,
    failures: u32,
}

/// Brings what is missing until all is there.
async fn send(api: &Api, manifest: &Manifest, source: &mut (impl Read + Seek)) -> Result<Sent> {
    let hash = manifest.hash().context("no artifact may be that large")?;
    let mut sent = Sent { stored: Stored { hash, bytes: manifest.bytes }, chunks: 0, failures: 0 };
    let mut in_a_row = 0;
    loop {
        let before = sent.chunks;
        match send_missing(api, hash, manifest, source, &mut sent.chunks).await {
            Ok(stored) if stored.hash == hash => return Ok(sent),
            Ok(stored) => bail!("the coordinator stored {} instead of {hash}: the upload was damaged, try again", stored.hash),
            Err(error) if is_final(&error) => return Err(error),
            Err(error) => {
                in_a_row = if sent.chunks > before { 1 } else { in_a_row + 1 };
                sent.failures += 1;
                if in_a_row >= TRIES {
                    return Err(error.context("the upload broke off; what arrived is kept for two days, begin again to go on"));
                }
                tracing::debug!(%error, "an upload goes on");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn send_missing(api: &Api, hash: Hash32, manifest: &Manifest, source: &mut (impl Read + Seek), chunks: &mut u32) -> Result<Stored> {
    if let [_] = manifest.chunks.as_slice() {
        let bytes = read_chunk(source, manifest, 0)?;
        let stored = api.put(&path::fill(path::ARTIFACT, &[&hash]), bytes, CHUNK_TIME).await?;
        *chunks += 1;
        return Ok(serde_json::from_str(&stored)?);
    }
    let state: UploadState = api.post(&path::fill(path::ARTIFACT_UPLOAD, &[&hash]), manifest).await?;
    for number in state.missing {
        let bytes = read_chunk(source, manifest, number)?;
        if !manifest.has(number, &bytes) {
            bail!("the file changed while it was uploaded: leave it alone and begin again");
        }
        api.put(&path::fill(path::ARTIFACT_CHUNK, &[&hash, &number]), bytes, CHUNK_TIME).await?;
        *chunks += 1;
    }
    api.post(&path::fill(path::ARTIFACT_FINISH, &[&hash]), &json!({})).await
}

/// Fetches what `target` does not hold yet, and checks all of it; says how many bytes it has.
async fn fetch(api: &Api, hash: Hash32, target: &mut (impl Read + Write + Seek)) -> Result<u64> {
    let path = path::fill(path::ARTIFACT, &[&hash]);
    let mut failures = 0;
    let (first, total) = loop {
        match api.range(&path, 0..CHUNK_BYTES, CHUNK_TIME).await {
            Ok(first) => break first,
            Err(error) => wait(error, &mut failures).await?,
        }
    };
    let manifest = if total == first.len() as u64 {
        let manifest = Manifest::of(&first);
        if manifest.hash() != Some(hash) {
            bail!("what the coordinator sent for {hash} has another hash: do not use it");
        }
        manifest
    } else {
        let manifest: Manifest = api.get(&path::fill(path::ARTIFACT_MANIFEST, &[&hash])).await?;
        if manifest.hash() != Some(hash) {
            bail!("what the coordinator says of the chunks of {hash} does not sum to that name: do not use it");
        }
        manifest
    };
    let mut first = Some(first);
    for number in (0_u32..).take(manifest.chunks.len()) {
        if manifest.has(number, &read_chunk(target, &manifest, number).unwrap_or_default()) {
            continue;
        }
        let range = manifest.range(number);
        let mut came = if number == 0 { first.take() } else { None };
        failures = 0;
        let mut damaged = 0;
        let chunk = loop {
            match came.take() {
                Some(chunk) if manifest.has(number, &chunk) => break chunk,
                Some(_) => {
                    damaged += 1;
                    if damaged >= DAMAGED_TRIES {
                        bail!(
                            "chunk {number} of {hash} (from byte {}) comes damaged each time: do not use it, and tell the operator",
                            range.start
                        );
                    }
                }
                None => {}
            }
            match api.range(&path, range.clone(), CHUNK_TIME).await {
                Ok((chunk, _)) => came = Some(chunk),
                Err(error) => wait(error, &mut failures).await?,
            }
        };
        target.seek(SeekFrom::Start(range.start))?;
        target.write_all(&chunk)?;
    }
    Ok(manifest.bytes)
}

fn read_chunk(source: &mut (impl Read + Seek), manifest: &Manifest, number: u32) -> std::io::Result<Vec<u8>> {
    let range = manifest.range(number);
    let mut chunk = Vec::new();
    source.seek(SeekFrom::Start(range.start))?;
    source.take(range.end - range.start).read_to_end(&mut chunk)?;
    Ok(chunk)
}

async fn wait(error: anyhow::Error, failures: &mut u32) -> Result<()> {
    *failures += 1;
    if is_final(&error) || *failures >= TRIES {
        return Err(error);
    }
    tokio::time::sleep(PAUSE).await;
    Ok(())
}

/// A refusal that no repetition changes. What broke off, was damaged, or met a service that is busy goes on.
fn is_final(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<Problem>() {
        Some(problem) if problem.status == 507 => true,
        Some(problem) => {
            let passes = ["chunk_damaged", "upload_incomplete", "upload_unknown", "upload_broken"].contains(&problem.code.as_str());
            !passes && problem.status < 500 && problem.status != 429
        }
        None => error.downcast_ref::<reqwest::Error>().is_none(),
    }
}
