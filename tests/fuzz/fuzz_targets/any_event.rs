//! Any bytes as a notification of any format: nothing panics, and the result has a bounded size.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hotset::s3::event::fuzzing::any_message(bytes));
