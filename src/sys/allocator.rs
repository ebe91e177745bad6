//! Settings of the allocator, mimalloc 2.

use std::ffi::{c_int, c_long};

use libmimalloc_sys::{mi_option_get, mi_option_set};

/// Milliseconds after which freed memory is returned to the operating system. Blocks come and go: with mimalloc's 10 ms,
/// nearly every block of a cold read got new pages, which the kernel clears first (97,000 page faults a GiB, a third of the
/// CPU time; with 300 ms 1,700).
const PURGE_DELAY: c_long = 300;
/// Number of `mi_option_purge_delay` in `mimalloc.h`, which the bindings do not name.
const PURGE_DELAY_OPTION: c_int = 15;
/// Value of that option unless it is set.
const DEFAULT_PURGE_DELAY: c_long = 10;

/// Keeps freed memory for a moment, unless the environment says for how long (`MIMALLOC_PURGE_DELAY`).
pub(crate) fn keep_freed_memory() {
    // SAFETY: reads and writes of an option, which mimalloc checks to be one; no other thread sets options.
    unsafe {
        if mi_option_get(PURGE_DELAY_OPTION) == DEFAULT_PURGE_DELAY {
            mi_option_set(PURGE_DELAY_OPTION, PURGE_DELAY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_the_purge_delay() {
        // SAFETY: as above.
        let get = || unsafe { mi_option_get(PURGE_DELAY_OPTION) };
        assert_eq!(get(), DEFAULT_PURGE_DELAY, "another option, or another default");
        keep_freed_memory();
        assert_eq!(get(), PURGE_DELAY);
    }
}
