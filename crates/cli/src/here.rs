//! Training on this machine alone: the node's program does it, without coordinator, chain or pay.

use crate::{
    commands::TrainArgs,
    corpus::{Corpus, CorpusSize, corpus_from_crates, corpus_from_path},
    output::Output,
    up::sibling,
};
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use starling_rounds::recipe::{ModelRecipe, Recipe};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Trains where `starling` runs and says what came out.
pub(crate) async fn train(args: &TrainArgs, out: Output) -> Result<()> {
    if args.from.is_some() {
        bail!("--from names a published model, which only a run over the network may use: give --base FILE, or leave --here out");
    }
    let name = args.preset.as_deref().unwrap_or(&args.recipe);
    let recipe = crate::up::job::recipe(name)?;
    if let Some(kept) = &recipe.data.federated {
        bail!(
            "recipe {} trains on data that nodes keep under the name {kept}: leave --here out, or `federated` in its [data]",
            recipe.name
        );
    }
    let folder = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("starling-{}", recipe.name)));
    fs::create_dir_all(&folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
    let mut command = tokio::process::Command::new(sibling("gpu-node")?);
    command.arg("train").arg("--recipe").arg(name).arg("--output").arg(&folder);
    if let Some(data) = data(&recipe, args.data.as_deref(), &folder)? {
        command.arg("--data").arg(data);
    }
    if let Some(base) = &args.base {
        command.arg("--base").arg(base);
    }
    if out.is_json() {
        command.stdout(std::process::Stdio::null());
    }
    let status = command.status().await.context("gpu-node could not be started")?;
    if !status.success() {
        bail!("the training ended with {status}");
    }
    if out.is_json() {
        let report: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("report.json"))?)?;
        out.say("trained_here", &json!({ "folder": folder, "report": report }), "");
    }
    Ok(())
}

/// The file to train on: the one named; a folder's text, or by default the sources of the crates that the lockfile pins, as one
/// file; none where the preset generates its data.
fn data(recipe: &Recipe, path: Option<&Path>, folder: &Path) -> Result<Option<PathBuf>> {
    let writes_text = matches!(recipe.model, ModelRecipe::Gpt(_) | ModelRecipe::Llama(_));
    let Corpus { train, held_out, .. } = match path {
        Some(path) if path.is_dir() => corpus_from_path(path)?,
        Some(path) => return Ok(Some(path.to_owned())),
        None if writes_text => corpus_from_crates(Path::new("."), CorpusSize::default())?,
        None => return Ok(None),
    };
    let file = folder.join("data.txt");
    fs::write(&file, [train, held_out].concat()).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(Some(file))
}

/// Writes the data that a preset generates.
pub(crate) async fn write_sample(name: &str, file: &Path) -> Result<()> {
    let mut command = tokio::process::Command::new(sibling("gpu-node")?);
    let status = command.arg("sample").arg("--recipe").arg(name).arg("--output").arg(file).status().await;
    if !status.context("gpu-node could not be started")?.success() {
        bail!("nothing was written");
    }
    Ok(())
}

/// Prints the recipe of that name or file, the names there are, or the schema of the file.
pub(crate) fn show_recipe(name: Option<&str>, schema: bool, out: Output) -> Result<()> {
    if schema {
        println!("{:#}", Recipe::schema());
        return Ok(());
    }
    let Some(name) = name else {
        for name in Recipe::preset_names() {
            let recipe = Recipe::preset(name)?;
            let (kind, parameters) = (recipe.model.kind(), recipe.model.parameter_count());
            let line = format!("{name:<12} {kind:<12} {parameters:>9} parameters");
            out.say("recipe", &json!({ "name": name, "kind": kind, "parameters": parameters }), &line);
        }
        return Ok(());
    };
    let recipe = crate::up::job::recipe(name)?;
    out.say("recipe", &json!(recipe), recipe.to_toml()?.trim_end());
    Ok(())
}
