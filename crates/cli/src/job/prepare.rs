//! What is uploaded and what is run: from the job file, or from what was found, shown and asked.

use crate::{api::Api, output::Output};
use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use serde_json::json;
use starling_http_api::job::Script;
use starling_scripts::{Bundle, Found, JobFile, Proposal, Requirements, Weight, inspect, read_folder};
use std::{
    fs,
    io::{BufRead as _, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

#[derive(Args, Debug)]
pub(crate) struct What {
    /// What to run, cut at its spaces, instead of the job file's or what was found.
    #[arg(long)]
    command: Option<String>,
    /// The upload's file of requirements, instead of the one found.
    #[arg(long)]
    requirements: Option<String>,
}

/// An upload and its job.
pub(crate) struct Prepared {
    bundle: Bundle,
    left_out: Vec<String>,
    found: Found,
    pub(crate) job: JobFile,
    requirements: Requirements,
    /// Where `file` of a `[[data]]` is looked for.
    folder: PathBuf,
    /// Whether the job stands in a file: then it need not be asked.
    is_written: bool,
}

impl Prepared {
    /// Reads an upload and decides what to run.
    pub(crate) fn read(path: &Path, what: &What, out: Output) -> Result<Self> {
        let (bundle, left_out) = read_folder(path).with_context(|| format!("{} cannot be uploaded", path.display()))?;
        let found = inspect(&bundle);
        let written = match &found.job_file {
            Some(name) => Some(JobFile::read(name, bundle.get(name).unwrap_or_default())?),
            None => None,
        };
        let is_written = written.is_some() || what.command.is_some();
        let mut job = match (written, &what.command) {
            (Some(job), None) => job,
            (written, Some(command)) => {
                let command = command.split_whitespace().map(str::to_owned).collect();
                let found_requirements = found.requirements.first().cloned();
                let plain = || JobFile { requirements: found_requirements, ..JobFile::of_command(Vec::new()) };
                JobFile { command, ..written.unwrap_or_else(plain) }
            }
            (None, None) => choose(found.propose(), out)?,
        };
        if let Some(requirements) = &what.requirements {
            job.requirements = Some(requirements.clone());
        }
        let requirements = bundle.check_job(&job)?;
        let folder = if path.is_dir() { path.to_owned() } else { path.parent().unwrap_or(Path::new(".")).to_owned() };
        Ok(Self { bundle, left_out, found, job, requirements, folder, is_written })
    }

    /// Says what was found and what would be run.
    pub(crate) fn show(&self, out: Output) {
        let job = &self.job;
        let mut lines = vec![format!("Upload     {} files, {} KiB", self.found.files, self.found.bytes.div_ceil(1_024))];
        let mut list = |name: &str, items: &[String]| {
            if !items.is_empty() {
                let more = if items.len() > 6 { format!(" and {} more", items.len() - 6) } else { String::new() };
                lines.push(format!("{name:<10} {}{more}", items.iter().take(6).cloned().collect::<Vec<_>>().join(", ")));
            }
        };
        list("Scripts", &self.found.entry_points);
        list("Notebooks", &self.found.notebooks);
        list("Data", &self.found.data);
        list("Models", &self.found.models);
        list("Left out", &self.left_out);
        let data: Vec<String> = job.data.iter().map(|data| data.path.clone()).collect();
        list("Beside it", &data);
        for finding in &self.found.findings {
            let mark = if finding.weight == Weight::Suspicious { "WARNING" } else { "Note" };
            lines.push(format!("{mark:<10} {}: {}", finding.path, finding.words));
        }
        let packages: Vec<String> = self.requirements.list().iter().map(|requirement| requirement.text.clone()).collect();
        let source = job
            .requirements
            .as_ref()
            .map_or_else(|| "none: Python's standard library alone".to_owned(), |name| format!("{name}: {}", packages.join(", ")));
        lines.push(format!("Packages   {source}"));
        let resources = &job.resources;
        lines.push(format!(
            "Resources  {} processors, {} MiB of memory, {} MiB of disk{}",
            resources.cpus,
            resources.memory_mib,
            resources.disk_mib,
            if resources.gpu { ", graphics processors" } else { "" }
        ));
        lines.push(format!("Command    {}", job.command.join(" ")));
        let fields = json!({"found": self.found, "left_out": self.left_out, "job": job, "packages": packages});
        out.say("job_found", &fields, &lines.join("\n"));
    }

    /// Asks whether to run it, where it was not written down and someone can answer.
    pub(crate) fn confirm(&self, out: Output) -> Result<bool> {
        let suspicious = self.found.is_suspicious();
        if out.is_json() || !std::io::stdin().is_terminal() || self.is_written && !suspicious {
            ensure!(
                !suspicious,
                "a file of the upload looks like an attack on whoever loads it (see WARNING above): remove it, or say --yes"
            );
            return Ok(true);
        }
        Ok(!matches!(ask("Run this? [Y/n] ")?.to_ascii_lowercase().as_str(), "n" | "no"))
    }

    /// Uploads files and data; gives the order.
    pub(crate) async fn upload(&self, api: &Api, out: Output) -> Result<Script> {
        let spinner = out.spinner("uploading");
        let mut artifacts = Vec::new();
        for data in &self.job.data {
            artifacts.push(match (&data.file, data.artifact) {
                (_, Some(artifact)) => artifact,
                (Some(file), None) => {
                    let file = self.folder.join(file);
                    let bytes = fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
                    api.upload(&bytes).await.with_context(|| format!("{} could not be uploaded", file.display()))?
                }
                (None, None) => bail!("{:?} under [[data]] names no file", data.path),
            });
        }
        let bundle = api.upload(&self.bundle.to_tar()).await?;
        spinner.finish_and_clear();
        Ok(self.job.script(bundle, &artifacts)?)
    }
}

/// The job that was found, or the one that is chosen of several.
fn choose(proposal: Proposal, out: Output) -> Result<JobFile> {
    let jobs = match proposal {
        Proposal::One(job) => return Ok(job),
        Proposal::Nothing => bail!(
            "nothing that can be run was found: say --command \"python YOUR.py\", or write a job.toml (`starling job example` writes one)"
        ),
        Proposal::Choose(jobs) => jobs,
    };
    let names: Vec<String> = jobs.iter().map(|job| job.command.join(" ")).collect();
    if out.is_json() || !std::io::stdin().is_terminal() {
        bail!("several things could be run: say --command with one of: {}", names.join("; "));
    }
    for (index, name) in names.iter().enumerate() {
        println!("{:>3}  {name}", index + 1);
    }
    let number: usize = ask("Which one? ")?.parse().context("that is no number")?;
    number.checked_sub(1).and_then(|index| jobs.into_iter().nth(index)).context("there is no such number")
}

fn ask(question: &str) -> Result<String> {
    print!("{question}");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}
