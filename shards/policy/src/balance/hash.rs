//! HAProxy's hash functions over a balancing key, bit for bit. Called by the picker; they never choose a server themselves.
//!
//! The functions are public ones: sdbm and djb2 (Yigit and Bernstein), Wang's-style `wt6` as HAProxy defines it, CRC-32 (IEEE 802.3), and
//! Bob Jenkins' four-byte integer hash for the avalanche. HAProxy manual section 4.2, `hash-type`.

use std::net::IpAddr;

use ringmain_model::{Hash, HashFunction};

/// Hash of a key of bytes as `hash-type` says, avalanche included.
///
/// With function `none` the key is the number itself: decimal digits are read up to the first other byte, modulo 2^32.
pub fn hash_key(settings: Hash, key: &[u8]) -> u32 {
    let value = match settings.function {
        HashFunction::Sdbm => sdbm(key),
        HashFunction::Djb2 => djb2(key),
        HashFunction::Wt6 => wt6(key),
        HashFunction::Crc32 => crc32(key),
        HashFunction::None => decimal(key),
    };
    if settings.avalanche { avalanche(value) } else { value }
}

/// Hash of a client's address for `balance source`: the address's 32-bit words in network order, combined by exclusive or. HAProxy applies
/// the avalanche modifier here but not the function.
pub fn hash_address(settings: Hash, address: IpAddr) -> u32 {
    let value = match address {
        IpAddr::V4(v4) => u32::from(v4),
        IpAddr::V6(v6) => {
            let bits = u128::from(v6);
            (bits >> 96) as u32 ^ (bits >> 64) as u32 ^ (bits >> 32) as u32 ^ bits as u32
        }
    };
    if settings.avalanche { avalanche(value) } else { value }
}

/// The place of point number `point` of the server with this id on the ring of consistent hashing. Ids are spaced by the 4096 points that
/// the largest weight has.
pub(super) fn ring_point(server_id: u32, point: u32) -> u32 {
    avalanche(server_id.wrapping_mul(super::MAX_EFFECTIVE_WEIGHT).wrapping_add(point))
}

fn sdbm(key: &[u8]) -> u32 {
    key.iter().fold(0, |hash: u32, &byte| u32::from(byte).wrapping_add(hash << 6).wrapping_add(hash << 16).wrapping_sub(hash))
}

fn djb2(key: &[u8]) -> u32 {
    key.iter().fold(5381, |hash: u32, &byte| (hash << 5).wrapping_add(hash).wrapping_add(u32::from(byte)))
}

/// Two words are mixed with each byte and rotated by amounts that depend on what they hold.
fn wt6(key: &[u8]) -> u32 {
    let (mut low, mut high) = (0xa53c_965a_u32, 0x5ca6_953a_u32);
    let (mut low_turn, mut high_turn) = (6, 18);
    for &byte in key {
        let mixed_low = !(low ^ u32::from(byte));
        let mixed_high = !high.wrapping_add(u32::from(byte));
        low = mixed_high.rotate_left(low_turn);
        high = mixed_low.rotate_left(high_turn);
        let turns = ((low >> 16) ^ high) & 0xffff;
        low_turn = turns & 0x1f;
        high_turn = (turns >> 11) & 0x1f;
    }
    low ^ high
}

fn crc32(key: &[u8]) -> u32 {
    !key.iter().fold(!0, |register: u32, &byte| (register >> 8) ^ CRC32_TABLE[((register ^ u32::from(byte)) & 0xff) as usize])
}

const CRC32_TABLE: [u32; 256] = crc_table(0xedb8_8320);

/// The table of a 32-bit CRC whose bits, and those of its polynomial, are reflected.
pub(crate) const fn crc_table(polynomial: u32) -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ polynomial } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
}

fn decimal(key: &[u8]) -> u32 {
    key.iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |value: u32, byte| value.wrapping_mul(10).wrapping_add(u32::from(byte - b'0')))
}

/// Jenkins' integer hash, multiplied by 3 * 2^30 + 1 so that close results spread over the ring.
pub(crate) fn avalanche(value: u32) -> u32 {
    let mut hash = value;
    hash = hash.wrapping_add(0x7ed5_5d16).wrapping_add(hash << 12);
    hash = (hash ^ 0xc761_c23c) ^ (hash >> 19);
    hash = hash.wrapping_add(0x1656_67b1).wrapping_add(hash << 5);
    hash = hash.wrapping_add(0xd3a2_646c) ^ (hash << 9);
    hash = hash.wrapping_add(0xfd70_46c5).wrapping_add(hash << 3);
    hash = (hash ^ 0xb55a_4f09) ^ (hash >> 16);
    hash.wrapping_mul(3_221_225_473)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_check_values() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(djb2(b""), 5381);
        assert_eq!(djb2(b"a"), 5381 * 33 + 97);
        assert_eq!(sdbm(b"a"), 97);
        assert_eq!(sdbm(b"ab"), 97_u32.wrapping_mul(65_599) + 98);
        assert_eq!(decimal(b"4294967297 and more"), 1);
    }

    #[test]
    fn an_address_is_hashed_as_its_words() {
        let plain = Hash::default();
        assert_eq!(hash_address(plain, "127.0.0.1".parse().unwrap()), 0x7f00_0001);
        assert_eq!(hash_address(plain, "::ffff:127.0.0.1".parse().unwrap()), 0x7f00_0001 ^ 0xffff);
        let avalanched = Hash { avalanche: true, ..plain };
        assert_ne!(hash_address(avalanched, "127.0.0.1".parse().unwrap()), 0x7f00_0001);
    }
}
