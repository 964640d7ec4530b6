//! Mean cross-entropy of next tokens, in nats.

use std::sync::Arc;

use candle_core::{D, Tensor};

use super::host::{Host, for_chunk_pairs, is_fused, tensor, vectorized};
use super::math::{exp, max, nearest_f32, sum};
use crate::error::{Result, TrainingError};
use crate::tape::{Tape, Value};

const ROWS_PER_CHUNK: usize = 64;

/// The mean of `-ln softmax(logits)[target]` over the rows of `logits` (rows, vocab): a scalar.
///
/// # Errors
/// [`TrainingError::BadRequest`] where rows and targets do not match or a target is outside the vocabulary.
pub fn cross_entropy(tape: &Tape, logits: &Value, targets: &Arc<[u32]>) -> Result<Value> {
    let (rows, vocab) = logits.tensor().dims2()?;
    check(rows, vocab, targets)?;
    if !is_fused(logits.tensor()) {
        let ids = Tensor::new(&**targets, logits.tensor().device())?.reshape((rows, 1))?;
        return super::composed(tape, &[logits], move |t| reference(&t[0], &ids));
    }
    let (probabilities, loss) = softmax(logits.tensor(), targets)?;
    let loss = tensor(vec![nearest_f32(loss / rows as f64)], ())?;
    let (to_logits, targets) = (logits.slot(), Arc::clone(targets));
    Ok(tape.record(&[logits], loss, move |gradient, gradients| {
        let scale = gradient.to_scalar::<f32>()? / rows as f32;
        let mut dlogits = probabilities;
        vectorized(
            #[inline(always)]
            || {
                for value in &mut dlogits {
                    *value *= scale;
                }
            },
        );
        for (row, target) in dlogits.chunks_exact_mut(vocab).zip(targets.iter()) {
            row[*target as usize] -= scale;
        }
        gradients.add(to_logits, tensor(dlogits, (rows, vocab))?)
    }))
}

/// The sum (not the mean) of the rows' losses, in nats, at full precision.
///
/// # Errors
/// As [`cross_entropy`].
pub fn summed_loss(logits: &Tensor, targets: &[u32]) -> Result<f64> {
    let (rows, vocab) = logits.dims2()?;
    check(rows, vocab, targets)?;
    if is_fused(logits) {
        return Ok(softmax(logits, targets)?.1);
    }
    let ids = Tensor::new(targets, logits.device())?.reshape((rows, 1))?;
    Ok(f64::from(reference(logits, &ids)?.to_scalar::<f32>()?) * rows as f64)
}

fn check(rows: usize, vocab: usize, targets: &[u32]) -> Result<()> {
    if rows != targets.len() || rows == 0 {
        return Err(TrainingError::BadRequest(format!("{rows} predictions for {} targets", targets.len())));
    }
    match targets.iter().find(|target| **target as usize >= vocab) {
        Some(target) => Err(TrainingError::BadRequest(format!("target {target} is outside the vocabulary of {vocab}"))),
        None => Ok(()),
    }
}

fn reference(logits: &Tensor, targets: &Tensor) -> candle_core::Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    (log_sum - shifted.gather(targets, D::Minus1)?)?.mean_all()
}

/// Probabilities of each row, and the summed loss.
fn softmax(logits: &Tensor, targets: &[u32]) -> Result<(Vec<f32>, f64)> {
    let (rows, vocab) = logits.dims2()?;
    let logits = logits.contiguous()?;
    let logits = Host::of(&logits)?;
    let logits: &[f32] = &logits;
    let mut probabilities = vec![0.0; rows * vocab];
    let mut losses = vec![0.0; rows.div_ceil(ROWS_PER_CHUNK)];
    let size = ROWS_PER_CHUNK * vocab;
    for_chunk_pairs((&mut probabilities, size), (&mut losses, 1), |chunk, probabilities, loss| {
        let logits = logits[chunk * size..].chunks_exact(vocab);
        let rows = probabilities.chunks_exact_mut(vocab).zip(logits).zip(&targets[chunk * ROWS_PER_CHUNK..]);
        for ((row, logits), target) in rows {
            row.copy_from_slice(logits);
            let chosen = row[*target as usize];
            let (greatest, total) = vectorized(
                #[inline(always)]
                || exponentials(row),
            );
            loss[0] += f64::from(total).ln() - f64::from(chosen - greatest);
        }
    });
    Ok((probabilities, losses.iter().sum()))
}

/// Turns a row of logits into probabilities; gives the greatest logit and the sum of exponentials.
#[inline(always)]
fn exponentials(row: &mut [f32]) -> (f32, f32) {
    let greatest = max(row);
    for value in row.iter_mut() {
        *value = exp(*value - greatest);
    }
    let total = sum(row, |value| value);
    let inverse = 1.0 / total;
    for value in row.iter_mut() {
        *value *= inverse;
    }
    (greatest, total)
}
