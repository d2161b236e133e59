//! Hashes that are fast, not secret: HAProxy's own, CRC-32 (IEEE 802.3 and Castagnoli) and xxHash.

use ringmain_model::{Argument, Hash, HashFunction, SampleType};
use xxhash_rust::{xxh3::xxh3_64_with_seed, xxh32::xxh32, xxh64::xxh64};

use super::super::evaluate::{argument, integer};
use super::super::registry::{ConverterEntry, Parameter};
use super::super::{Evaluation, Outcome, Sample, Value};
use super::{Run, answer, data, entry};
use crate::balance::hash::{avalanche, crc_table, hash_key};

/// The entries.
pub const ENTRIES: &[ConverterEntry] = &[
    hash("crc32", "CRC-32 of IEEE 802.3; with argument 1 mixed further", |_, s, a| balancing(s, a, HashFunction::Crc32)),
    hash("crc32c", "CRC-32C (Castagnoli); with argument 1 mixed further", crc32c),
    hash("djb2", "djb2; with argument 1 mixed further", |_, s, a| balancing(s, a, HashFunction::Djb2)),
    hash("sdbm", "sdbm; with argument 1 mixed further", |_, s, a| balancing(s, a, HashFunction::Sdbm)),
    hash("wt6", "wt6; with argument 1 mixed further", |_, s, a| balancing(s, a, HashFunction::Wt6)),
    hash("xxh32", "32-bit xxHash with a seed", |e, s, a| seeded(e, s, a, |bytes, seed| i64::from(xxh32(bytes, seed as u32)))),
    hash("xxh64", "64-bit xxHash with a seed", |e, s, a| seeded(e, s, a, |bytes, seed| xxh64(bytes, seed as u64) as i64)),
    hash("xxh3", "64-bit XXH3 with a seed", |e, s, a| seeded(e, s, a, |bytes, seed| xxh3_64_with_seed(bytes, seed as u64) as i64)),
];

const fn hash(name: &'static str, summary: &'static str, run: Run) -> ConverterEntry {
    entry(name, &[Parameter::Integer], SampleType::Binary, SampleType::Integer, summary, run).requires(0)
}

/// Any number but 0 asks for the avalanche.
fn mixes(arguments: &[Argument]) -> bool {
    matches!(argument(arguments, 0), Argument::Integer(number) if *number != 0)
}

fn balancing<'a>(sample: Sample<'a>, arguments: &'a [Argument], function: HashFunction) -> Outcome<'a> {
    let settings = Hash { function, avalanche: mixes(arguments), ..Hash::default() };
    answer(sample.may_change, Value::Integer(hash_key(settings, data(sample.value).bytes()).into()))
}

fn crc32c<'a>(_: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let step = |register: u32, &byte: &u8| (register >> 8) ^ CRC32C_TABLE[((register ^ u32::from(byte)) & 0xff) as usize];
    let value = !data(sample.value).bytes().iter().fold(!0, step);
    answer(sample.may_change, Value::Integer(if mixes(arguments) { avalanche(value) } else { value }.into()))
}

/// RFC 4960, appendix B, with the bits reflected.
const CRC32C_TABLE: [u32; 256] = crc_table(0x82f6_3b78);

fn seeded<'a>(evaluation: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument], hash: fn(&[u8], i64) -> i64) -> Outcome<'a> {
    let seed = integer(evaluation, arguments, 0).unwrap_or(0);
    answer(sample.may_change, Value::Integer(hash(data(sample.value).bytes(), seed)))
}
