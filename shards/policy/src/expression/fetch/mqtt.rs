//! Fetches of MQTT's first packets: shorter than `req.payload(0,0),mqtt_field_value(connect,...)`, and strict about what is MQTT.
//!
//! HAProxy has no such fetches. They look at the bytes received and not forwarded yet, and wait until CONNECT or CONNACK is complete.

use ringmain_model::{Argument, Needs, SampleType};
use ringmain_wire::mqtt::{Connack, Connect, Limits, Progress, Version, parse_connack, parse_connect};

use super::super::facts::Bytes;
use super::super::registry::FetchEntry;
use super::super::{Absent, Data, Evaluation, Outcome, Sample, Value};
use super::{entry, flag, known, number, words};

/// The entries.
pub const ENTRIES: &[FetchEntry] = &[
    connect("mqtt.client_id", SampleType::String, "The client identifier in CONNECT, unless it is empty", client_id),
    connect("mqtt.username", SampleType::String, "The user name in CONNECT", |e, _| words(known(packet(e)?.username())?)),
    connect("mqtt.keepalive", SampleType::Integer, "Longest silence that CONNECT announces, in seconds", |e, _| {
        number(packet(e)?.keepalive_s())
    }),
    connect("mqtt.version", SampleType::Integer, "Protocol level in CONNECT: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0", |e, _| {
        number(packet(e)?.version().level())
    }),
    connect("mqtt.clean", SampleType::Boolean, "Whether CONNECT asks for a new session", |e, _| flag(packet(e)?.clean())),
    connect("mqtt.will_topic", SampleType::String, "Topic of the will in CONNECT", |e, _| words(known(packet(e)?.will())?.topic())),
    connect("mqtt.valid", SampleType::Boolean, "Whether the client began with a valid CONNECT", valid),
    entry(
        "mqtt.connack_code",
        &[],
        SampleType::Integer,
        Needs::RESPONSE.and(Needs::MQTT),
        "Return or reason code in CONNACK: 0 accepts",
        |e, _| number(answer(e)?.code()),
    ),
];

const fn connect(name: &'static str, output: SampleType, summary: &'static str, run: super::Run) -> FetchEntry {
    entry(name, &[], output, Needs::REQUEST.and(Needs::MQTT), summary, run)
}

fn client_id<'a>(evaluation: Evaluation<'a>, _: &'a [Argument]) -> Outcome<'a> {
    let client_id = packet(evaluation)?.client_id();
    // Clients that leave the choice to the broker must not share one entry of a stick table.
    if client_id.is_empty() { Err(Absent::Missing) } else { Ok(Sample::fixed(Value::String(Data::from(client_id)))) }
}

fn valid<'a>(evaluation: Evaluation<'a>, _: &'a [Argument]) -> Outcome<'a> {
    match packet(evaluation) {
        Ok(_) => flag(true),
        Err(Absent::NotYet) if !evaluation.is_final => Err(Absent::NotYet),
        Err(_) => known(evaluation.facts.request()).and_then(|_| flag(false)),
    }
}

fn packet(evaluation: Evaluation<'_>) -> Result<Connect<'_>, Absent> {
    let bytes = known(evaluation.facts.request())?;
    done(evaluation, bytes, |limits| parse_connect(bytes.data, limits))
}

fn answer(evaluation: Evaluation<'_>) -> Result<Connack<'_>, Absent> {
    let bytes = known(evaluation.facts.response())?;
    // The CONNECT may be gone. Only MQTT 5.0 has more than two bytes here, and the code has the same place in all versions.
    let version = if matches!(bytes.data, [_, 2, ..]) { Version::V3_1 } else { Version::V5 };
    done(evaluation, bytes, |limits| parse_connack(bytes.data, version, limits))
}

fn done<'a, T>(evaluation: Evaluation<'a>, bytes: Bytes<'a>, parse: impl FnOnce(&Limits) -> Progress<T>) -> Result<T, Absent> {
    let room = evaluation.facts.inspected_bytes_max().max(bytes.data.len());
    let limits = Limits { packet_bytes: u32::try_from(room).unwrap_or(u32::MAX), ..Limits::default() };
    match parse(&limits) {
        Progress::Done { packet, .. } => Ok(packet),
        Progress::NeedMore { .. } if !bytes.complete => Err(Absent::NotYet),
        Progress::NeedMore { .. } | Progress::Invalid(_) => Err(Absent::Missing),
    }
}
