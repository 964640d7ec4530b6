//! Reverse-mode differentiation over candle tensors, in about a hundred lines.
//!
//! Candle's own graph cuts gradients silently where an operation has no backward, and pays two passes of memory for
//! each edge. Here a [`Value`] can only come from an operation of [`crate::ops`], each of which records how its
//! gradient flows, so a cut does not compile; the first gradient of a value is moved in, not added to zeros; and an
//! operation may have any number of arguments and keep what its backward needs, and no more: a [`Slot`] where it has only a
//! gradient to give, and of what is quickly computed again a [`Kept`] that does so.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

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

/// A tensor on a tape.
#[derive(Clone)]
pub struct Value {
    pub(crate) tensor: Tensor,
    slot: Slot,
    again: Option<Rc<Again>>,
}

/// Where the gradient of a value goes, if one is wanted; holds nothing of the value itself.
#[derive(Clone, Copy)]
pub(crate) struct Slot(Option<usize>);

/// What a backward keeps of a value: the tensor, or how it is computed once more.
pub(crate) enum Kept {
    Tensor(Tensor),
    Again(Rc<Again>),
}

/// How a value is computed once more, for all backwards that need it: the first computes it, the last lets it go.
pub(crate) struct Again {
    forward: Box<dyn Fn() -> Result<Tensor>>,
    /// Backwards that have not asked yet.
    waiting: Cell<usize>,
    made: RefCell<Option<Tensor>>,
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
        let slot = Slot((self.keeps != Keeps::Nothing).then(|| self.push(None)));
        Value { tensor, slot, again: None }
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
        let wanted = self.keeps != Keeps::Nothing && arguments.iter().any(|argument| argument.slot.is_wanted());
        let slot = Slot(wanted.then(|| self.push(Some(Box::new(backward)))));
        Value { tensor: output, slot, again: None }
    }

    /// As [`Tape::record`], of an operation whose work is small beside its output: who needs the output in its own
    /// backward computes it once more by `again`, which gives the same bits from what `backward` keeps anyway.
    pub(crate) fn record_light(
        &self,
        arguments: &[&Value],
        output: Tensor,
        backward: impl FnOnce(Tensor, &mut Gradients) -> Result<()> + 'static,
        again: impl Fn() -> Result<Tensor> + 'static,
    ) -> Value {
        let value = self.record(arguments, output, backward);
        let again = || Rc::new(Again { forward: Box::new(again), waiting: Cell::new(0), made: RefCell::default() });
        Value { again: value.slot.is_wanted().then(again), ..value }
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
        gradients.add(output.slot, gradient)?;
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
        Self { tensor, slot: Slot(None), again: None }
    }

    /// The tensor without its history.
    #[must_use]
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Where its gradient goes.
    pub(crate) fn slot(&self) -> Slot {
        self.slot
    }

    /// What a backward that needs the value keeps of it.
    pub(crate) fn kept(&self) -> Kept {
        let Some(again) = &self.again else { return Kept::Tensor(self.tensor.clone()) };
        again.waiting.update(|waiting| waiting + 1);
        Kept::Again(again.clone())
    }

    /// The same tensor on another tape: a leaf where a gradient flows to this.
    pub(crate) fn on(&self, tape: &Tape) -> Self {
        if self.slot.is_wanted() { tape.leaf(self.tensor.clone()) } else { self.clone() }
    }
}

impl Slot {
    /// Whether a gradient is wanted.
    pub(crate) fn is_wanted(self) -> bool {
        self.0.is_some()
    }
}

impl Kept {
    /// The value.
    pub(crate) fn tensor(self) -> Result<Tensor> {
        match self {
            Self::Tensor(tensor) => Ok(tensor),
            Self::Again(again) => again.tensor(),
        }
    }
}

impl Again {
    fn tensor(&self) -> Result<Tensor> {
        self.waiting.update(|waiting| waiting.saturating_sub(1));
        let made = self.made.take();
        let tensor = made.map_or_else(&self.forward, Ok)?;
        if self.waiting.get() > 0 {
            self.made.replace(Some(tensor.clone()));
        }
        Ok(tensor)
    }
}

impl Gradients {
    /// Adds `gradient` to what is in `slot` so far; nothing happens where none is wanted.
    pub(crate) fn add(&mut self, slot: Slot, gradient: Tensor) -> Result<()> {
        let Some(node) = slot.0 else {
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
        self.slots.get_mut(leaf.slot.0?)?.take()
    }
}
