//! A run as JSON, for programs. Field names carry their units; new fields may come, old ones stay.

use super::percentile_rows;
use crate::hdr;
use crate::load::{Outcome, Plan};
use crate::tls::TlsClient;
use base64::Engine;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};
use std::time::SystemTime;

/// The plan and what it measured.
pub fn outcome(plan: &Plan, outcome: &Outcome) -> Value {
    json!({
        "tool": concat!("ringbench ", env!("CARGO_PKG_VERSION")),
        "plan": {
            "target": plan.target.to_string(),
            "workload": plan.workload,
            "protocol": plan.protocol,
            "connections": plan.connections,
            "threads": plan.threads,
            "request_bytes": plan.request_bytes,
            "response_bytes": plan.response_bytes,
            "stream_bytes": plan.stream_bytes,
            "duration_s": plan.duration.as_secs_f64(),
            "count": plan.count,
            "rate_per_s": plan.rate,
            "warmup_s": plan.warmup.as_secs_f64(),
            "timeout_s": plan.timeout.as_secs_f64(),
            "verify": plan.verify,
            "unit": plan.unit(),
            "pipeline": plan.pipeline,
            "tls": plan.tls.as_ref().map(TlsClient::version),
            "mqtt": plan.mqtt.as_ref().map(|session| json!({
                "version": session.version,
                "action": session.action,
                "qos": session.qos,
                "keepalive_s": session.keepalive_s,
                "payload_bytes": session.payload_bytes,
            })),
        },
        "begun_unix_s": outcome.begun.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64()),
        "measured_s": outcome.measured.as_secs_f64(),
        "operations": outcome.operations,
        "rate_per_s": outcome.rate(),
        "errors": outcome.errors,
        "error_examples": outcome.examples,
        "errors_total": outcome.errors.total(),
        "bytes_up": outcome.bytes_up,
        "bytes_down": outcome.bytes_down,
        "latency_us": latency(&outcome.latency),
        "connect_us": latency(&outcome.connect),
        "generator_lag_us": latency(&outcome.lag),
        "latency_histogram": base64::engine::general_purpose::STANDARD.encode(hdr::compress(&outcome.latency)),
        "handshakes": outcome.handshakes,
        "servers": outcome.servers,
        "intervals": outcome.intervals,
        "generator": outcome.generator,
        "generator_saturated": outcome.saturated(),
    })
}

/// Percentiles of a histogram in microseconds; null when nothing was recorded.
fn latency(histogram: &Histogram<u64>) -> Value {
    if histogram.is_empty() {
        return Value::Null;
    }
    let mut fields = Map::new();
    fields.insert("count".to_owned(), json!(histogram.len()));
    fields.insert("mean".to_owned(), json!(histogram.mean() / 1000.0));
    for (name, values) in percentile_rows(&[histogram]) {
        let value = values.first().copied().flatten().map(|nanoseconds| nanoseconds as f64 / 1000.0);
        fields.insert(name.to_owned(), json!(value));
    }
    Value::Object(fields)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::load::{ErrorCounts, ErrorKind, Handshakes, latency_histogram};
    use std::collections::BTreeMap;
    use std::time::Duration;

    /// An empty outcome of one second.
    pub(in crate::report) fn outcome() -> Outcome {
        Outcome {
            latency: latency_histogram(),
            connect: latency_histogram(),
            lag: latency_histogram(),
            operations: 0,
            errors: ErrorCounts::default(),
            examples: BTreeMap::new(),
            bytes_up: 0,
            bytes_down: 0,
            handshakes: Handshakes::default(),
            begun: std::time::SystemTime::UNIX_EPOCH,
            measured: Duration::from_secs(1),
            servers: BTreeMap::new(),
            intervals: Vec::new(),
            generator: Vec::new(),
        }
    }

    #[test]
    fn errors_and_percentiles_have_stable_names() {
        let mut measured = outcome();
        measured.latency.saturating_record(2_000_000);
        measured.errors.add(ErrorKind::ConnectTimeout, 3);
        let plan = Plan::new(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
        let value = super::outcome(&plan, &measured);
        assert_eq!(value.pointer("/errors/connect-timeout"), Some(&json!(3)));
        assert!(value.pointer("/latency_us/p99.9").and_then(Value::as_f64).is_some_and(|us| (us - 2000.0).abs() < 4.0));
        assert_eq!(value.pointer("/connect_us"), Some(&Value::Null));
        assert_eq!(value.pointer("/plan/workload"), Some(&json!("pingpong")));
    }
}
