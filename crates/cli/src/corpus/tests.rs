//! Tests of the corpus: what is held out, what is refused, and the real one of this checkout.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use std::{collections::HashSet, time::Instant};

use super::*;

fn write(folder: &Path, name: &str, text: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn words(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| b"abcdefghij \n"[(i * i + seed * 7 + i / 5) % 12]).collect()
}

#[test]
fn folder__should_hold_whole_files_out_and_read_alike_everywhere() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (place, folder) in [&one, &two].into_iter().enumerate() {
        for file in 0..30 {
            // Written in another order the second time.
            let file = if place == 0 { file } else { 29 - file };
            write(folder.path(), &format!("part{}/{file}.txt", file % 3), &words(file, 1_000 + file));
        }
        write(folder.path(), "double.txt", &words(3, 1_003));
        write(folder.path(), ".hidden/secret.txt", b"not to be read");
        write(folder.path(), "image.png", &[0xFF, 0xFE, 0x00]);
        write(folder.path(), "windows.txt", b"line\r\n");
    }
    let corpus = corpus_from_path(one.path()).unwrap();
    assert_eq!(corpus.hash(), corpus_from_path(two.path()).unwrap().hash());
    let total = corpus.train.len() + corpus.held_out.len();
    assert_eq!(total, (0..30).map(|file| 1_000 + file).sum::<usize>() + 1_003 + 6);
    assert!(corpus.held_out.len() >= total / 10 && corpus.held_out.len() < total / 5, "{}", corpus.held_out.len());
    let train: HashSet<_> = corpus.train_sources.iter().collect();
    assert!(corpus.held_out_sources.iter().all(|name| !train.contains(name)));
    // A file and its double go together.
    assert_eq!(train.contains(&"double.txt".to_owned()), train.contains(&"part0/3.txt".to_owned()));
    assert!(!train.contains(&"image.png".to_owned()) && !train.contains(&".hidden/secret.txt".to_owned()));
}

#[test]
fn file__should_hold_its_tail_out() {
    let folder = tempfile::tempdir().unwrap();
    let text = words(1, 5_000);
    write(folder.path(), "text", &text);
    let corpus = corpus_from_path(&folder.path().join("text")).unwrap();
    assert_eq!((&corpus.train[..], &corpus.held_out[..]), text.split_at(4_500));
    // A folder with one file is the same.
    assert_eq!(corpus_from_path(folder.path()).unwrap().hash(), corpus.hash());
}

#[test]
fn path__should_be_refused_clearly_when_there_is_nothing_to_train_on() {
    let folder = tempfile::tempdir().unwrap();
    let error = corpus_from_path(folder.path()).unwrap_err().to_string();
    assert!(error.contains("holds 0 bytes of text; at least 1000 are needed"), "{error}");
    write(folder.path(), "empty", b"");
    assert!(matches!(corpus_from_path(&folder.path().join("empty")), Err(CorpusError::TooSmall { bytes: 0, .. })));
    let error = corpus_from_path(&folder.path().join("absent")).unwrap_err().to_string();
    assert!(error.starts_with("cannot read ") && error.contains("absent"), "{error}");
}

#[test]
fn crates__should_say_when_there_is_no_checkout() {
    let folder = tempfile::tempdir().unwrap();
    let error = corpus_from_crates(folder.path(), CorpusSize::default()).unwrap_err().to_string();
    assert!(error.starts_with("`cargo fetch") && error.contains("name a file or folder of text"), "{error}");
}

#[test]
fn crates__should_give_one_corpus_whose_parts_share_nothing() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let started = Instant::now();
    let corpus = corpus_from_crates(&workspace, CorpusSize::default()).unwrap();
    println!(
        "{:.2} s; corpus {}; training {} bytes of {} crates; held out {} bytes of {}",
        started.elapsed().as_secs_f64(),
        corpus.hash(),
        corpus.train.len(),
        corpus.train_sources.len(),
        corpus.held_out.len(),
        corpus.held_out_sources.join(" "),
    );
    assert_eq!(corpus_from_crates(&workspace, CorpusSize::default()).unwrap().hash(), corpus.hash());
    assert_eq!((corpus.train.len(), corpus.held_out.len()), (8 << 20, 512 << 10));
    assert!(corpus.train_sources.len() >= 64 && corpus.held_out_sources.len() >= 16);
    let telling = |sources: &[String]| -> HashSet<String> {
        let names = sources.iter().filter_map(|source| source.rsplit_once('-'));
        names.flat_map(|(name, _)| crates::name_parts(name)).collect()
    };
    assert!(telling(&corpus.train_sources).is_disjoint(&telling(&corpus.held_out_sources)));
    // What two authors write alike is little: derives, signatures of traits, licence lines.
    let long = |text: &[u8]| -> HashSet<Vec<u8>> {
        text.split(|byte| *byte == b'\n').filter(|line| line.len() >= 60).map(<[u8]>::to_vec).collect()
    };
    let (train, held_out) = (long(&corpus.train), long(&corpus.held_out));
    let shared = held_out.intersection(&train).count();
    println!("{shared} of {} long held-out lines stand in training too", held_out.len());
    assert!(shared * 20 < held_out.len(), "{shared} of {}", held_out.len());
}

#[test]
fn name_parts__should_tell_families() {
    for (name, parts) in [
        ("tokio-rustls", vec!["tokio", "rustls"]),
        ("sha2", vec!["sha"]),
        ("serde_derive", vec!["serde"]),
        ("h2", vec!["h"]),
        ("async-core", vec!["async-core"]),
    ] {
        assert_eq!(crates::name_parts(name), parts, "{name}");
    }
}
