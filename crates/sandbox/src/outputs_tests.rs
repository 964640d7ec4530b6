//! What a job may leave behind to harm whoever takes it.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use std::os::unix::{ffi::OsStrExt, fs::symlink, net::UnixListener};

use super::*;

struct Place {
    job: tempfile::TempDir,
    host: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { job: tempfile::tempdir().unwrap(), host: tempfile::tempdir().unwrap() };
        fs::create_dir(place.job.path().join(OUTPUTS)).unwrap();
        place
    }

    fn file(&self, name: &str, content: &[u8]) {
        let path = self.job.path().join(OUTPUTS).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn take(&self, bytes: u64, files: u64) -> Taking {
        let mut taking = Taking::new(bytes, files);
        taking.take(&open_folder(self.job.path()).unwrap(), self.host.path()).unwrap();
        taking
    }

    fn taken(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.host.path().join(OUTPUTS).join(name)).ok()
    }
}

#[test]
fn take__should_bring_files_and_folders_in_place_of_what_was_there() {
    let place = Place::new();
    place.file("model/weights", b"w");
    fs::create_dir(place.host.path().join(OUTPUTS)).unwrap();
    fs::write(place.host.path().join(OUTPUTS).join("old"), "old").unwrap();
    assert_eq!(place.take(100, 10).notes(), [""; 0]);
    assert_eq!(place.taken("model/weights").unwrap(), b"w");
    assert_eq!(place.taken("old"), None);
}

#[test]
fn take__should_leave_links_pipes_sockets_and_odd_names() {
    let place = Place::new();
    let outputs = place.job.path().join(OUTPUTS);
    symlink("/etc/passwd", outputs.join("file-link")).unwrap();
    symlink("/etc", outputs.join("folder-link")).unwrap();
    let _socket = UnixListener::bind(outputs.join("socket")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(outputs.join("pipe")).status().unwrap().success());
    fs::write(outputs.join(OsStr::from_bytes(b"not\xfftext")), "x").unwrap();
    fs::write(outputs.join("two\nlines"), "x").unwrap();
    let taking = place.take(100, 10);
    assert_eq!(fs::read_dir(place.host.path().join(OUTPUTS)).unwrap().count(), 0);
    let notes = taking.notes();
    assert_eq!((notes.len(), notes.last().unwrap().as_str()), (NAMED + 1, "1 more were left out"), "{notes:?}");
}

#[test]
fn take__should_not_write_through_a_link_that_lay_in_the_hosts_folder() {
    let (place, elsewhere) = (Place::new(), tempfile::tempdir().unwrap());
    place.file("x", b"x");
    symlink(elsewhere.path(), place.host.path().join(OUTPUTS)).unwrap();
    place.take(100, 10);
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    assert_eq!(place.taken("x").unwrap(), b"x");
}

#[test]
fn take__should_not_read_where_the_outputs_themselves_are_a_link() {
    let place = Place::new();
    fs::remove_dir(place.job.path().join(OUTPUTS)).unwrap();
    symlink("/etc", place.job.path().join(OUTPUTS)).unwrap();
    assert_eq!(place.take(100, 10).notes().len(), 1);
    assert_eq!(fs::read_dir(place.host.path().join(OUTPUTS)).unwrap().count(), 0);
}

#[test]
fn take__should_stop_at_the_limits_and_count_holes() {
    let place = Place::new();
    place.file("hole", b"");
    File::options().write(true).open(place.job.path().join(OUTPUTS).join("hole")).unwrap().set_len(1 << 40).unwrap();
    assert!(place.take(1 << 30, 10).too_much);
    assert_eq!(place.taken("hole"), None);
    let place = Place::new();
    for number in 0..4 {
        place.file(&number.to_string(), b"1234");
    }
    assert!(!place.take(16, 4).too_much);
    assert!(place.take(15, 4).too_much);
    assert!(place.take(16, 3).too_much);
}

#[test]
fn take__should_not_go_deeper_than_it_may() {
    let place = Place::new();
    place.file(&format!("{}file", "d/".repeat(40)), b"x");
    let notes = place.take(100, 100).notes();
    assert!(notes.len() == 1 && notes[0].ends_with("it is too deep"), "{notes:?}");
}
