//! Bytes to packets: the reading half of the MQTT codec. Nothing from the network can make it panic or hold more than one packet.

use super::{Malformed, PACKET_BYTES_MAX, Packet, SERVER_PROPERTY, Step, Version};

impl Packet {
    /// Reads one packet from the start of `input`, with the bytes it took; none when bytes are missing.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(version: Version, input: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let Some((&first, rest)) = input.split_first() else { return Ok(None) };
        let (mut length, mut shift, mut used) = (0_usize, 0, 1);
        loop {
            let Some(&byte) = rest.get(used - 1) else { return Ok(None) };
            length |= usize::from(byte & 127) << shift;
            used += 1;
            if byte < 128 {
                break;
            }
            shift += 7;
            if shift > 21 {
                return Err(Malformed);
            }
        }
        if length > PACKET_BYTES_MAX {
            return Err(Malformed);
        }
        let Some(body) = input.get(used..used + length) else { return Ok(None) };
        Self::decode_body(first, version, Cursor(body)).map(|packet| Some((packet, used + length)))
    }

    fn decode_body(first: u8, version: Version, mut body: Cursor<'_>) -> Result<Self, Malformed> {
        let v5 = version == Version::V5;
        let flags_fixed = |wanted: u8| if first & 15 == wanted { Ok(()) } else { Err(Malformed) };
        match first >> 4 {
            1 => flags_fixed(0).and_then(|()| decode_connect(body)),
            2 => {
                body.byte()?;
                let code = body.byte()?;
                let (assigned_client_id, server) = if v5 { body.connack_properties()? } else { (None, None) };
                Ok(Self::Connack { code, assigned_client_id, server })
            }
            3 => {
                let qos = first >> 1 & 3;
                if qos == 3 {
                    return Err(Malformed);
                }
                let topic = body.text()?;
                let id = if qos > 0 { body.number()? } else { 0 };
                if v5 {
                    body.skip_properties()?;
                }
                Ok(Self::Publish { qos, retain: first & 1 != 0, topic, id, payload: body.0.to_vec() })
            }
            kind @ 4..=7 => {
                flags_fixed(if kind == 6 { 2 } else { 0 })?;
                let step = match kind {
                    4 => Step::Puback,
                    5 => Step::Pubrec,
                    6 => Step::Pubrel,
                    _ => Step::Pubcomp,
                };
                let id = body.number()?;
                Ok(Self::Ack { step, id, code: if v5 && !body.0.is_empty() { body.byte()? } else { 0 } })
            }
            8 | 10 => {
                flags_fixed(2)?;
                let id = body.number()?;
                if v5 {
                    body.skip_properties()?;
                }
                if first >> 4 == 8 { decode_filters(id, body) } else { decode_unsubscribe(id, body) }
            }
            9 | 11 => {
                let id = body.number()?;
                if v5 {
                    body.skip_properties()?;
                }
                if first >> 4 == 9 {
                    Ok(Self::Suback { id, codes: body.0.to_vec() })
                } else {
                    Ok(Self::Unsuback { id, count: body.0.len() })
                }
            }
            12 => Ok(Self::Pingreq),
            13 => Ok(Self::Pingresp),
            14 => Ok(Self::Disconnect),
            _ => Err(Malformed),
        }
    }
}

fn decode_connect(mut body: Cursor<'_>) -> Result<Packet, Malformed> {
    if body.text()? != "MQTT" {
        return Err(Malformed);
    }
    let version = match body.byte()? {
        4 => Version::V3,
        5 => Version::V5,
        _ => return Err(Malformed),
    };
    let flags = body.byte()?;
    let keepalive_s = body.number()?;
    if version == Version::V5 {
        body.skip_properties()?;
    }
    let client_id = body.text()?;
    if flags & 0b100 != 0 {
        if version == Version::V5 {
            body.skip_properties()?;
        }
        body.text()?;
        body.bytes()?;
    }
    let name = if flags & 0x80 != 0 { Some(body.text()?) } else { None };
    let password = if flags & 0x40 != 0 { String::from_utf8_lossy(body.bytes()?).into_owned() } else { String::new() };
    Ok(Packet::Connect { version, client_id, keepalive_s, credentials: name.map(|name| (name, password)) })
}

fn decode_filters(id: u16, mut body: Cursor<'_>) -> Result<Packet, Malformed> {
    let mut filters = Vec::new();
    while !body.0.is_empty() {
        filters.push((body.text()?, body.byte()? & 3));
    }
    if filters.is_empty() { Err(Malformed) } else { Ok(Packet::Subscribe { id, filters }) }
}

fn decode_unsubscribe(id: u16, mut body: Cursor<'_>) -> Result<Packet, Malformed> {
    let mut filters = Vec::new();
    while !body.0.is_empty() {
        filters.push(body.text()?);
    }
    if filters.is_empty() { Err(Malformed) } else { Ok(Packet::Unsubscribe { id, filters }) }
}

/// What is left of a packet.
#[derive(Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.take(1)?.first().copied().ok_or(Malformed)
    }

    fn number(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from(self.byte()?) << 8 | u16::from(self.byte()?))
    }

    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.number()?;
        self.take(usize::from(length))
    }

    fn text(&mut self) -> Result<String, Malformed> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| Malformed)
    }

    fn variable(&mut self) -> Result<usize, Malformed> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value |= usize::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn skip_properties(&mut self) -> Result<(), Malformed> {
        // An acknowledgement without properties may leave their length out.
        if self.0.is_empty() {
            return Ok(());
        }
        let length = self.variable()?;
        self.take(length).map(drop)
    }

    /// Assigned client identifier and server name (MQTT 5.0, section 3.2.2.3).
    fn connack_properties(&mut self) -> Result<(Option<String>, Option<String>), Malformed> {
        let length = self.variable()?;
        let mut properties = Cursor(self.take(length)?);
        let (mut assigned, mut server) = (None, None);
        while !properties.0.is_empty() {
            match properties.byte()? {
                0x12 => assigned = Some(properties.text()?),
                0x26 => {
                    let (key, value) = (properties.text()?, properties.text()?);
                    if key == SERVER_PROPERTY {
                        server = Some(value);
                    }
                }
                0x24 | 0x25 | 0x28 | 0x29 | 0x2A => drop(properties.byte()?),
                0x13 | 0x21 | 0x22 => drop(properties.number()?),
                0x11 | 0x27 => drop(properties.take(4)?),
                0x15 | 0x16 | 0x1A | 0x1C | 0x1F => drop(properties.bytes()?),
                _ => return Err(Malformed),
            }
        }
        Ok((assigned, server))
    }
}
