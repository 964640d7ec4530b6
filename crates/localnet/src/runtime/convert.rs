//! The machine's types as the protocol's types.

use near_primitives::errors::{CompilationError, FunctionCallError, MethodResolveError, PrepareError};
use near_primitives::profile_data_v3::ProfileDataV3;
use near_primitives::types::AccountId;
use near_vm_runner::logic::errors as vm;

pub(super) fn profile(profile: &near_vm_runner::ProfileDataV3) -> ProfileDataV3 {
    let mut converted = ProfileDataV3::new();
    for (cost, gas) in &mut converted.actions_profile {
        *gas = profile.get_action_cost(cost);
    }
    for (cost, gas) in &mut converted.wasm_ext_profile {
        *gas = profile.get_ext_cost(cost);
    }
    converted.wasm_gas = profile.get_wasm_cost();
    converted
}

/// The error as nodes report it: traps, host and link errors are texts there.
pub(super) fn call_error(error: &vm::FunctionCallError, account_id: &AccountId) -> FunctionCallError {
    match error {
        vm::FunctionCallError::CompilationError(error) => FunctionCallError::CompilationError(compilation_error(error, account_id)),
        vm::FunctionCallError::MethodResolveError(error) => FunctionCallError::MethodResolveError(match error {
            vm::MethodResolveError::MethodEmptyName => MethodResolveError::MethodEmptyName,
            vm::MethodResolveError::MethodNotFound => MethodResolveError::MethodNotFound,
            vm::MethodResolveError::MethodInvalidSignature => MethodResolveError::MethodInvalidSignature,
        }),
        vm::FunctionCallError::LinkError { msg } => FunctionCallError::ExecutionError(format!("Link Error: {msg}")),
        vm::FunctionCallError::HostError(_) | vm::FunctionCallError::WasmTrap(_) | vm::FunctionCallError::LoadingError { .. } => {
            FunctionCallError::ExecutionError(error.to_string())
        }
    }
}

fn compilation_error(error: &vm::CompilationError, account_id: &AccountId) -> CompilationError {
    match error {
        vm::CompilationError::CodeDoesNotExist { .. } => CompilationError::CodeDoesNotExist { account_id: account_id.clone() },
        vm::CompilationError::PrepareError(error) => CompilationError::PrepareError(prepare_error(error)),
        vm::CompilationError::WasmerCompileError { msg } | vm::CompilationError::WasmtimeCompileError { msg } => {
            CompilationError::WasmerCompileError { msg: msg.clone() }
        }
    }
}

fn prepare_error(error: &vm::PrepareError) -> PrepareError {
    match error {
        vm::PrepareError::Serialization => PrepareError::Serialization,
        vm::PrepareError::Deserialization => PrepareError::Deserialization,
        vm::PrepareError::InternalMemoryDeclared => PrepareError::InternalMemoryDeclared,
        vm::PrepareError::GasInstrumentation => PrepareError::GasInstrumentation,
        vm::PrepareError::StackHeightInstrumentation => PrepareError::StackHeightInstrumentation,
        vm::PrepareError::Instantiate => PrepareError::Instantiate,
        vm::PrepareError::Memory => PrepareError::Memory,
        vm::PrepareError::TooManyFunctions => PrepareError::TooManyFunctions,
        vm::PrepareError::TooManyLocals => PrepareError::TooManyLocals,
        vm::PrepareError::TooManyTables => PrepareError::TooManyTables,
        vm::PrepareError::TooManyTableElements => PrepareError::TooManyTableElements,
        vm::PrepareError::FunctionBodyTooLarge => PrepareError::FunctionBodyTooLarge,
        vm::PrepareError::InstrumentedCodeTooLarge => PrepareError::InstrumentedCodeTooLarge,
        vm::PrepareError::TooManyBlocksPerFunction => PrepareError::TooManyBlocksPerFunction,
        vm::PrepareError::TooManyBlocksPerContract => PrepareError::TooManyBlocksPerContract,
        vm::PrepareError::TooManyTypes => PrepareError::TooManyTypes,
        vm::PrepareError::TooManyParamsPerContract => PrepareError::TooManyParamsPerContract,
        vm::PrepareError::TooManyParamsPerFunction => PrepareError::TooManyParamsPerFunction,
        vm::PrepareError::OperandStackTooLarge => PrepareError::OperandStackTooLarge,
        vm::PrepareError::TooManyGlobals => PrepareError::TooManyGlobals,
    }
}
