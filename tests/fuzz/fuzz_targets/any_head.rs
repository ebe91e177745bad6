//! Any bytes as a request's head and as its signature: nothing panics, and no request is authorized.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hotset::auth::fuzzing::any_head(bytes));
