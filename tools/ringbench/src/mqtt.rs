//! The part of MQTT that the load and the embedded broker speak: packets of versions 3.1.1 and 5.0 to bytes and back.
//!
//! Follows the OASIS standards "MQTT Version 3.1.1" (2014) and "MQTT Version 5.0" (2019). Both ends use the same [`Packet`]; what a
//! packet may carry beyond it (wills, most properties) is read over, never written. Pure: no I/O, no clock.

mod decode;

use std::fmt;

/// Largest packet accepted, in bytes: bounds what a peer can make the other side hold.
pub const PACKET_BYTES_MAX: usize = 1024 * 1024;
/// Key of the user property in which the embedded broker names itself (version 5.0).
pub const SERVER_PROPERTY: &str = "server";
/// Topic of the retained message in which the embedded broker names itself.
pub const SERVER_TOPIC: &str = "$SYS/ringbench/server";

/// Protocol version, also the protocol level of a CONNECT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
pub enum Version {
    /// MQTT 3.1.1.
    #[default]
    #[value(name = "3.1.1")]
    #[serde(rename = "3.1.1")]
    V3,
    /// MQTT 5.0.
    #[value(name = "5.0", alias = "5")]
    #[serde(rename = "5.0")]
    V5,
}

/// One control packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A client introduces itself.
    Connect {
        /// Version; decides how everything after it is read.
        version: Version,
        /// Client identifier; empty asks the server for one.
        client_id: String,
        /// Longest silence of the client, in seconds; 0 is none.
        keepalive_s: u16,
        /// Name and password.
        credentials: Option<(String, String)>,
    },
    /// The server's answer to CONNECT.
    Connack {
        /// 0 accepts; else the return code (3.1.1) or reason code (5.0).
        code: u8,
        /// Identifier that the server assigned (5.0).
        assigned_client_id: Option<String>,
        /// Name of the server, in the user property [`SERVER_PROPERTY`] (5.0).
        server: Option<String>,
    },
    /// A message.
    Publish {
        /// Quality of service, 0 to 2.
        qos: u8,
        /// Stored for later subscribers, or delivered from that store.
        retain: bool,
        /// Topic name.
        topic: String,
        /// Packet identifier; 0 with quality 0.
        id: u16,
        /// Content.
        payload: Vec<u8>,
    },
    /// A step of a message's acknowledgement.
    Ack {
        /// Which.
        step: Step,
        /// Packet identifier.
        id: u16,
        /// Reason code; below 0x80 is success. Version 3.1.1 has none and reads as 0.
        code: u8,
    },
    /// A client wants messages.
    Subscribe {
        /// Packet identifier.
        id: u16,
        /// Topic filters with the highest quality of service wanted.
        filters: Vec<(String, u8)>,
    },
    /// The answer to SUBSCRIBE: granted quality for each filter, or 0x80 and above.
    Suback {
        /// Packet identifier.
        id: u16,
        /// One code for each filter.
        codes: Vec<u8>,
    },
    /// A client wants no more of some messages.
    Unsubscribe {
        /// Packet identifier.
        id: u16,
        /// Topic filters.
        filters: Vec<String>,
    },
    /// The answer to UNSUBSCRIBE.
    Unsuback {
        /// Packet identifier.
        id: u16,
        /// Number of filters answered.
        count: usize,
    },
    /// A sign of life.
    Pingreq,
    /// Its answer.
    Pingresp,
    /// An orderly end.
    Disconnect,
}

/// Steps of acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Quality 1: received.
    Puback,
    /// Quality 2: received.
    Pubrec,
    /// Quality 2: release.
    Pubrel,
    /// Quality 2: complete.
    Pubcomp,
}

impl Step {
    /// Packet type and the flags that the standard fixes for it.
    fn first_byte(self) -> u8 {
        match self {
            Self::Puback => 0x40,
            Self::Pubrec => 0x50,
            Self::Pubrel => 0x62,
            Self::Pubcomp => 0x70,
        }
    }
}

/// Bytes that are no MQTT packet, or one that is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not an MQTT packet")
    }
}

impl std::error::Error for Malformed {}

impl Packet {
    /// Appends the packet as it goes on the wire.
    pub fn encode(&self, version: Version, output: &mut Vec<u8>) {
        let mut body = Vec::new();
        let first = self.encode_body(version, &mut body);
        output.push(first);
        let mut left = body.len();
        loop {
            let more = left > 127;
            output.push((left % 128) as u8 | if more { 128 } else { 0 });
            left /= 128;
            if !more {
                break;
            }
        }
        output.extend_from_slice(&body);
    }

    /// Appends variable header and payload; returns the first byte.
    fn encode_body(&self, version: Version, body: &mut Vec<u8>) -> u8 {
        let v5 = version == Version::V5;
        let no_properties = |body: &mut Vec<u8>| {
            if v5 {
                body.push(0);
            }
        };
        match self {
            Self::Connect { version, client_id, keepalive_s, credentials } => {
                put_connect(body, *version, client_id, *keepalive_s, credentials.as_ref());
                0x10
            }
            Self::Connack { code, assigned_client_id, server } => {
                body.extend_from_slice(&[0, *code]);
                if v5 {
                    put_connack_properties(body, assigned_client_id.as_deref(), server.as_deref());
                }
                0x20
            }
            Self::Publish { qos, retain, topic, id, payload } => {
                put_text(body, topic);
                if *qos > 0 {
                    body.extend_from_slice(&id.to_be_bytes());
                }
                no_properties(body);
                body.extend_from_slice(payload);
                0x30 | (qos & 3) << 1 | u8::from(*retain)
            }
            Self::Ack { step, id, code } => {
                body.extend_from_slice(&id.to_be_bytes());
                if v5 && *code != 0 {
                    body.push(*code);
                }
                step.first_byte()
            }
            Self::Subscribe { id, filters } => {
                body.extend_from_slice(&id.to_be_bytes());
                no_properties(body);
                for (filter, qos) in filters {
                    put_text(body, filter);
                    body.push(*qos);
                }
                0x82
            }
            Self::Suback { id, codes } => {
                body.extend_from_slice(&id.to_be_bytes());
                no_properties(body);
                body.extend_from_slice(codes);
                0x90
            }
            Self::Unsubscribe { id, filters } => {
                body.extend_from_slice(&id.to_be_bytes());
                no_properties(body);
                filters.iter().for_each(|filter| put_text(body, filter));
                0xA2
            }
            Self::Unsuback { id, count } => {
                body.extend_from_slice(&id.to_be_bytes());
                if v5 {
                    body.extend(std::iter::repeat_n(0, count + 1));
                }
                0xB0
            }
            Self::Pingreq => 0xC0,
            Self::Pingresp => 0xD0,
            Self::Disconnect => 0xE0,
        }
    }
}

/// Appends a length and the text, whose bytes beyond 65 535 no field can carry.
fn put_text(output: &mut Vec<u8>, text: &str) {
    let limit = text.len().min(usize::from(u16::MAX));
    let length = (0..=limit).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    output.extend_from_slice(&(length as u16).to_be_bytes());
    output.extend_from_slice(text.get(..length).unwrap_or_default().as_bytes());
}

fn put_connect(body: &mut Vec<u8>, version: Version, client_id: &str, keepalive_s: u16, credentials: Option<&(String, String)>) {
    put_text(body, "MQTT");
    body.push(if version == Version::V5 { 5 } else { 4 });
    // Name and password when there are some; always a clean session.
    body.push(if credentials.is_some() { 0b1100_0010 } else { 0b0000_0010 });
    body.extend_from_slice(&keepalive_s.to_be_bytes());
    if version == Version::V5 {
        body.push(0);
    }
    put_text(body, client_id);
    if let Some((name, password)) = credentials {
        put_text(body, name);
        put_text(body, password);
    }
}

fn put_connack_properties(body: &mut Vec<u8>, assigned: Option<&str>, server: Option<&str>) {
    let mut properties = Vec::new();
    if let Some(assigned) = assigned {
        properties.push(0x12);
        put_text(&mut properties, assigned);
    }
    if let Some(server) = server {
        properties.push(0x26);
        put_text(&mut properties, SERVER_PROPERTY);
        put_text(&mut properties, server);
    }
    // Both texts are short: one length byte is enough for 127 bytes, two for 16 383.
    let length = properties.len();
    if length > 127 {
        body.push((length % 128) as u8 | 128);
    }
    body.push((if length > 127 { length / 128 } else { length }) as u8);
    body.extend_from_slice(&properties);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version() -> impl Strategy<Value = Version> {
        prop_oneof![Just(Version::V3), Just(Version::V5)]
    }

    fn packet() -> impl Strategy<Value = Packet> {
        let step = prop_oneof![Just(Step::Puback), Just(Step::Pubrec), Just(Step::Pubrel), Just(Step::Pubcomp)];
        let payload = proptest::collection::vec(any::<u8>(), 0..300);
        prop_oneof![
            (version(), "[a-z]{0,23}", any::<u16>(), proptest::option::of(("[a-z]{1,9}", "[a-z]{0,9}"))).prop_map(
                |(version, client_id, keepalive_s, credentials)| Packet::Connect { version, client_id, keepalive_s, credentials }
            ),
            (0..3_u8, any::<bool>(), "[a-z/]{1,40}", 1..=u16::MAX, payload).prop_map(|(qos, retain, topic, id, payload)| Packet::Publish {
                qos,
                retain,
                topic,
                id: if qos == 0 { 0 } else { id },
                payload
            }),
            (step, any::<u16>()).prop_map(|(step, id)| Packet::Ack { step, id, code: 0 }),
            (any::<u16>(), proptest::collection::vec(("[a-z/+#]{1,20}", 0..3_u8), 1..4))
                .prop_map(|(id, filters)| Packet::Subscribe { id, filters }),
            (any::<u16>(), proptest::collection::vec(any::<u8>(), 1..4)).prop_map(|(id, codes)| Packet::Suback { id, codes }),
            (any::<u16>(), proptest::collection::vec("[a-z/]{1,20}", 1..4)).prop_map(|(id, filters)| Packet::Unsubscribe { id, filters }),
            Just(Packet::Pingreq),
            Just(Packet::Pingresp),
            Just(Packet::Disconnect),
        ]
    }

    proptest! {
        #[test]
        fn packets_come_back_and_prefixes_wait(version in version(), packet in packet()) {
            let mut bytes = Vec::new();
            packet.encode(version, &mut bytes);
            for length in 0..bytes.len() {
                prop_assert_eq!(Packet::decode(version, &bytes[..length]), Ok(None));
            }
            let whole = bytes.len();
            bytes.push(0xC0);
            prop_assert_eq!(Packet::decode(version, &bytes), Ok(Some((packet, whole))));
        }

        #[test]
        fn any_bytes_are_read_without_panic(version in version(), bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some((_, used))) = Packet::decode(version, &bytes) {
                prop_assert!(used <= bytes.len());
            }
        }

        #[test]
        fn a_server_names_itself(assigned in proptest::option::of("[a-z]{1,200}"), server in proptest::option::of("[a-z]{1,24}")) {
            let packet = Packet::Connack { code: 0, assigned_client_id: assigned, server };
            let mut bytes = Vec::new();
            packet.encode(Version::V5, &mut bytes);
            prop_assert_eq!(Packet::decode(Version::V5, &bytes), Ok(Some((packet, bytes.len()))));
        }
    }

    #[test]
    fn known_bytes_of_the_standard() {
        let mut bytes = Vec::new();
        Packet::Connect { version: Version::V3, client_id: "a".into(), keepalive_s: 60, credentials: None }.encode(Version::V3, &mut bytes);
        assert_eq!(bytes, [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 1, b'a']);
        assert_eq!(Packet::decode(Version::V3, &[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]), Err(Malformed));
        assert_eq!(Packet::decode(Version::V3, &[0xF0, 0]), Err(Malformed));
    }
}
