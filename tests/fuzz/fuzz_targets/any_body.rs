//! Any bytes as an aws-chunked body: nothing panics, and unsigned data is refused.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hotset::auth::fuzzing::any_body(bytes));
