//! What is run, what it may use and what may lie beside it: from the job file or what was found, changed by hand.

use super::upload::Chosen;
use crate::api::{Failure, Outcome};
use leptos::{html, prelude::*};
use starling_browse::scripts::{USUAL_TIME, Wish};
use starling_http_api::{job::Resources, node::OfferView};
use starling_primitives::{DurationMs, Hash32};
use starling_scripts::{DataFile, JobFile};
use std::{str::FromStr, sync::Arc};

/// A data set or a model that is uploaded by itself.
#[derive(Clone, Copy)]
pub(super) struct Beside {
    /// Where the script finds it.
    pub(super) path: RwSignal<String>,
    /// What the job file calls it on its writer's disk; empty if a person added it.
    called: StoredValue<String>,
    pub(super) file: NodeRef<html::Input>,
    /// Or what the job file names, which is stored already.
    pub(super) artifact: Option<Hash32>,
    /// Counts the files that were chosen here one after the other.
    pub(super) changed: RwSignal<u32>,
    /// Tells it from those before it.
    id: u32,
}

/// The form.
#[derive(Clone, Copy)]
pub(super) struct Fields {
    pub(super) chosen: RwSignal<Option<Arc<Chosen>>>,
    /// Which of the jobs that were found.
    job: RwSignal<usize>,
    command: RwSignal<String>,
    requirements: RwSignal<String>,
    memory: RwSignal<String>,
    cpus: RwSignal<String>,
    disk: RwSignal<String>,
    gpu: RwSignal<bool>,
    minutes: RwSignal<String>,
    most: RwSignal<String>,
    offer: RwSignal<String>,
    pub(super) beside: RwSignal<Vec<Beside>>,
    /// How many places for such files there were.
    slots: StoredValue<u32>,
    /// Whether it shall run although it looks like an attack.
    pub(super) anyway: RwSignal<bool>,
}

fn wrong(what: impl Into<String>) -> Failure {
    Failure::new("field", what)
}

fn number<T: FromStr>(field: RwSignal<String>, name: &str) -> Outcome<T> {
    field.with(|text| text.trim().parse()).map_err(|_| wrong(format!("{name}: a whole number.")))
}

impl Fields {
    pub(super) fn new() -> Self {
        let empty = || RwSignal::new(String::new());
        Self {
            chosen: RwSignal::new(None),
            job: RwSignal::new(0),
            command: empty(),
            requirements: empty(),
            memory: empty(),
            cpus: empty(),
            disk: empty(),
            gpu: RwSignal::new(false),
            minutes: empty(),
            most: empty(),
            offer: empty(),
            beside: RwSignal::new(Vec::new()),
            slots: StoredValue::new(0),
            anyway: RwSignal::new(false),
        }
    }

    /// Takes an upload, and its likeliest job into the fields.
    pub(super) fn choose(self, chosen: Arc<Chosen>) {
        self.anyway.set(false);
        self.chosen.set(Some(chosen));
        self.take_job(0);
    }

    fn take_job(self, place: usize) {
        let Some(chosen) = self.chosen.get_untracked() else { return };
        let job = chosen.jobs.get(place).cloned().unwrap_or_else(|| JobFile::of_command(Vec::new()));
        let Resources { memory_mib, cpus, disk_mib, gpu, .. } = job.resources;
        self.job.set(place);
        self.command.set(job.command.join(" "));
        self.requirements.set(job.requirements.unwrap_or_default());
        self.memory.set(memory_mib.to_string());
        self.cpus.set(cpus.to_string());
        self.disk.set(disk_mib.to_string());
        self.gpu.set(gpu);
        self.minutes.set(job.max_minutes.map_or(USUAL_TIME.0 / 60_000, u64::from).to_string());
        self.most.set(job.max_price_near.unwrap_or_default());
        self.beside.set(job.data.into_iter().map(|data| self.slot(data.path, data.file.unwrap_or_default(), data.artifact)).collect());
    }

    fn slot(self, path: String, called: String, artifact: Option<Hash32>) -> Beside {
        self.slots.update_value(|slots| *slots += 1);
        let (path, called, changed) = (RwSignal::new(path), StoredValue::new(called), RwSignal::new(0));
        Beside { path, called, file: NodeRef::new(), artifact, changed, id: self.slots.get_value() }
    }

    /// The job as the fields say it, checked against the upload; nothing before anything was chosen.
    pub(super) fn job(self) -> Option<Outcome<JobFile>> {
        let chosen = self.chosen.get()?;
        Some(self.read(&chosen).and_then(|job| {
            chosen.bundle.check_job(&job).map_err(|error| wrong(format!("{error}.")))?;
            let artifacts = vec![Hash32::default(); job.data.len()];
            job.script(Hash32::default(), &artifacts).map_err(|error| wrong(format!("{error}.")))?;
            Ok(job)
        }))
    }

    fn read(self, chosen: &Chosen) -> Outcome<JobFile> {
        let found = chosen.jobs.get(self.job.get()).cloned().unwrap_or_else(|| JobFile::of_command(Vec::new()));
        let command = self.command.get();
        let data = |beside: &Beside| DataFile {
            path: beside.path.get(),
            file: beside.artifact.is_none().then(|| beside.called.get_value()),
            artifact: beside.artifact,
        };
        Ok(JobFile {
            // A part may have spaces in it: what was not changed stays as it was.
            command: if command == found.command.join(" ") {
                found.command
            } else {
                command.split_whitespace().map(str::to_owned).collect()
            },
            requirements: Some(self.requirements.get()).filter(|name| !name.is_empty()),
            max_price_near: Some(self.most.get().trim().to_owned()).filter(|most| !most.is_empty()),
            max_minutes: Some(number(self.minutes, "Minutes, at most")?),
            resources: Resources {
                memory_mib: number(self.memory, "Memory")?,
                cpus: number(self.cpus, "Processors")?,
                disk_mib: number(self.disk, "Disk")?,
                gpu: self.gpu.get(),
                ..found.resources
            },
            environment: found.environment,
            data: self.beside.with(|beside| beside.iter().map(data).collect()),
        })
    }

    /// What the job wants of a machine.
    pub(super) fn wish(self, job: &JobFile) -> Outcome<Wish> {
        let most = job.max_price().map_err(|error| wrong(error.to_string()))?;
        let time = DurationMs::from_secs(u64::from(job.max_minutes.unwrap_or_default()) * 60);
        Ok(Wish { resources: job.resources, most, time, offer: self.offer.with(|offer| offer.parse().ok()) })
    }

    /// Whether something of the upload looks like an attack.
    pub(super) fn is_suspicious(self) -> bool {
        self.chosen.with(|chosen| chosen.as_ref().is_some_and(|chosen| chosen.found.is_suspicious()))
    }

    /// Whether nothing does, or a person said that it shall run.
    pub(super) fn is_agreed(self) -> bool {
        !self.is_suspicious() || self.anyway.get()
    }
}

/// Command, packages, resources, limits, machine.
#[component]
pub(super) fn JobFields(fields: Fields, chosen: Arc<Chosen>, offers: RwSignal<Option<Vec<OfferView>>>) -> impl IntoView {
    let text = |label: &'static str, name: &'static str, value: RwSignal<String>, hint: AnyView| {
        view! { <label class="field">{label}<input name=name autocomplete="off" prop:value=move || value.get() on:input:target=move |event| value.set(event.target().value()) /><span class="hint">{hint}</span></label> }
    };
    let jobs: Vec<String> = chosen.jobs.iter().map(|job| job.command.join(" ")).collect();
    let nothing = jobs.is_empty();
    let requirements = chosen.found.requirements.clone();
    // Signs of life come every few seconds; the list changes seldom.
    let machines = Memo::new(move |_| {
        let words = |offer: &OfferView| format!("Node {}, {} an hour", offer.node.node.id, offer.offer.terms.price_per_hour.display_near());
        let takes = |offer: &&OfferView| offer.node.scripts;
        offers.with(|offers| {
            offers.iter().flatten().filter(takes).map(|offer| (offer.offer.id.to_string(), words(offer))).collect::<Vec<_>>()
        })
    });
    let variables = chosen.jobs.first().map(|job| job.environment.keys().cloned().collect::<Vec<_>>().join(", ")).unwrap_or_default();
    view! {
        {nothing.then(|| view! { <p class="note warn" role="status">"Nothing that can be run was found at the top of the upload: say below what to run."</p> })}
        {(jobs.len() > 1).then(|| view! {
            <label class="field">"Which one"<select on:change:target=move |event| fields.take_job(event.target().value().parse().unwrap_or(0))>
                {jobs.into_iter().enumerate().map(|(place, name)| view! { <option value=place.to_string() selected=move || fields.job.get() == place>{name}</option> }).collect_view()}
            </select><span class="hint">"Several things could be run."</span></label>
        })}
        {text("Command", "command", fields.command, view! { "Program and arguments, cut at spaces; no shell reads it. "<code>"notebook study.ipynb"</code>" runs a notebook." }.into_any())}
        <label class="field">"Packages"<select on:change:target=move |event| fields.requirements.set(event.target().value())>
            <option value="" selected=move || fields.requirements.with(String::is_empty)>"None: Python's standard library alone"</option>
            {requirements.into_iter().map(|name| { let (key, value) = (name.clone(), name.clone()); view! { <option value=value selected=move || fields.requirements.get() == key>{name}</option> }}).collect_view()}
        </select><span class="hint">"Names and versions from the package index, as wheels; a machine keeps what it installed, so the second run starts at once."</span></label>
        {(!variables.is_empty()).then(|| view! { <p class="faint">"Variables of the job file: "<span class="mono">{variables}</span></p> })}
        <div class="row filters">
            {text("Processors", "cpus", fields.cpus, "1 to 1024".into_any())}
            {text("Memory, MiB", "memory", fields.memory, "64 or more".into_any())}
            {text("Disk, MiB", "disk", fields.disk, "Upload, data and outputs".into_any())}
            <label class="row"><input type="checkbox" prop:checked=move || fields.gpu.get() on:change:target=move |event| fields.gpu.set(event.target().checked()) />"Graphics processors"</label>
        </div>
        <div class="row filters">
            {text("Minutes, at most", "minutes", fields.minutes, "Never longer is worked, setting up included".into_any())}
            {text("Price, NEAR at most", "most", fields.most, "Empty: what the time costs".into_any())}
            <label class="field">"Machine"<select on:change:target=move |event| fields.offer.set(event.target().value())>
                <option value="">"The cheapest that fits"</option>
                {move || machines.get().into_iter().map(|(value, words)| { let key = value.clone(); view! { <option value=value selected=move || fields.offer.get() == key>{words}</option> }}).collect_view()}
            </select></label>
        </div>
    }
}

/// Data sets and models that are uploaded by themselves.
#[component]
pub(super) fn BesideFields(fields: Fields) -> impl IntoView {
    let add = move |_| {
        let slot = fields.slot("data/".to_owned(), String::new(), None);
        fields.beside.update(|beside| beside.push(slot));
    };
    // The path is the file's name until someone says otherwise.
    let named = move |slot: Beside| {
        slot.changed.update(|count| *count += 1);
        let name = slot.file.get_untracked().and_then(|input| input.files()).and_then(|list| list.get(0)).map(|file| file.name());
        if let Some(name) = name.filter(|_| slot.path.with_untracked(|path| path.ends_with('/'))) {
            slot.path.update(|path| path.push_str(&name));
        }
    };
    let place = move |(place, slot): (usize, Beside)| {
        let file = match slot.artifact {
            Some(artifact) => view! { <p class="soft">"Stored already: "<span class="mono">{artifact.to_string()}</span></p> }.into_any(),
            None => {
                let called = slot.called.get_value();
                let label = if called.is_empty() { "File".to_owned() } else { format!("File that the job file calls {called}") };
                view! { <label class="field">{label}<input type="file" node_ref=slot.file on:change=move |_| named(slot) /></label> }
                    .into_any()
            }
        };
        view! {
            <fieldset class="stack"><legend class="field">{format!("Data or model {}", place + 1)}</legend>
                {file}
                <label class="field">"Where the script finds it"<input autocomplete="off" prop:value=move || slot.path.get() on:input:target=move |event| slot.path.set(event.target().value()) /></label>
            </fieldset>
        }
    };
    view! {
        <For each=move || fields.beside.get().into_iter().enumerate() key=|(_, slot)| slot.id children=place />
        <div class="row"><button type="button" class="button small" on:click=add>"Add a data set or a model"</button>
            {move || fields.beside.with(|beside| !beside.is_empty()).then(|| view! { <button type="button" class="button small" on:click=move |_| fields.beside.update(|beside| { beside.pop(); })>"Take the last out"</button> })}
        </div>
    }
}
