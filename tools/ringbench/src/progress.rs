//! The live line of a run on a terminal. Without a terminal on standard error it prints nothing.

use crate::load::{Plan, Snapshot};
use crate::units;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// A progress line; gone when dropped.
pub struct Progress {
    bar: ProgressBar,
    total: Duration,
    count: Option<u64>,
    bulk: bool,
    last: (Duration, u64, u64),
    rate: f64,
}

impl Progress {
    /// A line for one plan, under a title.
    pub fn new(title: &str, plan: &Plan) -> Self {
        let bar = ProgressBar::new(1000);
        let style = ProgressStyle::with_template("{prefix} [{bar:30}] {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        bar.set_prefix(title.to_owned());
        let total = plan.warmup + plan.duration;
        let bulk = plan.workload.is_bulk();
        Self { bar, total, count: plan.count, bulk, last: (Duration::ZERO, 0, 0), rate: 0.0 }
    }

    /// Shows the newest counts.
    pub fn update(&mut self, now: Snapshot) {
        let Some(elapsed) = now.elapsed else {
            return self.bar.set_message(format!("connecting, {} established", now.connected));
        };
        let by_time = elapsed.as_secs_f64() / self.total.as_secs_f64().max(1e-9);
        let by_count = self.count.map_or(0.0, |count| now.operations as f64 / count.max(1) as f64);
        self.bar.set_position((1000.0 * by_time.max(by_count).min(1.0)) as u64);
        let (then, operations, bytes) = self.last;
        let seconds = elapsed.saturating_sub(then).as_secs_f64();
        if seconds >= 0.25 {
            let moved = if self.bulk { now.bytes - bytes.min(now.bytes) } else { now.operations - operations.min(now.operations) };
            self.rate = moved as f64 / seconds;
            self.last = (elapsed, now.operations, now.bytes);
        }
        let rate = if self.bulk { units::bytes(self.rate) } else { units::count(self.rate) };
        let errors = if now.errors > 0 { format!(", {} errors", now.errors) } else { String::new() };
        self.bar.set_message(format!("{:.1} s, {rate}/s, {} connections{errors}", elapsed.as_secs_f64(), now.connected));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
