//! The part of a health check that speaks MQTT: CONNECT, CONNACK, DISCONNECT over a connection that stands.
//!
//! Called by `check` for servers of a backend with `option mqtt-check`. Says what the server answered and never decides what it means.

use ringmain_model::{MqttCheck, MqttVersion};
use ringmain_wire::mqtt::{ConnectPacket, Limits, Progress, Version, encode_disconnect, parse_connack};

use crate::forward::code;
use crate::mailbox::MqttAnswer as Answer;
use crate::random::Random;
use crate::ring::S;

/// The longest CONNACK that a check reads; brokers send a few dozen bytes.
const LONGEST_ANSWER: usize = 16 << 10;

/// Has the server accept a CONNECT; takes its leave if it does. The caller bounds the time.
pub(super) async fn greet(server: S, check: &MqttCheck, random: &Random) -> Answer {
    let version = version(check);
    let Some(packet) = connect_packet(check, random) else {
        return Answer::Invalid("the CONNECT of this configuration is too long for MQTT");
    };
    if let Err(error) = server.send_owned(packet.into()).await {
        return Answer::Failed(code(&error));
    }
    let answer = read_answer(server, version).await;
    if answer == Answer::Accepted {
        let mut leave = Vec::new();
        encode_disconnect(version, 0, &mut leave);
        // The server has shown that it serves, whether or not it hears the rest.
        let _ = server.send_owned(leave.into()).await;
        let _ = server.tx_idle().await;
    }
    answer
}

async fn read_answer(server: S, version: Version) -> Answer {
    let mut answer = Vec::new();
    loop {
        match server.recv().await {
            Ok(Some(buf)) => answer.extend_from_slice(&buf),
            Ok(None) => return Answer::Closed,
            Err(error) => return Answer::Failed(code(&error)),
        }
        if let Some(answer) = judge(&answer, version) {
            return answer;
        }
    }
}

/// What the bytes received so far say; `None` until they say something. Bounded: what would be too long is invalid at once.
fn judge(bytes: &[u8], version: Version) -> Option<Answer> {
    let limits = Limits { packet_bytes: LONGEST_ANSWER as u32, ..Limits::default() };
    match parse_connack(bytes, version, &limits) {
        Progress::NeedMore { .. } => None,
        Progress::Invalid(reason) => Some(Answer::Invalid(reason.text())),
        Progress::Done { packet, .. } if packet.accepted() => Some(Answer::Accepted),
        Progress::Done { packet, .. } => Some(Answer::Refused { code: packet.code(), text: packet.code_text() }),
    }
}

/// The CONNECT of a check; `None` when it cannot be written, which the checker has ruled out.
fn connect_packet(check: &MqttCheck, random: &Random) -> Option<Vec<u8>> {
    // Letters and digits, 18 of them: every server must take such an identifier.
    let unique = format!("rm{:016x}", random.next());
    let packet = ConnectPacket {
        username: check.user.as_deref(),
        password: check.password.as_deref().map(str::as_bytes),
        ..ConnectPacket::new(version(check), check.client_id.as_deref().unwrap_or(&unique))
    };
    let mut bytes = Vec::new();
    packet.encode(&mut bytes).ok()?;
    Some(bytes)
}

fn version(check: &MqttCheck) -> Version {
    match check.version {
        MqttVersion::V3_1_1 => Version::V3_1_1,
        MqttVersion::V5 => Version::V5,
    }
}

#[cfg(test)]
mod tests {
    use ringmain_wire::mqtt::{ConnackPacket, Connect, parse_connect};

    use super::*;

    fn read(bytes: &[u8]) -> Connect<'_> {
        match parse_connect(bytes, &Limits::default()) {
            Progress::Done { packet, length } if length == bytes.len() => packet,
            other => panic!("no CONNECT: {other:?}"),
        }
    }

    #[test]
    fn a_check_connects_clean_with_an_identifier_of_its_own() {
        let (random, check) = (Random::seeded(1), MqttCheck::default());
        let packets = [0, 1].map(|_| connect_packet(&check, &random).expect("a packet"));
        let [first, second] = [read(&packets[0]), read(&packets[1])];
        assert!(first.clean() && first.version() == Version::V3_1_1 && first.username().is_none());
        assert!(first.client_id().len() <= 23 && first.client_id().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(first.client_id(), second.client_id(), "one check must not end another's session");
    }

    #[test]
    fn a_check_says_what_it_is_told_to() {
        let text = |text: &str| Some(text.into());
        let check = MqttCheck { version: MqttVersion::V5, user: text("lena"), password: text("geheim"), client_id: text("probe") };
        let bytes = connect_packet(&check, &Random::seeded(1)).expect("a packet");
        let packet = read(&bytes);
        assert_eq!((packet.version(), packet.username(), packet.password()), (Version::V5, Some("lena"), Some(&b"geheim"[..])));
        assert_eq!(packet.client_id(), "probe");
    }

    #[test]
    fn answers_are_judged_as_soon_as_they_can_be() {
        for (version, code, expected) in [
            (Version::V3_1_1, 0, Answer::Accepted),
            (Version::V3_1_1, 5, Answer::Refused { code: 5, text: "not authorized" }),
            (Version::V5, 0, Answer::Accepted),
            (Version::V5, 0x87, Answer::Refused { code: 0x87, text: "not authorized" }),
        ] {
            let mut bytes = Vec::new();
            ConnackPacket { version, session_present: false, code, properties: &[] }.encode(&mut bytes).expect("a packet");
            for length in 0..bytes.len() {
                assert_eq!(judge(&bytes[..length], version), None, "{version} {code} {length}");
            }
            assert_eq!(judge(&bytes, version), Some(expected));
            bytes.extend_from_slice(b"\x30\x00more");
            assert_eq!(judge(&bytes, version), Some(expected), "what follows changes nothing");
        }
        assert!(matches!(judge(b"H", Version::V3_1_1), Some(Answer::Invalid(_))), "no MQTT by its first byte");
        assert!(
            matches!(judge(b"\x20\x03\x00\x00\x00", Version::V3_1_1), Some(Answer::Invalid(_))),
            "no CONNACK of this version is that long"
        );
        assert!(matches!(judge(b"\x20\xff\xff\x7f", Version::V5), Some(Answer::Invalid(_))), "nobody waits for two megabytes");
        assert!(matches!(judge(b"\x20\x02\x00\x06", Version::V3_1_1), Some(Answer::Invalid(_))), "no such code");
    }
}
