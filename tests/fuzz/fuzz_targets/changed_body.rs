//! A signed body that was changed in any way: what comes out whole was signed.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hotset::auth::fuzzing::changed_body(bytes));
