//! Any bytes as a browser's form: nothing panics, and the bytes sent on are those that were read.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hotset::auth::fuzzing::any_form(bytes));
