//! Models with classes over the network: from a table or labelled texts to a model that rented nodes sort with.

use crate::{
    assert_sums,
    bonds::view,
    running::{Running, Training, refuse, said, succeed},
    status,
};
use serde_json::{Value, json};
use starling_rounds::recipe::Recipe;
use std::fs;

#[test]
fn tables_and_texts_with_classes__should_train_over_the_network() {
    let system = Running::start(2);
    let home = system.home();
    let sample = |preset: &str, name: &str| {
        let file = home.join(name).display().to_string();
        succeed(home, &["recipe", preset, "--sample", &file]);
        file
    };
    let train = |file: &str, recipe: &str| {
        let mut training = Training::start(home, &["train", file, "--recipe", recipe, "--nodes", "2", "--min-nodes", "2"]);
        let run_id = training.run_id();
        (run_id, training.finish())
    };
    let payments = sample("fraud", "payments.csv");
    let (fraud, ended) = train(&payments, "fraud");
    let result = &ended["result"];
    let figures = &result["findings"]["classes"];
    assert_eq!((&figures["of"], &figures["classes"]), (&"table".into(), &json!(["fraud", "honest"])), "{result}");
    assert!(figures["auroc"]["low"].as_f64().is_some_and(|auroc| auroc > 0.95), "{figures}");
    assert_eq!(result["held_out"][1]["per"], "example");
    let verified = said(&succeed(home, &["verify", &fraud]), "verified");
    let rounds = verified["rounds"].as_u64().expect("a number");
    // Of ten, unless four of them in a row bring nothing.
    assert!(rounds >= 5, "{verified}");
    assert_sums(&verified);
    let accepted =
        status(home, &fraud)["run"]["roster"].as_array().expect("a roster").iter().filter_map(|of| of["tokens"].as_u64()).sum::<u64>();
    // Of 2 nodes in rounds of 100 steps of 128 rows: a row is what a token is of text. Near the end chance may refuse one or two.
    assert!(accepted > 2 * rounds * 100 * 128 * 8 / 10, "honest work counts: {accepted}");

    // A preset takes a table of any width; a recipe of one's own says which.
    let narrow = home.join("narrow.csv");
    let rows = (0..600).map(|row| format!("{row},{}\n", ["low", "middle", "high"][row / 200]));
    fs::write(&narrow, format!("place,label\n{}", rows.collect::<String>())).expect("a file is written");
    let narrow = narrow.display().to_string();
    let own = home.join("own.toml");
    let two = Recipe { rounds: 2, ..Recipe::preset("fraud").expect("the preset is there") };
    fs::write(&own, two.to_toml().expect("a recipe is TOML")).expect("a file is written");
    let refused = refuse(home, &["train", &narrow, "--recipe", &own.display().to_string()]);
    assert!(refused.contains("the table has 1 features, the model has 10"), "{refused}");
    let (run_id, ended) = train(&narrow, "fraud");
    assert_eq!(ended["result"]["findings"]["classes"]["classes"], json!(["high", "low", "middle"]));
    succeed(home, &["verify", &run_id]);

    // Where there is nothing to learn the tenant's program ends the run, and what was not worked comes back.
    let chance = home.join("chance.csv");
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 20
    };
    let rows: String =
        (0..400).map(|_| format!("{},{},{},{}\n", next(), next(), next(), ["tails", "heads"][next() as usize % 2])).collect();
    fs::write(&chance, format!("a,b,c,label\n{rows}")).expect("a file is written");
    // So many rounds that the last is far off when it is told to stop, however fast they are.
    let long = home.join("long.toml");
    let fraud_of_three = Recipe::preset("fraud").expect("the preset is there");
    let model = fraud_of_three.model.for_data(Some(3), Some(2));
    fs::write(&long, Recipe { rounds: 60, model, ..fraud_of_three }.to_toml().expect("a recipe is TOML")).expect("a file is written");
    let (run_id, ended) = train(&chance.display().to_string(), &long.display().to_string());
    let stopped = status(home, &run_id);
    assert!(stopped["run"]["rounds_done"].as_u64().is_some_and(|done| (1..60).contains(&done)), "{stopped}");
    assert!(ended["result"]["held_out"][1]["bits"].as_f64().is_some_and(|bits| bits > 0.9), "nobody can know: {ended}");
    assert_sums(&said(&succeed(home, &["verify", &run_id]), "verified"));

    // The model sorts rows; what is no row is named, and costs nothing.
    let row = fs::read_to_string(&payments).expect("it was written");
    let (row, _) = row.lines().nth(1).and_then(|row| row.rsplit_once(',')).expect("a row");
    let sorted = said(&succeed(home, &["sort", "--run", &fraud, row]), "sorted");
    assert_eq!((&sorted["line"], &sorted["classes"]), (&row.into(), &json!(["fraud", "honest"])), "{sorted}");
    let refused = refuse(home, &["sort", "--run", &fraud, "1,2"]);
    assert!(refused.contains("10 numbers with commas between"), "{refused}");
    // Declined before its time began: nobody waits, and no node broke anything off.
    assert_eq!(view(home, "lease", &json!({"lease_id": 2}))["state"]["cause"], "not_accepted");

    // What is wrong with the data is named before there is anything to pay.
    let wrong = home.join("wrong.csv");
    let text = fs::read_to_string(&payments).expect("it was written");
    fs::write(&wrong, text.replacen('\n', "\nnothing,", 1)).expect("a file is written");
    let refused = refuse(home, &["train", &wrong.display().to_string(), "--recipe", "fraud"]);
    assert!(refused.contains("row 2"), "{refused}");

    // The file of a model that sorts texts holds its classes and its tokens.
    let tickets = sample("triage", "tickets.jsonl");
    let recipe = home.join("triage.toml");
    let triage = Recipe { rounds: 3, ..Recipe::preset("triage").expect("the preset is there") };
    fs::write(&recipe, triage.to_toml().expect("a recipe is TOML")).expect("a file is written");
    let (run_id, ended) = train(&tickets, &recipe.display().to_string());
    let figures = &ended["result"]["findings"]["classes"];
    assert!(figures["macro_f1"]["value"].as_f64().is_some_and(|f1| f1 > 0.5), "{figures}");
    succeed(home, &["verify", &run_id]);
    let folder = home.join("sorted").display().to_string();
    succeed(home, &["pull", &run_id, "--output", &folder]);
    let file = fs::read(home.join("sorted/model.safetensors")).expect("it came");
    let length = usize::try_from(u64::from_le_bytes(file[..8].try_into().expect("a length"))).expect("fits");
    let header: Value = serde_json::from_slice(&file[8..8 + length]).expect("JSON");
    assert!(header["__metadata__"]["starling.classes"].as_str().is_some_and(|classes| classes.starts_with('[')), "{header}");
    assert!(home.join("sorted/tokenizer.json").is_file());
    let asked = ["All servers are down, nobody can work!", "It seems that the logo looks blurred for me alone."];
    let output = succeed(home, &[&["sort", "--run", &run_id][..], &asked].concat());
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    let sorted: Vec<Value> =
        lines.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(|line: &Value| line["event"] == "sorted").collect();
    assert_eq!(sorted.len(), 2, "{lines}");
    for (line, asked) in sorted.iter().zip(asked) {
        let chances: Vec<f64> = line["probabilities"].as_array().expect("chances").iter().filter_map(Value::as_f64).collect();
        assert!(line["line"] == asked && chances.len() == 4 && (chances.iter().sum::<f64>() - 1.0).abs() < 1e-6, "{line}");
    }

    // A model of pictures takes their files; what is no such picture is named, and costs nothing.
    let cells = sample("cells", "cells.tar");
    let recipe = home.join("cells.toml");
    let few = Recipe { rounds: 2, ..Recipe::preset("cells").expect("the preset is there") };
    fs::write(&recipe, few.to_toml().expect("a recipe is TOML")).expect("a file is written");
    let (run_id, ended) = train(&cells, &recipe.display().to_string());
    assert_eq!(ended["result"]["findings"]["classes"]["of"], "images", "{ended}");
    let picture = |name: &str, head: &str, bytes: usize| {
        let file = home.join(name).display().to_string();
        fs::write(&file, [head.as_bytes(), &vec![90; bytes]].concat()).expect("a file is written");
        file
    };
    let (grey, coloured) = (picture("a.pgm", "P5 32 32 255\n", 32 * 32), picture("b.ppm", "P6 32 32 255\n", 3 * 32 * 32));
    let sorted = said(&succeed(home, &["sort", "--run", &run_id, "--picture", &grey]), "sorted");
    let chances: Vec<f64> = sorted["probabilities"].as_array().expect("chances").iter().filter_map(Value::as_f64).collect();
    assert!(sorted["line"] == grey.as_str() && chances.len() == 3 && (chances.iter().sum::<f64>() - 1.0).abs() < 1e-6, "{sorted}");
    let refused = refuse(home, &["sort", "--run", &run_id, "--picture", &grey, "--picture", &coloured]);
    assert!(refused.contains("b.ppm") && refused.contains("trained on grey ones"), "{refused}");
    assert!(refuse(home, &["sort", "--run", &run_id, "a text"]).contains("this model sorts pictures"));
}
