//! What is refused in a recipe, and what is said then.

use std::fmt::Display;
use std::ops::RangeInclusive;

use super::limits as l;
use super::{
    AdapterRecipe, BertHead, BertShape, ConvolutionShape, DecayRecipe, GptShape, InnerSteps, LlamaShape, ModelRecipe, OptimizerKind,
    OptimizerRecipe, OverlapRecipe, PerceptronShape, RECIPE_VERSION, Recipe, ScheduleRecipe,
};

/// Why a recipe was refused, naming the field and its limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// Not a recipe file at all, or a key that no recipe has.
    #[error("the recipe cannot be read: {0}")]
    Syntax(String),
    /// Written for another version of this program.
    #[error("recipe version {found} is not supported: this build reads versions 1 and {RECIPE_VERSION}")]
    UnsupportedVersion {
        /// The version in the file.
        found: u32,
    },
    /// A field outside its limits.
    #[error("recipe field `{field}` is {value}, but must be {limit}")]
    OutOfRange {
        /// Path of the field.
        field: &'static str,
        /// The value given.
        value: String,
        /// The limit in words.
        limit: String,
    },
    /// Fields that are each allowed, but not together.
    #[error("the recipe's shape is impossible: {0}")]
    ImpossibleShape(String),
    /// No built-in recipe has that name.
    #[error("there is no recipe named `{name}`; the built-in ones are: {known}")]
    UnknownPreset {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
}

type Checked = Result<(), RecipeError>;

/// Checks every limit of `recipe`; the first broken one is named.
pub(super) fn check(recipe: &Recipe) -> Checked {
    if recipe.version != RECIPE_VERSION {
        return Err(RecipeError::UnsupportedVersion { found: recipe.version });
    }
    check_name("name", &recipe.name)?;
    within("seed", recipe.seed, l::SEED)?;
    within("rounds", recipe.rounds, l::ROUNDS)?;
    within("inner_steps_per_round", recipe.inner_steps_per_round, l::INNER_STEPS)?;
    within("batch", recipe.batch, l::BATCH)?;
    within("accumulation", recipe.accumulation, 1..=recipe.batch)?;
    if !recipe.batch.is_multiple_of(recipe.accumulation) {
        return Err(impossible(format!("batch {} cannot be cut into {} equal parts", recipe.batch, recipe.accumulation)));
    }
    within("clip_norm", recipe.clip_norm, l::CLIP_NORM)?;
    if recipe.spike_deviations != 0.0 {
        within("spike_deviations", recipe.spike_deviations, l::SPIKE_DEVIATIONS)?;
    }
    check_model(&recipe.model)?;
    if let Some(adapter) = &recipe.adapter {
        check_adapter(&recipe.model, adapter)?;
    }
    let tokens = recipe.tokens_per_inner_step();
    if tokens > l::TOKENS_PER_STEP_MAX {
        return Err(impossible(format!(
            "batch {} times context {} is {tokens} tokens a step, at most {} are allowed",
            recipe.batch,
            recipe.model.tokens_per_example(),
            l::TOKENS_PER_STEP_MAX
        )));
    }
    for (field, name) in [("data.text", &recipe.data.text), ("data.label", &recipe.data.label)] {
        check_length(field, name)?;
    }
    if let Some(name) = &recipe.data.federated {
        check_name("data.federated", name)?;
    }
    check_optimizer(&recipe.optimizer)?;
    if matches!((&recipe.model, recipe.optimizer.method), (ModelRecipe::Convolution(_), OptimizerKind::Muon { .. })) {
        return Err(impossible("Muon moves matrices, and a convolutional net has none between its layers".to_owned()));
    }
    check_schedule(&recipe.schedule, recipe.total_tokens())?;
    within("outer.momentum", recipe.outer.momentum, l::OUTER_MOMENTUM)?;
    within("outer.learning_rate", recipe.outer.learning_rate, l::OUTER_RATE)?;
    if let Some(overlap) = &recipe.outer.overlap {
        check_overlap(recipe, overlap)?;
    }
    within("evaluation.every_steps", recipe.evaluation.every_steps, l::EVERY_STEPS)?;
    within("evaluation.examples", recipe.evaluation.examples, l::EXAMPLES)?;
    within("evaluation.patience", recipe.evaluation.patience, l::PATIENCE)
}

/// What [`is_plain_name`] allows, in words.
pub const PLAIN_NAME: &str = "1 to 64 characters of a-z, 0-9, `-`, `_` and `.`";

/// Whether a recipe, or data that a node keeps, may be called so: [`PLAIN_NAME`].
pub fn is_plain_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    (1..=64).contains(&name.len()) && name.chars().all(allowed)
}

fn check_name(field: &'static str, name: &str) -> Checked {
    if is_plain_name(name) {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    Err(out_of_range(field, format!("{shown:?}"), PLAIN_NAME.to_owned()))
}

fn check_length(field: &'static str, name: &str) -> Checked {
    if l::NAME_LENGTH.contains(&name.len()) {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    Err(out_of_range(field, format!("{shown:?}"), format!("1 to {} bytes long", l::NAME_LENGTH.end())))
}

fn check_model(model: &ModelRecipe) -> Checked {
    match model {
        ModelRecipe::Gpt(shape) => check_gpt(shape),
        ModelRecipe::Llama(shape) => check_llama(shape),
        ModelRecipe::Bert(shape) => check_bert(shape),
        ModelRecipe::Perceptron(shape) => check_perceptron(shape),
        ModelRecipe::Convolution(shape) => check_convolution(shape),
    }?;
    let parameters = model.parameter_count();
    if parameters > l::PARAMETERS_MAX {
        return Err(impossible(format!(
            "a {} of this shape has {parameters} parameters, at most {} are allowed",
            model.kind(),
            l::PARAMETERS_MAX
        )));
    }
    Ok(())
}

fn check_gpt(shape: &GptShape) -> Checked {
    within("model.layers", shape.layers, l::LAYERS)?;
    within("model.heads", shape.heads, l::HEADS)?;
    within("model.width", shape.width, l::WIDTH)?;
    within("model.context", shape.context, l::CONTEXT)?;
    within("model.vocab", shape.vocab, l::VOCAB)?;
    check_divides(shape.width, shape.heads)
}

fn check_llama(shape: &LlamaShape) -> Checked {
    within("model.layers", shape.layers, l::LAYERS)?;
    within("model.heads", shape.heads, l::HEADS)?;
    within("model.key_heads", shape.key_heads, 1..=shape.heads)?;
    within("model.head", shape.head, l::HEAD)?;
    within("model.width", shape.width, l::WIDTH)?;
    within("model.hidden", shape.hidden, l::HIDDEN)?;
    within("model.context", shape.context, l::CONTEXT)?;
    within("model.vocab", shape.vocab, l::VOCAB)?;
    within("model.theta", shape.theta, l::THETA)?;
    within("model.epsilon", shape.epsilon, l::EPSILON)?;
    if !shape.heads.is_multiple_of(shape.key_heads) {
        return Err(impossible(format!("{} heads cannot share {} key heads", shape.heads, shape.key_heads)));
    }
    if !shape.head.is_multiple_of(2) {
        return Err(impossible(format!("a head of {} numbers cannot be rotated in pairs", shape.head)));
    }
    Ok(())
}

fn check_bert(shape: &BertShape) -> Checked {
    within("model.layers", shape.layers, l::LAYERS)?;
    within("model.heads", shape.heads, l::HEADS)?;
    within("model.width", shape.width, l::WIDTH)?;
    within("model.hidden", shape.hidden, l::HIDDEN)?;
    within("model.context", shape.context, l::CONTEXT)?;
    within("model.vocab", shape.vocab, l::ENCODER_VOCAB)?;
    within("model.segments", shape.segments, l::SEGMENTS)?;
    within("model.epsilon", shape.epsilon, l::EPSILON)?;
    if let BertHead::Classes(classes) = shape.head {
        within("model.head.classes", classes, l::CLASSES)?;
    }
    check_divides(shape.width, shape.heads)
}

fn check_perceptron(shape: &PerceptronShape) -> Checked {
    within("model.features", shape.features, l::FEATURES)?;
    within("model.hidden (its length)", shape.hidden.len(), l::HIDDEN_LAYERS)?;
    shape.hidden.iter().try_for_each(|width| within("model.hidden", *width, l::HIDDEN_WIDTH))?;
    within("model.classes", shape.classes, l::CLASSES)
}

fn check_convolution(shape: &ConvolutionShape) -> Checked {
    within("model.channels", shape.channels, l::CHANNELS)?;
    within("model.stages (its length)", shape.stages.len(), l::STAGES)?;
    shape.stages.iter().try_for_each(|channels| within("model.stages", *channels, l::STAGE_CHANNELS))?;
    within("model.classes", shape.classes, l::CLASSES)
}

fn check_adapter(model: &ModelRecipe, adapter: &AdapterRecipe) -> Checked {
    if !matches!(model, ModelRecipe::Gpt(_) | ModelRecipe::Llama(_) | ModelRecipe::Bert(_)) {
        return Err(impossible(format!("adapters belong to transformers, not to a {}", model.kind())));
    }
    within("adapter.rank", adapter.rank, l::RANK)?;
    within("adapter.alpha", adapter.alpha, l::ALPHA)?;
    within("adapter.targets (its length)", adapter.targets.len(), l::NAMES)?;
    within("adapter.whole (its length)", adapter.whole.len(), 0..=*l::NAMES.end())?;
    adapter.targets.iter().try_for_each(|name| check_length("adapter.targets", name))?;
    adapter.whole.iter().try_for_each(|name| check_length("adapter.whole", name))
}

fn check_optimizer(optimizer: &OptimizerRecipe) -> Checked {
    if let OptimizerKind::Muon { momentum } = optimizer.method {
        within("optimizer.method.muon.momentum", momentum, l::MOMENTUM)?;
    }
    within("optimizer.beta1", optimizer.beta1, l::BETA1)?;
    within("optimizer.beta2", optimizer.beta2, l::BETA2)?;
    within("optimizer.epsilon", optimizer.epsilon, l::EPSILON)?;
    within("optimizer.weight_decay", optimizer.weight_decay, l::WEIGHT_DECAY)
}

fn check_schedule(schedule: &ScheduleRecipe, total: u64) -> Checked {
    within("schedule.peak_learning_rate", schedule.peak_learning_rate, l::PEAK)?;
    within("schedule.floor_learning_rate", schedule.floor_learning_rate, 0.0..=schedule.peak_learning_rate)?;
    let fits = |field, tokens: u64, most: u64| {
        if tokens <= most {
            Ok(())
        } else {
            Err(out_of_range(field, tokens.to_string(), format!("at most {most} of the run's {total} tokens")))
        }
    };
    fits("schedule.warmup_tokens", schedule.warmup_tokens, total)?;
    match schedule.decay {
        DecayRecipe::Cosine => Ok(()),
        DecayRecipe::LastTokens(tokens) => fits("schedule.decay.last-tokens", tokens, total - schedule.warmup_tokens),
    }
}

fn check_overlap(recipe: &Recipe, overlap: &OverlapRecipe) -> Checked {
    within("outer.overlap.fragments", overlap.fragments, l::FRAGMENTS)?;
    within("outer.overlap.own_share", overlap.own_share, l::OWN_SHARE)?;
    if recipe.inner_steps_per_round < 2 {
        return Err(impossible("a round of one inner step leaves nothing to overlap with".to_owned()));
    }
    within("outer.overlap.merge_after_steps", overlap.merge_after_steps, 1..=recipe.inner_steps_per_round - 1)?;
    match recipe.outer.inner_steps {
        InnerSteps::Equal => Ok(()),
        InnerSteps::Paced => Err(impossible("rounds that overlap give all nodes equally many steps, and cannot be paced".to_owned())),
    }
}

fn check_divides(width: u32, heads: u32) -> Checked {
    if width.is_multiple_of(heads) { Ok(()) } else { Err(impossible(format!("width {width} is not divisible by heads {heads}"))) }
}

/// NaN is within no range.
fn within<T: PartialOrd + Display>(field: &'static str, value: T, range: RangeInclusive<T>) -> Checked {
    if range.contains(&value) {
        return Ok(());
    }
    let limit = if range.start() == range.end() {
        format!("exactly {}", range.start())
    } else {
        format!("from {} to {}", range.start(), range.end())
    };
    Err(out_of_range(field, value.to_string(), limit))
}

fn out_of_range(field: &'static str, value: String, limit: String) -> RecipeError {
    RecipeError::OutOfRange { field, value, limit }
}

fn impossible(what: String) -> RecipeError {
    RecipeError::ImpossibleShape(what)
}
