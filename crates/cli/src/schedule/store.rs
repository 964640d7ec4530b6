//! Schedules on disk: a folder each, written so that neither a kill nor a power cut leaves half of anything.

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use starling_primitives::{Amount, AssetName, Hash32};
use starling_rounds::recipe::Recipe;
use starling_schedules::{Schedule, checked_name};
use starling_scripts::JobFile;
use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

/// The most schedules of one home.
const MAX_SCHEDULES: usize = 100;
const SCHEDULE: &str = "schedule.json";
const ORDER: &str = "order.json";

/// What each run of a schedule does.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Order {
    /// A script, on a rented node.
    Script(ScriptOrder),
    /// A training over the network.
    Training(Box<TrainingOrder>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScriptOrder {
    /// The uploaded description.
    pub(crate) job: Hash32,
    /// The job file, for resources and time.
    pub(crate) file: JobFile,
    /// The most hours, instead of the job file's minutes.
    pub(crate) hours: Option<f64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrainingOrder {
    /// As it was when the schedule was added.
    pub(crate) recipe: Recipe,
    /// As in [`crate::train::TrainOptions`].
    #[serde(default)]
    pub(crate) fit: bool,
    /// File or folder, read anew each time.
    pub(crate) data: PathBuf,
    /// The published model to start from, in its last version each time.
    pub(crate) from: Option<AssetName>,
    pub(crate) min_nodes: u16,
    pub(crate) max_nodes: u16,
    pub(crate) price_per_million_tokens: Amount,
}

impl Order {
    /// What is done, in a few words.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Script(order) => format!("runs {}", order.file.command.join(" ")),
            Self::Training(order) => format!("trains {} on {}", order.recipe.name, order.data.display()),
        }
    }
}

/// All schedules of a home.
#[derive(Clone, Debug)]
pub(crate) struct Store(PathBuf);

impl Store {
    pub(crate) fn open(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
        Ok(Self(folder))
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.folder(name).join(SCHEDULE).exists()
    }

    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(&self.0)?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = entries.filter(|name| checked_name(name).is_ok() && self.exists(name)).collect();
        names.sort();
        Ok(names)
    }

    pub(crate) fn add(&self, name: &str, order: &Order, schedule: &Schedule) -> Result<()> {
        let _turn = self.turn()?;
        ensure!(self.names()?.len() < MAX_SCHEDULES, "there are {MAX_SCHEDULES} schedules already: remove one");
        fs::create_dir_all(self.folder(name))?;
        write_durably(&self.folder(name).join(ORDER), order)?;
        write_durably(&self.folder(name).join(SCHEDULE), schedule)
    }

    pub(crate) fn read(&self, name: &str) -> Result<Schedule> {
        self.require(name)?;
        read(&self.folder(name).join(SCHEDULE))
    }

    pub(crate) fn order(&self, name: &str) -> Result<Order> {
        read(&self.folder(name).join(ORDER))
    }

    /// Changes a schedule; what changed lies on disk when this returns.
    pub(crate) fn change<T>(&self, name: &str, change: impl FnOnce(&mut Schedule) -> Result<T>) -> Result<T> {
        let _turn = self.turn()?;
        let before = self.read(name)?;
        let mut schedule = before.clone();
        let result = change(&mut schedule)?;
        if schedule != before {
            write_durably(&self.folder(name).join(SCHEDULE), &schedule)?;
        }
        Ok(result)
    }

    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let _turn = self.turn()?;
        let schedule = self.read(name)?;
        if schedule.running.is_some() {
            bail!("{name} has a run under way that is paid for: pause it, and remove it when the run is over");
        }
        Ok(fs::remove_file(self.folder(name).join(SCHEDULE))?)
    }

    /// Held by the one program that serves; goes with it, however it ends.
    pub(crate) fn serving(&self) -> Result<File> {
        let lock = File::create(self.0.join("serve.lock"))?;
        ensure!(lock.try_lock().is_ok(), "another `starling schedule serve` works in {}", self.0.display());
        Ok(lock)
    }

    fn turn(&self) -> Result<File> {
        let lock = File::create(self.0.join("change.lock"))?;
        lock.lock()?;
        Ok(lock)
    }

    fn require(&self, name: &str) -> Result<()> {
        checked_name(name)?;
        ensure!(self.exists(name), "there is no schedule {name}; `starling schedule list` shows those that there are");
        Ok(())
    }
}

pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))
}

/// Old or new, never a part, whatever happens to the machine.
pub(crate) fn write_durably(path: &Path, value: &impl Serialize) -> Result<()> {
    let part = path.with_extension("part");
    let mut file = File::create(&part).with_context(|| format!("{} cannot be written", part.display()))?;
    file.write_all(&serde_json::to_vec_pretty(value)?)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    let folder = path.parent().context("a file needs a folder")?;
    Ok(File::open(folder)?.sync_all()?)
}
