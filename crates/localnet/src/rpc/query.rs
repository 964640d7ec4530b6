//! `query` in all its kinds, its older path form, and the newer methods with a type of their own for each kind.

use near_crypto::{PublicKey, PublicKeyHandle};
use near_jsonrpc_primitives::errors::RpcError;
use near_jsonrpc_primitives::types::call_function::RpcCallFunctionError;
use near_jsonrpc_primitives::types::query::{QueryResponseKind, RpcQueryError, RpcQueryRequest, RpcQueryResponse};
use near_jsonrpc_primitives::types::view_access_key::RpcViewAccessKeyError;
use near_jsonrpc_primitives::types::view_access_key_list::RpcViewAccessKeyListError;
use near_jsonrpc_primitives::types::view_account::RpcViewAccountError;
use near_jsonrpc_primitives::types::view_code::RpcViewCodeError;
use near_jsonrpc_primitives::types::view_state::RpcViewStateError;
use near_primitives::account::Account;
use near_primitives::types::{AccountId, StoreKey};
use near_primitives::views::{AccessKeyInfoView, AccessKeyList, CallResult, ContractCodeView, QueryRequest, StateItem, ViewStateResult};
use serde_json::{Value, json};

use super::params::{block_reference, parse};
use super::{Answer, Rpc, to_value};
use crate::chain::Block;
use crate::error::LocalnetError;

type QueryResult<T> = Result<T, RpcQueryError>;

impl Rpc {
    /// `query`: a failed call and a missing key are answered as results with an `error` text, as nodes always have.
    pub(super) fn query(&self, params: Value) -> Answer {
        let request = query_request(params)?;
        match self.run_query(&request) {
            Ok(response) => to_value(&response),
            Err(RpcQueryError::ContractExecutionError { vm_error, block_height, block_hash, .. }) => Ok(json!({
                "error": vm_error, "logs": [], "block_height": block_height, "block_hash": block_hash,
            })),
            Err(RpcQueryError::UnknownAccessKey { public_key, block_height, block_hash }) => Ok(json!({
                "error": format!("access key {public_key} does not exist while viewing"),
                "logs": [], "block_height": block_height, "block_hash": block_hash,
            })),
            Err(error) => Err(error.into()),
        }
    }

    /// The methods `EXPERIMENTAL_view_*` and `EXPERIMENTAL_call_function`, whose errors are errors.
    pub(super) fn typed_query(&self, method: &str, params: Value) -> Answer {
        let kind = method.trim_start_matches("EXPERIMENTAL_");
        let mut params = params;
        if let Value::Object(object) = &mut params {
            object.insert("request_type".to_owned(), Value::from(kind));
        }
        let request = query_request(params)?;
        self.run_query(&request).map_err(|error| typed_error(kind, error)).and_then(|response| to_value(&response))
    }

    fn run_query(&self, request: &RpcQueryRequest) -> QueryResult<RpcQueryResponse> {
        let head = self.localnet.head();
        self.check_block(request, &head)?;
        let kind = match &request.request {
            QueryRequest::ViewAccount { account_id } => QueryResponseKind::ViewAccount((&self.known_account(account_id, &head)?).into()),
            QueryRequest::ViewCode { account_id } => self.view_code(account_id, &head)?,
            QueryRequest::ViewState { account_id, prefix, after_key, limit, include_proof: _ } => {
                let limit = limit.and_then(|limit| usize::try_from(limit.get()).ok());
                self.view_state(account_id, prefix, after_key.as_ref(), limit, &head)?
            }
            QueryRequest::ViewAccessKey { account_id, public_key } => self.view_access_key(account_id, public_key, &head)?,
            QueryRequest::ViewAccessKeyList { account_id, after_key, limit } => {
                let limit = limit.and_then(|limit| usize::try_from(limit.get()).ok());
                self.view_access_key_list(account_id, after_key.as_ref(), limit, &head)?
            }
            QueryRequest::CallFunction { account_id, method_name, args } => self.call_function(account_id, method_name, args, &head)?,
            QueryRequest::ViewGasKeyNonces { public_key, .. } => {
                return Err(RpcQueryError::UnknownGasKey {
                    public_key: public_key.clone(),
                    block_height: head.height,
                    block_hash: head.hash,
                });
            }
            QueryRequest::ViewGlobalContractCode { .. } | QueryRequest::ViewGlobalContractCodeByAccountId { .. } => {
                let error_message = "global contracts are not implemented in starling-localnet".to_owned();
                return Err(RpcQueryError::InternalError { error_message });
            }
        };
        Ok(RpcQueryResponse { kind, block_height: head.height, block_hash: head.hash })
    }

    /// Only the state after the last block is kept. `head` was asked first: what is found now may be a block that was made since.
    fn check_block(&self, request: &RpcQueryRequest, head: &Block) -> QueryResult<()> {
        let reference = &request.block_reference;
        let found = self.find_block(reference).map_err(|error| failed(&error))?;
        match found {
            Some(block) if block.height >= head.height => Ok(()),
            Some(block) => Err(RpcQueryError::GarbageCollectedBlock { block_height: block.height, block_hash: block.hash }),
            None => Err(RpcQueryError::UnknownBlock { block_reference: reference.clone() }),
        }
    }

    fn known_account(&self, account_id: &AccountId, head: &Block) -> QueryResult<Account> {
        self.localnet.account(account_id).map_err(|error| failed(&error))?.ok_or_else(|| RpcQueryError::UnknownAccount {
            requested_account_id: account_id.clone(),
            block_height: head.height,
            block_hash: head.hash,
        })
    }

    fn view_code(&self, account_id: &AccountId, head: &Block) -> QueryResult<QueryResponseKind> {
        let account = self.known_account(account_id, head)?;
        match (self.localnet.code(account_id), account.local_contract_hash()) {
            (Some(code), Some(hash)) => Ok(QueryResponseKind::ViewCode(ContractCodeView { code, hash })),
            _ => Err(RpcQueryError::NoContractCode {
                contract_account_id: account_id.clone(),
                block_height: head.height,
                block_hash: head.hash,
            }),
        }
    }

    fn view_state(
        &self,
        account_id: &AccountId,
        prefix: &StoreKey,
        after_key: Option<&StoreKey>,
        limit: Option<usize>,
        head: &Block,
    ) -> QueryResult<QueryResponseKind> {
        let records = self.localnet.contract_state(account_id, prefix).map_err(|error| match error {
            LocalnetError::UnknownAccount(_) => {
                RpcQueryError::UnknownAccount { requested_account_id: account_id.clone(), block_height: head.height, block_hash: head.hash }
            }
            LocalnetError::StateTooLarge(_) => RpcQueryError::TooLargeContractState {
                contract_account_id: account_id.clone(),
                block_height: head.height,
                block_hash: head.hash,
            },
            other => failed(&other),
        })?;
        let mut values: Vec<StateItem> = records
            .into_iter()
            .filter(|(key, _)| after_key.is_none_or(|after| key.as_slice() > after.as_slice()))
            .map(|(key, value)| StateItem { key: key.into(), value: value.into() })
            .collect();
        let more = limit.is_some_and(|limit| values.len() > limit);
        values.truncate(limit.unwrap_or(usize::MAX));
        let last_key = if more { values.last().map(|item| item.key.clone()) } else { None };
        Ok(QueryResponseKind::ViewState(ViewStateResult { values, proof: Vec::new(), last_key }))
    }

    fn view_access_key(&self, account_id: &AccountId, public_key: &PublicKey, head: &Block) -> QueryResult<QueryResponseKind> {
        let key = self.localnet.access_key(account_id, public_key).map_err(|error| failed(&error))?;
        key.map(|key| QueryResponseKind::AccessKey(key.into())).ok_or_else(|| RpcQueryError::UnknownAccessKey {
            public_key: public_key.clone(),
            block_height: head.height,
            block_hash: head.hash,
        })
    }

    fn view_access_key_list(
        &self,
        account_id: &AccountId,
        after_key: Option<&PublicKeyHandle>,
        limit: Option<usize>,
        head: &Block,
    ) -> QueryResult<QueryResponseKind> {
        self.known_account(account_id, head)?;
        let all = self.localnet.access_keys(account_id).map_err(|error| failed(&error))?;
        let mut keys = Vec::new();
        for (bytes, access_key) in all {
            let handle: PublicKeyHandle = borsh::from_slice(&bytes).map_err(|error| failed(&error))?;
            if after_key.is_none_or(|after| handle > *after) {
                keys.push(AccessKeyInfoView { public_key: handle, access_key: access_key.into() });
            }
        }
        let more = limit.is_some_and(|limit| keys.len() > limit);
        keys.truncate(limit.unwrap_or(usize::MAX));
        let last_key = if more { keys.last().map(|key| key.public_key.clone()) } else { None };
        Ok(QueryResponseKind::AccessKeyList(AccessKeyList { keys, last_key }))
    }

    fn call_function(&self, account_id: &AccountId, method_name: &str, args: &[u8], head: &Block) -> QueryResult<QueryResponseKind> {
        let account = self.known_account(account_id, head)?;
        let outcome = self.localnet.read().view(account_id, &account, method_name, args);
        match outcome.result {
            Ok(result) => Ok(QueryResponseKind::CallResult(CallResult { result, logs: outcome.logs })),
            Err(error) => Err(RpcQueryError::ContractExecutionError {
                vm_error: error.message,
                error: error.error,
                block_height: head.height,
                block_hash: head.hash,
            }),
        }
    }
}

fn failed(error: &dyn std::error::Error) -> RpcQueryError {
    RpcQueryError::InternalError { error_message: error.to_string() }
}

fn typed_error(kind: &str, error: RpcQueryError) -> RpcError {
    match kind {
        "view_account" => RpcViewAccountError::from(error).into(),
        "view_code" => RpcViewCodeError::from(error).into(),
        "view_state" => RpcViewStateError::from(error).into(),
        "view_access_key" => RpcViewAccessKeyError::from(error).into(),
        "view_access_key_list" => RpcViewAccessKeyListError::from(error).into(),
        "call_function" => RpcCallFunctionError::from(error).into(),
        _ => error.into(),
    }
}

fn query_request(params: Value) -> Result<RpcQueryRequest, RpcError> {
    if let Value::Array(values) = &params {
        return path_request(values);
    }
    let reference = block_reference(&params)?;
    let request: QueryRequest = parse(params)?;
    Ok(RpcQueryRequest { block_reference: reference, request })
}

/// `["account/alice.near", ""]`, `["call/app.near/get", base58 arguments]` and the like.
fn path_request(values: &[Value]) -> Result<RpcQueryRequest, RpcError> {
    let wrong = || RpcError::parse_error("Invalid path".to_owned());
    let path = values.first().and_then(Value::as_str).ok_or_else(wrong)?;
    let data = values.get(1).and_then(Value::as_str).unwrap_or_default();
    let data = bs58::decode(data).into_vec().map_err(|error| RpcError::parse_error(error.to_string()))?;
    let (kind, rest) = path.split_once('/').ok_or_else(wrong)?;
    let (account, extra) = match rest.split_once('/') {
        Some((account, extra)) => (account, Some(extra)),
        None => (rest, None),
    };
    let account_id: AccountId = account.parse().map_err(|error| RpcError::parse_error(format!("{error}")))?;
    let request = match (kind, extra) {
        ("account", None) => QueryRequest::ViewAccount { account_id },
        ("code", None) => QueryRequest::ViewCode { account_id },
        ("access_key", None) => QueryRequest::ViewAccessKeyList { account_id, after_key: None, limit: None },
        ("access_key", Some(key)) => {
            let public_key = key.parse().map_err(|error| RpcError::parse_error(format!("{error}")))?;
            QueryRequest::ViewAccessKey { account_id, public_key }
        }
        ("contract", None) => {
            QueryRequest::ViewState { account_id, prefix: data.into(), after_key: None, limit: None, include_proof: false }
        }
        ("call", Some(method_name)) => QueryRequest::CallFunction { account_id, method_name: method_name.to_owned(), args: data.into() },
        _ => return Err(wrong()),
    };
    Ok(RpcQueryRequest { block_reference: block_reference(&Value::Null)?, request })
}
