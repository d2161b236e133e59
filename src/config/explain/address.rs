//! Addresses as both languages write them.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use ringmain_model::{Endpoint, LogDestination, ServerAddress, ServerHost, ServerPort, SourceAddress, UnixPermissions};

use super::writer::Value;

/// The address of a bind or of a runtime socket.
pub fn endpoint(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Inet(SocketAddr::V4(address)) if address.ip().is_unspecified() => format!("*:{}", address.port()),
        Endpoint::Inet(address) => address.to_string(),
        Endpoint::Unix(path) => unix(path),
        Endpoint::Abstract(name) => format!("abns@{name}"),
        Endpoint::Descriptor(number) => format!("fd@{number}"),
    }
}

/// The target of a log.
pub fn log_destination(destination: &LogDestination) -> String {
    match destination {
        LogDestination::Udp(address) => address.to_string(),
        LogDestination::UnixDatagram(path) => unix(path),
        LogDestination::AbstractDatagram(name) => format!("abns@{name}"),
        LogDestination::Descriptor(1) => "stdout".into(),
        LogDestination::Descriptor(2) => "stderr".into(),
        LogDestination::Descriptor(number) => format!("fd@{number}"),
    }
}

/// The address of a server.
pub fn server(address: &ServerAddress) -> String {
    let host = match &address.host {
        // As written, with its prefix.
        ServerHost::Unix(_) | ServerHost::Abstract(_) => return address.host_text.to_string(),
        ServerHost::Ip(IpAddr::V6(_)) if address.host_text.contains(':') && !address.host_text.starts_with('[') => {
            format!("[{}]", address.host_text)
        }
        _ => address.host_text.to_string(),
    };
    match address.port {
        ServerPort::Fixed(port) => format!("{host}:{port}"),
        ServerPort::Client => host,
        ServerPort::Offset(offset) => format!("{host}:{offset:+}"),
    }
}

/// `source` of a backend or a server.
pub fn source(source: &SourceAddress) -> Value {
    let address =
        if source.address.port() == 0 && source.address.is_ipv4() { source.address.ip().to_string() } else { source.address.to_string() };
    match &source.interface {
        None => address.into(),
        Some(interface) => Value::Table(vec![("address".into(), address.into()), ("interface".into(), (&**interface).into())]),
    }
}

/// The parameters that give a unix socket's file its owner and mode.
pub fn permissions(permissions: &UnixPermissions) -> Vec<(String, Value)> {
    let mut parameters = Vec::new();
    parameters.extend(permissions.mode.map(|mode| ("mode".to_owned(), format!("{mode:o}").into())));
    parameters.extend(permissions.uid.map(|uid| ("uid".to_owned(), uid.into())));
    parameters.extend(permissions.gid.map(|gid| ("gid".to_owned(), gid.into())));
    parameters
}

fn unix(path: &Path) -> String {
    if path.is_absolute() { path.display().to_string() } else { format!("unix@{}", path.display()) }
}
