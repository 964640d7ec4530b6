//! Real uploads with packages from the index: what comes back is what one gets outside. Run by `cargo xtask prove scripts`; it downloads gigabytes.

use crate::running::{Running, said, succeed, top};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Instant,
};

/// Two moons and a small network: on one thread its figures are the same each time.
const CLASSIFIER: &str = r#"
import json, math
import torch
from starling_job import metric, output

torch.manual_seed(0)
torch.set_num_threads(1)
angle = torch.rand(400) * math.pi
label = (torch.arange(400) % 2).float()
x = torch.stack([torch.cos(angle) * (1 - 2 * label) + label, torch.sin(angle) * (1 - 2 * label) + label / 2], 1) + 0.1 * torch.randn(400, 2)
model = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
for step in range(300):
    loss = torch.nn.functional.binary_cross_entropy_with_logits(model(x[:300]).squeeze(1), label[:300])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        metric("loss", loss.item(), step=step)
accuracy = ((model(x[300:]).squeeze(1) > 0) == (label[300:] > 0)).float().mean().item()
print(f"accuracy {accuracy:.3f}")
torch.save(model.state_dict(), output("model.pt"))
with open(output("result.json"), "w") as file:
    json.dump({"loss": loss.item(), "accuracy": accuracy}, file)
"#;

/// The cells of a notebook: a fit by least squares, and a last expression that is shown.
const CELLS: [&str; 3] = [
    "import json, os\nimport numpy as np\nrandom = np.random.default_rng(3)\nx = random.normal(size=(200, 3))\ny = x @ [1.5, -2.0, 0.5] + 0.1 * random.normal(size=200)",
    "%matplotlib inline\nweights, *_ = np.linalg.lstsq(x, y, rcond=None)\nprint('weights', weights.round(3))\nweights.shape",
    "os.makedirs('outputs', exist_ok=True)\nwith open('outputs/result.json', 'w') as file:\n    json.dump(list(weights), file)",
];

/// One upload, run twice and once outside.
struct Case {
    name: &'static str,
    folder: PathBuf,
    /// The script or notebook.
    file: &'static str,
}

fn notebook() -> String {
    let cell = |source: &&str| json!({"cell_type": "code", "metadata": {}, "execution_count": null, "outputs": [], "source": source.split_inclusive('\n').collect::<Vec<_>>()});
    json!({"cells": CELLS.iter().map(cell).collect::<Vec<_>>(), "metadata": {}, "nbformat": 4, "nbformat_minor": 4}).to_string()
}

fn must(command: &mut Command) -> Output {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    output
}

/// Runs a case outside, with the packages that its lock file names, installed by pip; gives its result.
fn outside(case: &Case, lock: &Path, home: &Path) -> Vec<u8> {
    let (packages, folder) = (home.join("packages"), home.join("outside").join(case.name));
    let mut install = Command::new("/usr/bin/python3");
    install
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir", "--only-binary", ":all:", "--target"])
        .arg(&packages);
    must(install.args(["--require-hashes", "-r"]).arg(lock));
    must(Command::new("cp").arg("-r").arg(&case.folder).arg(fs::create_dir_all(home.join("outside")).map(|()| &folder).expect("a folder")));
    let mut run = Command::new("/usr/bin/python3");
    run.current_dir(&folder).env(
        "PYTHONPATH",
        format!("{}:{}", packages.display(), top().join("crates/scripts/helpers").canonicalize().expect("helpers").display()),
    );
    if case.file.ends_with(".ipynb") {
        let mut install = Command::new("/usr/bin/python3");
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir", "--target"]).arg(&packages);
        must(install.args(["nbclient", "ipykernel"]));
        let jupyter = "import nbclient, nbformat; book = nbformat.read('study.ipynb', 4); book.cells[1].source = book.cells[1].source.replace('%matplotlib inline', ''); nbclient.NotebookClient(book, kernel_name='python3').execute()";
        must(run.args(["-c", jupyter]));
    } else {
        must(run.arg(case.file).args(if case.name == "regression" { &["--trees", "100"][..] } else { &[] }));
    }
    let result = fs::read(folder.join("outputs/result.json")).expect("a result");
    fs::remove_dir_all(packages).expect("removed");
    result
}

fn ran(home: &Path, case: &Case, number: u32) -> (f64, Output, PathBuf) {
    let (started, came) = (Instant::now(), home.join(format!("{}-{number}", case.name)));
    let output = succeed(
        home,
        &["job", "run", &case.folder.display().to_string(), "--hours", "1", "--max-price", "1", "--output", &came.display().to_string()],
    );
    let seconds = started.elapsed().as_secs_f64();
    let ended = said(&output, "job_ended");
    assert_eq!(ended["exit"]["reason"], "completed", "{ended}");
    (seconds, output, came)
}

fn check(home: &Path, case: &Case) {
    let (first, output, came) = ran(home, case, 1);
    let metered = said(&output, "job_ended")["metered_ms"].as_u64().expect("a time");
    let result = fs::read(came.join("outputs/result.json")).expect("a result came back");
    let (second, output, again) = ran(home, case, 2);
    assert!(said(&output, "setup")["line"].as_str().is_some_and(|line| line.ends_with("is in the cache")), "{}", said(&output, "setup"));
    assert_eq!(fs::read(again.join("outputs/result.json")).expect("a result came back"), result);
    // Gigabytes would lie here twice.
    for environment in fs::read_dir(home.join("node-1/data/scripts/environments")).expect("the node's environments") {
        fs::remove_dir_all(environment.expect("readable").path()).expect("removed");
    }
    assert_eq!(outside(case, &came.join("requirements.lock"), home), result, "{}: the result outside is another", case.name);
    let packages = fs::read_to_string(came.join("requirements.lock")).expect("a lock file").matches("==").count();
    println!(
        "figure: {}, `{}` with {packages} packages = first run {first:.1} s of which {:.1} s paid, again from the cache {second:.1} s; result equal to the byte",
        case.name,
        case.file,
        f64::from(u32::try_from(metered).expect("small")) / 1e3
    );
}

#[test]
#[ignore = "downloads gigabytes: cargo xtask prove scripts"]
fn packages__should_give_what_one_gets_outside() {
    let system = Running::start(1);
    let home = system.home();
    let case = |name: &'static str, file| Case { name, folder: home.join(name), file };
    let regression = case("regression", "main.py");
    succeed(home, &["job", "example", &regression.folder.display().to_string()]);
    check(home, &regression);
    let study = case("notebook", "study.ipynb");
    fs::create_dir_all(&study.folder).expect("a folder");
    fs::write(study.folder.join(study.file), notebook()).expect("written");
    fs::write(study.folder.join("requirements.txt"), "numpy==2.3.5\n").expect("written");
    check(home, &study);
    let book: Value = serde_json::from_slice(&fs::read(home.join("notebook-1/outputs/study.ipynb")).expect("it came back")).expect("JSON");
    let shown = book["cells"][1]["outputs"][0]["text"].to_string();
    assert!(shown.contains("weights [ 1.5") && shown.contains("(3,)"), "{shown}");
    // Gigabytes on top: only where it is asked for.
    if let Ok(torch) = std::env::var("STARLING_TORCH") {
        let classifier = case("classifier", "train.py");
        fs::create_dir_all(&classifier.folder).expect("a folder");
        fs::write(classifier.folder.join(classifier.file), CLASSIFIER).expect("written");
        fs::write(classifier.folder.join("requirements.txt"), format!("{torch}\n")).expect("written");
        check(home, &classifier);
    }
}
