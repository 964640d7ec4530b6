//! Gas that actions cost to send and to execute, and what a transaction costs in all, by the protocol's configuration.

use near_crypto::KeyType;
use near_parameters::cost::{SignatureKind, transfer_exec_fee, transfer_send_fee};
use near_parameters::{ActionCosts, ParameterCost, RuntimeConfig};
use near_primitives::account::{AccessKeyPermission, FunctionCallPermission};
use near_primitives::errors::IntegerOverflowError;
use near_primitives::transaction::{Action, Transaction};
use near_primitives::types::{AccountId, Balance, Gas};

type Result<T> = std::result::Result<T, IntegerOverflowError>;

/// Sums of gas and compute over the actions of one receipt.
pub(crate) struct Fees<'a> {
    config: &'a RuntimeConfig,
}

/// What a transaction costs its signer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TransactionCost {
    /// Burnt when the transaction becomes a receipt.
    pub(crate) gas_burnt: Gas,
    /// `gas_burnt` at the block's gas price.
    pub(crate) burnt_amount: Balance,
    /// Price at which the rest of the gas is bought.
    pub(crate) receipt_gas_price: Balance,
    /// Everything: burnt, bought and attached.
    pub(crate) total_cost: Balance,
}

impl<'a> Fees<'a> {
    pub(crate) fn new(config: &'a RuntimeConfig) -> Self {
        Self { config }
    }

    fn send(&self, cost: ActionCosts, sender_is_receiver: bool) -> ParameterCost {
        self.config.fees.fee(cost).send_fee(sender_is_receiver)
    }

    fn exec(&self, cost: ActionCosts) -> ParameterCost {
        self.config.fees.fee(cost).exec_fee()
    }

    pub(crate) fn receipt_exec(&self) -> ParameterCost {
        self.exec(ActionCosts::new_action_receipt)
    }

    /// The parts of an action's price: which costs, how many times.
    fn terms(action: &Action) -> Result<Vec<(ActionCosts, u64)>> {
        let terms = match action {
            Action::CreateAccount(_) => vec![(ActionCosts::create_account, 1)],
            Action::DeleteAccount(_) => vec![(ActionCosts::delete_account, 1)],
            Action::DeleteKey(_) => vec![(ActionCosts::delete_key, 1)],
            Action::Stake(_) => vec![(ActionCosts::stake, 1)],
            Action::Delegate(_) | Action::DelegateV2(_) => vec![(ActionCosts::delegate, 1)],
            Action::DeployContract(deploy) => {
                vec![(ActionCosts::deploy_contract_base, 1), (ActionCosts::deploy_contract_byte, length(deploy.code.len())?)]
            }
            Action::FunctionCall(call) => vec![
                (ActionCosts::function_call_base, 1),
                (ActionCosts::function_call_byte, length(call.method_name.len() + call.args.len())?),
            ],
            Action::AddKey(add) => match &add.access_key.permission {
                AccessKeyPermission::FunctionCall(call) | AccessKeyPermission::GasKeyFunctionCall(_, call) => {
                    vec![(ActionCosts::add_function_call_key_base, 1), (ActionCosts::add_function_call_key_byte, method_names_bytes(call)?)]
                }
                AccessKeyPermission::FullAccess | AccessKeyPermission::GasKeyFullAccess(_) => {
                    vec![(ActionCosts::add_full_access_key, 1)]
                }
            },
            // Transfers are priced by receiver; the others never pass validation here.
            Action::Transfer(_)
            | Action::DeployGlobalContract(_)
            | Action::UseGlobalContract(_)
            | Action::DeterministicStateInit(_)
            | Action::UniversalStateInit(_)
            | Action::TransferToGasKey(_)
            | Action::WithdrawFromGasKey(_) => Vec::new(),
        };
        Ok(terms)
    }

    /// Cost of sending one action, for a delegate action the inner ones included.
    pub(crate) fn action_send(&self, action: &Action, sender_is_receiver: bool, receiver: &AccountId) -> Result<ParameterCost> {
        if let Action::Transfer(_) = action {
            let vm = &self.config.wasm_config;
            return Ok(transfer_send_fee(
                &self.config.fees,
                sender_is_receiver,
                vm.eth_implicit_accounts,
                vm.universal_accounts,
                receiver.get_account_type(),
            ));
        }
        let own = self.sum(Self::terms(action)?, |cost| self.send(cost, sender_is_receiver))?;
        match action {
            Action::Delegate(signed) => {
                let inner = &signed.delegate_action;
                own.checked_add_result(self.total_send(&inner.get_actions(), sender_is_receiver, &inner.receiver_id)?)
            }
            _ => Ok(own),
        }
    }

    /// Cost of executing one action on `receiver`, without the calls inside it.
    pub(crate) fn action_exec(&self, action: &Action, receiver: &AccountId) -> Result<ParameterCost> {
        if let Action::Transfer(_) = action {
            let vm = &self.config.wasm_config;
            return Ok(transfer_exec_fee(&self.config.fees, vm.eth_implicit_accounts, vm.universal_accounts, receiver.get_account_type()));
        }
        self.sum(Self::terms(action)?, |cost| self.exec(cost))
    }

    fn sum(&self, terms: Vec<(ActionCosts, u64)>, price: impl Fn(ActionCosts) -> ParameterCost) -> Result<ParameterCost> {
        terms.into_iter().try_fold(ParameterCost::ZERO, |total, (cost, times)| {
            let part = price(cost).checked_mul(times).ok_or(IntegerOverflowError)?;
            total.checked_add_result(part)
        })
    }

    pub(crate) fn total_send(&self, actions: &[Action], sender_is_receiver: bool, receiver: &AccountId) -> Result<ParameterCost> {
        actions.iter().try_fold(ParameterCost::ZERO, |total, action| {
            total.checked_add_result(self.action_send(action, sender_is_receiver, receiver)?)
        })
    }

    /// Send fees that the receipt carries with it: those of the inner actions of a delegate action.
    pub(crate) fn prepaid_send(&self, actions: &[Action]) -> Result<ParameterCost> {
        let mut total = ParameterCost::ZERO;
        for action in actions {
            if let Action::Delegate(signed) = action {
                let inner = &signed.delegate_action;
                let sender_is_receiver = inner.sender_id == inner.receiver_id;
                let send = self.total_send(&inner.get_actions(), sender_is_receiver, &inner.receiver_id)?;
                total = total.checked_add_result(send)?;
            }
        }
        Ok(total)
    }

    /// Execution fees that a receipt with `actions` carries with it, its own creation excluded.
    pub(crate) fn prepaid_exec(&self, actions: &[Action], receiver: &AccountId) -> Result<ParameterCost> {
        let mut total = ParameterCost::ZERO;
        for action in actions {
            if let Action::Delegate(signed) = action {
                let inner = &signed.delegate_action;
                let exec = self.prepaid_exec(&inner.get_actions(), &inner.receiver_id)?;
                total = total.checked_add_result(exec)?.checked_add_result(self.receipt_exec())?;
            }
            total = total.checked_add_result(self.action_exec(action, receiver)?)?;
        }
        Ok(total)
    }

    /// Gas that a delegate action's inner receipt takes along: calls, execution, and its creation.
    pub(crate) fn receipt_required(&self, actions: &[Action], receiver: &AccountId) -> Result<Gas> {
        let exec = self.prepaid_exec(actions, receiver)?.checked_add_result(self.receipt_exec())?;
        total_prepaid_gas(actions)?.checked_add_result(exec.gas)
    }

    fn signature(&self, key_type: KeyType) -> ParameterCost {
        let kind = match key_type {
            KeyType::ED25519 => SignatureKind::Ed25519,
            KeyType::SECP256K1 => SignatureKind::Secp256k1,
            KeyType::MLDSA65 => SignatureKind::MlDsa65,
        };
        self.config.fees.signature_verification_costs[kind]
    }

    fn signatures(&self, transaction: &Transaction) -> Result<ParameterCost> {
        let mut total = self.signature(transaction.public_key().key_type());
        for action in transaction.actions() {
            if let Action::Delegate(signed) = action {
                let inner = self.signature(signed.delegate_action.public_key.key_type());
                total = total.checked_add_result(inner)?;
            }
        }
        Ok(total)
    }

    /// What the signer pays for `transaction` at `gas_price`.
    pub(crate) fn transaction(&self, transaction: &Transaction, gas_price: Balance) -> Result<TransactionCost> {
        let receiver = transaction.receiver_id();
        let sender_is_receiver = receiver == transaction.signer_id();
        let actions = transaction.actions();
        let burnt = self
            .send(ActionCosts::new_action_receipt, sender_is_receiver)
            .checked_add_result(self.total_send(actions, sender_is_receiver, receiver)?)?
            .checked_add_result(self.signatures(transaction)?)?;
        let bought = total_prepaid_gas(actions)?
            .checked_add_result(self.prepaid_send(actions)?.gas)?
            .checked_add_result(self.receipt_exec().gas)?
            .checked_add_result(self.prepaid_exec(actions, receiver)?.gas)?;
        let receipt_gas_price = gas_price.max(self.config.min_gas_purchase_price);
        let burnt_amount = gas_to_balance(burnt.gas, gas_price)?;
        let total_cost = burnt_amount
            .checked_add(gas_to_balance(bought, receipt_gas_price)?)
            .and_then(|cost| cost.checked_add(total_deposit(actions).ok()?))
            .ok_or(IntegerOverflowError)?;
        Ok(TransactionCost { gas_burnt: burnt.gas, burnt_amount, receipt_gas_price, total_cost })
    }
}

/// `gas` in tokens.
pub(crate) fn gas_to_balance(gas: Gas, price: Balance) -> Result<Balance> {
    price.checked_mul(u128::from(gas.as_gas())).ok_or(IntegerOverflowError)
}

/// Gas attached to the calls among `actions`, those of delegate actions included.
pub(crate) fn total_prepaid_gas(actions: &[Action]) -> Result<Gas> {
    actions.iter().try_fold(Gas::ZERO, |total, action| {
        let gas = match action {
            Action::Delegate(signed) => total_prepaid_gas(&signed.delegate_action.get_actions())?,
            _ => action.get_prepaid_gas(),
        };
        total.checked_add_result(gas)
    })
}

/// Tokens attached to `actions`, those of delegate actions included.
pub(crate) fn total_deposit(actions: &[Action]) -> Result<Balance> {
    actions.iter().try_fold(Balance::ZERO, |total, action| {
        let deposit = match action {
            Action::Delegate(signed) => total_deposit(&signed.delegate_action.get_actions())?,
            _ => action.get_deposit_balance(),
        };
        total.checked_add(deposit).ok_or(IntegerOverflowError)
    })
}

/// Bytes of a function-call key's method names, each with its terminating zero.
pub(crate) fn method_names_bytes(permission: &FunctionCallPermission) -> Result<u64> {
    permission.method_names.iter().try_fold(0_u64, |total, name| {
        total.checked_add(length(name.len())?).and_then(|sum| sum.checked_add(1)).ok_or(IntegerOverflowError)
    })
}

fn length(bytes: usize) -> Result<u64> {
    u64::try_from(bytes).map_err(|_| IntegerOverflowError)
}
