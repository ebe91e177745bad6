//! Synchronization primitives of the fence: the real ones, or those of a test scheduler that controls their order (the
//! feature `shuttle`, for `cache::fence` alone).

#[cfg(not(feature = "shuttle"))]
pub(in crate::cache) use parking_lot::Mutex;
#[cfg(not(feature = "shuttle"))]
pub(in crate::cache) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

#[cfg(feature = "shuttle")]
pub(in crate::cache) use scheduled::Mutex;
#[cfg(feature = "shuttle")]
pub(in crate::cache) use shuttle::sync::atomic::{AtomicU32, AtomicU64, Ordering};

#[cfg(feature = "shuttle")]
mod scheduled {
    #[derive(Default)]
    pub(in crate::cache) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(in crate::cache) fn lock(&self) -> shuttle::sync::MutexGuard<'_, T> {
            self.0.lock().expect("a test that panics has failed")
        }
    }
}
