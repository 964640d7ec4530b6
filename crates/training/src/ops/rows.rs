//! Moving rows and columns: look-up, side by side, means of groups, other shapes.

use std::sync::Arc;

use candle_core::Tensor;

use super::host::{Host, add_to, for_chunks, is_fused, tensor};
use crate::error::{Result, TrainingError};
use crate::tape::{Slot, Tape, Value};

/// Row `ids[i]` of `table` (rows, width) as row `i`: (ids, width). An id may repeat; its gradients add up.
///
/// # Errors
/// [`TrainingError::BadRequest`] for an id outside the table.
pub fn lookup(tape: &Tape, table: &Value, ids: &Arc<[u32]>) -> Result<Value> {
    let (rows, width) = table.tensor().dims2()?;
    if let Some(id) = ids.iter().find(|id| **id as usize >= rows) {
        return Err(TrainingError::BadRequest(format!("row {id} is asked for, but there are {rows} rows")));
    }
    if !is_fused(table.tensor()) {
        let ids = Tensor::new(&**ids, table.tensor().device())?;
        return super::composed(tape, &[table], move |t| t[0].index_select(&ids, 0));
    }
    let from = table.tensor().contiguous()?;
    let mut out = Vec::with_capacity(ids.len() * width);
    let values = Host::of(&from)?;
    for id in ids.iter() {
        out.extend_from_slice(&values[*id as usize * width..][..width]);
    }
    let (to_table, ids) = (table.slot(), Arc::clone(ids));
    Ok(tape.record(&[table], tensor(out, (ids.len(), width))?, move |dy, gradients| {
        let dy = dy.contiguous()?;
        let mut dtable = vec![0.0; rows * width];
        for (id, row) in ids.iter().zip(Host::of(&dy)?.chunks_exact(width.max(1))) {
            add_to(&mut dtable[*id as usize * width..][..width], row);
        }
        gradients.add(to_table, tensor(dtable, (rows, width))?)
    }))
}

/// The columns of all `parts` (rows, each its own width) side by side: (rows, sum of widths).
///
/// # Errors
/// Parts of different numbers of rows.
pub fn join_columns(tape: &Tape, parts: &[&Value]) -> Result<Value> {
    let tensors: Vec<Tensor> = parts.iter().map(|part| part.tensor().contiguous()).collect::<candle_core::Result<_>>()?;
    let joined = Tensor::cat(&tensors, 1)?;
    let slots: Vec<(Slot, usize)> = parts.iter().map(|part| Ok((part.slot(), part.tensor().dim(1)?))).collect::<Result<_>>()?;
    Ok(tape.record(parts, joined, move |dy, gradients| {
        let mut first = 0;
        for (slot, width) in slots {
            gradients.add(slot, dy.narrow(1, first, width)?.contiguous()?)?;
            first += width;
        }
        Ok(())
    }))
}

/// The mean of each `group` rows of `x` (groups * group, width): (groups, width).
///
/// # Errors
/// [`TrainingError::BadRequest`] where the rows do not divide.
pub fn mean_of_groups(tape: &Tape, x: &Value, group: usize) -> Result<Value> {
    let (rows, width) = x.tensor().dims2()?;
    if group == 0 || !rows.is_multiple_of(group) {
        return Err(TrainingError::BadRequest(format!("{rows} rows do not divide into groups of {group}")));
    }
    let groups = rows / group;
    if !is_fused(x.tensor()) {
        return super::composed(tape, &[x], move |t| t[0].reshape((groups, group, width))?.mean(1));
    }
    let from = x.tensor().contiguous()?;
    let from = Host::of(&from)?;
    let from: &[f32] = &from;
    let factor = 1.0 / group as f32;
    let mut out = vec![0.0; groups * width];
    for_chunks(&mut out, width.max(1), |index, out| {
        for row in from[index * group * width..][..group * width].chunks_exact(width) {
            add_to(out, row);
        }
        out.iter_mut().for_each(|value| *value *= factor);
    });
    let to_x = x.slot();
    Ok(tape.record(&[x], tensor(out, (groups, width))?, move |dy, gradients| {
        let dx = (dy.reshape((groups, 1, width))? * f64::from(factor))?;
        gradients.add(to_x, dx.expand((groups, group, width))?.reshape((rows, width))?)
    }))
}

/// The same values in another shape.
///
/// # Errors
/// Another number of values.
pub fn reshape(tape: &Tape, x: &Value, shape: &[usize]) -> Result<Value> {
    let y = x.tensor().reshape(shape)?;
    let (to_x, before) = (x.slot(), x.tensor().shape().clone());
    Ok(tape.record(&[x], y, move |dy, gradients| gradients.add(to_x, dy.reshape(before)?)))
}
