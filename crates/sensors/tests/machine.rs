//! Whole machines in folders, and a card behind a stand-in NVML that plays a trace: what is read, and what the rules make of it and of the clock.

#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use starling_limits::{Action, Limits, MinuteOfWeek, Readings, Reason, State, decide};
use starling_primitives::TimestampMs;
use starling_sensors::{Sensors, Setup, Source};
use std::{fs, path::Path, process::Command};

fn write(root: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder is made");
        fs::write(path, text).expect("a file is written");
    }
}

fn setup(root: &Path, sources: &[Source]) -> Setup {
    Setup { sources: sources.to_vec(), nvml_library: None, root: root.to_owned(), disk: root.to_owned(), own_process: 7 }
}

/// A folder with the stand-in library and this trace.
fn card(trace: &str) -> (tempfile::TempDir, Sensors) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let library = folder.path().join("libnvidia-ml.so.1");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nvml_stand_in.c");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    assert!(built.expect("a C compiler, which the linker is too").success());
    fs::write(folder.path().join("trace"), trace).expect("a file is written");
    let sensors = Sensors::open(Setup { nvml_library: Some(library), ..setup(folder.path(), &[Source::Nvidia]) });
    assert!(sensors.problem().is_none(), "{:?}", sensors.problem());
    (folder, sensors)
}

#[test]
fn nvidia__should_be_read_through_nvml() {
    let (folder, mut sensors) = card("61 249100 97 1024\nlost\n");
    let readings = sensors.read();
    let device = &readings.devices[0];
    assert_eq!(device.name, "NVIDIA card 0 (stand-in)");
    assert_eq!((device.temperature_celsius, device.power_watts), (Some(61), Some(250)));
    assert_eq!((device.utilisation_percent, device.memory_used_mib), (Some(97), Some(1_024)));
    assert!(readings.free_disk_mib.is_some_and(|free| free > 0));
    let lost = sensors.read();
    assert_eq!((lost.devices.len(), lost.devices[0].temperature_celsius), (1, None), "it is told, without figures");
    drop(folder);
}

#[test]
fn nvidia__should_say_what_to_do_without_a_library() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Setup { nvml_library: Some(folder.path().join("none.so")), ..setup(folder.path(), &[Source::Nvidia]) };
    let mut sensors = Sensors::open(missing);
    assert!(sensors.problem().unwrap().to_string().contains("install the card's driver"));
    assert!(sensors.read().devices.is_empty());
}

#[test]
fn traces__should_make_work_slow_down_and_hand_over_before_the_limit() {
    for (name, trace, slowest, ends) in [
        ("warm-room", include_str!("traces/warm-room.txt"), 30, "throttle"),
        ("fan-stops", include_str!("traces/fan-stops.txt"), 30, "hand over"),
        ("power-spike", include_str!("traces/power-spike.txt"), 30, "full"),
        ("card-lost", include_str!("traces/card-lost.txt"), 100, "hand over"),
    ] {
        let (_folder, mut sensors) = card(trace);
        let limits = Limits { max_temperature_celsius: Some(83), max_power_watts: Some(300), ..Limits::default() };
        let (mut state, mut last, mut least, mut stopped) = (State::new(&limits, TimestampMs(0)), None, 100, false);
        for second in 0..u64::try_from(trace.lines().count()).unwrap() {
            let readings: Readings = sensors.read();
            let now = TimestampMs(second * 1_000);
            let (next, action) = decide(&limits, &state, &readings, now, MinuteOfWeek::new(0, 0));
            state = next;
            if let (Some(share), false) = (action.share(), second < 20) {
                least = least.min(share.as_percent());
            }
            // Work is stopped while the card is still within its limit.
            if let (Action::HandOver { reason: Reason::Temperature { celsius, limit, .. } }, false) = (&action, stopped) {
                assert!(celsius < limit, "{name}: stopped at {celsius}");
                stopped = true;
            }
            last = Some(action);
        }
        let last = last.unwrap();
        assert!(least <= slowest, "{name}: {least} % at least, {last:?}");
        assert_eq!(last.name(), ends, "{name}: {last:?}");
    }
}

#[test]
fn hours__should_end_with_work_handed_over_though_the_card_could_go_on() {
    let (_folder, mut sensors) = card(include_str!("traces/warm-room.txt"));
    let hours = vec!["daily 22:00-06:00".parse().unwrap()];
    let limits = Limits { max_temperature_celsius: Some(83), hours, ..Limits::default() };
    let mut state = State::new(&limits, TimestampMs(0));
    // From twelve minutes before the end to three after it.
    for second in 0..15 * 60 {
        let minute = u16::try_from(second / 60).unwrap();
        let (next, action) =
            decide(&limits, &state, &sensors.read(), TimestampMs(second * 1_000), MinuteOfWeek::new(2, 5 * 60 + 48 + minute));
        state = next;
        let expect = match minute {
            0..2 => matches!(action, Action::Full | Action::Throttle { .. }),
            2..11 => matches!(action, Action::Refuse { reason: Reason::Hours, .. }),
            _ => action == Action::HandOver { reason: Reason::Hours },
        };
        assert!(expect, "minute {minute}: {action:?}");
    }
}

#[test]
fn amd__should_be_read_from_sysfs() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        &[
            ("sys/class/drm/card0/device/vendor", "0x8086\n"),
            ("sys/class/drm/card1/device/vendor", "0x1002\n"),
            ("sys/class/drm/card1/device/gpu_busy_percent", "63\n"),
            ("sys/class/drm/card1/device/mem_info_vram_used", "2147483648\n"),
            ("sys/class/drm/card1/device/hwmon/hwmon4/temp1_input", "54000\n"),
            ("sys/class/drm/card1/device/hwmon/hwmon4/temp2_input", "71500\n"),
            ("sys/class/drm/card1/device/hwmon/hwmon4/power1_average", "201500000\n"),
            ("sys/class/drm/card1-DP-1/device/vendor", "0x1002\n"),
        ],
    );
    let readings = Sensors::open(setup(folder.path(), &[Source::Amd])).read();
    assert_eq!(readings.devices.len(), 1, "{readings:?}");
    let device = &readings.devices[0];
    assert_eq!((device.name.as_str(), device.temperature_celsius, device.power_watts), ("AMD card 1", Some(72), Some(202)));
    assert_eq!((device.utilisation_percent, device.memory_used_mib), (Some(63), Some(2_048)));
}

#[test]
fn processor__should_tell_its_warmth_and_who_uses_it() {
    let folder = tempfile::tempdir().unwrap();
    let process = |id: u32, parent: u32, ticks: u64| {
        (format!("proc/{id}/stat"), format!("{id} (name) S {parent} 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 5 0 0\n"))
    };
    let machine = |busy: u64, idle: u64, own: u64, child: u64| {
        let (own, child, other) = (process(7, 1, own), process(9, 7, child), process(8, 1, 5_000));
        write(
            folder.path(),
            &[
                ("proc/stat", format!("cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 1 1 1\n").as_str()),
                (own.0.as_str(), own.1.as_str()),
                (child.0.as_str(), child.1.as_str()),
                (other.0.as_str(), other.1.as_str()),
                ("sys/class/hwmon/hwmon0/name", "nvme\n"),
                ("sys/class/hwmon/hwmon0/temp1_input", "99000\n"),
                ("sys/class/hwmon/hwmon1/name", "coretemp\n"),
                ("sys/class/hwmon/hwmon1/temp1_input", "48000\n"),
                ("sys/class/hwmon/hwmon1/temp2_input", "52001\n"),
            ],
        );
    };
    machine(1_000, 1_000, 100, 50);
    let mut sensors = Sensors::open(setup(folder.path(), &[Source::Processor]));
    // Of 1,000 ticks 800 are busy: 300 are this program's, 400 its child's.
    machine(1_800, 1_200, 400, 450);
    let readings = sensors.read();
    assert_eq!((readings.devices[0].temperature_celsius, readings.devices[0].utilisation_percent), (Some(53), Some(80)));
    assert_eq!(readings.others_percent, Some(10));
    // Nothing of this process is there: nobody knows what others do.
    fs::remove_dir_all(folder.path().join("proc/7")).unwrap();
    assert_eq!(sensors.read().others_percent, None);
}

#[test]
fn this_machine__should_tell_who_uses_it() {
    let own_process = std::process::id();
    let mut sensors = Sensors::open(Setup { root: "/".into(), own_process, ..setup(Path::new("/tmp"), &[Source::Processor]) });
    std::thread::sleep(std::time::Duration::from_millis(300));
    let readings = sensors.read();
    assert!(readings.others_percent.is_some_and(|percent| percent <= 100), "{readings:?}");
    assert!(readings.devices[0].utilisation_percent.is_some());
}
