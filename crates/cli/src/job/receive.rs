//! What a script's statements name, downloaded as it comes: nothing is signed that is not here.

use super::Api;
use crate::home::write_atomically;
use anyhow::{Context as _, Result, ensure};
use starling_http_api::job::{Exit, OutputFile, Report};
use starling_primitives::Hash32;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The folder of one job: `log.txt`, `metrics.jsonl`, `requirements.lock` and `outputs/`.
pub(crate) struct Receiver {
    folder: PathBuf,
    /// What lies there, by its path.
    have: BTreeMap<String, Hash32>,
    report: Report,
}

impl Receiver {
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
        Ok(Self { folder: folder.to_owned(), have: BTreeMap::new(), report: Report::default() })
    }

    /// Downloads a report and all that it names and that is not here yet.
    pub(crate) async fn take(&mut self, api: &Api, output: Hash32) -> Result<()> {
        let report: Report =
            serde_json::from_slice(&api.download(output).await.context("the report that the node claims is not in the store")?)?;
        ensure!(report.is_well_formed(), "the node's report names paths that lead out of its folder: it is not taken");
        for file in report.log.iter().chain(&report.metrics).chain(&report.environment) {
            self.fetch(api, file, &file.path).await?;
        }
        for file in &report.files {
            self.fetch(api, file, &format!("outputs/{}", file.path)).await?;
        }
        self.report = report;
        Ok(())
    }

    /// How it ended, once that was told.
    pub(crate) fn exit(&self) -> Option<&Exit> {
        self.report.exit.as_ref()
    }

    /// The files of the last report.
    pub(crate) fn files(&self) -> &[OutputFile] {
        &self.report.files
    }

    async fn fetch(&mut self, api: &Api, file: &OutputFile, path: &str) -> Result<()> {
        starling_scripts::check_path(path)?;
        if self.have.get(path) != Some(&file.hash) {
            let bytes = api.download(file.hash).await.with_context(|| format!("{path} is claimed and not in the store"))?;
            let place = self.folder.join(path);
            if let Some(parent) = place.parent() {
                fs::create_dir_all(parent)?;
            }
            write_atomically(&place, &bytes)?;
            self.have.insert(path.to_owned(), file.hash);
        }
        Ok(())
    }
}
