//! Delegate actions (NEP-366): one account signs, another pays.

use near_primitives::account::AccessKeyPermission;
use near_primitives::action::delegate::{DelegateAction, SignedDelegateAction};
use near_primitives::errors::{ActionErrorKind, InvalidAccessKeyError};
use near_primitives::receipt::{ActionReceipt, ReceiptEnum};

use super::BlockRun;
use super::actions::ActionCall;
use super::promises::new_receipt;
use super::receipts::ActionResult;
use super::verify::{check_function_call_key, nonce_upper_bound};
use crate::error::StateError;
use crate::fees::Fees;

impl BlockRun<'_> {
    pub(super) fn delegate(
        &mut self,
        call: &ActionCall<'_>,
        signed: &SignedDelegateAction,
        result: &mut ActionResult,
    ) -> Result<(), StateError> {
        if let Err(kind) = self.check_delegate(call, signed)? {
            result.fail(kind);
            return Ok(());
        }
        let inner = &signed.delegate_action;
        let actions = inner.get_actions();
        let fees = Fees::new(&self.context.config);
        let required = fees.receipt_required(&actions, &inner.receiver_id)?;
        let send = fees.prepaid_send(std::slice::from_ref(&call.action_receipt.actions()[call.index]))?;
        result.gas_used = result.gas_used.checked_add_result(required)?.checked_add_result(send.gas)?;
        result.gas_burnt = result.gas_burnt.checked_add_result(send.gas)?;
        result.compute = result.compute.saturating_add(send.compute);
        // The signer of the inner receipt is the relayer, who paid the gas and gets back what is left.
        let receipt = ReceiptEnum::Action(ActionReceipt {
            signer_id: call.action_receipt.signer_id().clone(),
            signer_public_key: call.action_receipt.signer_public_key().clone(),
            gas_price: call.action_receipt.gas_price(),
            output_data_receivers: Vec::new(),
            input_data_ids: Vec::new(),
            actions,
        });
        result.new_receipts.push(new_receipt(inner.sender_id.clone(), inner.receiver_id.clone(), receipt));
        Ok(())
    }

    fn check_delegate(&mut self, call: &ActionCall<'_>, signed: &SignedDelegateAction) -> Result<Result<(), ActionErrorKind>, StateError> {
        let inner = &signed.delegate_action;
        if !signed.verify() {
            return Ok(Err(ActionErrorKind::DelegateActionInvalidSignature));
        }
        if self.context.height > inner.max_block_height {
            return Ok(Err(ActionErrorKind::DelegateActionExpired));
        }
        if inner.sender_id != *call.receipt.receiver_id() {
            return Ok(Err(ActionErrorKind::DelegateActionSenderDoesNotMatchTxReceiver {
                sender_id: inner.sender_id.clone(),
                receiver_id: call.receipt.receiver_id().clone(),
            }));
        }
        self.use_delegate_key(inner)
    }

    /// Checks the sender's key and moves its nonce.
    fn use_delegate_key(&mut self, inner: &DelegateAction) -> Result<Result<(), ActionErrorKind>, StateError> {
        let Some(mut key) = self.update.access_key(&inner.sender_id, &inner.public_key)? else {
            let error = InvalidAccessKeyError::AccessKeyNotFound {
                account_id: inner.sender_id.clone(),
                public_key: Box::new(inner.public_key.clone()),
            };
            return Ok(Err(ActionErrorKind::DelegateActionAccessKeyError(error)));
        };
        if inner.nonce <= key.nonce {
            return Ok(Err(ActionErrorKind::DelegateActionInvalidNonce { delegate_nonce: inner.nonce, ak_nonce: key.nonce }));
        }
        let upper_bound = nonce_upper_bound(self.context.height);
        if inner.nonce >= upper_bound {
            let delegate_nonce = inner.nonce;
            return Ok(Err(ActionErrorKind::DelegateActionNonceTooLarge { delegate_nonce, upper_bound }));
        }
        if let AccessKeyPermission::FunctionCall(permission) = &key.permission
            && let Err(error) = check_function_call_key(permission, &inner.get_actions(), &inner.receiver_id)
        {
            return Ok(Err(ActionErrorKind::DelegateActionAccessKeyError(error)));
        }
        key.nonce = inner.nonce;
        self.update.set_access_key(&inner.sender_id, &inner.public_key, &key)?;
        Ok(Ok(()))
    }
}
