//! Where tensors live: the only file that knows whether CUDA was compiled in.

use candle_core::Device;

use crate::error::Result;

/// The device for `ordinal`: that CUDA device where this build has CUDA and `ordinal` is given, else the CPU.
///
/// # Errors
/// A CUDA device that was asked for and cannot be opened.
pub fn open_device(ordinal: Option<usize>) -> Result<Device> {
    match ordinal {
        Some(ordinal) if cfg!(feature = "cuda") => Ok(Device::new_cuda(ordinal)?),
        Some(_) | None => Ok(Device::Cpu),
    }
}
