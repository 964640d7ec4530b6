//! Tests of the store: what arrives must be what was named.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;

fn body(parts: Vec<Vec<u8>>) -> impl Stream<Item = Result<Bytes, String>> + Unpin {
    futures_util::stream::iter(parts.into_iter().map(|part| Ok(Bytes::from(part))))
}

async fn store() -> (tempfile::TempDir, Artifacts) {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("db.sqlite")).await.unwrap();
    let artifacts = Artifacts::local(dir.path(), db).unwrap();
    (dir, artifacts)
}

fn hash_of(bytes: &[u8]) -> Hash32 {
    Hash32(*blake3::hash(bytes).as_bytes())
}

#[tokio::test]
async fn artifacts__should_give_back_small_and_large_uploads_whole_and_in_part() {
    let (_dir, artifacts) = store().await;
    for size in [0, 10, PART_BYTES - 1, 2 * PART_BYTES + 5] {
        let bytes: Vec<u8> = (0..size).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let hash = hash_of(&bytes);
        let parts = bytes.chunks(1 << 20).map(<[u8]>::to_vec).collect();
        let stored = artifacts.put_stream(hash, body(parts), "alice.starling", 1 << 30).await.unwrap();
        assert_eq!((stored.hash, stored.bytes), (hash, size as u64));
        assert_eq!(artifacts.get(hash).await.unwrap(), bytes);
        let half: Vec<Bytes> = artifacts.stream(hash, 0..(size as u64) / 2).await.unwrap().try_collect().await.unwrap();
        assert_eq!(half.concat(), bytes[..size / 2]);
    }
}

#[tokio::test]
async fn artifacts__should_store_nothing_of_a_damaged_upload() {
    let (dir, artifacts) = store().await;
    let large = vec![7; PART_BYTES + 1];
    for bytes in [b"other".to_vec(), large] {
        let wanted = hash_of(b"wanted");
        let refused = artifacts.put_stream(wanted, body(vec![bytes]), "alice.starling", 1 << 30).await;
        assert!(matches!(refused, Err(ArtifactError::HashMismatch { .. })));
        assert_eq!(artifacts.bytes(wanted).await.unwrap(), None);
        assert!(matches!(artifacts.get(wanted).await, Err(ArtifactError::Missing(_))));
    }
    let left = std::fs::read_dir(dir.path().join("uploads")).map_or(0, Iterator::count);
    assert_eq!(left, 0);
}

#[tokio::test]
async fn artifacts__should_refuse_what_passes_the_quota() {
    let (_dir, artifacts) = store().await;
    let bytes = vec![1; 100];
    let refused = artifacts.put_stream(hash_of(&bytes), body(vec![bytes.clone()]), "alice.starling", 99).await;
    assert!(matches!(refused, Err(ArtifactError::Quota { used: 0, limit: 99 })));
    artifacts.put_stream(hash_of(&bytes), body(vec![bytes]), "alice.starling", 100).await.unwrap();
}

#[tokio::test]
async fn artifacts__should_notice_a_changed_file() {
    let (dir, artifacts) = store().await;
    let hash = artifacts.put(b"true".to_vec()).await.unwrap();
    let text = hash.to_string();
    std::fs::write(dir.path().join("blake3").join(&text[..2]).join(&text), b"fals").unwrap();
    assert!(matches!(artifacts.get(hash).await, Err(ArtifactError::HashMismatch { .. })));
}
