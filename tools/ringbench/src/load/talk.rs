//! What a connection says and expects, whatever its protocol: one face for the worker, one variant for each. No I/O, no clock.

use super::Plan;
use super::dialogue::{Answer, Dialogue, Protocol};
use super::errors::ErrorKind;
use super::http::HttpDialogue;
use super::mqtt::MqttDialogue;
use crate::protocol::ServerName;

/// What bytes from the server came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// More must come.
    Partial,
    /// The session is open: operations may begin.
    Opened,
    /// The oldest operation under way is answered; an answer may itself be an error.
    Answered(Result<Option<ServerName>, ErrorKind>),
}

/// One connection's side of its protocol.
#[derive(Clone, Debug)]
pub(super) enum Talk {
    Framed(Dialogue),
    Http(HttpDialogue),
    Mqtt(Box<MqttDialogue>),
    /// Says nothing: the handshake below is all there is.
    Silent,
}

impl Talk {
    /// The talk of connection `index` of worker `worker`.
    pub(super) fn new(plan: &Plan, worker: usize, index: usize) -> Self {
        match plan.protocol {
            Protocol::Framed | Protocol::Raw => {
                // Far apart, so that the answers of two connections cannot be taken for each other.
                let first_sequence = (worker as u32).wrapping_mul(0x0200_0000).wrapping_add((index as u32).wrapping_mul(1013));
                Self::Framed(Dialogue::new(plan.protocol, plan.request_bytes, plan.response_bytes, plan.verify, first_sequence))
            }
            Protocol::Http => plan.http.clone().map_or(Self::Silent, |request| Self::Http(HttpDialogue::new(request))),
            Protocol::Mqtt => Self::Mqtt(Box::new(MqttDialogue::new(plan.mqtt.clone().unwrap_or_default(), plan.verify, worker, index))),
            Protocol::Handshake => Self::Silent,
        }
    }

    /// Starts a new connection: appends what is said first; true when operations must wait for an answer to it.
    pub(super) fn open(&mut self, output: &mut Vec<u8>) -> bool {
        match self {
            Self::Framed(_) | Self::Silent => false,
            Self::Http(http) => {
                http.reset();
                false
            }
            Self::Mqtt(mqtt) => {
                mqtt.open(output);
                true
            }
        }
    }

    /// Appends the next request.
    pub(super) fn begin(&mut self, output: &mut Vec<u8>) {
        match self {
            Self::Framed(dialogue) => dialogue.begin(output),
            Self::Http(http) => http.begin(output),
            Self::Mqtt(mqtt) => mqtt.begin(output),
            Self::Silent => {}
        }
    }

    /// Takes bytes, up to the end of one answer, and returns how many; appends what the protocol says in reply. `asked` tells whether an
    /// operation or the opening is under way.
    pub(super) fn feed(&mut self, input: &[u8], asked: bool, output: &mut Vec<u8>) -> Result<(usize, Event), ErrorKind> {
        match self {
            Self::Mqtt(mqtt) => mqtt.feed(input, output),
            // Bytes that nobody asked for are as wrong as wrong bytes.
            Self::Framed(_) | Self::Silent if !asked => Err(ErrorKind::Corrupt),
            // A server that gives up an idle connection may say so (408) before it closes.
            Self::Http(_) if !asked => Err(ErrorKind::Closed),
            Self::Framed(dialogue) => Ok(match dialogue.feed(input)? {
                Answer::Partial => (input.len(), Event::Partial),
                Answer::Complete(server) => (input.len(), Event::Answered(Ok(server))),
            }),
            Self::Http(http) => http.feed(input),
            Self::Silent => Ok((input.len(), Event::Partial)),
        }
    }

    /// The server ended the connection: the last answer, if this is how it ends.
    pub(super) fn end(&mut self, asked: bool) -> Result<Event, ErrorKind> {
        match self {
            Self::Http(http) if asked => http.end(),
            _ => Err(ErrorKind::Closed),
        }
    }

    /// True when no further request may be sent on this connection.
    pub(super) fn closes(&self) -> bool {
        matches!(self, Self::Http(http) if http.closes())
    }

    /// The server that named itself in the opening.
    pub(super) fn server(&self) -> Option<ServerName> {
        match self {
            Self::Mqtt(mqtt) => mqtt.server(),
            _ => None,
        }
    }

    /// Appends a goodbye, where the protocol has one.
    pub(super) fn farewell(&self, output: &mut Vec<u8>) {
        if let Self::Mqtt(mqtt) = self {
            mqtt.farewell(output);
        }
    }
}
