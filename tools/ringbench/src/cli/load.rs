//! `ringbench load`: the arguments of each kind of load, and the checked plans they make.

use crate::load::{HttpParts, HttpRequest, MqttAction, MqttSession, Plan, Protocol, Workload};
use crate::mqtt;
use crate::tls::{TlsClient, Trust, Version};
use crate::units::{parse_duration, parse_size};
use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

/// What kind of load.
#[derive(Debug, Subcommand)]
pub enum LoadCommand {
    /// Plain TCP: exchanges, connection storms, bulk, idle connections.
    Tcp(TcpArguments),
    /// HTTP/1.1: keep-alive, a connection for each request, or pipelined.
    Http(HttpArguments),
    /// TLS: full and resumed handshakes, exchanges and bulk.
    Tls(TlsArguments),
    /// MQTT 3.1.1 and 5.0: session storms, held sessions with keep-alive, messages there and back.
    Mqtt(MqttArguments),
}

impl LoadCommand {
    /// The checked plan.
    ///
    /// # Errors
    /// When the target cannot be resolved or the arguments contradict each other.
    pub fn plan(&self) -> anyhow::Result<Plan> {
        let plan = match self {
            Self::Tcp(tcp) => tcp.plan(),
            Self::Http(http) => http.plan(),
            Self::Tls(tls) => tls.plan(),
            Self::Mqtt(mqtt) => mqtt.plan(),
        }?;
        plan.check()?;
        Ok(plan)
    }

    /// Where results go.
    pub fn output(&self) -> &OutputArguments {
        match self {
            Self::Tcp(tcp) => &tcp.output,
            Self::Http(http) => &http.output,
            Self::Tls(tls) => &tls.output,
            Self::Mqtt(mqtt) => &mqtt.output,
        }
    }
}

/// Target and pace, the same for every kind of load.
#[derive(Debug, Args)]
pub struct PaceArguments {
    /// Address or name and port to connect to.
    #[arg(long)]
    pub target: String,
    /// Connections over all threads.
    #[arg(long, short = 'c', default_value_t = 1)]
    pub connections: usize,
    /// Measured time (default 10s; with --count or --bytes at most one hour).
    #[arg(long, short = 'd', value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Operations to do, over all connections.
    #[arg(long, short = 'n')]
    pub count: Option<u64>,
    /// Open loop: operations per second over all connections; latency counts from the time each one was due.
    #[arg(long, short = 'r')]
    pub rate: Option<f64>,
    /// Worker threads.
    #[arg(long, short = 't', default_value_t = 1)]
    pub threads: usize,
    /// Cores for the workers, used in turn.
    #[arg(long, value_name = "CPU", value_delimiter = ',')]
    pub pin: Vec<usize>,
    /// Time before the measured part.
    #[arg(long, default_value = "0s", value_parser = parse_duration)]
    pub warmup: Duration,
    /// Time over which connections are opened.
    #[arg(long, default_value = "0s", value_parser = parse_duration)]
    pub ramp: Duration,
    /// Longest wait for a connect, and for an answer.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub timeout: Duration,
}

impl PaceArguments {
    fn plan(&self, bounded_otherwise: bool) -> anyhow::Result<Plan> {
        let default_duration = Duration::from_secs(if bounded_otherwise || self.count.is_some() { 3600 } else { 10 });
        Ok(Plan {
            connections: self.connections,
            threads: self.threads,
            cpus: self.pin.clone(),
            duration: self.duration.unwrap_or(default_duration),
            count: self.count,
            rate: self.rate,
            warmup: self.warmup,
            ramp: self.ramp,
            timeout: self.timeout,
            ..Plan::new(resolve(&self.target)?)
        })
    }
}

/// Files to write, the same for every kind of load.
#[derive(Debug, Args)]
pub struct OutputArguments {
    /// Write the result to this file as JSON (- is standard output, without the table); `ringbench compare` reads it.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a page with charts to this file; it needs nothing else.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write the percentiles to this file, for HdrHistogram plotters (milliseconds).
    #[arg(long, value_name = "FILE")]
    pub hgrm: Option<PathBuf>,
    /// Write a histogram for each second to this file, for HdrHistogram log readers (nanoseconds).
    #[arg(long, value_name = "FILE")]
    pub hlog: Option<PathBuf>,
}

/// Whose certificates are accepted.
#[derive(Debug, Args)]
pub struct TrustArguments {
    /// Accept servers whose certificate is in this PEM file or signed by one of it (default: those that the system trusts).
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub ca: Option<PathBuf>,
    /// Accept any certificate.
    #[arg(long)]
    pub insecure: bool,
    /// Name asked for (SNI) and expected in the certificate (default: the target's).
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
    /// Protocol versions offered.
    #[arg(long, value_enum, default_value = "any")]
    pub tls_version: Version,
}

impl TrustArguments {
    fn client(&self, target: &str, resume: bool, alpn: Option<&str>) -> anyhow::Result<TlsClient> {
        let host = target.rsplit_once(':').map_or(target, |(host, _)| host);
        let name = self.server_name.as_deref().unwrap_or_else(|| host.trim_start_matches('[').trim_end_matches(']'));
        let trust = match &self.ca {
            _ if self.insecure => Trust::Anyone,
            Some(path) => Trust::File(path.clone()),
            None => Trust::System,
        };
        TlsClient::new(name, &trust, self.tls_version, resume, alpn)
    }
}

/// What TCP connections do and say, also over TLS.
#[derive(Debug, Args)]
pub struct MessageArguments {
    /// How they speak: framed needs `serve --mode named-echo` behind the target, raw works with any echo, discard or source.
    #[arg(long, value_enum, default_value = "framed")]
    pub protocol: Protocol,
    /// Bytes of each request and answer (k, m: powers of 1024).
    #[arg(long, short = 's', default_value = "128", value_parser = parse_size)]
    pub size: u64,
    /// Bytes of each answer, when different from --size.
    #[arg(long, value_parser = parse_size)]
    pub response_size: Option<u64>,
    /// Bulk: bytes of each stream and direction; without it streams flow for the whole duration.
    #[arg(long, value_parser = parse_size)]
    pub bytes: Option<u64>,
    /// Compare every byte with what must have been sent.
    #[arg(long)]
    pub verify: bool,
}

impl MessageArguments {
    fn plan(&self, pace: &PaceArguments) -> anyhow::Result<Plan> {
        if self.bytes == Some(0) {
            bail!("--bytes must be at least 1");
        }
        Ok(Plan {
            protocol: self.protocol,
            request_bytes: usize::try_from(self.size).unwrap_or(usize::MAX),
            response_bytes: usize::try_from(self.response_size.unwrap_or(self.size)).unwrap_or(usize::MAX),
            stream_bytes: self.bytes,
            verify: self.verify,
            ..pace.plan(self.bytes.is_some())?
        })
    }
}

/// `ringbench load tcp`.
#[derive(Debug, Args)]
pub struct TcpArguments {
    /// What the connections do.
    #[arg(long, value_enum, default_value = "pingpong")]
    pub workload: Workload,
    /// What they say.
    #[command(flatten)]
    pub messages: MessageArguments,
    /// Target and pace.
    #[command(flatten)]
    pub pace: PaceArguments,
    /// Files to write.
    #[command(flatten)]
    pub output: OutputArguments,
}

impl TcpArguments {
    fn plan(&self) -> anyhow::Result<Plan> {
        Ok(Plan { workload: self.workload, ..self.messages.plan(&self.pace)? })
    }
}

/// What TLS connections do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TlsWorkload {
    /// Connect, full handshake, close, again and again.
    Handshake,
    /// The same with the session of an earlier connection; a full handshake counts as a failure.
    Resume,
    /// Requests and answers on connections that stay open.
    Pingpong,
    /// Connect, full handshake, one exchange, close, again and again.
    Connect,
    /// The client sends as fast as it can.
    BulkUp,
    /// The server sends as fast as it can.
    BulkDown,
    /// Both send as fast as they can.
    BulkBoth,
    /// One exchange on every connection, silence, one more exchange, close.
    Idle,
}

/// `ringbench load tls`.
#[derive(Debug, Args)]
pub struct TlsArguments {
    /// What the connections do.
    #[arg(long, value_enum, default_value = "handshake")]
    pub workload: TlsWorkload,
    /// Whom they trust.
    #[command(flatten)]
    pub trust: TrustArguments,
    /// What they say.
    #[command(flatten)]
    pub messages: MessageArguments,
    /// Target and pace.
    #[command(flatten)]
    pub pace: PaceArguments,
    /// Files to write.
    #[command(flatten)]
    pub output: OutputArguments,
}

impl TlsArguments {
    fn plan(&self) -> anyhow::Result<Plan> {
        let mut plan = self.messages.plan(&self.pace)?;
        plan.tls = Some(self.trust.client(&self.pace.target, self.workload == TlsWorkload::Resume, None)?);
        plan.workload = match self.workload {
            TlsWorkload::Handshake | TlsWorkload::Resume | TlsWorkload::Connect => Workload::Connect,
            TlsWorkload::Pingpong => Workload::Pingpong,
            TlsWorkload::BulkUp => Workload::BulkUp,
            TlsWorkload::BulkDown => Workload::BulkDown,
            TlsWorkload::BulkBoth => Workload::BulkBoth,
            TlsWorkload::Idle => Workload::Idle,
        };
        if matches!(self.workload, TlsWorkload::Handshake | TlsWorkload::Resume) {
            plan.protocol = Protocol::Handshake;
        }
        Ok(plan)
    }
}

/// `ringbench load http`.
#[derive(Debug, Args)]
pub struct HttpArguments {
    /// Method of the requests.
    #[arg(long, short = 'X', default_value = "GET")]
    pub method: String,
    /// Path and query of the requests; `serve --mode http` knows /bytes/N, /status/N and /delay/MS.
    #[arg(long, default_value = "/")]
    pub path: String,
    /// Further header, as `Name: value`; may be repeated.
    #[arg(long, short = 'H', value_name = "HEADER")]
    pub header: Vec<String>,
    /// Bytes of each request's body (k, m: powers of 1024).
    #[arg(long, default_value = "0", value_parser = parse_size)]
    pub body_size: u64,
    /// A connection for each request (`Connection: close`).
    #[arg(long)]
    pub close: bool,
    /// Requests under way at once on each connection.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub pipeline: usize,
    /// Header in which answers name their server.
    #[arg(long, value_name = "NAME", default_value = "x-served-by")]
    pub name_header: String,
    /// Compare every body with what `serve --mode http` sends.
    #[arg(long)]
    pub verify: bool,
    /// HTTP over TLS.
    #[arg(long)]
    pub tls: bool,
    /// Whom TLS trusts.
    #[command(flatten)]
    pub trust: TrustArguments,
    /// Target and pace.
    #[command(flatten)]
    pub pace: PaceArguments,
    /// Files to write.
    #[command(flatten)]
    pub output: OutputArguments,
}

impl HttpArguments {
    fn plan(&self) -> anyhow::Result<Plan> {
        if self.body_size > u64::from(crate::protocol::MESSAGE_BYTES_MAX) {
            bail!("--body-size must be at most 16 MiB");
        }
        let request = HttpRequest::new(&HttpParts {
            method: self.method.clone(),
            path: self.path.clone(),
            host: self.pace.target.clone(),
            headers: self.header.clone(),
            body_bytes: usize::try_from(self.body_size)?,
            close: self.close,
            name_header: self.name_header.clone(),
            verify: self.verify,
        });
        Ok(Plan {
            workload: if self.close { Workload::Connect } else { Workload::Pingpong },
            protocol: Protocol::Http,
            pipeline: self.pipeline,
            http: Some(request.map_err(anyhow::Error::msg)?),
            tls: if self.tls { Some(self.trust.client(&self.pace.target, false, Some("http/1.1"))?) } else { None },
            verify: self.verify,
            ..self.pace.plan(false)?
        })
    }
}

/// What MQTT sessions do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MqttWorkload {
    /// Connect, CONNECT until CONNACK, disconnect, again and again.
    Connect,
    /// Sessions stay open and send a PINGREQ each once in --keepalive, evenly spread; the answers are measured.
    Held,
    /// Every session publishes to a topic of its own and waits until the message is back and acknowledged.
    Publish,
}

/// `ringbench load mqtt`.
#[derive(Debug, Args)]
pub struct MqttArguments {
    /// What the sessions do.
    #[arg(long, value_enum, default_value = "publish")]
    pub workload: MqttWorkload,
    /// Protocol version.
    #[arg(long, value_enum, default_value = "3.1.1")]
    pub mqtt_version: mqtt::Version,
    /// Quality of service of messages and subscriptions.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// Seconds of the sessions' keep-alive.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..))]
    pub keepalive: u16,
    /// Bytes of each message (k, m: powers of 1024).
    #[arg(long, short = 's', default_value = "128", value_parser = parse_size)]
    pub size: u64,
    /// Start of client identifiers and topics (default: differs for each run).
    #[arg(long)]
    pub prefix: Option<String>,
    /// User name.
    #[arg(long)]
    pub user: Option<String>,
    /// Password.
    #[arg(long, requires = "user")]
    pub password: Option<String>,
    /// Compare every message with what was sent.
    #[arg(long)]
    pub verify: bool,
    /// MQTT over TLS.
    #[arg(long)]
    pub tls: bool,
    /// Whom TLS trusts.
    #[command(flatten)]
    pub trust: TrustArguments,
    /// Target and pace.
    #[command(flatten)]
    pub pace: PaceArguments,
    /// Files to write.
    #[command(flatten)]
    pub output: OutputArguments,
}

impl MqttArguments {
    fn plan(&self) -> anyhow::Result<Plan> {
        let mut session = MqttSession {
            version: self.mqtt_version,
            qos: self.qos,
            keepalive_s: self.keepalive,
            payload_bytes: usize::try_from(self.size)?,
            credentials: self.user.clone().map(|user| (user, self.password.clone().unwrap_or_default())),
            ..MqttSession::default()
        };
        if let Some(prefix) = &self.prefix {
            session.prefix.clone_from(prefix);
        }
        let mut plan = self.pace.plan(false)?;
        (plan.protocol, plan.verify) = (Protocol::Mqtt, self.verify);
        (plan.workload, session.action) = match self.workload {
            MqttWorkload::Connect => (Workload::Connect, MqttAction::Connect),
            MqttWorkload::Held => (Workload::Pingpong, MqttAction::Ping),
            MqttWorkload::Publish => (Workload::Pingpong, MqttAction::Publish),
        };
        if self.workload == MqttWorkload::Held {
            if plan.rate.is_some() {
                bail!("held sessions ping as --keepalive says: leave --rate out");
            }
            // Free sessions take turns, so each one pings once in a keep-alive.
            plan.rate = Some(plan.connections as f64 / f64::from(self.keepalive));
        }
        if self.tls {
            plan.tls = Some(self.trust.client(&self.pace.target, false, None)?);
        }
        plan.mqtt = Some(session);
        Ok(plan)
    }
}

/// First address of a name and port.
fn resolve(target: &str) -> anyhow::Result<SocketAddr> {
    let mut addresses = target.to_socket_addrs().with_context(|| format!("cannot resolve {target}: expected NAME:PORT"))?;
    addresses.next().with_context(|| format!("{target} has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Arguments, Command};
    use clap::Parser;

    fn plan(kind: &str, extra: &[&str]) -> anyhow::Result<Plan> {
        let words = ["ringbench", "load", kind, "--target", "127.0.0.1:1"].into_iter().chain(extra.iter().copied());
        match Arguments::try_parse_from(words).map(|arguments| arguments.command) {
            Ok(Command::Load(load)) => load.plan(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_count_lifts_the_default_duration() {
        assert_eq!(plan("tcp", &[]).expect("valid").duration, Duration::from_secs(10));
        assert_eq!(plan("tcp", &["--count", "5"]).expect("valid").duration, Duration::from_secs(3600));
        assert_eq!(plan("tcp", &["-s", "2k", "--response-size", "64"]).expect("valid").response_bytes, 64);
        assert!(plan("tcp", &["--size", "8"]).is_err());
        assert!(plan("tcp", &["--pin", "0,1"]).is_ok());
    }

    #[test]
    fn each_kind_makes_its_plan() {
        let http = plan("http", &["--close", "-H", "A: b"]).expect("valid");
        assert_eq!((http.workload, http.protocol, http.unit()), (Workload::Connect, Protocol::Http, "request"));
        assert!(plan("http", &["--close", "--pipeline", "4"]).is_err(), "nothing to pipeline on a connection for each request");
        assert!(plan("http", &["-H", "none"]).is_err());
        let tls = plan("tls", &["--insecure", "--workload", "resume"]).expect("valid");
        assert_eq!((tls.protocol, tls.unit()), (Protocol::Handshake, "handshake"));
        assert!(plan("tls", &["--ca", "/nowhere"]).is_err());
        let held = plan("mqtt", &["--workload", "held", "--keepalive", "5", "-c", "100"]).expect("valid");
        assert_eq!((held.rate, held.unit()), (Some(20.0), "ping"));
        assert!(plan("mqtt", &["--workload", "held", "--rate", "5"]).is_err());
        assert!(plan("mqtt", &["--size", "2m"]).is_err());
    }
}
