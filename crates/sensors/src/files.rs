//! Small files of `/sys` and `/proc`: a number or a word each.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// No file that is read here is longer.
const MAX_BYTES: u64 = 64 * 1024;

/// The text of a file without its line end; nothing where it is not there.
pub(crate) fn text(path: &Path) -> Option<String> {
    use std::io::Read as _;
    let mut text = String::new();
    fs::File::open(path).ok()?.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    Some(text.trim_end().to_owned())
}

/// The number in a file.
pub(crate) fn number(path: &Path) -> Option<u64> {
    text(path)?.trim().parse().ok()
}

/// The entries of a folder in order of their names; none where there is no folder.
pub(crate) fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    entries
}

/// Whether a path's last part begins and ends like this.
pub(crate) fn is_named(path: &Path, start: &str, end: &str) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(start) && name.ends_with(end))
}

/// The warmest of a `hwmon` folder's sensors, in whole degrees, rounded up.
pub(crate) fn warmest(hwmon: &Path) -> Option<u16> {
    let sensors = entries(hwmon).into_iter().filter(|path| is_named(path, "temp", "_input"));
    sensors.filter_map(|path| degrees(number(&path)?)).max()
}

/// Whole degrees of thousandths, rounded up; a value that no sensor tells is none.
pub(crate) fn degrees(thousandths: u64) -> Option<u16> {
    u16::try_from(thousandths.div_ceil(1_000)).ok().filter(|degrees| *degrees < 250)
}
