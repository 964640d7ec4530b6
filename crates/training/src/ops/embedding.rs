//! Token plus position embedding.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::host::{Host, add_to, for_chunks, is_fused, tensor};
use crate::error::{Result, TrainingError};
use crate::tape::{Tape, Value};

/// `tokens[t] -> table[token] + positions[t mod context]`: (windows * context, width) for tables (vocab, width) and
/// (at least context, width).
///
/// # Errors
/// [`TrainingError::BadRequest`] for a token outside the table or a context longer than the positions.
pub fn embed(tape: &Tape, table: &Value, positions: &Value, tokens: &Arc<[u32]>, context: usize) -> Result<Value> {
    let (vocab, width) = table.tensor().dims2()?;
    let (places, _) = positions.tensor().dims2()?;
    if let Some(token) = tokens.iter().find(|token| **token as usize >= vocab) {
        return Err(TrainingError::BadRequest(format!("token {token} is outside the vocabulary of {vocab}")));
    }
    if context == 0 || context > places || !tokens.len().is_multiple_of(context) {
        return Err(TrainingError::BadRequest(format!(
            "{} tokens in windows of {context} do not fit a model with {places} positions",
            tokens.len()
        )));
    }
    if !is_fused(table.tensor()) {
        let ids = Tensor::new(&**tokens, table.tensor().device())?;
        let windows = tokens.len() / context;
        return super::composed(tape, &[table, positions], move |t| {
            let tokens = t[0].index_select(&ids, 0)?.reshape((windows, context, width))?;
            tokens.broadcast_add(&t[1].narrow(0, 0, context)?)?.reshape((windows * context, width))
        });
    }
    let output = forward(table.tensor(), positions.tensor(), tokens, context)?;
    let (to_table, to_positions, tokens) = (table.slot(), positions.slot(), Arc::clone(tokens));
    Ok(tape.record(&[table, positions], output, move |dy, gradients| {
        let dy = dy.contiguous()?;
        let (mut dtable, mut dpositions) = (vec![0.0; vocab * width], vec![0.0; places * width]);
        for (index, (token, row)) in tokens.iter().zip(Host::of(&dy)?.chunks_exact(width)).enumerate() {
            add_to(&mut dtable[*token as usize * width..][..width], row);
            add_to(&mut dpositions[index % context * width..][..width], row);
        }
        gradients.add(to_table, tensor(dtable, (vocab, width))?)?;
        gradients.add(to_positions, tensor(dpositions, (places, width))?)
    }))
}

fn forward(table: &Tensor, positions: &Tensor, tokens: &[u32], context: usize) -> Result<Tensor> {
    debug_assert!(matches!(table.device(), Device::Cpu));
    let width = table.dim(1)?;
    let (table, positions) = (table.contiguous()?, positions.contiguous()?);
    let (table, positions) = (Host::of(&table)?, Host::of(&positions)?);
    let (table, positions): (&[f32], &[f32]) = (&table, &positions);
    let mut out = vec![0.0; tokens.len() * width];
    for_chunks(&mut out, context * width, |window, out| {
        let tokens = &tokens[window * context..];
        let rows = out.chunks_exact_mut(width).zip(tokens).zip(positions.chunks_exact(width));
        for ((out, token), position) in rows {
            out.copy_from_slice(&table[*token as usize * width..][..width]);
            add_to(out, position);
        }
    });
    tensor(out, (tokens.len(), width))
}
