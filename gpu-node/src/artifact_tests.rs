//! Tests of the artifact store against a small HTTP server of the test's own.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// Answers each connection with the next of `answers` (status line and body), and counts them.
async fn serve(answers: Vec<(&'static str, Vec<u8>)>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let served = Arc::new(AtomicUsize::new(0));
    let counter = served.clone();
    tokio::spawn(async move {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 64 * 1024];
            let read = stream.read(&mut request).await.unwrap();
            assert!(String::from_utf8_lossy(&request[..read]).contains("Bearer secret"));
            counter.fetch_add(1, Ordering::SeqCst);
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&body).await.unwrap();
        }
    });
    (origin, served)
}

fn store(folder: &Path, limit_bytes: u64, origin: &str) -> ArtifactStore {
    let (sender, token) = watch::channel(Some("secret".to_owned()));
    std::mem::forget(sender);
    ArtifactStore::open(folder.to_owned(), limit_bytes, Rates::default(), origin.to_owned(), token, &Roots::open(None).unwrap()).unwrap()
}

#[tokio::test]
async fn get__should_fetch_once_and_then_read_from_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (origin, served) = serve(vec![("503 Busy", Vec::new()), ("200 OK", b"bytes".to_vec())]).await;
    let store = store(folder.path(), 1 << 20, &origin);
    for _ in 0..3 {
        assert_eq!(&*store.get(hash_of(b"bytes")).await.unwrap(), b"bytes");
    }
    assert_eq!(served.load(Ordering::SeqCst), 2, "one refusal that passes, one answer");
}

#[tokio::test]
async fn get__should_refuse_changed_bytes_and_keep_none_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let (origin, _) = serve(vec![("200 OK", b"other".to_vec())]).await;
    let error = store(folder.path(), 1 << 20, &origin).get(hash_of(b"bytes")).await.unwrap_err();
    assert!(matches!(error, ArtifactError::WrongHash { .. }), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn get__should_mend_a_damaged_file_and_say_not_found() {
    let folder = tempfile::tempdir().unwrap();
    let (origin, _) = serve(vec![("200 OK", b"bytes".to_vec()), ("404 Not Found", Vec::new())]).await;
    let store = store(folder.path(), 1 << 20, &origin);
    fs::write(folder.path().join(hash_of(b"bytes").to_string()), b"bytez").unwrap();
    assert_eq!(&*store.get(hash_of(b"bytes")).await.unwrap(), b"bytes");
    assert!(matches!(store.get(hash_of(b"gone")).await, Err(ArtifactError::NotFound(_))));
}

/// Serves ranges and manifest of these bytes so many times, then nothing; says what was asked for.
async fn serve_ranges(bytes: Vec<u8>, times: usize) -> (String, Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::<std::sync::Mutex<Vec<String>>>::default();
    let log = asked.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 64 * 1024];
            let read = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..read]).to_lowercase();
            let range = request.lines().find_map(|line| line.strip_prefix("range: bytes=")).map(|range| range.trim().to_owned());
            log.lock().unwrap().push(range.clone().unwrap_or_else(|| "manifest".to_owned()));
            let count = log.lock().unwrap().len();
            let (status, body) = match range.as_deref().and_then(|range| range.split_once('-')) {
                _ if count > times => ("404 Not Found".to_owned(), Vec::new()),
                Some((from, to)) => {
                    let (from, to) = (from.parse::<usize>().unwrap(), to.parse::<usize>().unwrap().min(bytes.len() - 1));
                    let head = format!("206 Partial Content\r\ncontent-range: bytes {from}-{to}/{}", bytes.len());
                    (head, bytes[from..=to].to_vec())
                }
                None => ("200 OK".to_owned(), serde_json::to_vec(&Manifest::of(&bytes)).unwrap()),
            };
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&body).await.unwrap();
        }
    });
    (origin, asked)
}

#[tokio::test]
async fn file__should_go_on_where_a_download_ended_and_mend_what_lies_there() {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> =
        (0..3 * u32::try_from(CHUNK_BYTES).unwrap() + 7).map(|place| place.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let hash = hash_of(&bytes);
    let part = files::part_of(&folder.path().join(hash.to_string()));
    let chunks = ["0-8388607", "8388608-16777215", "16777216-25165823", "25165824-25165830"];
    let (origin, asked) = serve_ranges(bytes.clone(), 4).await;
    let error = store(folder.path(), 1 << 20, &origin).file(hash).await.unwrap_err();
    assert!(matches!(error, ArtifactError::NotFound(_)), "{error}");
    assert_eq!(*asked.lock().unwrap(), [chunks[0], "manifest", chunks[1], chunks[2], chunks[3]]);
    let mut lies = fs::read(&part).unwrap();
    assert_eq!(length(&lies), 3 * CHUNK_BYTES);
    lies[20 << 20] ^= 1;
    fs::write(&part, lies).unwrap();

    let (origin, asked) = serve_ranges(bytes.clone(), 9).await;
    let store = store(folder.path(), 1 << 20, &origin);
    for _ in 0..2 {
        let mut read = Vec::new();
        std::io::Read::read_to_end(&mut store.file(hash).await.unwrap(), &mut read).unwrap();
        assert!(read == bytes);
    }
    assert_eq!(*asked.lock().unwrap(), ["manifest", chunks[2], chunks[3]], "what lies there is not asked for again");
    assert!(!part.exists());
}

#[tokio::test]
async fn file__should_stay_while_another_comes_and_its_use_lasts() {
    let folder = tempfile::tempdir().unwrap();
    let (origin, _) = serve(vec![("200 OK", vec![1; 600]), ("200 OK", vec![2; 600]), ("200 OK", vec![3; 600])]).await;
    let store = store(folder.path(), 1_000, &origin);
    let hashes = [1, 2, 3].map(|byte| hash_of(&[byte; 600]));
    let kept = || hashes.map(|hash| folder.path().join(hash.to_string()).exists());
    store.get(hashes[0]).await.unwrap();
    let used = store.using(hashes[0]);
    store.get(hashes[1]).await.unwrap();
    assert_eq!(kept(), [true, true, false]);
    drop(used);
    store.get(hashes[2]).await.unwrap();
    assert_eq!(kept(), [false, false, true]);
}

#[tokio::test]
async fn put__should_compare_what_the_store_received() {
    let folder = tempfile::tempdir().unwrap();
    let stored = |bytes: &[u8]| serde_json::to_vec(&Stored { hash: hash_of(bytes), bytes: 5 }).unwrap();
    let (origin, _) = serve(vec![("200 OK", stored(b"bytes")), ("200 OK", stored(b"bytez"))]).await;
    let store = store(folder.path(), 1 << 20, &origin);
    assert_eq!(store.put(Arc::from(*b"bytes")).await.unwrap(), hash_of(b"bytes"));
    assert!(matches!(store.put(Arc::from(*b"bytes")).await, Err(ArtifactError::WrongHash { .. })));
}

#[test]
fn evict__should_remove_the_longest_unused_and_never_the_one_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (name, age_s) in [("old", 30), ("middle", 20), ("new", 10), ("used", 40)] {
        fs::write(path(name), [0; 100]).unwrap();
        let file = fs::File::options().append(true).open(path(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age_s)).unwrap();
    }
    evict(folder.path(), 250, |name| name == "used").unwrap();
    let left = ["old", "middle", "new", "used"].map(|name| path(name).exists());
    assert_eq!(left, [false, false, true, true]);
}

/// Takes one upload whole, and gives its head and body.
async fn take_upload(listener: TcpListener, answer: Vec<u8>) -> (String, Vec<u8>) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let (mut request, mut part) = (Vec::new(), [0; 8 * 1024]);
    loop {
        let read = stream.read(&mut part).await.unwrap();
        request.extend_from_slice(&part[..read]);
        let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("its length is told").trim().parse();
        if request.len() >= end + 4 + length.unwrap_or(usize::MAX) {
            let told = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
            stream.write_all(&[told.as_bytes(), &answer].concat()).await.unwrap();
            return (head, request.split_off(end + 4));
        }
    }
}

#[tokio::test]
async fn transfers__should_keep_the_rates_that_the_owner_set() {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Arc<[u8]> = (0..48 * 1024_u32).map(|place| place.to_le_bytes()[0]).collect();
    let limited = |origin: &str| {
        let limits = Limits { max_upload_kib_per_second: Some(96), max_download_kib_per_second: Some(96), ..Limits::default() };
        ArtifactStore { rates: Rates::of(&limits), ..store(folder.path(), 1 << 20, origin) }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let stored = serde_json::to_vec(&Stored { hash: hash_of(&bytes), bytes: 48 * 1024 }).unwrap();
    let taken = tokio::spawn(take_upload(listener, stored));
    let began = Instant::now();
    limited(&origin).put(bytes.clone()).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    let (head, body) = taken.await.unwrap();
    assert!(body == *bytes && !head.contains("transfer-encoding"), "{head}");

    files::remove_if_there(&folder.path().join(hash_of(&bytes).to_string())).unwrap();
    let (origin, _) = serve(vec![("200 OK", bytes.to_vec())]).await;
    let began = Instant::now();
    assert_eq!(limited(&origin).get(hash_of(&bytes)).await.unwrap(), bytes);
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
}
