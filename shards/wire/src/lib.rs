//! Bytes to values and back: syslog envelopes and the calendar dates in them. No I/O, no clock.

pub mod calendar;
pub mod syslog;
