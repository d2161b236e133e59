//! Reads fields from a packet of which a part may not have arrived yet. Used by the parsers of this module only; never panics.

use super::{Limits, Progress, Reason};

/// Why a field could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The bytes that arrived end first.
    NeedMore,
    /// The packet cannot become valid.
    Invalid(Reason),
}

/// A field, or why there is none.
pub(super) type Read<T> = Result<T, Stop>;

/// A place in a packet or in one of its sections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    /// What arrived of the section; never more than `end` bytes.
    bytes: &'a [u8],
    position: usize,
    /// Length of the section; at least that of `bytes`.
    end: usize,
}

impl<'a> Reader<'a> {
    /// Reads a section of `end` bytes that starts with `bytes`; what lies behind the section is left out.
    pub(super) fn new(bytes: &'a [u8], end: usize) -> Self {
        Self { bytes: bytes.get(..end).unwrap_or(bytes), position: 0, end }
    }

    /// Whether the whole section was read.
    pub(super) fn at_end(&self) -> bool {
        self.position >= self.end
    }

    fn remaining(&self) -> usize {
        self.end.saturating_sub(self.position)
    }

    /// What arrived of the next `length` bytes, without moving on.
    fn peek(&self, length: usize) -> Read<&'a [u8]> {
        if length > self.remaining() {
            return Err(Stop::Invalid(Reason::FieldPastEnd));
        }
        let arrived = self.bytes.get(self.position..).unwrap_or_default();
        Ok(arrived.get(..length).unwrap_or(arrived))
    }

    /// The next `length` bytes.
    pub(super) fn take(&mut self, length: usize) -> Read<&'a [u8]> {
        let taken = self.peek(length)?;
        if taken.len() < length {
            return Err(Stop::NeedMore);
        }
        self.position = self.position.saturating_add(length);
        Ok(taken)
    }

    /// A section of the next `length` bytes, of which some may be missing.
    pub(super) fn section(&mut self, length: usize) -> Read<Reader<'a>> {
        let arrived = self.peek(length)?;
        self.position = self.position.saturating_add(length);
        Ok(Reader::new(arrived, length))
    }

    /// The whole section as bytes, when it arrived.
    pub(super) fn whole(&self) -> Read<&'a [u8]> {
        if self.bytes.len() < self.end { Err(Stop::NeedMore) } else { Ok(self.bytes) }
    }

    /// A big-endian number of up to four bytes.
    pub(super) fn number(&mut self, bytes: usize) -> Read<u32> {
        Ok(self.take(bytes)?.iter().fold(0, |number, &byte| number << 8 | u32::from(byte)))
    }

    /// One byte.
    pub(super) fn byte(&mut self) -> Read<u8> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    /// A number of two bytes.
    pub(super) fn short(&mut self) -> Read<u16> {
        Ok(self.number(2)? as u16)
    }

    /// Bytes after their length of two bytes.
    pub(super) fn binary(&mut self) -> Read<&'a [u8]> {
        let length = self.short()?;
        self.take(length.into())
    }

    /// A text after its length of two bytes: well-formed UTF-8 without U+0000. What arrived of it is checked at once.
    pub(super) fn text(&mut self) -> Read<&'a str> {
        let length = usize::from(self.short()?);
        let arrived = self.peek(length)?;
        let complete = arrived.len() == length;
        let (text, broken) = match str::from_utf8(arrived) {
            Ok(text) => (text, false),
            Err(error) => {
                let sound = arrived.get(..error.valid_up_to()).unwrap_or_default();
                (str::from_utf8(sound).unwrap_or_default(), complete || error.error_len().is_some())
            }
        };
        if text.contains('\0') {
            return Err(Stop::Invalid(Reason::NullCharacter));
        }
        if broken {
            return Err(Stop::Invalid(Reason::Utf8));
        }
        self.take(length)?;
        Ok(text)
    }

    /// A number of one to four bytes with seven bits each, least significant first (MQTT 5.0 section 1.5.5). `minimal`: in as few bytes as
    /// it can be.
    pub(super) fn variable(&mut self, minimal: bool) -> Read<u32> {
        let mut number = 0;
        for index in 0..4 {
            let byte = self.byte()?;
            number |= u32::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                let wasteful = minimal && index > 0 && byte == 0;
                return if wasteful { Err(Stop::Invalid(Reason::LengthNotMinimal)) } else { Ok(number) };
            }
        }
        Err(Stop::Invalid(Reason::LengthTooLong))
    }
}

/// Reads the fixed header, which must start with `first_byte`, gives the packet of at least `shortest` bytes behind it to `body`, and sees
/// to it that this reads all of it.
pub(super) fn read_packet<'a, T>(
    bytes: &'a [u8],
    first_byte: u8,
    shortest: u32,
    limits: &Limits,
    body: impl FnOnce(&mut Reader<'a>) -> Read<T>,
) -> Progress<T> {
    match bytes.first() {
        None => return Progress::NeedMore { at_least: 2 },
        Some(first) if first & 0xF0 != first_byte => return Progress::Invalid(Reason::PacketType),
        Some(first) if *first != first_byte => return Progress::Invalid(Reason::HeaderFlags),
        Some(_) => {}
    }
    let mut header = Reader { bytes, position: 1, end: usize::MAX };
    let remaining = match header.variable(true) {
        Ok(remaining) => remaining,
        Err(Stop::NeedMore) => return Progress::NeedMore { at_least: bytes.len().saturating_add(1) },
        Err(Stop::Invalid(reason)) => return Progress::Invalid(reason),
    };
    if remaining < shortest {
        return Progress::Invalid(Reason::PacketTooShort);
    }
    let length = header.position.saturating_add(remaining as usize);
    if length > limits.packet_bytes as usize {
        return Progress::Invalid(Reason::PacketTooLarge);
    }
    let mut reader = Reader::new(bytes.get(header.position..).unwrap_or_default(), remaining as usize);
    match body(&mut reader) {
        Ok(packet) if reader.at_end() => Progress::Done { packet, length },
        Ok(_) => Progress::Invalid(Reason::TrailingBytes),
        Err(Stop::NeedMore) => Progress::NeedMore { at_least: length },
        Err(Stop::Invalid(reason)) => Progress::Invalid(reason),
    }
}
