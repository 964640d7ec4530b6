//! The memory of a call. It goes with the call, so nothing is given back before: what does that is 7 kB of code in each contract.

use lol_alloc::{LeakingAllocator, LockedAllocator};

#[global_allocator]
static MEMORY: LockedAllocator<LeakingAllocator> = LockedAllocator::new(LeakingAllocator::new());
