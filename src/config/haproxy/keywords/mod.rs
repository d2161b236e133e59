//! The entries of the keyword registry, one file per family.
//!
//! Each entry says where a keyword may stand and holds the function that applies it to a builder of `check`. What HAProxy knows beyond them
//! is listed in `unsupported*.rs`, so that such a word is never taken for a slip of the finger.

mod address;
mod bind;
mod global;
mod listener;
mod logging;
mod mqtt;
mod option;
mod process;
mod proxy;
mod server;
mod server_check;
mod stick;
mod tcp_rules;
mod timeout;
mod tuning;
mod unsupported_global;
mod unsupported_option;
mod unsupported_proxy;
mod unsupported_server;

use crate::config::keyword::{Keyword, Scope};

pub use address::source_address;
pub use bind::apply_line as apply_bind_line;
pub use global::SHARDS_LIMIT;

/// The families of a scope.
pub fn families(scope: Scope) -> &'static [&'static [Keyword]] {
    match scope {
        Scope::Global => &[
            process::KEYWORDS,
            global::KEYWORDS,
            tuning::KEYWORDS,
            logging::GLOBAL_KEYWORDS,
            tcp_rules::GLOBAL_KEYWORDS,
            unsupported_global::KEYWORDS,
        ],
        Scope::Proxy => &[
            listener::KEYWORDS,
            proxy::KEYWORDS,
            timeout::KEYWORDS,
            option::KEYWORDS,
            mqtt::KEYWORDS,
            logging::PROXY_KEYWORDS,
            server::LINES,
            tcp_rules::KEYWORDS,
            stick::KEYWORDS,
            unsupported_proxy::KEYWORDS,
            unsupported_option::KEYWORDS,
        ],
        Scope::Bind => &[bind::KEYWORDS, bind::UNSUPPORTED],
        Scope::Server => &[server::KEYWORDS, server_check::KEYWORDS, unsupported_server::KEYWORDS],
        Scope::Peers => &[stick::PEERS_KEYWORDS],
    }
}
