//! Receipts that a running contract makes: collected here, turned into real receipts when the call succeeds.

use near_primitives::errors::IntegerOverflowError;
use near_primitives::hash::CryptoHash;
use near_primitives::receipt::{ActionReceiptV2, DataReceipt, DataReceiver, Receipt, ReceiptEnum, ReceiptV0, VersionedActionReceipt};
use near_primitives::transaction::{Action, FunctionCallAction};
use near_primitives::types::{AccountId, Gas};
use near_vm_runner::logic::types::ReceiptIndex;
use near_vm_runner::logic::{HostError, VMLogicError};

/// An action receipt without its id.
#[derive(Debug)]
pub(crate) struct PromiseReceipt {
    pub(crate) receiver_id: AccountId,
    pub(crate) refund_to: Option<AccountId>,
    pub(crate) output_data_receivers: Vec<DataReceiver>,
    pub(crate) input_data_ids: Vec<CryptoHash>,
    pub(crate) actions: Vec<Action>,
    pub(crate) is_yield: bool,
}

/// All that one function call made.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    pub(crate) receipts: Vec<PromiseReceipt>,
    resumes: Vec<DataReceipt>,
    /// Calls that share the gas left over: (receipt, action, weight).
    weights: Vec<(usize, usize, u64)>,
}

impl Promises {
    /// Adds a receipt that waits for `dependencies`, each answered under its own data id.
    pub(crate) fn create(
        &mut self,
        dependencies: &[ReceiptIndex],
        data_ids: Vec<CryptoHash>,
        receiver_id: AccountId,
    ) -> Result<ReceiptIndex, VMLogicError> {
        for (dependency, data_id) in dependencies.iter().zip(&data_ids) {
            let receiver = DataReceiver { data_id: *data_id, receiver_id: receiver_id.clone() };
            self.receipt_mut(*dependency)?.output_data_receivers.push(receiver);
        }
        Ok(self.push(receiver_id, data_ids, false))
    }

    pub(crate) fn create_yield(&mut self, data_id: CryptoHash, receiver_id: AccountId) -> ReceiptIndex {
        self.push(receiver_id, vec![data_id], true)
    }

    pub(crate) fn resume(&mut self, data_id: CryptoHash, data: Vec<u8>) {
        self.resumes.push(DataReceipt { data_id, data: Some(data) });
    }

    fn push(&mut self, receiver_id: AccountId, input_data_ids: Vec<CryptoHash>, is_yield: bool) -> ReceiptIndex {
        let index = self.receipts.len() as ReceiptIndex;
        self.receipts.push(PromiseReceipt {
            receiver_id,
            refund_to: None,
            output_data_receivers: Vec::new(),
            input_data_ids,
            actions: Vec::new(),
            is_yield,
        });
        index
    }

    /// The receipt at `index`.
    ///
    /// # Errors
    /// The machine hands out the indices, so an unknown one is a fault of the contract's promise index.
    pub(crate) fn receipt_mut(&mut self, index: ReceiptIndex) -> Result<&mut PromiseReceipt, VMLogicError> {
        usize::try_from(index)
            .ok()
            .and_then(|position| self.receipts.get_mut(position))
            .ok_or_else(|| HostError::InvalidReceiptIndex { receipt_index: index }.into())
    }

    /// Adds an action; the machine has checked the index.
    pub(crate) fn append(&mut self, index: ReceiptIndex, action: Action) {
        if let Ok(receipt) = self.receipt_mut(index) {
            receipt.actions.push(action);
        }
    }

    pub(crate) fn append_call(&mut self, index: ReceiptIndex, call: FunctionCallAction, weight: u64) -> Result<(), VMLogicError> {
        let receipt = self.receipt_mut(index)?;
        let action = receipt.actions.len();
        receipt.actions.push(Action::FunctionCall(Box::new(call)));
        if weight > 0 {
            let position = usize::try_from(index).unwrap_or(usize::MAX);
            self.weights.push((position, action, weight));
        }
        Ok(())
    }

    /// Shares out the unused gas by weight, what division leaves to the last; gives what was handed out.
    pub(crate) fn distribute(&mut self, unused: Gas) -> Result<Gas, IntegerOverflowError> {
        let sum: u128 = self.weights.iter().map(|(_, _, weight)| u128::from(*weight)).sum();
        if sum == 0 || unused == Gas::ZERO {
            return Ok(Gas::ZERO);
        }
        let mut left = unused;
        let last = self.weights.len() - 1;
        for (position, (receipt, action, weight)) in self.weights.iter().enumerate() {
            let share = u128::from(unused.as_gas()) * u128::from(*weight) / sum;
            let mut share = Gas::from_gas(u64::try_from(share).map_err(|_| IntegerOverflowError)?);
            left = left.checked_sub(share).ok_or(IntegerOverflowError)?;
            if position == last {
                share = share.checked_add_result(left)?;
            }
            if let Some(Action::FunctionCall(call)) = self.receipts.get_mut(*receipt).and_then(|receipt| receipt.actions.get_mut(*action)) {
                call.gas = call.gas.checked_add_result(share)?;
            }
        }
        Ok(unused)
    }

    /// The receipts, in order, as children of `parent`; ids are given later.
    pub(crate) fn into_receipts(self, account_id: &AccountId, parent: &VersionedActionReceipt<'_>) -> Vec<Receipt> {
        let actions = self.receipts.into_iter().map(|promise| {
            let action = ActionReceiptV2 {
                signer_id: parent.signer_id().clone(),
                refund_to: promise.refund_to,
                signer_public_key: parent.signer_public_key().clone(),
                gas_price: parent.gas_price(),
                output_data_receivers: promise.output_data_receivers,
                input_data_ids: promise.input_data_ids,
                actions: promise.actions,
            };
            let kind = if promise.is_yield { ReceiptEnum::PromiseYieldV2(action) } else { ReceiptEnum::ActionV2(action) };
            new_receipt(account_id.clone(), promise.receiver_id, kind)
        });
        let resumes =
            self.resumes.into_iter().map(|data| new_receipt(account_id.clone(), account_id.clone(), ReceiptEnum::PromiseResume(data)));
        actions.chain(resumes).collect()
    }
}

/// A receipt whose id is not known yet.
pub(crate) fn new_receipt(predecessor_id: AccountId, receiver_id: AccountId, receipt: ReceiptEnum) -> Receipt {
    Receipt::V0(ReceiptV0 { predecessor_id, receiver_id, receipt_id: CryptoHash::default(), receipt })
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn unused_gas__should_be_shared_by_weight_to_the_last_unit() {
        let mut promises = Promises::default();
        let receiver: AccountId = "app.root".parse().expect("a valid account id");
        let call = || FunctionCallAction {
            method_name: "get".to_owned(),
            args: Vec::new(),
            gas: Gas::from_gas(5),
            deposit: near_primitives::types::Balance::ZERO,
        };
        for weight in [1, 0, 2] {
            let index = promises.create(&[], Vec::new(), receiver.clone()).expect("no dependencies");
            promises.append_call(index, call(), weight).expect("the receipt is there");
        }
        assert_eq!(promises.distribute(Gas::from_gas(100)).expect("no overflow"), Gas::from_gas(100));
        let gas: Vec<u64> = promises.receipts.iter().map(|receipt| receipt.actions[0].get_prepaid_gas().as_gas()).collect();
        assert_eq!(gas, [5 + 33, 5, 5 + 67]);
        assert_eq!(Promises::default().distribute(Gas::from_gas(9)).expect("no overflow"), Gas::ZERO);
    }

    #[test]
    fn dependency__should_answer_under_the_data_id_of_the_one_who_waits() {
        let mut promises = Promises::default();
        let id = |name: &str| name.parse::<AccountId>().expect("a valid account id");
        let first = promises.create(&[], Vec::new(), id("first")).expect("no dependencies");
        let data_id = CryptoHash::hash_bytes(b"data");
        let then = promises.create(&[first], vec![data_id], id("then")).expect("the dependency is there");
        assert_eq!(promises.receipts[0].output_data_receivers[0].data_id, data_id);
        assert_eq!(promises.receipts[0].output_data_receivers[0].receiver_id, id("then"));
        assert_eq!(promises.receipt_mut(then).expect("it is there").input_data_ids, [data_id]);
        assert!(promises.create(&[9], vec![data_id], id("then")).is_err());
    }
}
