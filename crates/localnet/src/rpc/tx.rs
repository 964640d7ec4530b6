//! Sending transactions, waiting for them, and the two sandbox methods.

use std::sync::Arc;

use near_jsonrpc_primitives::errors::RpcError;
use near_jsonrpc_primitives::types::sandbox::{
    RpcSandboxFastForwardError, RpcSandboxFastForwardRequest, RpcSandboxFastForwardResponse, RpcSandboxPatchStateError,
    RpcSandboxPatchStateRequest, RpcSandboxPatchStateResponse,
};
use near_jsonrpc_primitives::types::transactions::{
    RpcSendTransactionRequest, RpcTransactionError, RpcTransactionResponse, RpcTransactionStatusRequest, TimeoutErrorCause, TransactionInfo,
};
use near_primitives::hash::CryptoHash;
use near_primitives::transaction::SignedTransaction;
use near_primitives::views::{FinalExecutionOutcomeViewEnum, FinalExecutionOutcomeWithReceiptView, ReceiptView, TxExecutionStatus};
use serde_json::{Value, json};

use super::params::{named, parse, signed_transaction};
use super::{Answer, Rpc, to_value};
use crate::error::LocalnetError;
use crate::view::TransactionStatus;

fn tx_error(error: LocalnetError) -> RpcTransactionError {
    match error {
        LocalnetError::InvalidTransaction(context) => RpcTransactionError::InvalidTransaction { context: *context },
        LocalnetError::UnknownTransaction(requested_transaction_hash) => {
            RpcTransactionError::UnknownTransaction { requested_transaction_hash }
        }
        other => RpcTransactionError::InternalError { debug_info: other.to_string() },
    }
}

/// Whether a transaction that has come this far satisfies the one who waits.
fn satisfies(progress: &TxExecutionStatus, wanted: &TxExecutionStatus) -> bool {
    let rank = |status: &TxExecutionStatus| match status {
        TxExecutionStatus::None => 0,
        // A block is final at once.
        TxExecutionStatus::Included | TxExecutionStatus::IncludedFinal => 1,
        TxExecutionStatus::ExecutedOptimistic | TxExecutionStatus::Executed => 2,
        TxExecutionStatus::Final => 3,
    };
    rank(progress) >= rank(wanted)
}

impl Rpc {
    pub(super) fn broadcast_async(&self, params: Value) -> Answer {
        let transaction = signed_transaction(&params)?;
        let hash = transaction.get_hash();
        // As on NEAR, an invalid transaction has a hash too, and no outcome: the caller learns of it by asking.
        match self.localnet.send_tx(transaction) {
            Ok(_) => {}
            Err(LocalnetError::InvalidTransaction(error)) => {
                tracing::debug!(%hash, %error, "a transaction was refused");
            }
            Err(error) => return Err(tx_error(error).into()),
        }
        Ok(json!(hash))
    }

    pub(super) async fn broadcast_commit(self: &Arc<Self>, params: Value) -> Answer {
        let transaction = signed_transaction(&params)?;
        let response = self.send_and_wait(transaction, TxExecutionStatus::ExecutedOptimistic).await?;
        to_value(&response)
    }

    pub(super) async fn send_tx(self: &Arc<Self>, params: Value) -> Answer {
        let request: RpcSendTransactionRequest = parse(named(params, &["signed_tx_base64", "wait_until"]))?;
        let response = self.send_and_wait(request.signed_transaction, request.wait_until).await?;
        to_value(&response)
    }

    async fn send_and_wait(
        self: &Arc<Self>,
        transaction: SignedTransaction,
        wanted: TxExecutionStatus,
    ) -> Result<RpcTransactionResponse, RpcError> {
        let hash = transaction.get_hash();
        let signed = Arc::new(transaction.clone());
        let rpc = Arc::clone(self);
        let sent = tokio::task::spawn_blocking(move || rpc.localnet.send_tx(transaction)).await;
        sent.map_err(|error| super::internal(&error))?.map_err(tx_error)?;
        self.wait_for(hash, Some(signed), wanted, false).await
    }

    pub(super) async fn tx(self: &Arc<Self>, params: Value, with_receipts: bool) -> Answer {
        let params = match params {
            Value::Array(values) if values.len() == 1 => json!({ "signed_tx_base64": values[0] }),
            other => named(other, &["tx_hash", "sender_account_id"]),
        };
        let request: RpcTransactionStatusRequest = parse(params)?;
        let (hash, signed) = match request.transaction_info {
            TransactionInfo::Transaction { signed_tx } => (signed_tx.get_hash(), Some(Arc::new(signed_tx))),
            TransactionInfo::TransactionId { tx_hash, .. } => (tx_hash, None),
        };
        to_value(&self.wait_for(hash, signed, request.wait_until, with_receipts).await?)
    }

    /// Waits until the transaction has come as far as wanted.
    async fn wait_for(
        self: &Arc<Self>,
        hash: CryptoHash,
        signed: Option<Arc<SignedTransaction>>,
        wanted: TxExecutionStatus,
        with_receipts: bool,
    ) -> Result<RpcTransactionResponse, RpcError> {
        let mut head = self.localnet.watch_head();
        let deadline = tokio::time::Instant::now() + self.options.wait_timeout;
        loop {
            head.borrow_and_update();
            let (rpc, signed, must_be_known) = (Arc::clone(self), signed.clone(), wanted != TxExecutionStatus::None);
            let found = tokio::task::spawn_blocking(move || rpc.find(&hash, signed.as_deref(), must_be_known)).await;
            let found = found.map_err(|error| super::internal(&error))?.map_err(tx_error)?;
            match &found {
                Some(status) if satisfies(&status.progress, &wanted) => {
                    return self.response(status, with_receipts).map_err(|error| tx_error(error).into());
                }
                None if wanted == TxExecutionStatus::None => {
                    return Ok(RpcTransactionResponse { final_execution_outcome: None, final_execution_status: TxExecutionStatus::None });
                }
                _ => {}
            }
            let changed = tokio::time::timeout_at(deadline, head.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                let cause = match found {
                    None => TimeoutErrorCause::NotObserved,
                    Some(status) => TimeoutErrorCause::Pending {
                        status: Box::new(RpcTransactionResponse { final_execution_outcome: None, final_execution_status: status.progress }),
                    },
                };
                return Err(RpcTransactionError::TimeoutError(Some(cause)).into());
            }
        }
    }

    /// A transaction as it stands; nothing if it has no outcome yet. One that is nowhere but must be known is told why it could not enter a block, where it is there
    /// to be checked again.
    fn find(
        &self,
        hash: &CryptoHash,
        signed: Option<&SignedTransaction>,
        must_be_known: bool,
    ) -> Result<Option<TransactionStatus>, LocalnetError> {
        let found = self.localnet.tx_status(hash)?;
        if found.is_none() && must_be_known && !self.localnet.knows(hash)? {
            signed.map_or(Ok(()), |signed| self.localnet.check(signed))?;
            return Err(LocalnetError::UnknownTransaction(*hash));
        }
        Ok(found)
    }

    fn response(&self, status: &TransactionStatus, with_receipts: bool) -> Result<RpcTransactionResponse, LocalnetError> {
        let outcome = status.outcome.clone();
        let outcome = if with_receipts {
            let receipts = self.receipts_of(status)?;
            let with = FinalExecutionOutcomeWithReceiptView { final_outcome: outcome, receipts };
            FinalExecutionOutcomeViewEnum::FinalExecutionOutcomeWithReceipt(with)
        } else {
            FinalExecutionOutcomeViewEnum::FinalExecutionOutcome(outcome)
        };
        Ok(RpcTransactionResponse { final_execution_outcome: Some(outcome), final_execution_status: status.progress.clone() })
    }

    fn receipts_of(&self, status: &TransactionStatus) -> Result<Vec<ReceiptView>, LocalnetError> {
        let outcomes = std::iter::once(&status.outcome.transaction_outcome).chain(&status.outcome.receipts_outcome);
        let mut receipts = Vec::new();
        for id in outcomes.flat_map(|outcome| &outcome.outcome.receipt_ids) {
            if let Some(receipt) = self.localnet.receipt(id)? {
                receipts.push(receipt.into());
            }
        }
        Ok(receipts)
    }

    pub(super) fn fast_forward(&self, params: Value) -> Answer {
        let request: RpcSandboxFastForwardRequest = parse(named(params, &["delta_height"]))?;
        self.localnet
            .fast_forward(request.delta_height)
            .map_err(|error| RpcSandboxFastForwardError::InternalError { error_message: error.to_string() })?;
        to_value(&RpcSandboxFastForwardResponse {})
    }

    pub(super) fn patch_state(&self, params: Value) -> Answer {
        let request: RpcSandboxPatchStateRequest = parse(named(params, &["records"]))?;
        self.localnet
            .patch_state(request.records)
            .map_err(|error| RpcSandboxPatchStateError::InternalError { error_message: error.to_string() })?;
        to_value(&RpcSandboxPatchStateResponse {})
    }
}
