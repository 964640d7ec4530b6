//! The models that a recipe can name, with their shapes.

use serde::{Deserialize, Serialize};

/// Which model, and its shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ModelRecipe {
    /// A GPT-2 style decoder.
    Gpt(GptShape),
    /// A Llama style decoder.
    Llama(LlamaShape),
    /// A BERT encoder that classifies texts or predicts masked tokens.
    Bert(BertShape),
    /// A multilayer perceptron over the rows of a table.
    Perceptron(PerceptronShape),
    /// A convolutional net over images.
    Convolution(ConvolutionShape),
}

/// The shape of a GPT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GptShape {
    /// Transformer blocks.
    pub layers: u32,
    /// Attention heads of each block; divides `width`.
    pub heads: u32,
    /// Floats per token between the blocks.
    pub width: u32,
    /// Tokens that the model sees at once.
    pub context: u32,
    /// Different tokens; 256 are the bytes, more a byte-pair tokenizer's.
    pub vocab: u32,
}

/// The shape of a Llama.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlamaShape {
    /// Transformer blocks.
    pub layers: u32,
    /// Heads of queries.
    pub heads: u32,
    /// Heads of keys and of values; divides `heads`.
    pub key_heads: u32,
    /// Floats of a head, an even number.
    pub head: u32,
    /// Floats per token between the blocks.
    pub width: u32,
    /// Floats per token within the perceptron.
    pub hidden: u32,
    /// Tokens that the model sees at once.
    pub context: u32,
    /// Different tokens; 256 are the bytes, more a byte-pair tokenizer's.
    pub vocab: u32,
    /// Base of the rotations.
    pub theta: f64,
    /// Added to the mean square in norms.
    pub epsilon: f64,
    /// Whether the output layer is the token embedding again, and then stored once.
    pub tied: bool,
}

/// What stands on a BERT's encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BertHead {
    /// A pooler over the first token and a linear layer to so many classes.
    Classes(u32),
    /// The token embedding again, after a transform: predicts masked tokens.
    MaskedTokens,
}

/// The shape of a BERT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BertShape {
    /// Transformer blocks.
    pub layers: u32,
    /// Attention heads of each block; divides `width`.
    pub heads: u32,
    /// Floats per token between the blocks.
    pub width: u32,
    /// Floats per token within the perceptron.
    pub hidden: u32,
    /// Tokens that the model sees at once.
    pub context: u32,
    /// Different tokens: a byte-pair tokenizer's, and three more that begin, pad and mask.
    pub vocab: u32,
    /// Kinds of segment that have an embedding; every token here is of the first.
    pub segments: u32,
    /// Added to the variance in norms.
    pub epsilon: f64,
    /// What it is for.
    pub head: BertHead,
}

/// The shape of a perceptron.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerceptronShape {
    /// Numbers in a row of the table.
    pub features: u32,
    /// Floats of each hidden layer.
    pub hidden: Vec<u32>,
    /// Classes, at least 2.
    pub classes: u32,
}

/// The shape of a convolutional net.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvolutionShape {
    /// Channels of the images: 1 for grey, 3 for colours.
    pub channels: u32,
    /// Channels after each stage.
    pub stages: Vec<u32>,
    /// Classes, at least 2.
    pub classes: u32,
}

impl ModelRecipe {
    /// The kind as the file has it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Gpt(_) => "gpt",
            Self::Llama(_) => "llama",
            Self::Bert(_) => "bert",
            Self::Perceptron(_) => "perceptron",
            Self::Convolution(_) => "convolution",
        }
    }

    /// Tokens that a model of text sees at once.
    #[must_use]
    pub fn context(&self) -> Option<u32> {
        match self {
            Self::Gpt(shape) => Some(shape.context),
            Self::Llama(shape) => Some(shape.context),
            Self::Bert(shape) => Some(shape.context),
            Self::Perceptron(_) | Self::Convolution(_) => None,
        }
    }

    /// Different tokens of a model of text.
    #[must_use]
    pub fn vocab(&self) -> Option<u32> {
        match self {
            Self::Gpt(shape) => Some(shape.vocab),
            Self::Llama(shape) => Some(shape.vocab),
            Self::Bert(shape) => Some(shape.vocab),
            Self::Perceptron(_) | Self::Convolution(_) => None,
        }
    }

    /// Classes of a classifier.
    #[must_use]
    pub fn classes(&self) -> Option<u32> {
        match self {
            Self::Bert(BertShape { head: BertHead::Classes(classes), .. }) => Some(*classes),
            Self::Perceptron(shape) => Some(shape.classes),
            Self::Convolution(shape) => Some(shape.classes),
            Self::Gpt(_) | Self::Llama(_) | Self::Bert(_) => None,
        }
    }

    /// Columns of numbers or channels of images that a classifier takes.
    #[must_use]
    pub fn inputs(&self) -> Option<u32> {
        match self {
            Self::Perceptron(shape) => Some(shape.features),
            Self::Convolution(shape) => Some(shape.channels),
            Self::Gpt(_) | Self::Llama(_) | Self::Bert(_) => None,
        }
    }

    /// The same for data of so many columns or channels and classes, where it has such.
    #[must_use]
    pub fn for_data(&self, inputs: Option<u32>, classes: Option<u32>) -> Self {
        let mut model = self.clone();
        match &mut model {
            Self::Perceptron(shape) => {
                (shape.features, shape.classes) = (inputs.unwrap_or(shape.features), classes.unwrap_or(shape.classes));
            }
            Self::Convolution(shape) => {
                (shape.channels, shape.classes) = (inputs.unwrap_or(shape.channels), classes.unwrap_or(shape.classes));
            }
            Self::Bert(BertShape { head: BertHead::Classes(own), .. }) => *own = classes.unwrap_or(*own),
            Self::Gpt(_) | Self::Llama(_) | Self::Bert(_) => {}
        }
        model
    }

    /// Tokens that an example counts as: the room of a text, else one, for a row or an image.
    #[must_use]
    pub fn tokens_per_example(&self) -> u32 {
        self.context().unwrap_or(1)
    }

    /// Trainable numbers of a model of this shape, without adapters.
    #[must_use]
    pub fn parameter_count(&self) -> u64 {
        match self {
            Self::Gpt(shape) => shape.parameter_count(),
            Self::Llama(shape) => shape.parameter_count(),
            Self::Bert(shape) => shape.parameter_count(),
            Self::Perceptron(shape) => shape.parameter_count(),
            Self::Convolution(shape) => shape.parameter_count(),
        }
    }
}

impl GptShape {
    /// Trainable numbers of a GPT of this shape; the output layer is the token embedding again.
    #[must_use]
    pub fn parameter_count(&self) -> u64 {
        let [layers, width, context, vocab] = [self.layers, self.width, self.context, self.vocab].map(u64::from);
        let norms = 4 * width;
        let attention = width * 3 * width + 3 * width + width * width + width;
        let perceptron = width * 4 * width + 4 * width + 4 * width * width + width;
        vocab * width + context * width + layers * (norms + attention + perceptron) + 2 * width
    }
}

impl LlamaShape {
    /// Trainable numbers of a Llama of this shape.
    #[must_use]
    pub fn parameter_count(&self) -> u64 {
        let [layers, width, hidden, vocab] = [self.layers, self.width, self.hidden, self.vocab].map(u64::from);
        let (queries, keys) = (u64::from(self.heads) * u64::from(self.head), u64::from(self.key_heads) * u64::from(self.head));
        let attention = 2 * width * queries + 2 * width * keys;
        let tables = if self.tied { 1 } else { 2 };
        tables * vocab * width + layers * (2 * width + attention + 3 * width * hidden) + width
    }
}

impl BertShape {
    /// Trainable numbers of a BERT of this shape; the output layer of masked tokens is the token embedding again.
    #[must_use]
    pub fn parameter_count(&self) -> u64 {
        let [layers, width, hidden] = [self.layers, self.width, self.hidden].map(u64::from);
        let [context, vocab, segments] = [self.context, self.vocab, self.segments].map(u64::from);
        let attention = 4 * (width * width + width) + 2 * width;
        let perceptron = width * hidden + hidden + hidden * width + width + 2 * width;
        let head = match self.head {
            BertHead::Classes(classes) => width * width + width + u64::from(classes) * (width + 1),
            BertHead::MaskedTokens => width * width + 3 * width + vocab,
        };
        (vocab + context + segments) * width + 2 * width + layers * (attention + perceptron) + head
    }
}

impl PerceptronShape {
    /// Trainable numbers of a perceptron of this shape.
    #[must_use]
    pub fn parameter_count(&self) -> u64 {
        let inputs = [self.features].into_iter().chain(self.hidden.iter().copied());
        let outputs = self.hidden.iter().copied().chain([self.classes]);
        inputs.zip(outputs).map(|(input, output)| (u64::from(input) + 1) * u64::from(output)).sum()
    }
}

impl ConvolutionShape {
    /// Trainable numbers of a convolutional net of this shape.
    #[must_use]
    pub fn parameter_count(&self) -> u64 {
        let inputs = [self.channels].into_iter().chain(self.stages.iter().copied());
        let stages = inputs.zip(&self.stages).map(|(input, output)| (9 * u64::from(input) + 3) * u64::from(*output));
        let last = u64::from(self.stages.last().copied().unwrap_or(self.channels));
        stages.sum::<u64>() + (last + 1) * u64::from(self.classes)
    }
}
