//! What HAProxy's converters `mqtt_is_valid` and `mqtt_field_value` (manual section 7.3.1) say about bytes, for configurations that were
//! written for it. Called by the rules' converters of these names; our own parsers are stricter and not used here.
//!
//! Found by asking HAProxy 2.6.12, and compared with it by the tests of this crate:
//!
//! - Fewer than two bytes, or fewer than the remaining length says, give no sample at all: a rule that tests it waits until the inspect
//!   delay. With two bytes, what cannot be a packet type with its flags in the fixed header (PUBLISH only with all four) is invalid at
//!   once; everything else is only looked at when the packet is there, even what is wrong from its first bytes on.
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
//! - A property that does not belong in CONNACK gives no sample, as if bytes were missing, and not an invalid packet.
//! - Properties are otherwise checked as the specification has it, with two exceptions: authentication data needs no method in CONNACK, and
//!   in CONNECT it must be empty where the method is missing or empty; an assigned client identifier must not be empty.
//!
//! Differences, the first three where HAProxy refuses what is valid:
//!
//! 1. Bytes behind a CONNACK (the server's next packet in the same segment) do not matter, as they do not in HAProxy behind a CONNECT.
//!    HAProxy reads them as part of the CONNACK and calls most of those of MQTT 3.1.1 invalid: its answer depends on how the server's bytes
//!    were cut.
//! 2. A remaining length of which more bytes have to come is waited for. HAProxy takes `0x80` without its next byte for zero, and so
//!    refuses a CONNECT with a remaining length of 128 when its first segment ends there.
//! 3. MQTT 3.1 lets user name and password be missing from the end of a CONNECT whose flags announce them: valid here.
//! 4. A CONNACK that ends within the length of its properties is invalid here; HAProxy takes this length for zero, too.
//!
//! A packet can be as long as the caller's buffer; HAProxy never sees more than its own (`tune.bufsize`).

mod field;
mod message;

pub use field::{Field, FieldValue, PacketType};

use message::{Message, Refusal};

/// What `mqtt_is_valid` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tri {
    /// True.
    Yes,
    /// False.
    No,
    /// No sample: a rule waits for more bytes.
    NeedMore,
}

/// The converter `mqtt_is_valid`: whether the bytes start with a valid CONNECT or CONNACK.
pub fn is_valid(bytes: &[u8]) -> Tri {
    match Message::read(bytes) {
        Ok(_) => Tri::Yes,
        Err(Refusal::Invalid) => Tri::No,
        Err(Refusal::NoSample) => Tri::NeedMore,
    }
}

/// The converter `mqtt_field_value`: a field of the packet that the bytes start with. `None` is no sample: the packet is incomplete,
/// invalid or of another type, or it does not have the field, or the field is empty.
pub fn field(bytes: &[u8], packet: PacketType, field: Field) -> Option<FieldValue<'_>> {
    let message = Message::read(bytes).ok()?;
    if message.packet_type() != packet { None } else { message.field(field) }
}

#[cfg(test)]
mod tests;
