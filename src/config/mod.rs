//! Configuration: text in either language -> draft (spans kept) -> checked model.
//!
//! `load` is the only entrance; the command line, a reload and the converter call it. Nothing in here opens a socket or starts anything.

pub mod diagnostic;
pub mod draft;
pub mod source;
