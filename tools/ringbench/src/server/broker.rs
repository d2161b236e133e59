//! The MQTT side of a server: sessions, subscriptions, retained messages. Good enough to load a proxy with, no more: messages are not
//! repeated, sessions do not outlive their connection, and the keep-alive is not enforced. No I/O: packets in, packets out.

use crate::mqtt::{Packet, SERVER_TOPIC, Step, Version};
use crate::protocol::ServerName;
use std::collections::{HashMap, HashSet, VecDeque};

/// A conversation: its slot and its birth number.
pub(super) type Who = (usize, u32);

/// Retained messages kept; beyond it new topics are not retained.
const RETAINED_MAX: usize = 10_000;
/// Incoming messages of quality 2 that a session may have unreleased.
const UNRELEASED_MAX: usize = 1000;

/// Something for another conversation.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// A message, with the quality that its subscription allows.
    Message(Packet),
    /// Its client has connected anew elsewhere: close.
    Replaced,
}

/// One subscription of a topic filter.
#[derive(Clone, Copy, Debug)]
struct Subscriber {
    who: Who,
    qos: u8,
}

/// What all sessions of a server share.
#[derive(Debug, Default)]
pub(super) struct Broker {
    exact: HashMap<String, Vec<Subscriber>>,
    wildcards: Vec<(String, Subscriber)>,
    retained: HashMap<String, (u8, Vec<u8>)>,
    clients: HashMap<String, Who>,
    outbox: VecDeque<(Who, Outgoing)>,
}

impl Broker {
    /// A broker that names itself in a retained message.
    pub(super) fn new(name: ServerName) -> Self {
        let mut broker = Self::default();
        broker.retained.insert(SERVER_TOPIC.to_owned(), (0, name.as_str().as_bytes().to_vec()));
        broker
    }

    /// The next thing for a conversation.
    pub(super) fn next(&mut self) -> Option<(Who, Outgoing)> {
        self.outbox.pop_front()
    }

    /// A session introduced itself; an older one of the same client goes.
    fn enter(&mut self, client_id: &str, who: Who) {
        if let Some(older) = self.clients.insert(client_id.to_owned(), who).filter(|older| *older != who) {
            self.outbox.push_back((older, Outgoing::Replaced));
        }
    }

    fn subscribe(&mut self, filter: String, qos: u8, who: Who) {
        let subscriber = Subscriber { who, qos };
        for (topic, (retained_qos, payload)) in self.retained.iter().filter(|(topic, _)| matches(&filter, topic)) {
            let (topic, payload) = (topic.clone(), payload.clone());
            let message = Packet::Publish { qos: qos.min(*retained_qos), retain: true, topic, id: 0, payload };
            self.outbox.push_back((who, Outgoing::Message(message)));
        }
        if filter.contains(['+', '#']) {
            self.wildcards.retain(|(other, one)| one.who != who || *other != filter);
            self.wildcards.push((filter, subscriber));
        } else {
            let subscribers = self.exact.entry(filter).or_default();
            subscribers.retain(|one| one.who != who);
            subscribers.push(subscriber);
        }
    }

    fn unsubscribe(&mut self, filter: &str, who: Who) {
        if let Some(subscribers) = self.exact.get_mut(filter) {
            subscribers.retain(|one| one.who != who);
            if subscribers.is_empty() {
                self.exact.remove(filter);
            }
        }
        self.wildcards.retain(|(other, one)| one.who != who || other != filter);
    }

    fn publish(&mut self, qos: u8, retain: bool, topic: String, payload: Vec<u8>) {
        let exact = self.exact.get(&topic).into_iter().flatten();
        let wildcards = self.wildcards.iter().filter(|(filter, _)| matches(filter, &topic)).map(|(_, one)| one);
        for one in exact.chain(wildcards) {
            let (topic, payload) = (topic.clone(), payload.clone());
            let message = Packet::Publish { qos: qos.min(one.qos), retain: false, topic, id: 0, payload };
            self.outbox.push_back((one.who, Outgoing::Message(message)));
        }
        if retain && payload.is_empty() {
            self.retained.remove(&topic);
        } else if retain && (self.retained.len() < RETAINED_MAX || self.retained.contains_key(&topic)) {
            self.retained.insert(topic, (qos, payload));
        }
    }
}

/// True when a topic filter covers a topic (MQTT 3.1.1, section 4.7).
fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut levels, mut names) = (filter.split('/'), topic.split('/'));
    loop {
        match (levels.next(), names.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(level), Some(name)) if level == name => {}
            _ => return false,
        }
    }
}

/// One connection's session.
#[derive(Debug)]
pub(super) struct Session {
    who: Who,
    version: Option<Version>,
    client_id: String,
    filters: HashSet<String>,
    unreleased: HashSet<u16>,
    last_id: u16,
    buffer: Vec<u8>,
}

impl Session {
    pub(super) fn new(who: Who) -> Self {
        let (client_id, filters, unreleased) = (String::new(), HashSet::new(), HashSet::new());
        Self { who, version: None, client_id, filters, unreleased, last_id: 0, buffer: Vec::new() }
    }

    /// Takes input and appends what is answered to this client; returns packets answered, or none when the connection must end (after
    /// the output).
    pub(super) fn consume(
        &mut self,
        input: &[u8],
        broker: &mut Broker,
        name: ServerName,
        connack: u8,
        output: &mut Vec<u8>,
    ) -> Option<u64> {
        self.buffer.extend_from_slice(input);
        let buffer = std::mem::take(&mut self.buffer);
        let (mut used, mut answered) = (0, 0);
        loop {
            let version = self.version.unwrap_or_default();
            let (packet, count) = match Packet::decode(version, buffer.get(used..).unwrap_or_default()) {
                Ok(Some(one)) => one,
                Ok(None) => break,
                Err(_) => return None,
            };
            used += count;
            let before = output.len();
            self.take(packet, broker, name, connack, output)?;
            answered += u64::from(output.len() > before);
        }
        self.buffer.extend_from_slice(buffer.get(used..).unwrap_or_default());
        Some(answered)
    }

    fn take(&mut self, packet: Packet, broker: &mut Broker, name: ServerName, connack: u8, output: &mut Vec<u8>) -> Option<()> {
        let Some(version) = self.version else { return self.connect(packet, broker, name, connack, output) };
        match packet {
            Packet::Publish { qos, retain, topic, id, payload } => {
                let step = match qos {
                    1 => Some(Step::Puback),
                    2 => Some(Step::Pubrec),
                    _ => None,
                };
                if let Some(step) = step {
                    Packet::Ack { step, id, code: 0 }.encode(version, output);
                }
                let repeated = qos == 2 && !self.unreleased.insert(id);
                if !repeated {
                    broker.publish(qos, retain, topic, payload);
                }
                (self.unreleased.len() <= UNRELEASED_MAX).then_some(())
            }
            Packet::Ack { step: Step::Pubrel, id, .. } => {
                self.unreleased.remove(&id);
                Packet::Ack { step: Step::Pubcomp, id, code: 0 }.encode(version, output);
                Some(())
            }
            Packet::Ack { step: Step::Pubrec, id, .. } => {
                Packet::Ack { step: Step::Pubrel, id, code: 0 }.encode(version, output);
                Some(())
            }
            Packet::Ack { .. } => Some(()),
            Packet::Subscribe { id, filters } => {
                let codes = filters.iter().map(|(_, qos)| (*qos).min(2)).collect();
                Packet::Suback { id, codes }.encode(version, output);
                for (filter, qos) in filters {
                    self.filters.insert(filter.clone());
                    broker.subscribe(filter, qos.min(2), self.who);
                }
                Some(())
            }
            Packet::Unsubscribe { id, filters } => {
                for filter in &filters {
                    self.filters.remove(filter);
                    broker.unsubscribe(filter, self.who);
                }
                Packet::Unsuback { id, count: filters.len() }.encode(version, output);
                Some(())
            }
            Packet::Pingreq => {
                Packet::Pingresp.encode(version, output);
                Some(())
            }
            _ => None,
        }
    }

    fn connect(&mut self, packet: Packet, broker: &mut Broker, name: ServerName, connack: u8, output: &mut Vec<u8>) -> Option<()> {
        let Packet::Connect { version, client_id, .. } = packet else { return None };
        self.version = Some(version);
        let assigned = client_id.is_empty().then(|| format!("{}-{}-{}", name.as_str(), self.who.0, self.who.1));
        self.client_id = assigned.clone().unwrap_or(client_id);
        let answer = Packet::Connack { code: connack, assigned_client_id: assigned, server: Some(name.as_str().to_owned()) };
        answer.encode(version, output);
        if connack != 0 {
            return None;
        }
        broker.enter(&self.client_id, self.who);
        Some(())
    }

    /// Appends a message for this client.
    pub(super) fn deliver(&mut self, message: Packet, output: &mut Vec<u8>) {
        let (Some(version), Packet::Publish { qos, retain, topic, payload, .. }) = (self.version, message) else { return };
        let id = if qos > 0 { self.next_id() } else { 0 };
        Packet::Publish { qos, retain, topic, id, payload }.encode(version, output);
    }

    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    /// The connection is gone: so are its subscriptions.
    pub(super) fn leave(&self, broker: &mut Broker) {
        for filter in &self.filters {
            broker.unsubscribe(filter, self.who);
        }
        if broker.clients.get(&self.client_id) == Some(&self.who) {
            broker.clients.remove(&self.client_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_cover_topics_as_the_standard_says() {
        for (filter, topic) in
            [("a/b", "a/b"), ("a/+", "a/b"), ("a/#", "a"), ("a/#", "a/b/c"), ("#", "a/b"), ("+/+", "/a"), ("$SYS/#", "$SYS/x")]
        {
            assert!(matches(filter, topic), "{filter} covers {topic}");
        }
        for (filter, topic) in [("a/b", "a"), ("a/+", "a/b/c"), ("a", "a/b"), ("+", "a/b"), ("#", "$SYS/x"), ("+/x", "$SYS/x")] {
            assert!(!matches(filter, topic), "{filter} does not cover {topic}");
        }
    }

    fn packets(bytes: &[u8]) -> Vec<Packet> {
        let (mut rest, mut all) = (bytes, Vec::new());
        while let Ok(Some((packet, used))) = Packet::decode(Version::V5, rest) {
            all.push(packet);
            rest = &rest[used..];
        }
        all
    }

    #[test]
    fn a_message_reaches_its_subscribers_and_only_them() {
        let name = ServerName::new("one").expect("valid");
        let mut broker = Broker::new(name);
        let say = |session: &mut Session, broker: &mut Broker, packet: Packet| {
            let (mut bytes, mut output) = (Vec::new(), Vec::new());
            packet.encode(Version::V5, &mut bytes);
            session.consume(&bytes, broker, name, 0, &mut output).map(|_| packets(&output))
        };
        let connect = |id: &str| Packet::Connect { version: Version::V5, client_id: id.to_owned(), keepalive_s: 0, credentials: None };
        let (mut first, mut second) = (Session::new((0, 1)), Session::new((1, 2)));
        let answer = say(&mut first, &mut broker, connect("")).expect("accepted");
        assert!(
            matches!(answer.as_slice(), [Packet::Connack { code: 0, assigned_client_id: Some(_), server: Some(server) }] if server == "one")
        );
        say(&mut second, &mut broker, connect("b")).expect("accepted");
        say(&mut first, &mut broker, Packet::Subscribe { id: 1, filters: vec![("t/+".into(), 1), (SERVER_TOPIC.into(), 0)] })
            .expect("granted");
        assert!(
            matches!(broker.next(), Some(((0, 1), Outgoing::Message(Packet::Publish { retain: true, payload, .. }))) if payload == b"one")
        );
        let publish = Packet::Publish { qos: 2, retain: false, topic: "t/x".into(), id: 7, payload: b"hi".to_vec() };
        assert_eq!(say(&mut second, &mut broker, publish.clone()), Some(vec![Packet::Ack { step: Step::Pubrec, id: 7, code: 0 }]));
        say(&mut second, &mut broker, publish).expect("a repetition");
        assert!(matches!(broker.next(), Some(((0, 1), Outgoing::Message(Packet::Publish { qos: 1, .. })))));
        assert!(broker.next().is_none(), "delivered once, to one");
        first.leave(&mut broker);
        assert!(broker.exact.is_empty() && broker.wildcards.is_empty());
        let mut third = Session::new((2, 3));
        say(&mut third, &mut broker, connect("b")).expect("accepted");
        assert!(matches!(broker.next(), Some(((1, 2), Outgoing::Replaced))));
        assert_eq!(say(&mut third, &mut broker, connect("b")), None, "a second CONNECT ends the connection");
    }
}
