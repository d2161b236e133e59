//! Bytes to values and back: syslog envelopes and the calendar dates in them, MQTT's first packets. No I/O, no clock.

pub mod calendar;
pub mod mqtt;
pub mod proxy_protocol;
pub mod syslog;
