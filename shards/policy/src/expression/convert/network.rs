//! Converters of addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use ringmain_model::{Argument, SampleType};

use super::super::evaluate::argument;
use super::super::registry::{ConverterEntry, Parameter};
use super::super::{Absent, Data, Evaluation, Outcome, Sample, Value};
use super::{answer, entry, number};

/// The entries.
pub const ENTRIES: &[ConverterEntry] = &[
    entry("ipmask", &[Parameter::Mask4, Parameter::Mask6], SampleType::Address, SampleType::Address, "The network of an address", ipmask)
        .requires(1),
    entry("htonl", &[], SampleType::Integer, SampleType::Binary, "The low 32 bits of a number in network order", htonl),
];

fn ipmask<'a>(_: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    // IPv4 addresses mapped into IPv6 count as IPv4; other IPv6 addresses have no value without a mask of their own.
    let (ipv4, ipv6) = match sample.value {
        Value::Ipv4(address) => (Some(address), None),
        Value::Ipv6(address) => (address.to_ipv4_mapped(), Some(address)),
        _ => (None, None),
    };
    let masked = match (ipv4, ipv6, argument(arguments, 0), argument(arguments, 1)) {
        (Some(address), _, Argument::Ipv4(mask), _) => Value::Ipv4(Ipv4Addr::from_bits(address.to_bits() & mask.to_bits())),
        (None, Some(address), _, Argument::Ipv6(mask)) => Value::Ipv6(Ipv6Addr::from_bits(address.to_bits() & mask.to_bits())),
        _ => return Err(Absent::Missing),
    };
    answer(sample.may_change, masked)
}

fn htonl<'a>(_: Evaluation<'a>, sample: Sample<'a>, _: &'a [Argument]) -> Outcome<'a> {
    answer(sample.may_change, Value::Binary(Data::made(&(number(&sample.value) as u32).to_be_bytes())))
}
