//! Any bytes as a segment and as an object's metadata: nothing panics.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hotset::cache::disk::fuzzing::any_bytes(bytes));
