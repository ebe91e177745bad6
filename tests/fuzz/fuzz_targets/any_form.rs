//! Any bytes as a browser's form: nothing panics, and what goes out is what was read.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hotset::auth::fuzzing::any_form(bytes));
