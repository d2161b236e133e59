//! `source`, for backends and servers (manual sections 4.2 and 5.2).

use std::net::SocketAddr;

use ringmain_model::SourceAddress;

use crate::config::check::address::{Address, Port};
use crate::config::check::builder::Arguments;

/// Takes `ADDRESS[:PORT] [interface NAME]`.
pub fn source_address(arguments: &mut Arguments<'_>) -> Option<SourceAddress> {
    let word = arguments.required("an address")?;
    let address = match arguments.address(word)? {
        Address::Inet { host, port, datagram: false } => {
            let port = match port {
                Port::Missing => 0,
                Port::Fixed(port) => port,
                Port::Range(..) => {
                    arguments.unsupported(word, "range of source ports");
                    return None;
                }
                Port::Offset(_) => {
                    arguments.error(word, "a source address has a fixed port or none");
                    return None;
                }
            };
            SocketAddr::new(arguments.resolve(word, &host)?, port)
        }
        _ => {
            arguments.error(word, "a source address is an IP address, with a port or without");
            return None;
        }
    };
    let mut interface = None;
    while let Some(option) = arguments.peek() {
        match option.text.as_str() {
            "interface" => {
                arguments.take();
                interface = Some(arguments.required("the name of an interface")?.text.as_str().into());
            }
            "usesrc" => {
                arguments.take();
                arguments.take();
                arguments.unsupported(option, "transparent source ('usesrc')");
                return None;
            }
            _ => break,
        }
    }
    Some(SourceAddress { address, interface })
}
