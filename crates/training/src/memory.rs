//! How much memory training by a recipe takes, before it starts.

use crate::data::Data;
use crate::error::{Result, TrainingError};
use crate::model::Model;
use starling_rounds::recipe::{BertHead, BertShape, ConvolutionShape, GptShape, LlamaShape, ModelRecipe, PerceptronShape, Recipe};

/// Edge of the images that is reckoned with where they are not there to be asked.
const USUAL_EDGE: u64 = 224;
/// Frees and maps of the allocator, pools and the program itself.
const FIXED_BYTES: u64 = 8 << 20;
const FLOAT: u64 = 4;

/// What the environment of a program that trains should say to glibc's allocator as it starts. A step takes again what the one before it
/// freed: by default great blocks go back to the system each time and each thread has a heap of its own, which costs a third of a step's
/// time; so all come from one heap, of which a gibibyte may stay when nothing is trained.
pub const ONE_HEAP: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "1073741824"), ("MALLOC_TRIM_THRESHOLD_", "1073741824")];

/// What is kept of a forward pass until its backward. The result is the same to the bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activations {
    /// All of it.
    #[default]
    Kept,
    /// Of each block of a transformer what goes into it; the rest is computed once more, a third more work.
    Recomputed,
}

/// Bytes that training by this recipe holds at its peak, without the data: weights, gradients, moments, a checkpoint being
/// written, and the activations of one part of a batch.
///
/// The peak above what is resident before is measured for every model in `tests/memory.rs`, which fails where it is less
/// than 0.35 of this or more than it.
#[must_use]
pub fn memory_needed(recipe: &Recipe, data: Option<&Data>, activations: Activations) -> u64 {
    let own = recipe.model.parameter_count();
    let sizes: Vec<u64> = Model::layout(recipe)
        .map_or_else(|_| vec![own], |layout| layout.iter().map(|(_, shape)| shape.iter().product::<usize>() as u64).collect());
    let trained: u64 = sizes.iter().sum();
    // A gradient is there up to three times for a moment: in parts, turned, and whole.
    let greatest = 2 * sizes.iter().copied().max().unwrap_or(0) * FLOAT;
    let frozen = if recipe.adapter.is_some() { own } else { 0 };
    // Weights, gradients, two moments; a checkpoint holds weights and moments twice, as arrays and as the file.
    let states = trained * (4 + 6) * FLOAT + frozen * FLOAT;
    let sums = if recipe.accumulation > 1 { trained * 2 * FLOAT } else { 0 };
    let examples = u64::from(recipe.batch / recipe.accumulation.max(1));
    let activations = examples * floats_per_example(&recipe.model, data, activations) * FLOAT;
    FIXED_BYTES + states + greatest + sums + activations
}

/// What may be kept within `available` bytes: all of it, if that fits.
///
/// # Errors
/// [`TrainingError::OutOfMemory`] where the recipe needs more in any case.
pub fn check_memory(recipe: &Recipe, data: Option<&Data>, available: u64) -> Result<Activations> {
    let fits = |activations: &Activations| memory_needed(recipe, data, *activations) <= available;
    [Activations::Kept, Activations::Recomputed].into_iter().find(fits).ok_or_else(|| {
        let needed = memory_needed(recipe, data, Activations::Recomputed);
        TrainingError::OutOfMemory { needed_mib: needed >> 20, available_mib: available >> 20 }
    })
}

/// Floats that a forward pass keeps for its backward, and the greatest gradients beside them.
fn floats_per_example(model: &ModelRecipe, data: Option<&Data>, activations: Activations) -> u64 {
    // Of a token: all that blocks keep (what goes into norms, attention, non-linear functions and matrices), or what goes into each
    // block and one of them whole.
    let blocks = |layers: u64, block: u64, width: u64| match activations {
        Activations::Kept => layers * block,
        Activations::Recomputed => layers * width + block,
    };
    match model {
        ModelRecipe::Gpt(GptShape { layers, heads, width, context, vocab }) => {
            let [layers, heads, width, context, vocab] = [*layers, *heads, *width, *context, *vocab].map(u64::from);
            context * (blocks(layers, 10 * width + 2 * heads, width) + 3 * vocab + 12 * width)
        }
        ModelRecipe::Llama(LlamaShape { layers, heads, key_heads, head, width, hidden, context, vocab, .. }) => {
            let [layers, heads, keys, head] = [*layers, *heads, *key_heads, *head].map(u64::from);
            let [width, hidden, context, vocab] = [*width, *hidden, *context, *vocab].map(u64::from);
            let block = 2 * width + (2 * heads + 2 * keys) * head + 2 * hidden + 2 * heads;
            context * (blocks(layers, block, width) + 3 * vocab + 3 * hidden + 8 * width)
        }
        ModelRecipe::Bert(BertShape { layers, heads, width, hidden, context, vocab, head, .. }) => {
            let [layers, heads, width, hidden] = [*layers, *heads, *width, *hidden].map(u64::from);
            let [context, vocab] = [*context, *vocab].map(u64::from);
            let block = 6 * width + hidden + 2 * heads;
            let top = match head {
                BertHead::Classes(_) => 0,
                // About one token in seven is predicted.
                BertHead::MaskedTokens => 3 * vocab / 7,
            };
            context * (blocks(layers, block, width) + 8 * width + 2 * hidden + top)
        }
        ModelRecipe::Perceptron(PerceptronShape { features, hidden, classes }) => {
            let hidden: u64 = hidden.iter().copied().map(u64::from).sum();
            u64::from(*features) + 4 * hidden + 4 * u64::from(*classes)
        }
        ModelRecipe::Convolution(ConvolutionShape { channels, stages, .. }) => {
            let (mut height, mut width) = match data {
                Some(Data::Images(images)) => (images.edges().0 as u64, images.edges().1 as u64),
                _ => (USUAL_EDGE, USUAL_EDGE),
            };
            let (mut input, mut floats, mut greatest) = (u64::from(*channels), 2 * u64::from(*channels) * height * width, 0);
            for output in stages.iter().copied().map(u64::from) {
                (height, width) = (height.div_ceil(2), width.div_ceil(2));
                let columns = 9 * input * height * width;
                floats += columns + 3 * output * height * width;
                greatest = greatest.max(columns + output * height * width);
                input = output;
            }
            // Gradients of columns and pixels.
            floats + 2 * greatest
        }
    }
}
