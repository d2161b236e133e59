//! Any bytes as MQTT packets: no panic, lengths within the input, and the same answer for every way to cut the input.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringmain_fuzz::mqtt::parse(bytes));
