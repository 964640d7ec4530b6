//! Groups of both versions, in folders that look like the kernel's.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;

const LIMITS: Limits = Limits {
    memory_bytes: 1 << 30,
    processes: 20,
    cpu_millis: 1500,
    disk_bytes: 1,
    files: 1,
    output_bytes: 1,
    wall: Duration::from_secs(1),
};

fn mounts(top: &Path) -> String {
    let top = top.display();
    format!(
        "20 1 0:1 / / rw - ext4 /dev/vda rw\n30 20 0:2 / {top}/memory rw,relatime - cgroup cgroup rw,memory\n\
         31 20 0:3 / {top}/pids rw shared:9 - cgroup cgroup rw,pids\n32 20 0:4 /box {top}/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
         33 20 0:5 / {top}/unified rw - cgroup2 cgroup2 rw\n"
    )
}

/// Deletes what a folder of the kernel's would not hold up.
fn empty(folders: &[PathBuf]) {
    for folder in folders {
        fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn find__should_read_each_tree_of_version_one() {
    let top = tempfile::tempdir().unwrap();
    for folder in ["memory/a/b", "pids", "cpu/inner"] {
        fs::create_dir_all(top.path().join(folder)).unwrap();
    }
    let own = "9:name=systemd:/\n8:pids:/\n4:memory:/a/b\n2:cpuacct,cpu:/box/inner\n0::/\n";
    let place = Place::find_in(own, &mounts(top.path())).unwrap();
    let at = |path: &str| top.path().join(path);
    assert_eq!(place, Place::V1 { memory: at("memory/a/b"), pids: at("pids"), cpu: at("cpu/inner"), cpuacct: at("cpu/inner") });
    assert_eq!(place.folders().len(), 3, "two controllers share a tree");
    let folders = place.record("x");
    let group = place.make("x", &LIMITS).unwrap();
    let read = |path: &str| fs::read_to_string(at(path)).unwrap();
    assert_eq!(read("memory/a/b/starling-job-x/memory.limit_in_bytes"), "1073741824");
    assert_eq!(read("pids/starling-job-x/pids.max"), "20");
    assert_eq!(read("cpu/inner/starling-job-x/cpu.cfs_quota_us"), "150000");
    fs::write(at("memory/a/b/starling-job-x/memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n").unwrap();
    fs::write(at("pids/starling-job-x/pids.events"), "max 3\n").unwrap();
    fs::write(at("cpu/inner/starling-job-x/cpuacct.usage"), "7000000\n").unwrap();
    assert_eq!((group.memory_kills(), group.refused_processes(), group.cpu_ms()), (2, 3, 7));
    empty(&folders[..3]);
}

#[test]
fn find__should_use_version_two_below_what_was_handed_on() {
    let top = tempfile::tempdir().unwrap();
    let service = top.path().join("system.slice/starling.service");
    fs::create_dir_all(service.join(LEAF)).unwrap();
    fs::write(service.join("cgroup.subtree_control"), "cpu memory pids\n").unwrap();
    let mounts = format!("33 20 0:5 / {} rw - cgroup2 cgroup2 rw\n", top.path().display());
    let place = Place::find_in("0::/system.slice/starling.service/node\n", &mounts).unwrap();
    assert_eq!(place, Place::V2(service.clone()));
    let group = place.make("x", &LIMITS).unwrap();
    let folder = service.join("starling-job-x");
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(
        ["memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cpu.max"].map(read),
        ["1073741824", "0", "1", "20", "150000 100000"]
    );
    fs::write(folder.join("memory.events"), "low 0\noom 4\noom_kill 1\noom_group_kill 1\n").unwrap();
    fs::write(folder.join("cpu.stat"), "usage_usec 9000\nuser_usec 1\n").unwrap();
    fs::write(folder.join("memory.peak"), "77\n").unwrap();
    assert_eq!((group.memory_kills(), group.cpu_ms(), group.peak_memory_bytes()), (1, 9, 77));
    assert!(group.kill());
    empty(&[folder]);
}

#[test]
fn find__should_say_how_to_mend_what_is_not_handed_on() {
    let top = tempfile::tempdir().unwrap();
    fs::create_dir_all(top.path().join("user.slice/shell")).unwrap();
    fs::write(top.path().join("user.slice/shell/cgroup.procs"), format!("1\n{}\n", std::process::id())).unwrap();
    let mounts = format!("33 20 0:5 / {} rw - cgroup2 cgroup2 rw\n", top.path().display());
    let lack = Place::find_in("0::/user.slice/shell\n", &mounts).unwrap_err();
    assert!(lack.mend.contains("Delegate=yes"), "{lack}");
    assert!(!top.path().join("user.slice/shell/node").exists(), "others share the group");
    let lack = Place::find_in("", "").unwrap_err();
    assert!(lack.mend.contains("/sys/fs/cgroup"), "{lack}");
}

#[test]
fn left_behind__should_touch_no_group_of_others() {
    assert!(Group::left_behind(&[PathBuf::from("/sys/fs/cgroup/system.slice")]).is_none());
    assert!(Group::left_behind(&[]).is_none());
    assert!(Group::left_behind(&[PathBuf::from("/nowhere/starling-job-x")]).is_some());
}

#[test]
fn remove__should_end_all_in_a_real_group_of_version_two() {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let Some(mount) = mounts.lines().filter_map(Mount::read).find(|mount| mount.kind == "cgroup2") else {
        eprintln!("this machine has no tree of version 2: only folders that look like one were tested");
        return;
    };
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let top = mount.folder(own.lines().find_map(|line| line.strip_prefix("0::")).unwrap());
    let folder = top.join(format!("{PREFIX}test-{}", std::process::id()));
    if fs::create_dir(&folder).is_err() {
        eprintln!("{} may not be written: only folders that look like a group were tested", top.display());
        return;
    }
    let group = Group::left_behind(std::slice::from_ref(&folder)).unwrap();
    let script = "echo 0 > \"$0\"; sleep 60 & exec sleep 60";
    let mut child = Command::new("sh").args(["-c", script]).arg(folder.join("cgroup.procs")).spawn().unwrap();
    let inside = || numbers(&fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default()).count();
    let limit = Instant::now() + GONE_WITHIN;
    while inside() < 2 {
        assert!(Instant::now() < limit, "nothing came in");
        thread::sleep(LOOK);
    }
    assert!(group.remove());
    assert!(!folder.exists());
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(9));
}
