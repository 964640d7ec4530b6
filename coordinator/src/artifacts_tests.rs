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
    keep_and_give_back(&artifacts).await;
}

/// Said by the proof's server: `PUT` of a bucket makes it.
async fn make_bucket(address: &str, bucket: &str) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut line = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("PUT /{bucket} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    line.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    line.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
#[ignore = "wants a server that speaks S3: cargo xtask prove stores"]
async fn s3__should_keep_what_local_files_keep() {
    let address = std::env::var("STARLING_S3_ADDRESS").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("key");
    std::fs::write(&key_file, "an-id\n a-secret \n").unwrap();
    make_bucket(&address, "starling").await;
    let config = |bucket: &str, prefix: &str| StoreConfig {
        bucket: bucket.to_owned(),
        endpoint: Some(format!("http://{address}")),
        region: Some("eu-central-1".to_owned()),
        prefix: prefix.to_owned(),
        key_file: Some(key_file.clone()),
        allow_http: true,
    };
    for (number, url) in [None, Some(crate::db::cluster::new_database().await)].into_iter().enumerate() {
        let db = match url {
            None => Db::open(&dir.path().join("db.sqlite")).await.unwrap(),
            Some(url) => Db::open_postgres(&url).await.unwrap(),
        };
        let artifacts = Artifacts::s3(&config("starling", &format!("coordinator-{number}")), db.clone()).unwrap();
        artifacts.check().await.unwrap();
        keep_and_give_back(&artifacts).await;
        let whole = bytes(2 * CHUNK_BYTES + 5);
        let hash = hash_of(&whole);
        artifacts.remove(hash, 3).await.unwrap();
        artifacts.remove(hash, 3).await.unwrap();
        assert!(matches!(artifacts.get(hash).await, Err(ArtifactError::Missing(_))));
        let absent = Artifacts::s3(&config("absent", ""), db).unwrap();
        assert!(matches!(absent.check().await, Err(ArtifactError::Store(_))), "a bucket that is not there is said at the start");
    }
    std::fs::write(&key_file, "only-an-id").unwrap();
    let (_other, artifacts) = store().await;
    assert!(matches!(Artifacts::s3(&config("starling", ""), artifacts.db), Err(ArtifactError::Settings(_))));
}

async fn keep_and_give_back(artifacts: &Artifacts) {
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
    // A chunk that comes again after the end is looked at as before it.
    artifacts.put_chunk(hash, 0, chunk(&whole, &manifest, 0), ALICE).await.unwrap();
    assert!(matches!(artifacts.put_chunk(hash, 0, Bytes::new(), ALICE).await, Err(ArtifactError::Damaged { number: 0, .. })));
    assert!(matches!(artifacts.put_chunk(hash, u32::MAX, chunk(&whole, &manifest, 0), ALICE).await, Err(ArtifactError::Damaged { .. })));
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
