//! Vouchers: cumulative claims that a key of the payer's choice signs, for escrows that take nothing else.

use crate::{BillingError, Contract, ContractExt, log};
use near_sdk::near;
use starling_contract_api::events::BillingEvent;
use starling_contract_common::{OrPanic, is_signed};
use starling_primitives::Signature;
use starling_protocol::{
    escrow::{Authority, Event, Posting},
    signing::Voucher,
};

#[near]
impl Contract {
    /// Posts the cumulative total of a voucher. A `seq` that is not higher than the last changes nothing.
    ///
    /// Access: anyone who has the voucher, signed by the escrow's voucher key for this chain, contract and instance. Deposit: none. Gas: 20 T. State change: the payee's balance
    /// and the fee account rise by what is earned more. Events: `voucher_redeemed`. Refund: none. Answers whether anything changed.
    pub fn redeem(&mut self, voucher: Voucher, signature: Signature) -> bool {
        let record = self.escrow_record(voucher.escrow_id).or_panic();
        let key = record.escrow.voucher_key().map_err(BillingError::from).or_panic();
        if !is_signed(&voucher.signing_bytes(&self.setup.domain()), &signature, &key) {
            near_sdk::env::panic_str(&BillingError::NotSigned.to_string());
        }
        let postings = vec![Posting { payee: voucher.payee.clone(), total: voucher.total }];
        let post = Event::Post { by: Authority::Voucher(key), seq: voucher.seq, postings, close: false };
        let (moved, changed) = self.apply(voucher.escrow_id, &record, post).or_panic();
        if changed {
            log(&BillingEvent::VoucherRedeemed { voucher, moved });
        }
        changed
    }
}
