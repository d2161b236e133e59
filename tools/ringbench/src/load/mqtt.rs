//! One MQTT session: CONNECT, then pings or messages that come back through the broker. No I/O, no clock.

use super::errors::ErrorKind;
use super::talk::Event;
use crate::mqtt::{PACKET_BYTES_MAX, Packet, SERVER_TOPIC, Step, Version};
use crate::pattern;
use crate::protocol::ServerName;

/// Bytes of the number at the start of every message.
const SEQUENCE_BYTES: usize = 8;

/// What a session does once it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MqttAction {
    /// Nothing more: CONNECT is the operation.
    Connect,
    /// PINGREQ, answered by PINGRESP.
    Ping,
    /// A message to a topic of its own that it has subscribed to; answered when it is back and acknowledged.
    Publish,
}

/// What all sessions have in common.
#[derive(Clone, Debug)]
pub struct MqttSession {
    /// Protocol version.
    pub version: Version,
    /// What it does.
    pub action: MqttAction,
    /// Quality of service of messages and subscription, 0 to 2.
    pub qos: u8,
    /// Keep-alive announced to the server, in seconds.
    pub keepalive_s: u16,
    /// Bytes of a message, at least 8.
    pub payload_bytes: usize,
    /// Client identifiers of each connection, at least 1: it takes the next one whenever it connects anew.
    pub identities: u32,
    /// Start of every client identifier and topic; must differ between generators that run at the same time.
    pub prefix: String,
    /// Name and password.
    pub credentials: Option<(String, String)>,
}

impl Default for MqttSession {
    fn default() -> Self {
        Self {
            version: Version::V3,
            action: MqttAction::Connect,
            qos: 0,
            keepalive_s: 60,
            payload_bytes: 128,
            identities: 1,
            prefix: format!("rb{}", std::process::id()),
            credentials: None,
        }
    }
}

/// Acknowledgement that an own message still needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Await {
    Nothing,
    Puback,
    Pubrec,
    Pubcomp,
}

#[derive(Clone, Debug)]
pub(super) struct MqttDialogue {
    session: MqttSession,
    verify: bool,
    /// Connects so far.
    births: u32,
    client_id: String,
    topic: String,
    open: bool,
    /// The unfinished packet.
    buffer: Vec<u8>,
    server: Option<ServerName>,
    sequence: u64,
    id: u16,
    under_way: bool,
    back: bool,
    awaited: Await,
    /// Identifier of an incoming message of quality 2 that was received and not yet released: a repetition is not a second one.
    received_id: Option<u16>,
}

impl MqttDialogue {
    pub(super) fn new(session: MqttSession, verify: bool, worker: usize, index: usize) -> Self {
        let client_id = format!("{}-{worker}-{index}", session.prefix);
        let topic = format!("ringbench/{client_id}");
        Self {
            session,
            verify,
            births: 0,
            client_id,
            topic,
            open: false,
            buffer: Vec::new(),
            server: None,
            sequence: (worker as u64) << 40 | (index as u64) << 20,
            id: 0,
            under_way: false,
            back: false,
            awaited: Await::Nothing,
            received_id: None,
        }
    }

    pub(super) fn open(&mut self, output: &mut Vec<u8>) {
        self.buffer.clear();
        (self.open, self.under_way, self.server, self.received_id) = (false, false, None, None);
        let session = &self.session;
        let identity = self.births.checked_rem(session.identities).unwrap_or(0);
        self.births = self.births.wrapping_add(1);
        let connect = Packet::Connect {
            version: session.version,
            client_id: if session.identities > 1 { format!("{}-{identity}", self.client_id) } else { self.client_id.clone() },
            keepalive_s: session.keepalive_s,
            credentials: session.credentials.clone(),
        };
        connect.encode(session.version, output);
    }

    pub(super) fn begin(&mut self, output: &mut Vec<u8>) {
        self.under_way = true;
        if self.session.action != MqttAction::Publish {
            return Packet::Pingreq.encode(self.session.version, output);
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.back = false;
        self.awaited = match self.session.qos {
            0 => Await::Nothing,
            1 => Await::Puback,
            _ => Await::Pubrec,
        };
        let mut payload = self.sequence.to_be_bytes().to_vec();
        pattern::append(&mut payload, self.sequence, self.session.payload_bytes.saturating_sub(SEQUENCE_BYTES));
        let id = if self.session.qos > 0 { self.next_id() } else { 0 };
        let publish = Packet::Publish { qos: self.session.qos, retain: false, topic: self.topic.clone(), id, payload };
        publish.encode(self.session.version, output);
    }

    pub(super) fn farewell(&self, output: &mut Vec<u8>) {
        if self.open {
            Packet::Disconnect.encode(self.session.version, output);
        }
    }

    /// Takes packets up to the end of one answer.
    pub(super) fn feed(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<(usize, Event), ErrorKind> {
        // A packet that comes in one piece needs no copy.
        if self.buffer.is_empty() {
            let mut used = 0;
            loop {
                let rest = input.get(used..).unwrap_or_default();
                let Some((packet, count)) = Packet::decode(self.session.version, rest).map_err(|_| ErrorKind::Corrupt)? else {
                    self.buffer.extend_from_slice(rest);
                    return Ok((input.len(), Event::Partial));
                };
                used += count;
                let event = self.take(packet, output)?;
                if event != Event::Partial {
                    return Ok((used, event));
                }
            }
        }
        let before = self.buffer.len();
        self.buffer.extend_from_slice(input);
        let decoded = Packet::decode(self.session.version, &self.buffer).map_err(|_| ErrorKind::Corrupt)?;
        let Some((packet, count)) = decoded else {
            return if before > PACKET_BYTES_MAX { Err(ErrorKind::Corrupt) } else { Ok((input.len(), Event::Partial)) };
        };
        self.buffer.clear();
        Ok((count.saturating_sub(before), self.take(packet, output)?))
    }

    fn take(&mut self, packet: Packet, output: &mut Vec<u8>) -> Result<Event, ErrorKind> {
        let version = self.session.version;
        match packet {
            Packet::Connack { code, server, .. } if !self.open => {
                if code != 0 {
                    return Err(ErrorKind::Rejected);
                }
                self.server = server.and_then(|name| ServerName::new(&name).ok());
                self.open = true;
                if self.session.action != MqttAction::Publish {
                    return Ok(Event::Opened);
                }
                // The second filter learns the server's name where CONNACK cannot carry it; a broker without it sends nothing.
                let filters = vec![(self.topic.clone(), self.session.qos), (SERVER_TOPIC.to_owned(), 0)];
                Packet::Subscribe { id: self.next_id(), filters }.encode(version, output);
                Ok(Event::Partial)
            }
            Packet::Suback { codes, .. } if self.open => match codes.first() {
                Some(code) if *code < 0x80 => Ok(Event::Opened),
                _ => Err(ErrorKind::Rejected),
            },
            Packet::Pingresp if self.under_way && self.session.action == MqttAction::Ping => Ok(self.answered()),
            Packet::Publish { topic, payload, .. } if topic == SERVER_TOPIC => {
                self.server = std::str::from_utf8(&payload).ok().and_then(|name| ServerName::new(name).ok());
                Ok(Event::Partial)
            }
            Packet::Publish { qos, id, topic, payload, .. } => self.message(qos, id, &topic, &payload, output),
            Packet::Ack { step, id, code } => self.acknowledged(step, id, code, output),
            Packet::Disconnect => Err(ErrorKind::Closed),
            _ => Err(ErrorKind::Corrupt),
        }
    }

    fn message(&mut self, qos: u8, id: u16, topic: &str, payload: &[u8], output: &mut Vec<u8>) -> Result<Event, ErrorKind> {
        let repeated = qos == 2 && self.received_id == Some(id);
        if qos == 2 {
            self.received_id = Some(id);
        }
        if qos > 0 {
            let step = if qos == 1 { Step::Puback } else { Step::Pubrec };
            Packet::Ack { step, id, code: 0 }.encode(self.session.version, output);
        }
        let (head, filler) = payload.split_at_checked(SEQUENCE_BYTES).ok_or(ErrorKind::Corrupt)?;
        let expected = head == self.sequence.to_be_bytes();
        // Quality 1 may deliver twice; what came before is no longer awaited.
        if repeated || (qos == 1 && (self.back || !expected)) {
            return Ok(Event::Partial);
        }
        let whole = payload.len() == self.session.payload_bytes.max(SEQUENCE_BYTES) && topic == self.topic;
        let damaged = self.verify && pattern::first_difference(self.sequence, filler).is_some();
        if !expected || !whole || damaged || self.back || !self.under_way {
            return Err(ErrorKind::Corrupt);
        }
        self.back = true;
        Ok(self.settled())
    }

    fn acknowledged(&mut self, step: Step, id: u16, code: u8, output: &mut Vec<u8>) -> Result<Event, ErrorKind> {
        if step == Step::Pubrel {
            self.received_id = None;
            Packet::Ack { step: Step::Pubcomp, id, code: 0 }.encode(self.session.version, output);
            return Ok(Event::Partial);
        }
        if id != self.id {
            return Err(ErrorKind::Corrupt);
        }
        if code >= 0x80 {
            return Err(ErrorKind::Rejected);
        }
        self.awaited = match (self.awaited, step) {
            (Await::Puback, Step::Puback) | (Await::Pubcomp, Step::Pubcomp) => Await::Nothing,
            (Await::Pubrec, Step::Pubrec) => {
                Packet::Ack { step: Step::Pubrel, id, code: 0 }.encode(self.session.version, output);
                Await::Pubcomp
            }
            _ => return Err(ErrorKind::Corrupt),
        };
        Ok(self.settled())
    }

    /// A message is answered when it is back and nothing more is owed for it.
    fn settled(&mut self) -> Event {
        if self.under_way && self.back && self.awaited == Await::Nothing { self.answered() } else { Event::Partial }
    }

    fn answered(&mut self) -> Event {
        self.under_way = false;
        Event::Answered(Ok(self.server))
    }

    fn next_id(&mut self) -> u16 {
        self.id = self.id.checked_add(1).unwrap_or(1);
        self.id
    }

    /// The server that the session's opening named.
    pub(super) fn server(&self) -> Option<ServerName> {
        self.server
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(packets: &[Packet]) -> Vec<u8> {
        let mut output = Vec::new();
        packets.iter().for_each(|packet| packet.encode(Version::V3, &mut output));
        output
    }

    /// Feeds input in pieces and returns what happened and what was said.
    fn feed(dialogue: &mut MqttDialogue, input: &[u8], piece: usize) -> Result<(Vec<Event>, Vec<u8>), ErrorKind> {
        let (mut events, mut output) = (Vec::new(), Vec::new());
        for part in input.chunks(piece) {
            let mut rest = part;
            while !rest.is_empty() {
                let (used, event) = dialogue.feed(rest, &mut output)?;
                rest = &rest[used..];
                if event != Event::Partial {
                    events.push(event);
                }
            }
        }
        Ok((events, output))
    }

    fn opened(qos: u8) -> MqttDialogue {
        let session = MqttSession { action: MqttAction::Publish, qos, payload_bytes: 20, ..MqttSession::default() };
        let mut dialogue = MqttDialogue::new(session, true, 0, 0);
        dialogue.open(&mut Vec::new());
        let connack = Packet::Connack { code: 0, assigned_client_id: None, server: None };
        let answer = bytes(&[connack, Packet::Suback { id: 1, codes: vec![qos, 0x80] }]);
        assert_eq!(feed(&mut dialogue, &answer, 3).expect("accepted").0, [Event::Opened]);
        dialogue
    }

    fn echo(dialogue: &mut MqttDialogue, id: u16) -> Packet {
        let mut output = Vec::new();
        dialogue.begin(&mut output);
        match Packet::decode(Version::V3, &output) {
            Ok(Some((Packet::Publish { qos, retain, topic, payload, .. }, _))) => Packet::Publish { qos, retain, topic, id, payload },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_connection_takes_its_identifiers_in_turn() {
        let session = MqttSession { identities: 2, prefix: "x".to_owned(), ..MqttSession::default() };
        let mut dialogue = MqttDialogue::new(session, false, 0, 7);
        let mut next = || {
            let mut output = Vec::new();
            dialogue.open(&mut output);
            match Packet::decode(Version::V3, &output) {
                Ok(Some((Packet::Connect { client_id, .. }, _))) => client_id,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!([next(), next(), next()], ["x-0-7-0", "x-0-7-1", "x-0-7-0"]);
    }

    #[test]
    fn a_message_is_answered_when_back_and_acknowledged() {
        for piece in [1, 5, 1000] {
            let mut dialogue = opened(2);
            let ack = |step, id| Packet::Ack { step, id, code: 0 };
            let message = echo(&mut dialogue, 9);
            let incoming = bytes(&[ack(Step::Pubrec, 2), message.clone(), message, ack(Step::Pubcomp, 2), ack(Step::Pubrel, 9)]);
            let (events, said) = feed(&mut dialogue, &incoming, piece).expect("right");
            assert_eq!(events, [Event::Answered(Ok(None))]);
            let pubrec = ack(Step::Pubrec, 9);
            assert_eq!(said, bytes(&[ack(Step::Pubrel, 2), pubrec.clone(), pubrec, ack(Step::Pubcomp, 9)]));
        }
    }

    #[test]
    fn wrong_messages_and_refusals_are_noticed() {
        let mut dialogue = opened(0);
        let Packet::Publish { qos, retain, topic, id, mut payload } = echo(&mut dialogue, 0) else { panic!("no message") };
        payload[15] ^= 1;
        assert_eq!(feed(&mut dialogue, &bytes(&[Packet::Publish { qos, retain, topic, id, payload }]), 99), Err(ErrorKind::Corrupt));
        let mut refused = MqttDialogue::new(MqttSession::default(), false, 0, 0);
        refused.open(&mut Vec::new());
        let connack = Packet::Connack { code: 5, assigned_client_id: None, server: None };
        assert_eq!(feed(&mut refused, &bytes(&[connack]), 99), Err(ErrorKind::Rejected));
    }
}
