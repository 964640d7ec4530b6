//! The virtual machine's view of the chain while a contract runs.

use near_crypto::PublicKey;
use near_primitives::account::{AccessKey, AccessKeyPermission, FunctionCallPermission};
use near_primitives::action::{
    AddKeyAction, CreateAccountAction, DeleteAccountAction, DeleteKeyAction, DeployContractAction, DeployGlobalContractAction,
    DeterministicStateInitAction, GlobalContractDeployMode as DeployMode, StakeAction, TransferAction, TransferToGasKeyAction,
    UniversalStateInitAction, UseGlobalContractAction,
};
use near_primitives::deterministic_account_id::{DeterministicAccountStateInit, DeterministicAccountStateInitV1};
use near_primitives::hash::CryptoHash;
use near_primitives::transaction::{Action, FunctionCallAction};
use near_primitives::trie_key::TrieKey;
use near_primitives::types::{AccountId, Balance, BlockHeight, Gas, GasWeight, Nonce};
use near_primitives::universal_state_init::{
    DecodeMode, RawStateInit, StateInitError, UniversalStateInit, UniversalStateInitCounts, state_init_send_counts,
};
use near_primitives::utils::create_receipt_id_from_action_hash;
use near_primitives::version::{ProtocolFeature, ProtocolVersion};
use near_vm_runner::logic::types::{ActionIndex, GlobalContractDeployMode, GlobalContractIdentifier, ReceiptIndex};
use near_vm_runner::logic::{External, HostError, StorageAccessTracker, VMLogicError, ValuePtr};

use super::promises::Promises;
use crate::error::StateError;
use crate::state::{Found, StateUpdate, Value, encode};
use crate::trie_cost::nodes_on_path;

/// `NonceIndex` and `YieldId` under the names that the machine uses.
type NonceIndex = u16;
use near_primitives::hash::YieldId;

type VmResult<T> = Result<T, VMLogicError>;

/// Status record of a yield that nobody has answered yet, and of one that has an answer on its way.
const YIELDED: u8 = 0;
/// See [`YIELDED`].
pub(crate) const RESUME_INITIATED: u8 = 1;

/// One function call's access to state and promises.
pub(crate) struct ChainExternal<'a, 'b> {
    pub(crate) update: &'a mut StateUpdate<'b>,
    pub(crate) promises: Promises,
    pub(crate) account_id: &'a AccountId,
    pub(crate) action_hash: CryptoHash,
    pub(crate) height: BlockHeight,
    pub(crate) protocol_version: ProtocolVersion,
    pub(crate) chain_id: &'a str,
    pub(crate) data_count: u64,
}

struct StoredValue {
    value: Value,
    in_state: bool,
}

impl ValuePtr for StoredValue {
    fn len(&self) -> u32 {
        u32::try_from(self.value.len()).unwrap_or(u32::MAX)
    }

    fn deref(&self, tracker: &mut dyn StorageAccessTracker) -> VmResult<Vec<u8>> {
        if self.in_state {
            tracker.trie_node_touched(1)?;
        }
        Ok(self.value.to_vec())
    }
}

impl ChainExternal<'_, '_> {
    fn data_key(&self, key: &[u8]) -> Vec<u8> {
        TrieKey::ContractData { account_id: self.account_id.clone(), key: key.to_vec() }.to_vec()
    }

    /// The old value of a record about to change, with the nodes that finding it costs.
    fn evict(
        &self,
        tracker: &mut dyn StorageAccessTracker,
        key: &[u8],
        charge: fn(&mut dyn StorageAccessTracker, u64) -> VmResult<()>,
    ) -> VmResult<Option<Vec<u8>>> {
        let found = self.update.find(key);
        let (value, in_state) = match &found {
            Found::InBlock(value) => (Some(value), false),
            Found::InState(value) => (Some(value), true),
            Found::RemovedInBlock => (None, false),
            Found::Missing => (None, true),
        };
        if let Some(value) = value {
            charge(tracker, u64::try_from(value.len()).unwrap_or(u64::MAX))?;
        }
        if in_state {
            let value_node = u64::from(value.is_some());
            tracker.trie_node_touched(nodes_on_path(self.update.base(), key) + value_node)?;
        }
        Ok(value.map(|value| value.to_vec()))
    }

    fn yield_key(&self, data_id: CryptoHash) -> TrieKey {
        TrieKey::PromiseYieldStatus { receiver_id: self.account_id.clone(), data_id }
    }

    fn set_record<T: borsh::BorshSerialize>(&mut self, key: &TrieKey, value: &T) -> VmResult<()> {
        let value = encode(value).map_err(|_| inconsistent())?;
        self.update.set_raw(key.to_vec(), value);
        Ok(())
    }

    fn get_record<T: borsh::BorshDeserialize>(&self, key: &TrieKey) -> VmResult<Option<T>> {
        self.update.get(key).map_err(|_: StateError| inconsistent())
    }
}

fn inconsistent() -> VMLogicError {
    near_vm_runner::logic::errors::InconsistentStateError::IntegerOverflow.into()
}

fn names(method_names: Vec<Vec<u8>>) -> VmResult<Vec<String>> {
    let parse = |name| String::from_utf8(name).map_err(|_| HostError::InvalidMethodName.into());
    method_names.into_iter().map(parse).collect()
}

impl External for ChainExternal<'_, '_> {
    fn storage_set(&mut self, tracker: &mut dyn StorageAccessTracker, key: &[u8], value: &[u8]) -> VmResult<Option<Vec<u8>>> {
        let key = self.data_key(key);
        let evicted = self.evict(tracker, &key, |tracker, bytes| tracker.deref_write_evicted_value_bytes(bytes))?;
        self.update.set_raw(key, Value::from(value));
        Ok(evicted)
    }

    fn storage_get<'a>(&'a self, _tracker: &mut dyn StorageAccessTracker, key: &[u8]) -> VmResult<Option<Box<dyn ValuePtr + 'a>>> {
        let pointer = match self.update.find(&self.data_key(key)) {
            Found::InBlock(value) => Some(StoredValue { value, in_state: false }),
            Found::InState(value) => Some(StoredValue { value, in_state: true }),
            Found::RemovedInBlock | Found::Missing => None,
        };
        Ok(pointer.map(|pointer| Box::new(pointer) as Box<dyn ValuePtr>))
    }

    fn storage_remove(&mut self, tracker: &mut dyn StorageAccessTracker, key: &[u8]) -> VmResult<Option<Vec<u8>>> {
        let key = self.data_key(key);
        let removed = self.evict(tracker, &key, |tracker, bytes| tracker.deref_removed_value_bytes(bytes))?;
        self.update.remove_raw(key);
        Ok(removed)
    }

    fn storage_has_key(&mut self, _tracker: &mut dyn StorageAccessTracker, key: &[u8]) -> VmResult<bool> {
        Ok(self.update.get_raw(&self.data_key(key)).is_some())
    }

    fn generate_data_id(&mut self) -> CryptoHash {
        let data_id = create_receipt_id_from_action_hash(&self.action_hash, self.height, self.data_count);
        self.data_count += 1;
        data_id
    }

    fn get_recorded_storage_size(&self) -> usize {
        0
    }

    fn storage_proof_size_before_receipt(&self) -> usize {
        0
    }

    fn validator_stake(&self, _account_id: &AccountId) -> VmResult<Option<Balance>> {
        Ok(None)
    }

    fn validator_total_stake(&self) -> VmResult<Balance> {
        Ok(Balance::ZERO)
    }

    fn chain_id(&self) -> String {
        self.chain_id.to_owned()
    }

    fn create_action_receipt(&mut self, receipt_indices: Vec<ReceiptIndex>, receiver_id: AccountId) -> VmResult<ReceiptIndex> {
        let data_ids = receipt_indices.iter().map(|_| self.generate_data_id()).collect();
        self.promises.create(&receipt_indices, data_ids, receiver_id)
    }

    fn create_promise_yield_receipt(&mut self, receiver_id: AccountId) -> VmResult<(ReceiptIndex, CryptoHash)> {
        let data_id = self.generate_data_id();
        let key = self.yield_key(data_id);
        self.set_record(&key, &YIELDED)?;
        Ok((self.promises.create_yield(data_id, receiver_id), data_id))
    }

    fn create_promise_yield_receipt_with_id(
        &mut self,
        receiver_id: AccountId,
        user_yield_id: YieldId,
    ) -> VmResult<Option<(ReceiptIndex, CryptoHash)>> {
        let by_yield = TrieKey::YieldIdToDataId { receiver_id: self.account_id.clone(), yield_id: user_yield_id };
        if self.update.contains(&by_yield) {
            return Ok(None);
        }
        let (index, data_id) = self.create_promise_yield_receipt(receiver_id)?;
        let by_data = TrieKey::DataIdToYieldId { receiver_id: self.account_id.clone(), data_id };
        self.set_record(&by_yield, &data_id)?;
        self.set_record(&by_data, &user_yield_id)?;
        Ok(Some((index, data_id)))
    }

    fn submit_promise_resume_data(&mut self, data_id: CryptoHash, data: Vec<u8>) -> VmResult<bool> {
        let receipt = TrieKey::PromiseYieldReceipt { receiver_id: self.account_id.clone(), data_id };
        let status = self.yield_key(data_id);
        if !self.update.contains(&receipt) && !self.update.contains(&status) {
            return Ok(false);
        }
        self.promises.resume(data_id, data);
        self.set_record(&status, &RESUME_INITIATED)?;
        Ok(true)
    }

    fn submit_promise_resume_data_with_yield_id(&mut self, user_yield_id: YieldId, data: Vec<u8>) -> VmResult<bool> {
        let key = TrieKey::YieldIdToDataId { receiver_id: self.account_id.clone(), yield_id: user_yield_id };
        match self.get_record::<CryptoHash>(&key)? {
            Some(data_id) => self.submit_promise_resume_data(data_id, data),
            None => Ok(false),
        }
    }

    fn append_action_create_account(&mut self, index: ReceiptIndex) {
        self.promises.append(index, Action::CreateAccount(CreateAccountAction {}));
    }

    fn append_action_deploy_contract(&mut self, index: ReceiptIndex, code: Vec<u8>) {
        self.promises.append(index, Action::DeployContract(DeployContractAction { code }));
    }

    // The next five are made as asked and refused by name when the receipt is checked.

    fn append_action_deploy_global_contract(&mut self, index: ReceiptIndex, code: Vec<u8>, mode: GlobalContractDeployMode) {
        let deploy_mode = match mode {
            GlobalContractDeployMode::CodeHash => DeployMode::CodeHash,
            GlobalContractDeployMode::AccountId => DeployMode::AccountId,
        };
        let action = DeployGlobalContractAction { code: code.into(), deploy_mode };
        self.promises.append(index, Action::DeployGlobalContract(action));
    }

    fn append_action_use_global_contract(&mut self, index: ReceiptIndex, contract_id: GlobalContractIdentifier) {
        let action = UseGlobalContractAction { contract_identifier: contract_id.into() };
        self.promises.append(index, Action::UseGlobalContract(Box::new(action)));
    }

    fn append_action_deterministic_state_init(
        &mut self,
        index: ReceiptIndex,
        contract_id: GlobalContractIdentifier,
        amount: Balance,
    ) -> ActionIndex {
        let state_init = DeterministicAccountStateInit::V1(DeterministicAccountStateInitV1 {
            code: contract_id.into(),
            data: std::collections::BTreeMap::new(),
        });
        let action = DeterministicStateInitAction { state_init, deposit: amount };
        let position = self.promises.receipt_mut(index).map_or(0, |receipt| receipt.actions.len());
        self.promises.append(index, Action::DeterministicStateInit(Box::new(action)));
        position as ActionIndex
    }

    fn set_deterministic_state_init_data_entry(
        &mut self,
        receipt_index: ReceiptIndex,
        action_index: ActionIndex,
        key: Vec<u8>,
        value: Vec<u8>,
    ) -> VmResult<()> {
        let wrong = HostError::InvalidActionIndex { receipt_index, action_index };
        let position = usize::try_from(action_index).map_err(|_| wrong.clone())?;
        let receipt = self.promises.receipt_mut(receipt_index)?;
        match receipt.actions.get_mut(position) {
            Some(Action::DeterministicStateInit(action)) => match action.state_init.data_mut().insert(key, value) {
                None => Ok(()),
                Some(_) => Err(HostError::DataEntryAlreadyExists.into()),
            },
            _ => Err(wrong.into()),
        }
    }

    fn check_state_init(&self, state_init: &RawStateInit) -> Result<(), StateInitError> {
        UniversalStateInit::from_raw_strict(state_init).map(|_| ())
    }

    fn state_init_send_counts(&self, state_init: &RawStateInit, mode: DecodeMode) -> UniversalStateInitCounts {
        state_init_send_counts(state_init, mode)
    }

    fn append_action_universal_state_init(&mut self, index: ReceiptIndex, state_init: RawStateInit, amount: Balance) {
        let action = UniversalStateInitAction { state_init, deposit: amount };
        self.promises.append(index, Action::UniversalStateInit(Box::new(action)));
    }

    fn append_action_function_call_weight(
        &mut self,
        index: ReceiptIndex,
        method_name: Vec<u8>,
        args: Vec<u8>,
        attached_deposit: Balance,
        prepaid_gas: Gas,
        gas_weight: GasWeight,
    ) -> VmResult<()> {
        let method_name = String::from_utf8(method_name).map_err(|_| HostError::InvalidMethodName)?;
        let call = FunctionCallAction { method_name, args, gas: prepaid_gas, deposit: attached_deposit };
        self.promises.append_call(index, call, gas_weight.0)
    }

    fn append_action_transfer(&mut self, index: ReceiptIndex, deposit: Balance) {
        self.promises.append(index, Action::Transfer(TransferAction { deposit }));
    }

    fn append_action_transfer_to_gas_key(&mut self, index: ReceiptIndex, public_key: PublicKey, deposit: Balance) {
        let action = TransferToGasKeyAction { public_key, deposit };
        self.promises.append(index, Action::TransferToGasKey(Box::new(action)));
    }

    fn append_action_add_gas_key_with_full_access(&mut self, index: ReceiptIndex, public_key: PublicKey, num_nonces: NonceIndex) {
        let access_key = AccessKey::gas_key_full_access(num_nonces);
        self.promises.append(index, Action::AddKey(Box::new(AddKeyAction { public_key, access_key })));
    }

    fn append_action_add_gas_key_with_function_call(
        &mut self,
        index: ReceiptIndex,
        public_key: PublicKey,
        num_nonces: NonceIndex,
        allowance: Option<Balance>,
        receiver_id: AccountId,
        method_names: Vec<Vec<u8>>,
    ) -> VmResult<()> {
        let permission = FunctionCallPermission { allowance, receiver_id: receiver_id.into(), method_names: names(method_names)? };
        let access_key = AccessKey::gas_key_function_call(num_nonces, permission);
        self.promises.append(index, Action::AddKey(Box::new(AddKeyAction { public_key, access_key })));
        Ok(())
    }

    fn append_action_stake(&mut self, index: ReceiptIndex, stake: Balance, public_key: PublicKey) {
        self.promises.append(index, Action::Stake(Box::new(StakeAction { stake, public_key })));
    }

    fn append_action_add_key_with_full_access(&mut self, index: ReceiptIndex, public_key: PublicKey, nonce: Nonce) {
        let access_key = AccessKey { nonce, permission: AccessKeyPermission::FullAccess };
        self.promises.append(index, Action::AddKey(Box::new(AddKeyAction { public_key, access_key })));
    }

    fn append_action_add_key_with_function_call(
        &mut self,
        index: ReceiptIndex,
        public_key: PublicKey,
        nonce: Nonce,
        allowance: Option<Balance>,
        receiver_id: AccountId,
        method_names: Vec<Vec<u8>>,
    ) -> VmResult<()> {
        let permission = FunctionCallPermission { allowance, receiver_id: receiver_id.into(), method_names: names(method_names)? };
        let access_key = AccessKey { nonce, permission: AccessKeyPermission::FunctionCall(permission) };
        self.promises.append(index, Action::AddKey(Box::new(AddKeyAction { public_key, access_key })));
        Ok(())
    }

    fn append_action_delete_key(&mut self, index: ReceiptIndex, public_key: PublicKey) {
        self.promises.append(index, Action::DeleteKey(Box::new(DeleteKeyAction { public_key })));
    }

    fn append_action_delete_account(&mut self, index: ReceiptIndex, beneficiary_id: AccountId) {
        self.promises.append(index, Action::DeleteAccount(DeleteAccountAction { beneficiary_id }));
    }

    /// # Panics
    /// When the machine gives an index that it was never given.
    fn get_receipt_receiver(&self, index: ReceiptIndex) -> &AccountId {
        let position = usize::try_from(index).unwrap_or(usize::MAX);
        &self.promises.receipts[position].receiver_id
    }

    fn set_refund_to(&mut self, index: ReceiptIndex, refund_to: AccountId) {
        if let Ok(receipt) = self.promises.receipt_mut(index) {
            receipt.refund_to = Some(refund_to);
        }
    }

    fn post_quantum_keys_enabled(&self) -> bool {
        ProtocolFeature::PostQuantumSignatures.enabled(self.protocol_version)
    }
}
