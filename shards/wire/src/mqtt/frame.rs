//! Where packets begin and end in a stream of any MQTT packets (MQTT 3.1.1 section 2.2, 5.0 section 2.1): for whoever wants to say something
//! between two of them.

/// Follows a stream from its first byte on, without keeping any of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Framer {
    state: State,
    /// A whole packet has passed.
    began: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The next byte begins a packet.
    #[default]
    Boundary,
    /// In the remaining length: what it is so far, and how many of its bits are known.
    Length { value: u32, bits: u8 },
    /// In a packet of which so many bytes are to come, at least 1.
    Body { left: u32 },
    /// This is not MQTT.
    Lost,
}

impl Framer {
    /// At the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes in.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            match self.state {
                State::Lost => return,
                State::Boundary => {
                    // There is no packet of type 0.
                    self.state = if byte >= 0x10 { State::Length { value: 0, bits: 0 } } else { State::Lost };
                    rest = after;
                }
                State::Length { value, bits } => {
                    let value = value | u32::from(byte & 0x7F) << bits;
                    match byte & 0x80 != 0 {
                        false => self.enter(value),
                        true if bits >= 21 => self.state = State::Lost,
                        true => self.state = State::Length { value, bits: bits + 7 },
                    }
                    rest = after;
                }
                State::Body { left } => {
                    let taken = rest.len().min(left as usize);
                    rest = rest.get(taken..).unwrap_or_default();
                    // No more than was left.
                    self.enter(left.saturating_sub(taken as u32));
                }
            }
        }
    }

    fn enter(&mut self, left: u32) {
        if left == 0 {
            (self.state, self.began) = (State::Boundary, true);
        } else {
            self.state = State::Body { left };
        }
    }

    /// Whether a packet could be put in here: one has ended and the next has not begun. Never before the first packet, nor once the stream
    /// has turned out not to be MQTT.
    pub fn is_between_packets(&self) -> bool {
        self.began && self.state == State::Boundary
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(first: u8, body: usize) -> Vec<u8> {
        let mut bytes = vec![first];
        let mut length = body;
        loop {
            let digit = (length % 128) as u8;
            length /= 128;
            bytes.push(if length > 0 { digit | 0x80 } else { digit });
            if length == 0 {
                break;
            }
        }
        bytes.extend(std::iter::repeat_n(0xE0, body));
        bytes
    }

    #[test]
    fn every_byte_of_a_stream_is_known_to_be_inside_or_between() {
        let packets = [packet(0x20, 2), packet(0xD0, 0), packet(0x30, 127), packet(0x32, 128), packet(0x30, 16_384), packet(0x40, 2)];
        let stream: Vec<u8> = packets.concat();
        let mut ends: Vec<usize> = packets.iter().map(Vec::len).collect();
        let mut sum = 0;
        for end in &mut ends {
            sum += *end;
            *end = sum;
        }
        for split in 0..=stream.len() {
            let mut framer = Framer::new();
            framer.feed(&stream[..split]);
            assert_eq!(framer.is_between_packets(), ends.contains(&split), "after {split} bytes");
            framer.feed(&stream[split..]);
            assert!(framer.is_between_packets(), "split at {split}");
        }
    }

    #[test]
    fn what_is_not_mqtt_has_no_boundary() {
        for bytes in [&b"\x00\x00"[..], b"\x20\xff\xff\xff\xff\x01", b""] {
            let mut framer = Framer::new();
            framer.feed(bytes);
            framer.feed(b"\x20\x02\x00\x00");
            assert_eq!(framer.is_between_packets(), bytes.is_empty(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn pieces_change_nothing(
            packets in prop::collection::vec((1u8..16, 0usize..400), 1..20),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let stream: Vec<u8> = packets.iter().flat_map(|(kind, body)| packet(kind << 4, *body)).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let (mut pieces, mut whole) = (Framer::new(), Framer::new());
            for range in cuts.windows(2) {
                pieces.feed(&stream[range[0]..range[1]]);
            }
            whole.feed(&stream);
            prop_assert_eq!(pieces, whole);
            prop_assert!(whole.is_between_packets());
        }

        #[test]
        fn any_bytes_are_followed_alike_in_pieces(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in any::<prop::sample::Index>()) {
            let cut = cut.index(bytes.len() + 1);
            let (mut pieces, mut whole) = (Framer::new(), Framer::new());
            pieces.feed(&bytes[..cut]);
            pieces.feed(&bytes[cut..]);
            whole.feed(&bytes);
            prop_assert_eq!(pieces, whole);
        }
    }
}
