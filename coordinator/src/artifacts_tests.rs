//! Tests of the store: what arrives must be what was named.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;

async fn store() -> (tempfile::TempDir, Artifacts) {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("db.sqlite")).await.unwrap();
    let artifacts = Artifacts::local(dir.path(), db).unwrap();
    (dir, artifacts)
}

fn hash_of(bytes: &[u8]) -> Hash32 {
    Hash32(*blake3::hash(bytes).as_bytes())
}

fn bytes(length: u64) -> Vec<u8> {
    (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

fn chunk(whole: &[u8], manifest: &Manifest, number: u32) -> Bytes {
    let range = manifest.range(number);
    Bytes::copy_from_slice(&whole[index(range.start)..index(range.end)])
}

const ALICE: &str = "alice.starling";
const BOB: &str = "bob.starling";
const ROOM: u64 = 1 << 30;

#[tokio::test]
async fn upload__should_go_on_with_what_is_missing_and_give_back_whole_and_part() {
    let (_dir, artifacts) = store().await;
    for length in [0, 10, CHUNK_BYTES, 2 * CHUNK_BYTES + 5] {
        let whole = bytes(length);
        let manifest = Manifest::of(&whole);
        let hash = hash_of(&whole);
        let mut missing = artifacts.begin(hash, &manifest, ALICE, ROOM).await.unwrap().missing;
        assert_eq!(missing.len(), manifest.chunks.len());
        while let Some(number) = missing.pop() {
            artifacts.put_chunk(hash, number, chunk(&whole, &manifest, number), ALICE).await.unwrap();
            artifacts.put_chunk(hash, number, chunk(&whole, &manifest, number), ALICE).await.unwrap();
            let again = artifacts.begin(hash, &manifest, ALICE, ROOM).await.unwrap().missing;
            assert_eq!(again, missing, "{length}");
            if !missing.is_empty() {
                assert!(matches!(artifacts.finish(hash, ALICE).await, Err(ArtifactError::Incomplete(left)) if left == missing.len()));
            }
        }
        for _ in 0..2 {
            assert_eq!(artifacts.finish(hash, ALICE).await.unwrap(), Stored { hash, bytes: length });
        }
        assert_eq!(artifacts.begin(hash, &manifest, ALICE, ROOM).await.unwrap().missing, Vec::<u32>::new(), "it is whole");
        assert_eq!(artifacts.manifest(hash).await.unwrap(), manifest);
        assert_eq!(artifacts.get(hash).await.unwrap(), whole);
        for range in [0..length / 2, length / 3..length, length.saturating_sub(1)..length, 0..length] {
            let part: Vec<Bytes> = artifacts.stream(hash, range.clone()).await.unwrap().try_collect().await.unwrap();
            assert_eq!(part.concat(), whole[index(range.start)..index(range.end)]);
        }
    }
}

#[tokio::test]
async fn upload__should_name_the_chunk_with_a_flipped_bit_and_keep_nothing_of_it() {
    let (_dir, artifacts) = store().await;
    let whole = bytes(2 * CHUNK_BYTES + 5);
    let (manifest, hash) = (Manifest::of(&whole), hash_of(&whole));
    artifacts.begin(hash, &manifest, ALICE, ROOM).await.unwrap();
    for number in 0..3 {
        let mut damaged = chunk(&whole, &manifest, number).to_vec();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        let refused = artifacts.put_chunk(hash, number, damaged.into(), ALICE).await;
        assert!(matches!(refused, Err(ArtifactError::Damaged { number: named, .. }) if named == number));
    }
    // The right bytes in the wrong place are wrong too.
    let refused = artifacts.put_chunk(hash, 1, chunk(&whole, &manifest, 0), ALICE).await;
    assert!(matches!(refused, Err(ArtifactError::Damaged { number: 1, from: CHUNK_BYTES })));
    assert_eq!(artifacts.begin(hash, &manifest, ALICE, ROOM).await.unwrap().missing, [0, 1, 2]);
    let other = Manifest::of(&bytes(CHUNK_BYTES + 9));
    assert!(matches!(artifacts.begin(hash, &other, ALICE, ROOM).await, Err(ArtifactError::WrongManifest(_))));
}

#[tokio::test]
async fn upload__should_make_owners_only_of_those_who_bring_the_bytes() {
    let (_dir, artifacts) = store().await;
    let whole = bytes(CHUNK_BYTES + 1);
    let (manifest, hash) = (Manifest::of(&whole), hash_of(&whole));
    artifacts.begin(hash, &manifest, ALICE, ROOM).await.unwrap();
    for number in 0..2 {
        artifacts.put_chunk(hash, number, chunk(&whole, &manifest, number), ALICE).await.unwrap();
    }
    artifacts.finish(hash, ALICE).await.unwrap();
    assert!(matches!(artifacts.finish(hash, BOB).await, Err(ArtifactError::NoUpload(_))));
    assert!(matches!(artifacts.put_chunk(hash, 0, chunk(&whole, &manifest, 0), BOB).await, Err(ArtifactError::NoUpload(_))));
    assert_eq!(artifacts.begin(hash, &manifest, BOB, ROOM).await.unwrap().missing, [0, 1], "that it is stored is not told");
    assert!(matches!(artifacts.finish(hash, BOB).await, Err(ArtifactError::Incomplete(2))));
}

#[tokio::test]
async fn upload__should_count_what_is_stored_and_what_is_announced() {
    let (_dir, artifacts) = store().await;
    let refused = artifacts.put_small(hash_of(&[1; 100]), vec![1; 100].into(), ALICE, 99).await;
    assert!(matches!(refused, Err(ArtifactError::Quota { used: 0, limit: 99 })));
    artifacts.put_small(hash_of(&[1; 100]), vec![1; 100].into(), ALICE, 100).await.unwrap();
    let large = bytes(CHUNK_BYTES + 1);
    artifacts.begin(hash_of(&large), &Manifest::of(&large), ALICE, CHUNK_BYTES + 101).await.unwrap();
    let refused = artifacts.put_small(hash_of(b"x"), Bytes::from_static(b"x"), ALICE, CHUNK_BYTES + 101).await;
    assert!(matches!(refused, Err(ArtifactError::Quota { .. })));
}

#[tokio::test]
async fn artifacts__should_notice_a_changed_file() {
    let (dir, artifacts) = store().await;
    let hash = artifacts.put(b"true".to_vec()).await.unwrap();
    let text = hash.to_string();
    std::fs::write(dir.path().join("blake3").join(&text[..2]).join(&text), b"fals").unwrap();
    assert!(matches!(artifacts.get(hash).await, Err(ArtifactError::HashMismatch { .. })));
}
