//! Digests and message authentication codes.

use hmac::digest::{FixedOutput, Update};
use hmac::{KeyInit, Mac, SimpleHmac};
use md5::Md5;
use ringmain_model::{Argument, SampleType};
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};

use super::super::evaluate::argument;
use super::super::registry::{ConverterEntry, Parameter};
use super::super::{Absent, Data, Evaluation, Outcome, Sample, Value};
use super::{answer, data, encoding, entry, variable, words};

const BINARY: SampleType = SampleType::Binary;

/// The entries.
pub const ENTRIES: &[ConverterEntry] = &[
    entry("sha1", &[], BINARY, BINARY, "SHA-1 digest", |_, sample, _| run(sample, Algorithm::Sha1)),
    entry("sha2", &[Parameter::Integer], BINARY, BINARY, "SHA-2 digest of 224, 256 (the default), 384 or 512 bits", sha2)
        .requires(0)
        .checks(check_sha2),
    entry("digest", &[Parameter::Text], BINARY, BINARY, "Digest by the algorithm's name: md5, sha1, sha256 and others", by_name)
        .checks(check_digest),
    entry(
        "hmac",
        &[Parameter::Text, Parameter::VariableName],
        BINARY,
        BINARY,
        "Message authentication code with an algorithm and a key in base64",
        hmac,
    )
    .checks(check_hmac),
];

#[derive(Clone, Copy)]
enum Algorithm {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512Over224,
    Sha512Over256,
}

/// Names as OpenSSL knows them, in small letters.
const NAMES: &[(&str, Algorithm)] = &[
    ("md5", Algorithm::Md5),
    ("sha1", Algorithm::Sha1),
    ("sha-1", Algorithm::Sha1),
    ("sha224", Algorithm::Sha224),
    ("sha-224", Algorithm::Sha224),
    ("sha2-224", Algorithm::Sha224),
    ("sha256", Algorithm::Sha256),
    ("sha-256", Algorithm::Sha256),
    ("sha2-256", Algorithm::Sha256),
    ("sha384", Algorithm::Sha384),
    ("sha-384", Algorithm::Sha384),
    ("sha2-384", Algorithm::Sha384),
    ("sha512", Algorithm::Sha512),
    ("sha-512", Algorithm::Sha512),
    ("sha2-512", Algorithm::Sha512),
    ("sha512-224", Algorithm::Sha512Over224),
    ("sha-512/224", Algorithm::Sha512Over224),
    ("sha2-512/224", Algorithm::Sha512Over224),
    ("sha512-256", Algorithm::Sha512Over256),
    ("sha-512/256", Algorithm::Sha512Over256),
    ("sha2-512/256", Algorithm::Sha512Over256),
];

fn algorithm(name: &[u8]) -> Option<Algorithm> {
    NAMES.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name)).map(|&(_, algorithm)| algorithm)
}

fn digest<H: Default + Update + FixedOutput>(bytes: &[u8]) -> Data<'static> {
    Data::made(&H::default().chain(bytes).finalize_fixed())
}

impl Algorithm {
    fn digest(self, bytes: &[u8]) -> Data<'static> {
        match self {
            Self::Md5 => digest::<Md5>(bytes),
            Self::Sha1 => digest::<Sha1>(bytes),
            Self::Sha224 => digest::<Sha224>(bytes),
            Self::Sha256 => digest::<Sha256>(bytes),
            Self::Sha384 => digest::<Sha384>(bytes),
            Self::Sha512 => digest::<Sha512>(bytes),
            Self::Sha512Over224 => digest::<Sha512_224>(bytes),
            Self::Sha512Over256 => digest::<Sha512_256>(bytes),
        }
    }

    fn authenticate(self, key: &[u8], bytes: &[u8]) -> Option<Data<'static>> {
        fn code<M: Mac + KeyInit>(key: &[u8], bytes: &[u8]) -> Option<Data<'static>> {
            let mut code = <M as KeyInit>::new_from_slice(key).ok()?;
            Mac::update(&mut code, bytes);
            Some(Data::made(&code.finalize().into_bytes()))
        }
        match self {
            Self::Md5 => code::<SimpleHmac<Md5>>(key, bytes),
            Self::Sha1 => code::<SimpleHmac<Sha1>>(key, bytes),
            Self::Sha224 => code::<SimpleHmac<Sha224>>(key, bytes),
            Self::Sha256 => code::<SimpleHmac<Sha256>>(key, bytes),
            Self::Sha384 => code::<SimpleHmac<Sha384>>(key, bytes),
            Self::Sha512 => code::<SimpleHmac<Sha512>>(key, bytes),
            Self::Sha512Over224 => code::<SimpleHmac<Sha512_224>>(key, bytes),
            Self::Sha512Over256 => code::<SimpleHmac<Sha512_256>>(key, bytes),
        }
    }
}

fn run<'a>(sample: Sample<'a>, algorithm: Algorithm) -> Outcome<'a> {
    answer(sample.may_change, Value::Binary(algorithm.digest(data(sample.value).bytes())))
}

fn check_sha2(arguments: &mut Vec<Argument>) -> Result<(), (usize, String)> {
    match argument(arguments, 0) {
        Argument::Absent | Argument::Integer(224 | 256 | 384 | 512) => Ok(()),
        _ => Err((0, "the number of bits must be 224, 256, 384 or 512".to_owned())),
    }
}

fn sha2<'a>(_: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let algorithm = match argument(arguments, 0) {
        Argument::Integer(224) => Algorithm::Sha224,
        Argument::Integer(384) => Algorithm::Sha384,
        Argument::Integer(512) => Algorithm::Sha512,
        _ => Algorithm::Sha256,
    };
    run(sample, algorithm)
}

fn check_digest(arguments: &mut Vec<Argument>) -> Result<(), (usize, String)> {
    let known = || NAMES.iter().filter(|(name, _)| !name.contains("sha-") && !name.contains("sha2-")).map(|&(name, _)| name);
    match algorithm(words(arguments, 0)) {
        Some(_) => Ok(()),
        None => Err((0, format!("the algorithm must be one of {}", known().collect::<Vec<_>>().join(", ")))),
    }
}

fn by_name<'a>(_: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    run(sample, algorithm(words(arguments, 0)).ok_or(Absent::Missing)?)
}

fn check_hmac(arguments: &mut Vec<Argument>) -> Result<(), (usize, String)> {
    check_digest(arguments)?;
    match argument(arguments, 1) {
        Argument::Text(key) if encoding::decode(key.as_bytes(), encoding::Alphabet::Standard).is_none() => {
            Err((1, "the key must be in base64, or a variable with its scope".to_owned()))
        }
        _ => Ok(()),
    }
}

fn hmac<'a>(evaluation: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let algorithm = algorithm(words(arguments, 0)).ok_or(Absent::Missing)?;
    let encoded = match argument(arguments, 1) {
        Argument::Variable(_) => data(variable(evaluation, arguments, 1, SampleType::String)?),
        _ => Data::Borrowed(words(arguments, 1)),
    };
    let key = encoding::decode(encoded.bytes(), encoding::Alphabet::Standard).ok_or(Absent::Missing)?;
    let code = algorithm.authenticate(key.bytes(), data(sample.value).bytes()).ok_or(Absent::Missing)?;
    answer(sample.may_change, Value::Binary(code))
}
