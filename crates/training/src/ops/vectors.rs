//! Which of the processor's vectors the kernels run with.

use std::env;
use std::sync::LazyLock;

use pulp::Arch;

/// The widest vectors of this machine, or the narrower ones that `STARLING_VECTORS` names: `avx2` or `scalar`.
///
/// Results are the same bits with all of them; narrower ones are there to show that.
#[inline]
pub(super) fn vectors() -> Arch {
    static VECTORS: LazyLock<Arch> = LazyLock::new(|| match env::var("STARLING_VECTORS").as_deref() {
        Ok("scalar") => Arch::Scalar,
        #[cfg(target_arch = "x86_64")]
        Ok("avx2") => pulp::x86::V3::try_new().map_or(Arch::Scalar, Arch::V3),
        _ => Arch::new(),
    });
    *VECTORS
}

/// Which vectors the kernels run with: `V4` for AVX-512, `V3` for AVX2, `scalar` for none.
#[must_use]
pub fn vectors_in_use() -> String {
    match vectors() {
        Arch::Scalar => "scalar".to_owned(),
        vectors => format!("{vectors:?}").split(['(', ' ']).next().unwrap_or_default().to_owned(),
    }
}
