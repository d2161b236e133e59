//! Addresses as HAProxy writes them: `[family@][host]:port`, paths, `abns@name`, `fd@N` (manual sections 4.2 `bind` and 5.2 `server`).
//!
//! Pure text to values, except `resolve`, which asks the given names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::context::Names;

/// An address, not resolved yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Host and port.
    Inet {
        /// The host.
        host: Host,
        /// The port.
        port: Port,
        /// `udp@` and `dgram+`: not a stream.
        datagram: bool,
    },
    /// A unix socket's path.
    Unix(PathBuf),
    /// A name in Linux's abstract name space.
    Abstract(String),
    /// An inherited descriptor.
    Descriptor(i32),
}

/// A host as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// Nothing, `*`: all addresses of the family.
    Any(Family),
    /// An address.
    Ip(IpAddr),
    /// A name, and the families its address may have.
    Name(String, Family),
}

/// Which kind of address is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Either.
    Both,
    /// `ipv4@`.
    V4,
    /// `ipv6@`.
    V6,
}

/// A port as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// None.
    Missing,
    /// One number.
    Fixed(u16),
    /// `low-high`, both included, `low <= high`.
    Range(u16, u16),
    /// `+N` or `-N`.
    Offset(i32),
}

/// What is wrong with an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not a number, or too large.
    #[error("'{0}' is not a port")]
    Port(String),
    /// A range that ends before it begins.
    #[error("the port range '{0}' ends before it begins")]
    Range(String),
    /// `fd@` without a number.
    #[error("'{0}' is not a file descriptor's number")]
    Descriptor(String),
    /// A host that is not of the family asked for, or has no address.
    #[error("'{0}' has no address")]
    Host(String),
    /// Known to HAProxy.
    #[error("HAProxy's {0} is not supported here yet")]
    Unsupported(&'static str),
    /// A path or name that does not fit into a unix address.
    #[error("'{0}' is too long for a unix socket (107 bytes at most)")]
    TooLong(String),
}

/// Longest path of a unix socket: sun_path with its closing zero.
const UNIX_PATH_LIMIT: usize = 107;

/// Reads an address.
pub fn parse(text: &str) -> Result<Address, AddressError> {
    let (stream, datagram, text) = match text.split_once('+') {
        Some(("stream", rest)) => (true, false, rest),
        Some(("dgram", rest)) => (false, true, rest),
        _ => (false, false, text),
    };
    let (prefix, rest) = match text.split_once('@') {
        Some((prefix, rest)) if prefix.bytes().all(|byte| byte.is_ascii_alphanumeric()) => (prefix, rest),
        _ => ("", text),
    };
    let (family, datagram) = match prefix {
        "unix" | "abns" if rest.len() > UNIX_PATH_LIMIT => return Err(AddressError::TooLong(rest.into())),
        "unix" | "uxst" | "uxdg" => return Ok(Address::Unix(rest.into())),
        "abns" => return Ok(Address::Abstract(rest.into())),
        "fd" => {
            let number = rest.parse().ok().filter(|number| *number >= 0);
            return number.map(Address::Descriptor).ok_or_else(|| AddressError::Descriptor(rest.into()));
        }
        "ring" => return Err(AddressError::Unsupported("address 'ring@'")),
        "sockpair" => return Err(AddressError::Unsupported("address 'sockpair@'")),
        "quic4" | "quic6" => return Err(AddressError::Unsupported("protocol QUIC")),
        "ip" => (Family::Both, datagram),
        "tcp" => (Family::Both, false),
        "tcp4" => (Family::V4, false),
        "tcp6" => (Family::V6, false),
        "ipv4" => (Family::V4, datagram),
        "ipv6" => (Family::V6, datagram),
        "udp" => (Family::Both, !stream),
        "udp4" => (Family::V4, !stream),
        "udp6" => (Family::V6, !stream),
        _ if text.starts_with('/') && text.len() > UNIX_PATH_LIMIT => return Err(AddressError::TooLong(text.into())),
        _ if text.starts_with('/') => return Ok(Address::Unix(text.into())),
        _ => (Family::Both, datagram),
    };
    let rest = if family == Family::Both && !matches!(prefix, "ip" | "tcp" | "udp") { text } else { rest };
    let (host, port) = split_port(rest);
    Ok(Address::Inet { host: parse_host(host, family)?, port: parse_port(port)?, datagram })
}

/// The address of a host. Names take the first address of their family.
pub fn resolve(host: &Host, names: &dyn Names) -> Result<IpAddr, AddressError> {
    match host {
        Host::Any(Family::V6) => Ok(Ipv6Addr::UNSPECIFIED.into()),
        Host::Any(_) => Ok(Ipv4Addr::UNSPECIFIED.into()),
        Host::Ip(address) => Ok(*address),
        Host::Name(name, family) => {
            let fits = |address: &IpAddr| match family {
                Family::Both => true,
                Family::V4 => address.is_ipv4(),
                Family::V6 => address.is_ipv6(),
            };
            names.host(name).into_iter().find(fits).ok_or_else(|| AddressError::Host(name.clone()))
        }
    }
}

/// Host and port: the port is behind the last colon, unless that is inside of brackets.
fn split_port(text: &str) -> (&str, Option<&str>) {
    if text.ends_with(']') {
        return (text, None);
    }
    match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    }
}

fn parse_host(text: &str, family: Family) -> Result<Host, AddressError> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if bare.is_empty() || bare == "*" {
        return Ok(Host::Any(family));
    }
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) if family == Family::V6 => Err(AddressError::Host(bare.into())),
        Ok(IpAddr::V6(_)) if family == Family::V4 => Err(AddressError::Host(bare.into())),
        Ok(address) => Ok(Host::Ip(address)),
        Err(_) => Ok(Host::Name(bare.into(), family)),
    }
}

fn parse_port(text: Option<&str>) -> Result<Port, AddressError> {
    let number = |text: &str| -> Result<u16, AddressError> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits).ok_or_else(|| AddressError::Port(text.into()))
    };
    match text {
        None | Some("") => Ok(Port::Missing),
        Some(text) => match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(offset), _) => Ok(Port::Offset(number(offset)?.into())),
            (_, Some(offset)) => Ok(Port::Offset(-i32::from(number(offset)?))),
            _ => match text.split_once('-') {
                Some((low, high)) => {
                    let (low, high) = (number(low)?, number(high)?);
                    if low > high { Err(AddressError::Range(text.into())) } else { Ok(Port::Range(low, high)) }
                }
                None => Ok(Port::Fixed(number(text)?)),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn inet(host: Host, port: Port) -> Result<Address, AddressError> {
        Ok(Address::Inet { host, port, datagram: false })
    }

    fn ip(text: &str) -> Host {
        Host::Ip(text.parse().expect("an address"))
    }

    #[test]
    fn addresses_take_haproxys_forms() {
        assert_eq!(parse("127.0.0.1:80"), inet(ip("127.0.0.1"), Port::Fixed(80)));
        assert_eq!(parse("127.0.0.1"), inet(ip("127.0.0.1"), Port::Missing));
        assert_eq!(parse("[::1]:80"), inet(ip("::1"), Port::Fixed(80)));
        assert_eq!(parse("[::1]"), inet(ip("::1"), Port::Missing));
        assert_eq!(parse("::1:80"), inet(ip("::1"), Port::Fixed(80)));
        assert_eq!(parse(":::80"), inet(ip("::"), Port::Fixed(80)));
        assert_eq!(parse(":80"), inet(Host::Any(Family::Both), Port::Fixed(80)));
        assert_eq!(parse("*:80-90"), inet(Host::Any(Family::Both), Port::Range(80, 90)));
        assert_eq!(parse("ipv6@:80"), inet(Host::Any(Family::V6), Port::Fixed(80)));
        assert_eq!(parse("tcp4@host:+5"), inet(Host::Name("host".into(), Family::V4), Port::Offset(5)));
        assert_eq!(parse("host:-5"), inet(Host::Name("host".into(), Family::Both), Port::Offset(-5)));
        assert_eq!(parse("udp@:514"), Ok(Address::Inet { host: Host::Any(Family::Both), port: Port::Fixed(514), datagram: true }));
        assert_eq!(parse("/run/x.sock"), Ok(Address::Unix("/run/x.sock".into())));
        assert_eq!(parse("unix@x"), Ok(Address::Unix("x".into())));
        assert_eq!(parse("abns@x"), Ok(Address::Abstract("x".into())));
        assert_eq!(parse("fd@3"), Ok(Address::Descriptor(3)));
    }

    #[test]
    fn bad_addresses_say_what_is_wrong() {
        for text in ["h:70000", "h:x", "h:90-80", "h:80-", "fd@x", "fd@-1", "fd@", "ipv4@::1:80", "ipv6@1.2.3.4:80", "quic4@:443", "ring@x"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(matches!(parse(&format!("/{}", "x".repeat(200))), Err(AddressError::TooLong(_))));
    }

    proptest! {
        #[test]
        fn no_address_panics(text in r"(unix|fd|abns|ipv4|@|:|\[|\]|\*|[0-9+-]|\PC){0,12}") {
            let _ = parse(&text);
        }
    }
}
