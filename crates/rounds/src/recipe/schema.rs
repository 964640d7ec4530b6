//! The JSON Schema of a recipe, from the same limits that the reader keeps.

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use super::{InnerSteps, RECIPE_VERSION, limits as l};
use crate::codec::Codec;

/// A field: its name, its schema, whether a file must have it.
type Field = (&'static str, Value, bool);

pub(super) fn schema() -> Value {
    let names = |least: usize| {
        let item = json!({ "type": "string", "minLength": l::NAME_LENGTH.start(), "maxLength": l::NAME_LENGTH.end() });
        json!({ "type": "array", "items": item, "minItems": least, "maxItems": l::NAMES.end() })
    };
    let column = json!({ "type": "string", "minLength": l::NAME_LENGTH.start(), "maxLength": l::NAME_LENGTH.end() });
    let name = json!({ "type": "string", "pattern": "^[a-z0-9._-]{1,64}$" });
    let said = |mut schema: Value, words: &str| {
        schema["description"] = words.into();
        schema
    };
    let fields: Vec<Field> = vec![
        ("version", json!({ "const": RECIPE_VERSION, "description": "The version of this form." }), true),
        ("name", said(name.clone(), "A name for people."), true),
        ("seed", whole(l::SEED, "Fixes the initial weights and which examples each step reads."), true),
        ("rounds", whole(l::ROUNDS, "Outer steps of the run."), true),
        ("inner_steps_per_round", whole(l::INNER_STEPS, "Optimizer steps of each participant in a round."), true),
        ("batch", whole(l::BATCH, "Examples in one inner step: windows of text, labelled texts, rows or images."), true),
        ("accumulation", whole(1..=*l::BATCH.end(), "Parts that the batch goes through the model in; divides batch."), false),
        ("clip_norm", number(l::CLIP_NORM, "Greatest global norm of a gradient."), true),
        (
            "spike_deviations",
            json!({
                "description": "A step whose loss is more than so many deviations above the last steps' is withdrawn by its own node; 0 keeps all.",
                "anyOf": [{ "const": 0 }, number(l::SPIKE_DEVIATIONS, "Deviations.")],
            }),
            false,
        ),
        ("model", json!({ "description": "The model and its shape.", "oneOf": models() }), true),
        (
            "adapter",
            object(
                "Low-rank adapters that train in place of a transformer's own weights.",
                vec![
                    ("rank", whole(l::RANK, "Rows of A."), true),
                    ("alpha", number(l::ALPHA, "The update is scaled by alpha / rank."), true),
                    ("targets", said(names(*l::NAMES.start()), "The last part of the adapted modules' names: q_proj, c_attn."), true),
                    ("whole", said(names(0), "Names of modules that are trained whole: classifier."), false),
                    (
                        "base",
                        json!({
                            "description": "Hash of the model that stays as it is. A run over the network sets it.",
                            "type": "string",
                            "pattern": "^[0-9a-f]{64}$",
                        }),
                        false,
                    ),
                ],
            ),
            false,
        ),
        (
            "data",
            object(
                "Columns of JSON lines and tables, a table's other columns being its features; and whose data is trained on.",
                vec![
                    ("text", said(column.clone(), "The field of the text."), false),
                    ("label", said(column, "The field of the class."), false),
                    (
                        "federated",
                        said(
                            name,
                            "Each node trains on the data that its owner keeps under this name; the run's own data scores the updates.",
                        ),
                        false,
                    ),
                ],
            ),
            false,
        ),
        ("optimizer", optimizer(), true),
        ("schedule", schedule(), true),
        (
            "outer",
            object(
                "The Nesterov outer step of DiLoCo, and how its updates are written.",
                vec![
                    ("momentum", number(l::OUTER_MOMENTUM, "Decay of the outer momentum."), true),
                    ("learning_rate", number(l::OUTER_RATE, "The outer learning rate."), true),
                    ("codec", one_of(&Codec::ALL.map(Codec::name), "How participants write their pseudo-gradients."), false),
                    (
                        "inner_steps",
                        one_of(&InnerSteps::ALL.map(InnerSteps::name), "Of a round, all make equally many, or slow ones fewer."),
                        false,
                    ),
                    (
                        "overlap",
                        object(
                            "Participants train on while a fragment of the model is exchanged.",
                            vec![
                                ("fragments", whole(l::FRAGMENTS, "Parts of the model that take turns, one in a round."), true),
                                (
                                    "merge_after_steps",
                                    whole(
                                        1..=*l::INNER_STEPS.end(),
                                        "Inner steps until the last round's is merged; fewer than a round has.",
                                    ),
                                    true,
                                ),
                                ("own_share", number(l::OWN_SHARE, "What of a participant's own weights stays in them then."), true),
                            ],
                        ),
                        false,
                    ),
                ],
            ),
            true,
        ),
        (
            "evaluation",
            object(
                "When the model is measured on validation data, on one machine; a run over the network is measured after each round.",
                vec![
                    (
                        "every_steps",
                        whole(l::EVERY_STEPS, "Inner steps between two measurements; 0 measures after each round only."),
                        false,
                    ),
                    ("examples", whole(l::EXAMPLES, "Examples of a measurement; 0 takes all."), false),
                    ("patience", whole(l::PATIENCE, "Ends after so many measurements without a better one; 0 never does."), false),
                ],
            ),
            false,
        ),
    ];
    let mut schema = object("A Starling recipe: model and method of a run.", fields);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = format!("Starling recipe, version {RECIPE_VERSION}").into();
    schema
}

fn models() -> Vec<Value> {
    let kind = |kind: &'static str| ("kind", json!({ "const": kind }), true);
    let list = |count: RangeInclusive<usize>, item: RangeInclusive<u32>, words: &str| {
        let item = whole(item, words);
        json!({ "type": "array", "items": item, "minItems": count.start(), "maxItems": count.end(), "description": words })
    };
    let (layers, heads) = (whole(l::LAYERS, "Transformer blocks."), whole(l::HEADS, "Attention heads of each block."));
    let (width, context) =
        (whole(l::WIDTH, "Floats per token between the blocks."), whole(l::CONTEXT, "Tokens that the model sees at once."));
    let vocab = whole(l::VOCAB, "Different tokens; 256 are the bytes, more a byte-pair tokenizer's.");
    let (hidden, classes) = (whole(l::HIDDEN, "Floats per token within the perceptron."), whole(l::CLASSES, "Classes."));
    let epsilon = number(l::EPSILON, "Added to the variance in norms.");
    let shared = |model| {
        vec![
            kind(model),
            ("layers", layers.clone(), true),
            ("heads", heads.clone(), true),
            ("width", width.clone(), true),
            ("context", context.clone(), true),
        ]
    };
    let gpt = [shared("gpt"), vec![("vocab", vocab.clone(), true)]].concat();
    let llama = vec![
        ("key_heads", whole(1..=*l::HEADS.end(), "Heads of keys and of values; divides heads."), true),
        ("head", whole(l::HEAD, "Floats of a head, an even number."), true),
        ("hidden", hidden.clone(), true),
        ("vocab", vocab, true),
        ("theta", number(l::THETA, "Base of the rotations."), true),
        ("epsilon", epsilon.clone(), true),
        ("tied", json!({ "type": "boolean", "description": "Whether the output layer is the token embedding again." }), true),
    ];
    let head = json!({
        "description": "What stands on the encoder.",
        "oneOf": [{ "const": "masked-tokens" }, object("A classifier.", vec![("classes", classes.clone(), true)])],
    });
    let bert = vec![
        ("hidden", hidden, true),
        ("vocab", whole(l::ENCODER_VOCAB, "A tokenizer's tokens, and three more that begin, pad and mask."), true),
        ("segments", whole(l::SEGMENTS, "Kinds of segment that have an embedding."), true),
        ("epsilon", epsilon, true),
        ("head", head, true),
    ];
    let perceptron = vec![
        kind("perceptron"),
        ("features", whole(l::FEATURES, "Numbers in a row of the table."), true),
        ("hidden", list(l::HIDDEN_LAYERS, l::HIDDEN_WIDTH, "Floats of each hidden layer."), true),
        ("classes", classes.clone(), true),
    ];
    let convolution = vec![
        kind("convolution"),
        ("channels", whole(l::CHANNELS, "Channels of the images: 1 for grey, 3 for colours."), true),
        ("stages", list(l::STAGES, l::STAGE_CHANNELS, "Channels after each stage."), true),
        ("classes", classes, true),
    ];
    vec![
        object("A GPT-2 style decoder.", gpt),
        object("A Llama style decoder.", [shared("llama"), llama].concat()),
        object("A BERT encoder.", [shared("bert"), bert].concat()),
        object("A multilayer perceptron over the rows of a table.", perceptron),
        object("A convolutional net over images.", convolution),
    ]
}

fn optimizer() -> Value {
    let muon = object("Matrices by Muon.", vec![("momentum", number(l::MOMENTUM, "Decay of the matrices' momentum."), true)]);
    let method = json!({
        "description": "AdamW, or Muon for the hidden layers' matrices and AdamW for the rest.",
        "oneOf": [{ "const": "adamw" }, object("Muon.", vec![("muon", muon, true)])],
    });
    object(
        "The inner optimizer.",
        vec![
            ("method", method, false),
            ("beta1", number(l::BETA1, "AdamW's decay of the first moment."), true),
            ("beta2", number(l::BETA2, "AdamW's decay of the second moment."), true),
            ("epsilon", number(l::EPSILON, "Added to the root of the second moment."), true),
            ("weight_decay", number(l::WEIGHT_DECAY, "Decoupled decay of matrices."), true),
        ],
    )
}

fn schedule() -> Value {
    let tokens = |words: &str| json!({ "type": "integer", "minimum": 0, "description": words });
    let last = object("Stable, then a line.", vec![("last-tokens", tokens("Tokens of the line down to the floor."), true)]);
    object(
        "The learning rate, which follows accepted tokens.",
        vec![
            ("peak_learning_rate", number(l::PEAK, "Learning rate after the warm-up."), true),
            ("floor_learning_rate", number(0.0..=*l::PEAK.end(), "Learning rate of the last step, at most the peak."), true),
            ("warmup_tokens", tokens("Accepted tokens of a participant until the peak."), true),
            ("decay", json!({ "description": "How the rate falls from its peak.", "oneOf": [{ "const": "cosine" }, last] }), false),
        ],
    )
}

fn object(words: &str, fields: Vec<Field>) -> Value {
    let required: Vec<_> = fields.iter().filter(|(_, _, required)| *required).map(|(name, ..)| *name).collect();
    let properties: Map<String, Value> = fields.into_iter().map(|(name, schema, _)| (name.to_owned(), schema)).collect();
    json!({ "type": "object", "description": words, "properties": properties, "required": required, "additionalProperties": false })
}

fn one_of(words: &[&str], meaning: &str) -> Value {
    json!({ "type": "string", "enum": words, "description": meaning })
}

fn whole<T: Copy + Into<u64>>(range: RangeInclusive<T>, words: &str) -> Value {
    let (least, most): (u64, u64) = ((*range.start()).into(), (*range.end()).into());
    json!({ "type": "integer", "minimum": least, "maximum": most, "description": words })
}

fn number(range: RangeInclusive<f64>, words: &str) -> Value {
    json!({ "type": "number", "minimum": range.start(), "maximum": range.end(), "description": words })
}
