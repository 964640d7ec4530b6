//! Training on this machine alone: no coordinator, no chain, no pay. The recipe, its data and a report in one folder.

use crate::probe;
use anyhow::{Context as _, Result, bail};
use starling_training::{DataFile, Parameters, Progress, Recipe, TOKENIZER, Trained, generated, import_model, open_device, prepare, train};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// More data than this is refused rather than read into memory.
const MAX_DATA_BYTES: u64 = 1 << 30;

#[derive(clap::Args)]
pub(crate) struct TrainArguments {
    /// A preset's name, or a recipe file in TOML.
    #[arg(long)]
    recipe: String,
    /// The data: `.csv`, `.jsonl`, `.zip` or `.tar` by its ending, else text; left out where the preset generates it.
    #[arg(long)]
    data: Option<PathBuf>,
    /// A `model.safetensors` to start from, or to put the recipe's adapters on; fresh weights when left out.
    #[arg(long)]
    base: Option<PathBuf>,
    /// The folder for model, recipe and report.
    #[arg(long)]
    output: PathBuf,
    /// Threads that work may use.
    #[arg(long, default_value_t = probe::threads(), value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: u16,
    /// Memory that work may use, in MiB; all of it when left out.
    #[arg(long)]
    memory_mib: Option<u64>,
}

/// Trains to the end and writes what came out.
pub(crate) fn train_here(arguments: &TrainArguments) -> Result<()> {
    let recipe = read_recipe(&arguments.recipe)?;
    let data = read_data(&recipe, arguments.data.as_deref())?;
    let base = arguments.base.as_deref().map(read_base).transpose()?;
    let memory = probe::memory_for_work(arguments.memory_mib)?;
    let folder = &arguments.output;
    fs::create_dir_all(folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
    let mut salt = [0; 32];
    getrandom::fill(&mut salt).context("the system gives no random numbers")?;
    let prepared = prepare(&recipe, &data, base.as_ref().map_or(&BTreeMap::new(), |(_, metadata)| metadata), salt)?;
    let committed = serde_json::json!({ "hidden_data": hex(&prepared.commitment.hash) });
    write(folder, "hidden.json", format!("{committed:#}\n").as_bytes())?;
    let steps = recipe.total_inner_steps();
    let trained = train(&recipe, &prepared, base.as_ref().map(|(weights, _)| weights), memory, &open_device(Some(0))?, |progress| {
        match progress {
            Progress::Step(made) => {
                if let Some(why) = made.withdrawn {
                    eprintln!("step {}: withdrawn ({why:?}), loss {:.3}", made.step, made.loss);
                }
            }
            Progress::Measured { steps: made, loss } => eprintln!("step {made} of {steps}: validation loss {loss:.4} nats"),
        }
        true
    })?;
    let revealed = serde_json::json!({ "hidden_data": hex(&prepared.commitment.hash), "salt": hex(&prepared.commitment.salt) });
    write(folder, "hidden.json", format!("{revealed:#}\n").as_bytes())?;
    write_all(folder, &recipe, &trained)?;
    if trained.report.synthetic {
        println!("The data is synthetic: the figures show that the training works, and nothing about the world.");
    }
    println!("{}: {}", recipe.name, trained.report.sentence());
    println!("Report: {}", folder.join("report.html").display());
    Ok(())
}

fn write_all(folder: &Path, recipe: &Recipe, trained: &Trained) -> Result<()> {
    write(folder, "recipe.toml", recipe.to_toml()?.as_bytes())?;
    write(folder, "model.safetensors", &trained.model.safetensors)?;
    write(folder, "config.json", trained.model.config_json.as_bytes())?;
    if let Some(tokenizer) = &trained.tokenizer {
        write(folder, "tokenizer.json", tokenizer.as_bytes())?;
    }
    if let Some(adapter) = &trained.adapter {
        write(folder, "adapter_model.safetensors", &adapter.safetensors)?;
        write(folder, "adapter_config.json", adapter.config_json.as_bytes())?;
    }
    write(folder, "report.json", format!("{:#}\n", trained.report.to_json()).as_bytes())?;
    write(folder, "report.html", trained.report.to_html().as_bytes())
}

fn read_recipe(name_or_file: &str) -> Result<Recipe> {
    if Recipe::is_preset(name_or_file) {
        return Ok(Recipe::preset(name_or_file)?);
    }
    let text = fs::read_to_string(name_or_file).with_context(|| {
        format!("{name_or_file} is neither a preset ({}) nor a file that can be read", Recipe::preset_names().join(", "))
    })?;
    Recipe::from_toml(&text).with_context(|| format!("the recipe {name_or_file} is wrong"))
}

/// Weights and metadata of a model file. One from elsewhere has its tokens in the `tokenizer.json` beside it.
fn read_base(path: &Path) -> Result<(Parameters, BTreeMap<String, String>)> {
    let (weights, mut metadata) = import_model(&fs::read(path).with_context(|| format!("cannot read {}", path.display()))?)?;
    if let Ok(beside) = fs::read_to_string(path.with_file_name("tokenizer.json")) {
        metadata.entry(TOKENIZER.to_owned()).or_insert(beside);
    }
    Ok((weights, metadata))
}

/// Writes the data that a preset generates.
pub(crate) fn write_sample(recipe: &str, output: &Path) -> Result<()> {
    let recipe = read_recipe(recipe)?;
    let file = read_data(&recipe, None)?;
    fs::write(output, &file.bytes).with_context(|| format!("cannot write {}", output.display()))?;
    println!("{}: {} bytes of synthetic data, as {} generates it", output.display(), file.bytes.len(), recipe.name);
    Ok(())
}

fn read_data(recipe: &Recipe, path: Option<&Path>) -> Result<DataFile> {
    let Some(path) = path else {
        return generated(recipe)?.with_context(|| format!("the recipe {} generates no data: give --data FILE", recipe.name));
    };
    let size = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if size > MAX_DATA_BYTES {
        bail!("{} has {size} bytes, at most {MAX_DATA_BYTES} are read", path.display());
    }
    let name = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    Ok(DataFile { name, bytes: fs::read(path).with_context(|| format!("cannot read {}", path.display()))?, synthetic: false })
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = folder.join(name);
    fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn hex(bytes: &[u8; 32]) -> String {
    starling_primitives::Hash32(*bytes).to_string()
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    fn arguments(recipe: &str, data: Option<PathBuf>, output: &Path, memory_mib: u64) -> TrainArguments {
        TrainArguments { recipe: recipe.to_owned(), data, base: None, output: output.to_owned(), threads: 1, memory_mib: Some(memory_mib) }
    }

    #[test]
    fn train_here__should_leave_model_report_and_what_was_hidden() {
        let folder = tempfile::tempdir().unwrap();
        let (data, output) = (folder.path().join("text.txt"), folder.path().join("out"));
        let text = [include_str!("here.rs"), include_str!("main.rs"), include_str!("setup.rs")].concat();
        fs::write(&data, text).unwrap();
        train_here(&arguments("tiny", Some(data.clone()), &output, 512)).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&fs::read(output.join("report.json")).unwrap()).unwrap();
        assert!(report["outcome"]["bits_per_byte"]["value"].as_f64().unwrap() < 6.0, "{report}");
        assert_eq!(report["synthetic"], false);
        let hidden = fs::read_to_string(output.join("hidden.json")).unwrap();
        assert!(hidden.contains("salt"), "{hidden}");
        assert!(fs::read_to_string(output.join("report.html")).unwrap().contains("<svg"));
        // What it wrote is a model that it can start from.
        let again = TrainArguments {
            base: Some(output.join("model.safetensors")),
            ..arguments("tiny", Some(data), &folder.path().join("more"), 512)
        };
        train_here(&again).unwrap();
    }

    #[test]
    fn train_here__should_keep_the_tokens_of_the_model_that_it_starts_from() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let recipe = Recipe::preset("tiny").unwrap().to_toml().unwrap().replace("vocab = 256", "vocab = 300");
        fs::write(path("recipe.toml"), recipe).unwrap();
        fs::write(path("one.txt"), [include_str!("here.rs"), include_str!("main.rs")].concat()).unwrap();
        fs::write(path("two.txt"), [include_str!("setup.rs"), include_str!("control.rs")].concat()).unwrap();
        let recipe = path("recipe.toml").display().to_string();
        train_here(&arguments(&recipe, Some(path("one.txt")), &path("first"), 512)).unwrap();
        let base = Some(path("first/model.safetensors"));
        train_here(&TrainArguments { base, ..arguments(&recipe, Some(path("two.txt")), &path("second"), 512) }).unwrap();
        let tokens = |of: &str| fs::read(path(of).join("tokenizer.json")).unwrap();
        assert_eq!(tokens("first"), tokens("second"));
        // A table's model has the scale of its own columns.
        write_sample("fraud", &path("payments.csv")).unwrap();
        let short = fs::read_to_string(path("payments.csv")).unwrap().lines().take(900).collect::<Vec<_>>().join("\n");
        fs::write(path("fewer.csv"), short).unwrap();
        train_here(&arguments("fraud", Some(path("payments.csv")), &path("table"), 512)).unwrap();
        let base = Some(path("table/model.safetensors"));
        let other = TrainArguments { base, ..arguments("fraud", Some(path("fewer.csv")), &path("more"), 512) };
        assert!(train_here(&other).unwrap_err().to_string().contains("means and deviations"));
    }

    #[test]
    fn train_here__should_refuse_before_it_starts() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |recipe: &str, data: Option<PathBuf>, memory| {
            format!("{:#}", train_here(&arguments(recipe, data, folder.path(), memory)).unwrap_err())
        };
        assert!(refused("nope", None, 512).contains("neither a preset (rust-small"));
        assert!(refused("tiny", None, 512).contains("give --data FILE"));
        assert!(refused("fraud", None, 1).contains("MiB of memory"));
        let table = folder.path().join("t.csv");
        fs::write(&table, "a,label\n1,x\nb,y\n").unwrap();
        assert!(refused("fraud", Some(table), 512).contains("t.csv, row 3, column `a`"));
    }
}
