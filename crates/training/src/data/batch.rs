//! What one step trains on: examples of one kind with their targets.

use std::sync::Arc;

use crate::error::{Result, TrainingError};
use crate::model::Texts;
use crate::parameters::Array;

/// Token windows of equal length with the token that follows each position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    /// `windows * context` tokens, row after row.
    pub tokens: Arc<[u32]>,
    /// The next token of each.
    pub targets: Arc<[u32]>,
    /// Rows.
    pub windows: usize,
    /// Tokens of a row.
    pub context: usize,
}

/// Examples with their targets.
#[derive(Clone, Debug, PartialEq)]
pub enum Batch {
    /// Windows of text, whose targets are the next tokens.
    Windows(Windows),
    /// Texts with their classes.
    Texts {
        /// The texts.
        texts: Texts,
        /// The class of each.
        targets: Arc<[u32]>,
    },
    /// Texts of which some tokens are masked.
    Masked {
        /// The texts, masks in place.
        texts: Texts,
        /// Where the masked tokens are, as indices into the texts' tokens.
        places: Arc<[u32]>,
        /// What was there.
        targets: Arc<[u32]>,
    },
    /// Rows of a table with their classes.
    Rows {
        /// (rows, features).
        rows: Array,
        /// The class of each.
        targets: Arc<[u32]>,
    },
    /// Images with their classes.
    Images {
        /// (images, channels, height, width).
        images: Array,
        /// The class of each.
        targets: Arc<[u32]>,
    },
}

impl Windows {
    /// Tokens of all windows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is no token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

impl From<Windows> for Batch {
    fn from(windows: Windows) -> Self {
        Self::Windows(windows)
    }
}

impl Batch {
    /// What the model should say: a token or a class each.
    #[must_use]
    pub fn targets(&self) -> &Arc<[u32]> {
        match self {
            Self::Windows(windows) => &windows.targets,
            Self::Texts { targets, .. } | Self::Masked { targets, .. } | Self::Rows { targets, .. } | Self::Images { targets, .. } => {
                targets
            }
        }
    }

    /// Examples in the batch.
    #[must_use]
    pub fn examples(&self) -> usize {
        match self {
            Self::Windows(windows) => windows.windows,
            Self::Texts { texts, .. } | Self::Masked { texts, .. } => texts.lengths.len(),
            Self::Rows { targets, .. } | Self::Images { targets, .. } => targets.len(),
        }
    }

    /// Tokens that the batch counts as: the room of its texts, or one for each row or image.
    #[must_use]
    pub fn tokens(&self) -> usize {
        match self {
            Self::Windows(windows) => windows.len(),
            Self::Texts { texts, .. } | Self::Masked { texts, .. } => texts.tokens.len(),
            Self::Rows { targets, .. } | Self::Images { targets, .. } => targets.len(),
        }
    }

    /// The batch in pieces of at most `examples` examples, in order.
    #[must_use]
    pub fn pieces(&self, examples: usize) -> Vec<Self> {
        let (size, count) = (examples.max(1), self.examples());
        (0..count).step_by(size).map(|first| self.slice(first, size.min(count - first))).collect()
    }

    /// All examples of several batches of one kind, in order.
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`] for none, or for batches of different kinds or shapes.
    pub fn joined(parts: &[Self]) -> Result<Self> {
        let bad = || TrainingError::BadRequest("only batches of one kind and shape can be joined".to_owned());
        let (first, rest) = parts.split_first().ok_or_else(bad)?;
        let mut joined = first.clone();
        for part in rest {
            joined = joined.and(part).ok_or_else(bad)?;
        }
        Ok(joined)
    }

    /// What its examples are, in a sentence.
    pub(crate) fn what(&self) -> &'static str {
        match self {
            Self::Windows(_) => "windows of text",
            Self::Texts { .. } => "labelled texts",
            Self::Masked { .. } => "masked texts",
            Self::Rows { .. } => "rows of a table",
            Self::Images { .. } => "images",
        }
    }

    fn slice(&self, first: usize, count: usize) -> Self {
        let of = |values: &Arc<[u32]>, each: usize| Arc::from(&values[first * each..(first + count) * each]);
        let texts = |texts: &Texts| Texts {
            tokens: of(&texts.tokens, texts.context),
            lengths: Arc::from(&texts.lengths[first..first + count]),
            context: texts.context,
        };
        match self {
            Self::Windows(windows) => Self::Windows(Windows {
                tokens: of(&windows.tokens, windows.context),
                targets: of(&windows.targets, windows.context),
                windows: count,
                context: windows.context,
            }),
            Self::Texts { texts: whole, targets } => Self::Texts { texts: texts(whole), targets: of(targets, 1) },
            Self::Masked { texts: whole, places, targets } => {
                let range = first * whole.context..(first + count) * whole.context;
                let inside = places.iter().zip(targets.iter()).filter(|(place, _)| range.contains(&(**place as usize)));
                let moved = inside.map(|(place, target)| (u32::try_from(*place as usize - range.start).unwrap_or(u32::MAX), *target));
                let (places, targets): (Vec<u32>, Vec<u32>) = moved.unzip();
                Self::Masked { texts: texts(whole), places: places.into(), targets: targets.into() }
            }
            Self::Rows { rows, targets } => Self::Rows { rows: part(rows, first, count), targets: of(targets, 1) },
            Self::Images { images, targets } => Self::Images { images: part(images, first, count), targets: of(targets, 1) },
        }
    }

    fn and(&self, other: &Self) -> Option<Self> {
        let both = |a: &Arc<[u32]>, b: &Arc<[u32]>| -> Arc<[u32]> { a.iter().chain(b.iter()).copied().collect() };
        let texts = |a: &Texts, b: &Texts| {
            let lengths = a.lengths.iter().chain(b.lengths.iter()).copied().collect();
            (a.context == b.context).then(|| Texts { tokens: both(&a.tokens, &b.tokens), lengths, context: a.context })
        };
        match (self, other) {
            (Self::Windows(a), Self::Windows(b)) if a.context == b.context => Some(Self::Windows(Windows {
                tokens: both(&a.tokens, &b.tokens),
                targets: both(&a.targets, &b.targets),
                windows: a.windows + b.windows,
                context: a.context,
            })),
            (Self::Texts { texts: a, targets: ta }, Self::Texts { texts: b, targets: tb }) => {
                Some(Self::Texts { texts: texts(a, b)?, targets: both(ta, tb) })
            }
            (Self::Masked { texts: a, places: pa, targets: ta }, Self::Masked { texts: b, places: pb, targets: tb }) => {
                let after = u32::try_from(a.tokens.len()).ok()?;
                let moved: Option<Vec<u32>> = pb.iter().map(|place| place.checked_add(after)).collect();
                Some(Self::Masked { texts: texts(a, b)?, places: both(pa, &moved?.into()), targets: both(ta, tb) })
            }
            (Self::Rows { rows: a, targets: ta }, Self::Rows { rows: b, targets: tb }) => {
                Some(Self::Rows { rows: stacked(a, b)?, targets: both(ta, tb) })
            }
            (Self::Images { images: a, targets: ta }, Self::Images { images: b, targets: tb }) => {
                Some(Self::Images { images: stacked(a, b)?, targets: both(ta, tb) })
            }
            _ => None,
        }
    }
}

/// `count` entries of the first dimension from `first` on.
fn part(array: &Array, first: usize, count: usize) -> Array {
    let each: usize = array.shape[1..].iter().product();
    let mut shape = array.shape.clone();
    shape[0] = count;
    Array { shape, values: array.values[first * each..(first + count) * each].to_vec() }
}

fn stacked(a: &Array, b: &Array) -> Option<Array> {
    if a.shape[1..] != b.shape[1..] {
        return None;
    }
    let mut shape = a.shape.clone();
    shape[0] += b.shape[0];
    Some(Array { shape, values: [a.values.as_slice(), &b.values].concat() })
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn pieces__should_join_to_the_whole_whatever_the_kind() {
        let texts = Texts { tokens: (0..12).collect(), lengths: Arc::from([4, 2, 3].as_slice()), context: 4 };
        let targets: Arc<[u32]> = Arc::from([2, 0, 1].as_slice());
        let array =
            |shape: &[usize]| Array { shape: shape.to_vec(), values: (0..shape.iter().product::<usize>()).map(|i| i as f32).collect() };
        let batches = [
            Batch::Texts { texts: texts.clone(), targets: targets.clone() },
            Batch::Masked { texts, places: Arc::from([1, 5, 6, 8].as_slice()), targets: Arc::from([9, 8, 7, 6].as_slice()) },
            Batch::Rows { rows: array(&[3, 2]), targets: targets.clone() },
            Batch::Images { images: array(&[3, 1, 2, 2]), targets },
        ];
        for batch in &batches {
            let pieces = batch.pieces(2);
            assert_eq!(pieces.iter().map(Batch::examples).collect::<Vec<_>>(), [2, 1]);
            assert_eq!(pieces.iter().map(Batch::tokens).sum::<usize>(), batch.tokens());
            assert_eq!(Batch::joined(&pieces).expect("one kind"), *batch);
        }
        let Batch::Masked { places, targets, .. } = &batches[1].pieces(2)[1] else { panic!("masked") };
        assert_eq!((&**places, &**targets), ([0].as_slice(), [6].as_slice()));
        assert!(Batch::joined(&batches).is_err() && Batch::joined(&[]).is_err());
    }
}
