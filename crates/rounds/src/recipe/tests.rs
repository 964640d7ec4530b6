//! Tests of reading, limits and hash of recipes.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use crate::codec::Codec;

fn tiny() -> Recipe {
    Recipe::preset("tiny").expect("the preset is valid")
}

fn refusal(change: impl FnOnce(&mut Recipe)) -> String {
    let mut recipe = tiny();
    change(&mut recipe);
    recipe.validated().expect_err("must be refused").to_string()
}

fn shape(recipe: &mut Recipe) -> &mut GptShape {
    match &mut recipe.model {
        ModelRecipe::Gpt(shape) => shape,
        other => panic!("{other:?}"),
    }
}

#[test]
fn presets__should_be_valid_and_survive_toml_and_json() {
    for name in Recipe::preset_names() {
        let recipe = Recipe::preset(name).expect("valid");
        assert_eq!(recipe.name, name);
        let text = recipe.to_toml().expect("writable");
        assert_eq!(Recipe::from_toml(&text).expect("readable"), recipe);
        assert_eq!(Recipe::from_json(&recipe.canonical_json()).expect("readable"), recipe);
    }
    let unknown = Recipe::preset("nope").expect_err("unknown").to_string();
    assert!(unknown.contains("`nope`") && unknown.contains("rust-small, tiny, rust-words"), "{unknown}");
}

#[test]
fn recipe__should_refuse_unknown_keys_at_every_depth() {
    let text = tiny().to_toml().expect("writable");
    for (from, to) in [
        ("seed = 1", "seed = 1\nsped = 2"),
        ("layers = 2", "layers = 2\nlairs = 2"),
        ("beta1 = 0.9", "beta1 = 0.9\nbeta3 = 0.9"),
        ("momentum = 0.5", "momentum = 0.5\nmomentun = 0.5"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        let error = Recipe::from_toml(&changed).expect_err("must be refused").to_string();
        assert!(error.contains("unknown field"), "{error}");
    }
}

#[test]
fn recipe__should_name_field_and_limit() {
    let check = |error: String, words: &[&str]| {
        for word in words {
            assert!(error.contains(word), "{error} lacks {word}");
        }
    };
    check(refusal(|r| r.version = 3), &["version 3", "reads versions 1 and 2"]);
    check(refusal(|r| r.name = "Ünknown".to_owned()), &["`name`", "1 to 64"]);
    check(refusal(|r| r.rounds = 0), &["`rounds` is 0", "from 1 to"]);
    check(refusal(|r| r.batch = 5_000), &["`batch` is 5000", "1024"]);
    check(refusal(|r| r.clip_norm = f64::NAN), &["`clip_norm` is NaN"]);
    check(refusal(|r| r.accumulation = 3), &["batch 4", "3 equal parts"]);
    check(refusal(|r| r.spike_deviations = 1.0), &["`spike_deviations` is 1", "from 4"]);
    check(refusal(|r| r.schedule.floor_learning_rate = 1.0), &["floor_learning_rate", "to 0.01"]);
    check(refusal(|r| r.schedule.warmup_tokens = 6_401), &["warmup_tokens", "6400 of the run's 6400 tokens"]);
    check(refusal(|r| r.schedule.decay = DecayRecipe::LastTokens(6_000)), &["last-tokens", "at most 5760"]);
    check(refusal(|r| r.optimizer.method = OptimizerKind::Muon { momentum: 1.0 }), &["muon.momentum", "0.999"]);
    check(refusal(|r| r.data.text = String::new()), &["data.text", "1 to 128"]);
    check(refusal(|r| r.federate("Ward notes")), &["data.federated", "1 to 64"]);
    check(refusal(|r| r.outer.momentum = 1.0), &["outer.momentum", "0.99"]);
    let overlap = |fragments, merge_after_steps, own_share| Some(OverlapRecipe { fragments, merge_after_steps, own_share });
    check(refusal(|r| r.outer.overlap = overlap(0, 2, 0.5)), &["outer.overlap.fragments", "from 1 to 64"]);
    check(refusal(|r| r.outer.overlap = overlap(4, 5, 0.5)), &["outer.overlap.merge_after_steps", "from 1 to 4"]);
    check(refusal(|r| r.outer.overlap = overlap(4, 2, 1.5)), &["outer.overlap.own_share", "from 0 to 1"]);
    check(refusal(|r| shape(r).vocab = 255), &["model.vocab", "from 256 to 65536"]);
}

#[test]
fn recipe__should_refuse_impossible_shapes() {
    assert!(refusal(|r| shape(r).heads = 3).contains("width 32 is not divisible by heads 3"));
    let too_large = refusal(|r| {
        shape(r).layers = 48;
        shape(r).width = 4_096;
    });
    assert!(too_large.contains("parameters, at most"), "{too_large}");
    let too_long = refusal(|r| {
        r.batch = 1_024;
        shape(r).context = 4_096;
    });
    assert!(too_long.contains("tokens a step"), "{too_long}");
    let paced = refusal(|r| {
        r.outer.inner_steps = InnerSteps::Paced;
        r.outer.overlap = Some(OverlapRecipe::usual(r.inner_steps_per_round));
    });
    assert!(paced.contains("cannot be paced"), "{paced}");
    let short = refusal(|r| {
        r.inner_steps_per_round = 1;
        r.schedule.warmup_tokens = 0;
        r.outer.overlap = Some(OverlapRecipe::usual(2));
    });
    assert!(short.contains("nothing to overlap with"), "{short}");
}

#[test]
fn hash__should_be_fixed_and_cover_every_field() {
    let base = tiny();
    // Changes only together with RECIPE_VERSION or the preset.
    let json = base.canonical_json();
    assert!(
        json.starts_with(r#"{"accumulation":1,"batch":4,"clip_norm":1.0,"inner_steps_per_round":5,"model":{"context":32,"heads":2,"#),
        "{json}"
    );
    let changes: [fn(&mut Recipe); 7] = [
        |r| r.seed = 2,
        |r| r.rounds += 1,
        |r| r.schedule.warmup_tokens = 7,
        |r| r.outer.learning_rate = 0.7,
        |r| r.data.federated = Some("ward-notes".to_owned()),
        |r| r.outer.overlap = Some(OverlapRecipe::usual(r.inner_steps_per_round)),
        |r| shape(r).layers = 3,
    ];
    for change in changes {
        let mut other = base.clone();
        change(&mut other);
        assert_ne!(other.hash(), base.hash());
    }
    assert_eq!(base.clone().hash(), base.hash());
}

#[test]
fn codec__should_be_int4_unless_said_and_leave_older_hashes() {
    let base = tiny();
    assert!(!base.canonical_json().contains("codec"), "what is not written is in no hash");
    let text = base.to_toml().expect("writable");
    let said = |word: &str| Recipe::from_toml(&text.replacen("momentum = 0.5", &format!("momentum = 0.5\ncodec = \"{word}\""), 1));
    assert_eq!(said("int4").expect("readable").hash(), base.hash());
    for codec in [Codec::TwoBit, Codec::TopK] {
        let recipe = said(codec.name()).expect("readable");
        assert_eq!(recipe.outer.codec, codec);
        assert_ne!(recipe.hash(), base.hash());
        assert_eq!(Recipe::from_json(&recipe.canonical_json()).expect("readable"), recipe);
        conforms(&Recipe::schema(), &serde_json::to_value(&recipe).expect("JSON")).expect("in the schema");
    }
    assert!(said("int2").expect_err("refused").to_string().contains("int2"));
}

#[test]
fn inner_steps__should_be_equal_unless_said() {
    let base = tiny();
    assert!(base.outer.inner_steps == InnerSteps::Equal && !base.canonical_json().contains("inner_steps\":\""));
    let text = base.to_toml().expect("writable");
    for inner_steps in InnerSteps::ALL {
        let said = text.replacen("momentum = 0.5", &format!("momentum = 0.5\ninner_steps = \"{}\"", inner_steps.name()), 1);
        let recipe = Recipe::from_toml(&said).expect("readable");
        assert_eq!(recipe.outer.inner_steps, inner_steps);
        assert_eq!(recipe.hash() == base.hash(), inner_steps == InnerSteps::Equal);
        conforms(&Recipe::schema(), &serde_json::to_value(&recipe).expect("JSON")).expect("in the schema");
    }
}

#[test]
fn counts__should_follow_the_fields() {
    let recipe = tiny();
    assert_eq!(recipe.total_inner_steps(), 50);
    assert_eq!(recipe.tokens_per_inner_step(), 128);
    assert_eq!(recipe.tokens_per_round(), 640);
}

#[test]
fn version_1__should_be_read_as_what_it_means_now() {
    let old = r#"
        version = 1
        name = "tiny"
        seed = 1
        rounds = 10
        inner_steps_per_round = 5
        batch = 4
        clip_norm = 1.0
        [model]
        kind = "gpt"
        layers = 2
        heads = 2
        width = 32
        context = 32
        vocab = 256
        [optimizer]
        peak_learning_rate = 0.01
        floor_learning_rate = 0.001
        warmup_steps = 5
        beta1 = 0.9
        beta2 = 0.98
        epsilon = 1e-8
        weight_decay = 0.1
        [outer]
        momentum = 0.5
        learning_rate = 0.8
    "#;
    assert_eq!(Recipe::from_toml(old).expect("readable"), tiny());
    let json = serde_json::to_string(&toml::from_str::<toml::Table>(old).expect("TOML")).expect("JSON");
    assert_eq!(Recipe::from_json(&json).expect("readable"), tiny());
    let both = old.replace("clip_norm", "accumulation = 1\nclip_norm");
    let coded = old.replace("learning_rate = 0.8", "learning_rate = 0.8\ncodec = \"two-bit\"");
    assert!(Recipe::from_toml(&both).is_err() && Recipe::from_toml(&coded).is_err(), "no key of a later version");
    assert!(Recipe::from_toml(&old.replace("version = 1", "version = 2")).expect_err("refused").to_string().contains("learning_rate"));
    assert!(Recipe::from_toml(&old.replace("heads = 2", "heads = 3")).is_err());
}

/// Whether `value` is what `schema` says: as much of JSON Schema as the recipe's uses.
fn conforms(schema: &serde_json::Value, value: &serde_json::Value) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("{value}: {why}"));
    if let Some(expected) = schema.get("const")
        && expected != value
        && expected.as_f64().is_none_or(|number| value.as_f64() != Some(number))
    {
        return wrong("another constant");
    }
    for (key, exact) in [("oneOf", true), ("anyOf", false)] {
        if let Some(choices) = schema.get(key).and_then(|choices| choices.as_array()) {
            let fit = choices.iter().filter(|choice| conforms(choice, value).is_ok()).count();
            if fit == 0 || (exact && fit > 1) {
                return wrong("no choice, or more than one");
            }
        }
    }
    if schema.get("enum").and_then(|words| words.as_array()).is_some_and(|words| !words.contains(value)) {
        return wrong("none of the words");
    }
    let kind = schema.get("type").and_then(|kind| kind.as_str());
    let right = match kind {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_u64(),
        Some("number") => value.is_number(),
        _ => true,
    };
    let below = |key: &str, found: Option<f64>| {
        schema.get(key).and_then(|limit| limit.as_f64()).zip(found).is_some_and(|(limit, found)| found < limit)
    };
    let above = |key: &str, found: Option<f64>| {
        schema.get(key).and_then(|limit| limit.as_f64()).zip(found).is_some_and(|(limit, found)| found > limit)
    };
    let length = value.as_array().map(Vec::len).or(value.as_str().map(str::len)).map(|length| length as f64);
    if !right || below("minimum", value.as_f64()) || above("maximum", value.as_f64()) {
        return wrong("another type, or out of limits");
    }
    if ["minItems", "minLength"].iter().any(|key| below(key, length)) || ["maxItems", "maxLength"].iter().any(|key| above(key, length)) {
        return wrong("too short or too long");
    }
    for item in value.as_array().into_iter().flatten() {
        conforms(&schema["items"], item)?;
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        let of_field = schema["properties"].get(name);
        if kind == Some("object") {
            conforms(of_field.ok_or_else(|| format!("no field {name}"))?, field)?;
        }
    }
    match schema.get("required").and_then(|names| names.as_array()) {
        Some(names) if names.iter().any(|name| value.get(name.as_str().unwrap_or_default()).is_none()) => wrong("a field is missing"),
        _ => Ok(()),
    }
}

#[test]
fn schema__should_agree_with_the_reader() {
    let schema = Recipe::schema();
    let mut recipes: Vec<Recipe> = Recipe::preset_names().into_iter().map(|name| Recipe::preset(name).expect("valid")).collect();
    let mut full = Recipe::preset("triage").expect("valid");
    full.adapter = Some(AdapterRecipe {
        rank: 4,
        alpha: 8.0,
        targets: vec!["query".to_owned()],
        whole: vec!["classifier".to_owned()],
        base: Some(crate::Hash32([7; 32])),
    });
    full.data.label = "urgency".to_owned();
    full.federate("ward-notes");
    full.outer.overlap = Some(OverlapRecipe::usual(full.inner_steps_per_round));
    recipes.push(full.clone());
    if let ModelRecipe::Bert(shape) = &mut full.model {
        shape.head = BertHead::MaskedTokens;
    }
    recipes.push(full);
    for recipe in &recipes {
        let recipe = recipe.clone().validated().expect("valid");
        conforms(&schema, &serde_json::to_value(&recipe).expect("JSON")).expect("in the schema");
    }
    // Each number of each recipe, driven out of its limits, is refused by both or by neither.
    let mut compared = 0;
    for recipe in &recipes {
        let value = serde_json::to_value(recipe).expect("JSON");
        for path in numbers(&value, String::new()) {
            for number in [serde_json::json!(0), serde_json::json!(-1), serde_json::json!(1e12), serde_json::json!(1u64 << 60)] {
                let mut changed = value.clone();
                *changed.pointer_mut(&path).expect("there") = number;
                let read = Recipe::from_json(&changed.to_string());
                // What depends on other fields the schema cannot say.
                if matches!(read, Err(RecipeError::ImpossibleShape(_))) {
                    continue;
                }
                let depends = [
                    "/schedule/warmup_tokens",
                    "/schedule/decay/last-tokens",
                    "/accumulation",
                    "/model/key_heads",
                    "/schedule/floor_learning_rate",
                    "/outer/overlap/merge_after_steps",
                    "/version",
                ];
                if depends.contains(&path.as_str()) {
                    continue;
                }
                compared += 1;
                assert_eq!(read.is_ok(), conforms(&schema, &changed).is_ok(), "{path} in {changed}");
            }
        }
    }
    assert!(compared > 500, "{compared}");
}

fn numbers(value: &serde_json::Value, path: String) -> Vec<String> {
    match value {
        serde_json::Value::Number(_) => vec![path],
        serde_json::Value::Object(fields) => fields.iter().flat_map(|(name, field)| numbers(field, format!("{path}/{name}"))).collect(),
        serde_json::Value::Array(items) => {
            items.iter().enumerate().flat_map(|(index, item)| numbers(item, format!("{path}/{index}"))).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn parameter_counts__should_be_positive_and_follow_the_shape() {
    for name in Recipe::preset_names() {
        let recipe = Recipe::preset(name).expect("valid");
        assert!((1_000..1_000_000).contains(&recipe.model.parameter_count()), "{name}: {}", recipe.model.parameter_count());
    }
}

#[test]
fn place_in_schedule__should_stand_still_for_lost_work_and_reach_its_end_with_unequal_shares() {
    let equal = Recipe::preset("tiny").unwrap();
    let per_round = equal.tokens_per_round();
    assert_eq!(equal.place_in_schedule(&[4 * per_round, 4 * per_round, 0], 4), 8 * per_round / 3);
    assert_eq!(equal.place_in_schedule(&[], 0), 0);
    let mut paced = equal.clone();
    paced.outer.inner_steps = InnerSteps::Paced;
    assert_eq!(paced.place_in_schedule(&[10 * per_round, 5 * per_round, per_round], paced.rounds), paced.total_tokens());
}
