//! Who answered, as a small bar chart of text.

use crate::load::Outcome;
use std::fmt::Write;

/// Longest bar, in characters.
const BAR: f64 = 40.0;

/// One line for each server that answered; empty when the answers named none.
pub fn distribution(outcome: &Outcome) -> String {
    let total: u64 = outcome.servers.values().map(|share| share.answers).sum();
    let largest = outcome.servers.values().map(|share| share.answers).max().unwrap_or(0);
    let width = outcome.servers.keys().map(String::len).max().unwrap_or(0);
    let mut text = String::new();
    if total == 0 {
        return text;
    }
    let _ = writeln!(text, "  answers by server");
    for (name, share) in &outcome.servers {
        let length = (BAR * share.answers as f64 / largest.max(1) as f64).round().max(1.0) as usize;
        let percent = 100.0 * share.answers as f64 / total as f64;
        let bar = "#".repeat(length);
        let _ = writeln!(
            text,
            "    {name:<width$}  {bar:<40}  {percent:>5.1} %  {} answers on {} connections",
            share.answers, share.connections
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Share;

    #[test]
    fn bars_are_proportional() {
        let mut outcome = crate::report::json::tests::outcome();
        assert_eq!(distribution(&outcome), "");
        outcome.servers.insert("a".into(), Share { answers: 30, connections: 3 });
        outcome.servers.insert("bb".into(), Share { answers: 10, connections: 1 });
        let bars: Vec<usize> = distribution(&outcome).lines().skip(1).map(|line| line.matches('#').count()).collect();
        assert_eq!(bars, [40, 13]);
        assert!(distribution(&outcome).contains(" 75.0 %  30 answers on 3 connections"));
    }
}
