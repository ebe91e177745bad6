//! A segment that was damaged in any way: what is read of it was written, or it is refused.

#![no_main]

libfuzzer_sys::fuzz_target!(|edits: &[u8]| hotset::cache::disk::fuzzing::damaged(edits));
