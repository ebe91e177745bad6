//! A signed body with any change: data that is accepted in whole was signed.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hotset::auth::fuzzing::changed_body(bytes));
