//! A segment with any damage: data that is read from it was written before, or the read is refused.

#![no_main]

libfuzzer_sys::fuzz_target!(|edits: &[u8]| hotset::cache::disk::fuzzing::damaged(edits));
