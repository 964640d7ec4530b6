//! Reverse-mode differentiation over candle tensors, in about a hundred lines.
//!
//! Candle's own graph cuts gradients silently where an operation has no backward, and pays two passes of memory for
//! each edge. Here a [`Value`] can only come from an operation of [`crate::ops`], each of which records how its
//! gradient flows, so a cut does not compile; the first gradient of a value is moved in, not added to zeros; and an
//! operation may have any number of arguments and keep what its backward needs.

use std::cell::RefCell;

use candle_core::{Tensor, Var};

use crate::error::Result;

type Backward = Box<dyn FnOnce(Tensor, &mut Gradients) -> Result<()>>;

/// The operations of one forward pass, in order.
pub struct Tape {
    nodes: RefCell<Vec<Option<Backward>>>,
    keeps: Keeps,
}

/// What a tape keeps for the backward pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeps {
    Everything,
    InputsOfBlocks,
    Nothing,
}

/// A tensor on a tape; `node` is `None` for what no gradient is wanted of.
#[derive(Clone)]
pub struct Value {
    pub(crate) tensor: Tensor,
    node: Option<usize>,
}

/// Gradients by node, filled from the last operation to the first.
pub struct Gradients {
    slots: Vec<Option<Tensor>>,
}

impl Tape {
    /// A tape that records, for training.
    #[must_use]
    pub fn training() -> Self {
        Self::keeping(Keeps::Everything)
    }

    /// A tape for training that keeps of each block of a model only what goes into it, and computes the block once more
    /// when its gradient is wanted (arXiv:1604.06174): the same bits, a third more work, a fraction of the activations.
    #[must_use]
    pub fn recomputing() -> Self {
        Self::keeping(Keeps::InputsOfBlocks)
    }

    /// A tape that keeps nothing, for evaluation: activations are freed as soon as they were used.
    #[must_use]
    pub fn inference() -> Self {
        Self::keeping(Keeps::Nothing)
    }

    fn keeping(keeps: Keeps) -> Self {
        Self { nodes: RefCell::default(), keeps }
    }

    /// Whether blocks are computed once more for their gradients.
    pub(crate) fn recomputes(&self) -> bool {
        self.keeps == Keeps::InputsOfBlocks
    }

    /// A leaf whose gradient is wanted.
    #[must_use]
    pub fn variable(&self, variable: &Var) -> Value {
        self.leaf(variable.as_detached_tensor())
    }

    /// A leaf of any tensor whose gradient is wanted.
    #[must_use]
    pub fn leaf(&self, tensor: Tensor) -> Value {
        let node = (self.keeps != Keeps::Nothing).then(|| self.push(None));
        Value { tensor, node }
    }

    /// Puts the result of an operation on the tape.
    ///
    /// `backward` gets the gradient of `output` and gives each argument its own by [`Gradients::add`]; it is dropped
    /// where no argument wants a gradient.
    pub(crate) fn record(
        &self,
        arguments: &[&Value],
        output: Tensor,
        backward: impl FnOnce(Tensor, &mut Gradients) -> Result<()> + 'static,
    ) -> Value {
        let wanted = self.keeps != Keeps::Nothing && arguments.iter().any(|argument| argument.node.is_some());
        let node = wanted.then(|| self.push(Some(Box::new(backward))));
        Value { tensor: output, node }
    }

    /// Gradients of all leaves with respect to the scalar `loss`; consumes what was recorded.
    ///
    /// # Errors
    /// Candle's, from an operation's backward.
    pub fn backward(self, loss: &Value) -> Result<Gradients> {
        let one = loss.tensor.ones_like()?;
        self.backward_from(loss, one)
    }

    /// As [`Tape::backward`], of an `output` of any shape whose own `gradient` is known.
    pub(crate) fn backward_from(self, output: &Value, gradient: Tensor) -> Result<Gradients> {
        let mut nodes = self.nodes.into_inner();
        let mut gradients = Gradients { slots: vec![None; nodes.len()] };
        gradients.add(output, gradient)?;
        while let Some(backward) = nodes.pop() {
            let Some(backward) = backward else { continue };
            if let Some(gradient) = gradients.slots[nodes.len()].take() {
                backward(gradient, &mut gradients)?;
            }
        }
        Ok(gradients)
    }

    fn push(&self, backward: Option<Backward>) -> usize {
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(backward);
        nodes.len() - 1
    }
}

impl Value {
    /// A tensor of which no gradient is wanted, on every tape.
    #[must_use]
    pub fn constant(tensor: Tensor) -> Self {
        Self { tensor, node: None }
    }

    /// The tensor without its history.
    #[must_use]
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Whether a gradient flows to it.
    pub(crate) fn wants_gradient(&self) -> bool {
        self.node.is_some()
    }

    /// The same tensor on another tape: a leaf where a gradient flows to this.
    pub(crate) fn again(&self, tape: &Tape) -> Self {
        if self.wants_gradient() { tape.leaf(self.tensor.clone()) } else { self.clone() }
    }
}

impl Gradients {
    /// Adds `gradient` to what `value` has so far; nothing happens where none is wanted.
    pub(crate) fn add(&mut self, value: &Value, gradient: Tensor) -> Result<()> {
        let Some(node) = value.node else {
            return Ok(());
        };
        let slot = &mut self.slots[node];
        *slot = Some(match slot.take() {
            None => gradient,
            Some(sum) => crate::ops::sum(&sum, &gradient)?,
        });
        Ok(())
    }

    /// Takes the gradient of a leaf; `None` where the loss does not depend on it.
    pub fn take(&mut self, leaf: &Value) -> Option<Tensor> {
        self.slots.get_mut(leaf.node?)?.take()
    }
}
