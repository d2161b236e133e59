//! Any text as haproxy.cfg gives a model or an error, and every finding points into the text.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringmain_fuzz::load("fuzz.cfg", bytes));
