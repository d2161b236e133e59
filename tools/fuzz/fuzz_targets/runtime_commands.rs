//! Any bytes on the runtime socket give answers that end, whatever they do to servers, frontends and limits.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringmain_fuzz::runtime::converse(bytes));
