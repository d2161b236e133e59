//! Expressions at work: what a fetch finds, what converters make of it (HAProxy manual sections 7.2 and 7.3).
//!
//! The registries `FETCHES` and `CONVERTERS` hold every name once: the configuration's parser looks names up there, `evaluate` runs the
//! entries by index. Rules, log lines, tables and balancing all evaluate through here. Nothing here reads a clock, a socket or a file: all
//! that is not in the expression comes from [`Facts`].

pub mod convert;
mod evaluate;
mod facts;
pub mod fetch;
mod registry;
mod sample;
mod stored;
pub mod testing;

pub use evaluate::{Absent, Evaluation, Outcome, evaluate, evaluate_as};
pub use facts::{Backends, Bytes, Count, Facts, TableQuery, TableSubject, TcpField, Timeout};
pub use registry::{ArgumentCheck, CONVERTERS, ConverterEntry, FETCHES, FetchEntry, Parameter, converter, fetch_entry};
pub use sample::{Data, Sample, Value};
