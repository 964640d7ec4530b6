//! Tests of reading, limits and hash of recipes.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;

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
    assert!(unknown.contains("`nope`") && unknown.contains("rust-small, tiny"), "{unknown}");
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
    check(refusal(|r| r.version = 2), &["version 2", "reads version 1"]);
    check(refusal(|r| r.name = "Ünknown".to_owned()), &["`name`", "1 to 64"]);
    check(refusal(|r| r.rounds = 0), &["`rounds` is 0", "from 1 to"]);
    check(refusal(|r| r.batch = 5_000), &["`batch` is 5000", "1024"]);
    check(refusal(|r| r.clip_norm = f64::NAN), &["`clip_norm` is NaN"]);
    check(refusal(|r| r.optimizer.floor_learning_rate = 1.0), &["floor_learning_rate", "to 0.01"]);
    check(refusal(|r| r.optimizer.warmup_steps = 51), &["warmup_steps", "50 inner steps"]);
    check(refusal(|r| r.outer.momentum = 1.0), &["outer.momentum", "0.99"]);
    check(refusal(|r| shape(r).vocab = 255), &["model.vocab", "exactly 256"]);
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
}

#[test]
fn hash__should_be_fixed_and_cover_every_field() {
    let base = tiny();
    // Changes only together with RECIPE_VERSION or the preset.
    let json = base.canonical_json();
    assert!(json.starts_with(r#"{"batch":4,"clip_norm":1.0,"inner_steps_per_round":5,"model":{"context":32,"heads":2,"#), "{json}");
    let changes: [fn(&mut Recipe); 5] =
        [|r| r.seed = 2, |r| r.rounds += 1, |r| r.optimizer.beta2 = 0.99, |r| r.outer.learning_rate = 0.7, |r| shape(r).layers = 3];
    for change in changes {
        let mut other = base.clone();
        change(&mut other);
        assert_ne!(other.hash(), base.hash());
    }
    assert_eq!(base.clone().hash(), base.hash());
}

#[test]
fn counts__should_follow_the_fields() {
    let recipe = tiny();
    assert_eq!(recipe.total_inner_steps(), 50);
    assert_eq!(recipe.tokens_per_inner_step(), 128);
    assert_eq!(recipe.tokens_per_round(), 640);
}
