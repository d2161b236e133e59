//! MQTT's first packets: CONNECT and CONNACK of MQTT 3.1 (`MQIsdp`), 3.1.1 and 5.0, from the OASIS texts; encoders for the health check
//! and for DISCONNECT; and HAProxy's view of the same bytes in [`haproxy`].
//!
//! Inspection calls the parsers while a connection waits for its rules, the health check and the statistics on what a server answers.
//! [`parse_connect`] and [`parse_connack`] take all bytes received so far and are called again with more: nothing is copied, allocated or
//! remembered between calls, and what is wrong is reported as soon as the bytes show it. Once a prefix is [`Progress::Invalid`], every
//! longer input is invalid for the same reason; once it is [`Progress::Done`], what follows the packet changes nothing.
//!
//! The parsers are strict: whatever the specifications forbid is invalid, down to reserved bits and malformed UTF-8. Two decisions where
//! the texts leave room: identifiers longer than the 23 characters of MQTT 3.1 are accepted, because brokers accept them, and the UTF-8
//! rules of 3.1.1 hold for 3.1 too. Packets other than these two are not read here;
//! [`Framer`] knows where they begin.

mod connack;
mod connect;
mod encode;
mod frame;
pub mod haproxy;
mod property;
mod reader;
mod reason;

use std::fmt;

pub use connack::{Connack, connack_codes, parse_connack};
pub use connect::{Connect, Will, parse_connect};
pub use encode::{ConnackPacket, ConnectPacket, EncodeError, WillMessage, encode_disconnect};
pub use frame::Framer;
pub use property::{Properties, PropertiesIter, Property, PropertyId, PropertyKind, PropertyValue};
pub use reason::Reason;

/// What a parser makes of the bytes received so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<T> {
    /// So far nothing is wrong, and the packet is not complete.
    NeedMore {
        /// The fewest bytes, counted from the first one of the packet, with which it can be complete: more than were given. From the end of
        /// the fixed header on it is the length of the packet; asking earlier than that can only find the packet invalid.
        at_least: usize,
    },
    /// The packet is complete and valid.
    Done {
        /// What it says.
        packet: T,
        /// Bytes of the whole packet with its fixed header; the input may be longer.
        length: usize,
    },
    /// No bytes that follow can make this a valid packet.
    Invalid(Reason),
}

/// Versions of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// MQTT 3.1: protocol name `MQIsdp`, level 3.
    V3_1,
    /// MQTT 3.1.1: protocol name `MQTT`, level 4.
    V3_1_1,
    /// MQTT 5.0: protocol name `MQTT`, level 5.
    V5,
}

impl Version {
    /// The protocol level in CONNECT: 3, 4 or 5.
    pub fn level(self) -> u8 {
        match self {
            Self::V3_1 => 3,
            Self::V3_1_1 => 4,
            Self::V5 => 5,
        }
    }

    /// The protocol name in CONNECT.
    pub fn protocol_name(self) -> &'static str {
        match self {
            Self::V3_1 => "MQIsdp",
            Self::V3_1_1 | Self::V5 => "MQTT",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::V3_1 => "3.1",
            Self::V3_1_1 => "3.1.1",
            Self::V5 => "5.0",
        })
    }
}

/// The largest packet that will be read; what exceeds a limit is invalid at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest whole packet in bytes with its fixed header.
    pub packet_bytes: u32,
    /// Longest client identifier in bytes.
    pub client_id_bytes: u16,
    /// Most user properties in one property list (MQTT 5.0).
    pub user_properties: u16,
}

impl Default for Limits {
    /// 1 MiB, which holds the largest CONNECT of the 3.x versions; identifiers of any length; 1024 user properties.
    fn default() -> Self {
        Self { packet_bytes: 1 << 20, client_id_bytes: u16::MAX, user_properties: 1024 }
    }
}

#[cfg(test)]
mod tests;
