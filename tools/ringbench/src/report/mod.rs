//! What people and programs get to see of a run: tables, charts and JSON. Pure: an outcome in, text out.

mod chart;
mod files;
mod json;
mod page;
mod run;
mod table;

pub use chart::distribution;
pub use files::{hgrm, hlog};
pub use json::outcome as json;
pub use page::page;
pub use run::{Run, comparison};
pub use table::{percentile_rows, percentiles, summary};

/// Quantiles of every latency table, with their names.
pub const QUANTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];
