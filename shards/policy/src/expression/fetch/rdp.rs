//! Fetches of the cookie in the first packet of Microsoft's Remote Desktop Protocol (manual section 7.3.5, MS-RDPBCGR section 2.2.1.1).
//!
//! As HAProxy does, they skip the headers of TPKT and X.224 without a look at them.

use ringmain_model::{Argument, Needs, SampleType};

use super::super::evaluate::text;
use super::super::registry::{FetchEntry, Parameter};
use super::super::{Absent, Data, Evaluation, Sample, Value};
use super::{entry, known, number, optional_from};

/// The entries.
pub const ENTRIES: &[FetchEntry] = &[cookie("req.rdp_cookie"), cookie("rdp_cookie"), count("req.rdp_cookie_cnt"), count("rdp_cookie_cnt")];

/// Bytes of the headers: 4 of TPKT and 7 of an X.224 connection request.
const HEADER_BYTES: usize = 11;
const MARK: &[u8] = b"Cookie:";

const fn cookie(name: &'static str) -> FetchEntry {
    let summary = "Value of the cookie in an RDP connection request";
    optional_from(
        0,
        entry(name, &[Parameter::Text], SampleType::String, Needs::REQUEST, summary, |evaluation, arguments| {
            let value = known(find(evaluation, arguments)?)?;
            Ok(Sample::fixed(Value::String(Data::Borrowed(value))))
        }),
    )
}

const fn count(name: &'static str) -> FetchEntry {
    let summary = "Whether an RDP connection request has a cookie: 1 or 0";
    optional_from(
        0,
        entry(name, &[Parameter::Text], SampleType::Integer, Needs::REQUEST, summary, |evaluation, arguments| {
            number(find(evaluation, arguments)?.is_some())
        }),
    )
}

fn find<'a>(evaluation: Evaluation<'a>, arguments: &[Argument]) -> Result<Option<&'a [u8]>, Absent> {
    let bytes = known(evaluation.facts.request())?;
    let name = text(arguments, 0).unwrap_or_default();
    parse(bytes.data, name.as_bytes()).ok_or(if bytes.complete { Absent::Missing } else { Absent::NotYet })
}

/// The value of the first cookie, if it has this name or no name is wanted. `None` while more bytes are needed to tell.
fn parse<'a>(bytes: &'a [u8], wanted: &[u8]) -> Option<Option<&'a [u8]>> {
    let rest = bytes.get(HEADER_BYTES..).filter(|rest| rest.len() > MARK.len())?;
    let (mark, rest) = rest.split_at(MARK.len());
    if !mark.eq_ignore_ascii_case(MARK) {
        return Some(None);
    }
    let start = rest.iter().position(|&byte| byte != b' ')?;
    let line = &rest[start..];
    if line.len() <= wanted.len() {
        return None;
    }
    let Some(end) = line.iter().position(|&byte| byte == b'=' || byte < b' ') else {
        // The name goes on: it may still become the wanted one.
        return None;
    };
    if line[end] != b'=' || !(wanted.is_empty() || line[..end].eq_ignore_ascii_case(wanted)) {
        return Some(None);
    }
    let value = &line[end + 1..];
    let length = value.iter().position(|&byte| byte == b'\r')?;
    value.get(length + 1).map(|&byte| (byte == b'\n').then_some(&value[..length]))
}
