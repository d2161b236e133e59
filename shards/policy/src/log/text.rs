//! A bounded writer of ASCII pieces: no allocation beyond the line's own buffer, nothing beyond the line's limit.

use std::net::{IpAddr, Ipv6Addr};

/// Appends to a line and stops at its limit.
pub(super) struct Text<'a> {
    out: &'a mut Vec<u8>,
    end: usize,
    /// An empty value is written as `-`: in lines, whose fields must not vanish.
    marks_empty: bool,
}

impl<'a> Text<'a> {
    /// Appends to `out` up to `limit` more bytes.
    pub(super) fn new(out: &'a mut Vec<u8>, limit: usize) -> Self {
        let end = out.len().saturating_add(limit);
        Self { out, end, marks_empty: true }
    }

    /// The same for a text in which an empty value is empty.
    pub(super) fn unmarked(mut self) -> Self {
        self.marks_empty = false;
        self
    }

    /// Whether an empty value is written as `-`.
    pub(super) fn marks_empty(&self) -> bool {
        self.marks_empty
    }

    /// Bytes in the buffer.
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    pub(super) fn byte(&mut self, byte: u8) {
        if self.out.len() < self.end {
            self.out.push(byte);
        }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        let room = self.end - self.out.len().min(self.end);
        self.out.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// A decimal number.
    pub(super) fn decimal(&mut self, value: u64) {
        self.padded(value, 1);
    }

    /// A decimal number that may be -1.
    pub(super) fn signed(&mut self, value: i64) {
        if value < 0 {
            self.byte(b'-');
        }
        self.decimal(value.unsigned_abs());
    }

    /// A decimal number with leading zeros.
    pub(super) fn padded(&mut self, value: u64, width: usize) {
        self.digits::<10>(value, width);
    }

    /// Upper case hexadecimal with leading zeros.
    pub(super) fn hexadecimal(&mut self, value: u64, width: usize) {
        self.digits::<16>(value, width);
    }

    /// The base is a constant so that the divisions become multiplications.
    fn digits<const BASE: u64>(&mut self, mut value: u64, width: usize) {
        let mut digits = [b'0'; 20];
        let mut start = digits.len();
        while value > 0 || digits.len() - start < width.min(20) {
            start -= 1;
            digits[start] = b"0123456789ABCDEF"[(value % BASE) as usize];
            value /= BASE;
        }
        self.bytes(&digits[start..]);
    }

    /// An address in its usual form.
    pub(super) fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => self.octets(v4.octets()),
            IpAddr::V6(v6) => self.ipv6(v6),
        }
    }

    /// An address as hexadecimal digits, 8 or 32.
    pub(super) fn address_hexadecimal(&mut self, address: IpAddr) {
        let mut each = |octets: &[u8]| octets.iter().for_each(|&octet| self.hexadecimal(u64::from(octet), 2));
        match address {
            IpAddr::V4(v4) => each(&v4.octets()),
            IpAddr::V6(v6) => each(&v6.octets()),
        }
    }

    fn octets(&mut self, octets: [u8; 4]) {
        for (index, octet) in octets.into_iter().enumerate() {
            if index > 0 {
                self.byte(b'.');
            }
            self.decimal(u64::from(octet));
        }
    }

    /// RFC 5952, and a dotted tail for both kinds of embedded IPv4 address as inet_ntop(3) writes them.
    fn ipv6(&mut self, address: Ipv6Addr) {
        let words = address.segments();
        let [.., a, b, c, d] = address.octets();
        if words[..5] == [0; 5] && (words[5] == 0xffff || (words[5] == 0 && words[6] != 0)) {
            self.bytes(if words[5] == 0 { b"::" } else { b"::ffff:" });
            return self.octets([a, b, c, d]);
        }
        let (start, length) = longest_zero_run(&words);
        let mut index = 0;
        while index < words.len() {
            if index == start && length > 1 {
                self.bytes(b"::");
                index += length;
                continue;
            }
            if index > 0 && !(length > 1 && index == start + length) {
                self.byte(b':');
            }
            self.lower_hexadecimal(words[index]);
            index += 1;
        }
    }

    fn lower_hexadecimal(&mut self, word: u16) {
        let digits = [word >> 12, word >> 8, word >> 4, word].map(|digit| b"0123456789abcdef"[usize::from(digit & 15)]);
        let first = digits.iter().position(|&digit| digit != b'0').unwrap_or(3);
        self.bytes(&digits[first..]);
    }
}

fn longest_zero_run(words: &[u16; 8]) -> (usize, usize) {
    let mut best = (0, 0);
    let mut start = 0;
    for (index, &word) in words.iter().enumerate() {
        if word != 0 {
            start = index + 1;
        } else if index + 1 - start > best.1 {
            best = (start, index + 1 - start);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Text<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Text::new(&mut out, 100));
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn numbers() {
        assert_eq!(written(|text| text.decimal(0)), "0");
        assert_eq!(written(|text| text.signed(-1)), "-1");
        assert_eq!(written(|text| text.decimal(u64::MAX)), u64::MAX.to_string());
        assert_eq!(written(|text| text.padded(7, 3)), "007");
        assert_eq!(written(|text| text.hexadecimal(0xabcde, 4)), "ABCDE");
    }

    #[test]
    fn nothing_is_written_beyond_the_limit() {
        let mut out = b"head".to_vec();
        let mut text = Text::new(&mut out, 5);
        text.bytes(b"abc");
        text.decimal(12345);
        text.byte(b'x');
        text.bytes(b"more");
        assert_eq!(out, b"headabc12");
    }

    #[test]
    fn embedded_ipv4_as_inet_ntop() {
        assert_eq!(written(|text| text.address("::1.2.3.4".parse().expect("address"))), "::1.2.3.4");
        assert_eq!(written(|text| text.address("::ffff:1.2.3.4".parse().expect("address"))), "::ffff:1.2.3.4");
        assert_eq!(written(|text| text.address("::1".parse().expect("address"))), "::1");
        assert_eq!(written(|text| text.address("::".parse().expect("address"))), "::");
    }

    proptest! {
        #[test]
        fn addresses_as_the_standard_library(words in prop::array::uniform8(prop_oneof![Just(0u16), any::<u16>()]), v4: u32) {
            let v6 = Ipv6Addr::from(words);
            prop_assume!(v6.to_ipv4().is_none() || v6.to_ipv4_mapped().is_some());
            prop_assert_eq!(written(|text| text.address(v6.into())), v6.to_string());
            let v4 = std::net::Ipv4Addr::from(v4);
            prop_assert_eq!(written(|text| text.address(v4.into())), v4.to_string());
        }
    }
}
