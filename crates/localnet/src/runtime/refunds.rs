//! What comes back to the signer and the sender after a receipt ran.

use near_primitives::receipt::{Receipt, VersionedActionReceipt};
use near_primitives::types::{Balance, Gas};

use super::receipts::ActionResult;
use super::{BlockRun, add};
use crate::error::StateError;
use crate::fees::{Fees, gas_to_balance, total_deposit, total_prepaid_gas};

/// The price of the gas that was burnt, and what is burnt besides.
pub(super) struct RefundResult {
    pub(super) burn_price: Balance,
    pub(super) penalty: Balance,
    /// What creating an account costs beyond its gas.
    pub(super) creation_charge: Balance,
}

impl BlockRun<'_> {
    /// Adds refund receipts to the result: the deposit when it failed, the gas that was not used, and the difference between the price paid for gas and the price burnt.
    pub(super) fn refund(
        &mut self,
        receipt: &Receipt,
        action_receipt: &VersionedActionReceipt<'_>,
        result: &mut ActionResult,
        created_account: bool,
    ) -> Result<RefundResult, StateError> {
        let bought_at = action_receipt.gas_price();
        let burn_price = bought_at.min(self.context.gas_price);
        let mut refund = RefundResult { burn_price, penalty: Balance::ZERO, creation_charge: Balance::ZERO };
        let actions = action_receipt.actions();
        let deposit = total_deposit(actions)?;
        if receipt.predecessor_id().is_system() {
            if result.result.is_err() {
                self.burnt = add(self.burnt, deposit)?; // nobody is left to take it
            }
            return Ok(refund);
        }
        let unused = self.unused_gas(receipt, action_receipt, result)?;
        let penalty_gas = self.context.config.fees.gas_penalty_for_gas_refund(unused);
        refund.penalty = gas_to_balance(penalty_gas, burn_price)?;
        let unused_amount = gas_to_balance(unused, bought_at)?.checked_sub(refund.penalty).ok_or(StateError::Overflow)?;
        let difference = bought_at.checked_sub(burn_price).ok_or(StateError::Overflow)?;
        let mut surplus = gas_to_balance(result.gas_burnt, difference)?;
        if created_account {
            let paid = gas_to_balance(self.creation_gas(), burn_price)?;
            let owed = self.context.config.account_creation_charge.saturating_sub(paid);
            refund.creation_charge = owed.min(surplus);
            surplus = surplus.checked_sub(refund.creation_charge).ok_or(StateError::Overflow)?;
        }
        let amount = add(unused_amount, surplus)?;
        if result.result.is_err() && !deposit.is_zero() {
            result.new_receipts.push(Receipt::new_balance_refund(receipt.balance_refund_receiver(), deposit));
        }
        if !amount.is_zero() {
            let signer_key = action_receipt.signer_public_key().clone();
            result.new_receipts.push(Receipt::new_gas_refund(action_receipt.signer_id(), amount, signer_key));
        }
        Ok(refund)
    }

    fn unused_gas(&self, receipt: &Receipt, action_receipt: &VersionedActionReceipt<'_>, result: &ActionResult) -> Result<Gas, StateError> {
        let fees = Fees::new(&self.context.config);
        let actions = action_receipt.actions();
        let bought = total_prepaid_gas(actions)?
            .checked_add_result(fees.prepaid_send(actions)?.gas)?
            .checked_add_result(fees.prepaid_exec(actions, receipt.receiver_id())?.gas)?
            .checked_add_result(fees.receipt_exec().gas)?;
        let spent = if result.result.is_ok() { result.gas_used } else { result.gas_burnt };
        bought.checked_sub(spent).ok_or(StateError::Overflow)
    }
}
