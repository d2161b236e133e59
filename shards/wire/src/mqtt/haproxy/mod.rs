//! What HAProxy's converters `mqtt_is_valid` and `mqtt_field_value` (manual section 7.3.1) say about bytes, for configurations that were
//! written for it. Called by the rules' converters of these names; our own parsers are stricter and not used here.
//!
//! Found by asking HAProxy 2.6.12, and compared with it by the tests of this crate:
//!
//! - Fewer than two bytes, or fewer than the remaining length says, give no sample at all: a rule that tests it waits until the inspect
//!   delay. With two bytes, another packet type than CONNECT or CONNACK and flags in the fixed header are invalid at once; everything else
//!   is only looked at when the packet is there, even what is wrong from its first bytes on.
//! - Every value is of type binary: bytes of the packet, or a number as decimal text. A field of no bytes, a field that the packet does not
//!   have and any field of an invalid packet give no sample.
//! - Of MQTT 5.0, numbers among the properties of the packet are 0 when they are left out, whatever their default in the specification;
//!   those of the will only when there is a will. User properties never have a value.
//! - The protocol name may be in any case, and each of the two names may come with each level from 3 to 5.
//! - Lengths of variable size may have more bytes than they need, but no more than four.
//! - Texts are not checked: broken UTF-8, null characters, empty and wildcard topics and empty identifiers are valid.
//! - Of the connect flags, only the reserved bit and a quality of service of 3 are refused, the latter only where neither will nor retain
//!   is set. A password needs no user name.
//! - CONNACK may have any code, with or without a session. Two bytes of it are MQTT 3.1.1 (also what answers 3.1), more are 5.0.
//! - Properties are checked as the specification has it, but that authentication data needs no method in CONNACK and has to be empty
//!   without a method, or with an empty one, in CONNECT, and that an assigned client identifier must not be empty.
//!
//! Differences, where HAProxy refuses what is valid:
//!
//! 1. A CONNACK of MQTT 3.1.1 with bytes behind it (the server's next packet in the same segment) is valid here, as it is in HAProxy for
//!    CONNECT and for MQTT 5.0. HAProxy's answer would depend on how the server's bytes were cut.
//! 2. MQTT 3.1 lets user name and password be missing from the end of a CONNECT whose flags announce them; so does this.
//!
//! A packet can be as long as the caller's buffer; HAProxy never sees more than its own (`tune.bufsize`).

mod field;
mod message;

pub use field::{Field, FieldValue, PacketType};

use message::Message;

/// What `mqtt_is_valid` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tri {
    /// True.
    Yes,
    /// False.
    No,
    /// No sample until more bytes come.
    NeedMore,
}

/// The converter `mqtt_is_valid`: whether the bytes start with a valid CONNECT or CONNACK.
pub fn is_valid(bytes: &[u8]) -> Tri {
    match Message::read(bytes) {
        Some(Some(_)) => Tri::Yes,
        Some(None) => Tri::No,
        None => Tri::NeedMore,
    }
}

/// The converter `mqtt_field_value`: a field of the packet that the bytes start with. `None` is no sample: the packet is incomplete,
/// invalid or of another type, or it does not have the field, or the field is empty.
pub fn field(bytes: &[u8], packet: PacketType, field: Field) -> Option<FieldValue<'_>> {
    let message = Message::read(bytes)??;
    if message.packet_type() != packet { None } else { message.field(field) }
}

#[cfg(test)]
mod tests;
