//! What an owner sets. Everything that is left out does not limit.

use crate::{Hours, MinuteOfWeek, Reason};
use serde::{Deserialize, Serialize};

/// Ranges of hours at most.
const MAX_HOURS: usize = 32;

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// A share of a training run.
    Train,
    /// Continuing a text with a model.
    Generate,
    /// Sorting texts into a model's classes.
    Classify,
    /// A research tool: prompts and an evaluation, no code.
    Tool,
    /// A tenant's own program in the sandbox.
    Script,
}

impl JobKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Train, Self::Generate, Self::Classify, Self::Tool, Self::Script];

    /// As it stands in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Generate => "generate",
            Self::Classify => "classify",
            Self::Tool => "tool",
            Self::Script => "script",
        }
    }
}

/// An owner's limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Part of the time in which work may go on, 1 to 100.
    pub max_utilisation_percent: u8,
    /// No device gets warmer, in degrees Celsius, 30 to 120.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_temperature_celsius: Option<u16>,
    /// No device draws more, in watts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_power_watts: Option<u32>,
    /// The hours in which the machine works, in its own local time; always when there are none.
    pub hours: Vec<Hours>,
    /// The machine works only after so many minutes in which nobody else used it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_only_minutes: Option<u16>,
    /// Space that stays free on the node's disk, in MiB.
    pub min_free_disk_mib: u64,
    /// Bytes a second that artifacts take upwards; unlimited when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_upload_kib_per_second: Option<u32>,
    /// The same downwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_download_kib_per_second: Option<u32>,
    /// The kinds of work that are taken.
    pub job_kinds: Vec<JobKind>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_utilisation_percent: 100,
            max_temperature_celsius: None,
            max_power_watts: None,
            hours: Vec::new(),
            idle_only_minutes: None,
            min_free_disk_mib: 1_024,
            max_upload_kib_per_second: None,
            max_download_kib_per_second: None,
            job_kinds: JobKind::ALL.to_vec(),
        }
    }
}

/// Which setting is outside its range, and what it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{setting}` is wrong: write {wanted}")]
pub struct LimitsError {
    /// Which.
    pub setting: &'static str,
    /// What it must be.
    pub wanted: &'static str,
}

impl Limits {
    /// Whether each setting is within its range.
    pub fn check(&self) -> Result<(), LimitsError> {
        let within = |fine: bool, setting, wanted| if fine { Ok(()) } else { Err(LimitsError { setting, wanted }) };
        within((1..=100).contains(&self.max_utilisation_percent), "max_utilisation_percent", "1 to 100")?;
        let temperature = self.max_temperature_celsius.is_none_or(|limit| (30..=120).contains(&limit));
        within(temperature, "max_temperature_celsius", "30 to 120")?;
        within(self.max_power_watts.is_none_or(|limit| (5..=100_000).contains(&limit)), "max_power_watts", "5 to 100000")?;
        within(self.hours.len() <= MAX_HOURS, "hours", "32 ranges at most")?;
        within(self.idle_only_minutes.is_none_or(|minutes| (1..=1_440).contains(&minutes)), "idle_only_minutes", "1 to 1440")?;
        let rate = |rate: Option<u32>| rate.is_none_or(|rate| rate >= 8);
        within(rate(self.max_upload_kib_per_second), "max_upload_kib_per_second", "8 or more")?;
        within(rate(self.max_download_kib_per_second), "max_download_kib_per_second", "8 or more")
    }

    /// What limits, in words for people; nothing where nothing does.
    pub fn words(&self) -> Vec<String> {
        let hours = self.hours.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let kinds = self.job_kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
        let percent = self.max_utilisation_percent;
        let words = [
            (percent < 100).then(|| format!("work in {percent} % of the time at most")),
            self.max_temperature_celsius.map(|limit| format!("no device above {limit} °C")),
            self.max_power_watts.map(|limit| format!("no device above {limit} W")),
            (!hours.is_empty()).then(|| format!("works {hours} by the machine's clock")),
            self.idle_only_minutes.map(|minutes| format!("works after {minutes} minutes in which nobody else used the machine")),
            (self.min_free_disk_mib > 0).then(|| format!("{} MiB of disk stay free", self.min_free_disk_mib)),
            self.max_upload_kib_per_second.map(|rate| format!("uploads at {rate} KiB/s at most")),
            self.max_download_kib_per_second.map(|rate| format!("downloads at {rate} KiB/s at most")),
            match self.job_kinds.len() {
                0 => Some("takes no jobs".to_owned()),
                _ if JobKind::ALL.iter().all(|kind| self.job_kinds.contains(kind)) => None,
                _ => Some(format!("takes these jobs alone: {kinds}")),
            },
        ];
        words.into_iter().flatten().collect()
    }

    /// Whether work of this kind is taken at all.
    pub fn takes(&self, kind: JobKind) -> Result<(), Reason> {
        if self.job_kinds.contains(&kind) { Ok(()) } else { Err(Reason::Kind { kind }) }
    }

    /// Whether the machine may work at this minute.
    pub fn in_hours(&self, at: MinuteOfWeek) -> bool {
        self.hours.is_empty() || self.hours.iter().any(|hours| hours.holds(at))
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn limits__should_be_none_where_nothing_is_said_and_name_what_is_wrong() {
        let limits: Limits = toml::from_str("").unwrap();
        assert_eq!(limits, Limits::default());
        assert!(limits.check().is_ok() && limits.in_hours(MinuteOfWeek::new(0, 0)));
        assert!(JobKind::ALL.iter().all(|kind| limits.takes(*kind).is_ok()));
        for (text, setting) in [
            ("max_utilisation_percent = 0", "max_utilisation_percent"),
            ("max_temperature_celsius = 200", "max_temperature_celsius"),
            ("max_power_watts = 1", "max_power_watts"),
            ("idle_only_minutes = 0", "idle_only_minutes"),
            ("max_upload_kib_per_second = 1", "max_upload_kib_per_second"),
        ] {
            assert_eq!(toml::from_str::<Limits>(text).unwrap().check().unwrap_err().setting, setting);
        }
        assert!(toml::from_str::<Limits>("max_watts = 3").unwrap_err().to_string().contains("unknown field"));
        assert!(toml::from_str::<Limits>("hours = [\"always\"]").unwrap_err().to_string().contains("mon-fri"));
        let only: Limits = toml::from_str("job_kinds = [\"train\"]").unwrap();
        assert_eq!(only.takes(JobKind::Script), Err(Reason::Kind { kind: JobKind::Script }));
    }

    #[test]
    fn limits__should_be_told_in_words_where_they_limit() {
        assert_eq!(Limits::default().words(), ["1024 MiB of disk stay free"]);
        let text =
            "max_temperature_celsius = 80\nmin_free_disk_mib = 0\nhours = [\"mon-fri 22:00-06:00\"]\njob_kinds = [\"train\", \"script\"]";
        let words = toml::from_str::<Limits>(text).unwrap().words();
        let wanted = ["no device above 80 °C", "works mon-fri 22:00-06:00 by the machine's clock", "takes these jobs alone: train, script"];
        assert_eq!(words, wanted);
        assert_eq!(toml::from_str::<Limits>("job_kinds = []\nmin_free_disk_mib = 0").unwrap().words(), ["takes no jobs"]);
    }

    #[test]
    fn limits__should_survive_their_file() {
        let limits = Limits { hours: vec!["mon-fri 22:00-06:00".parse().unwrap()], max_power_watts: Some(250), ..Limits::default() };
        assert_eq!(toml::from_str::<Limits>(&toml::to_string(&limits).unwrap()).unwrap(), limits);
    }
}
