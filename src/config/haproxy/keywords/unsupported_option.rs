//! `option` keywords that HAProxy knows and Ringmain does not support yet (manual section 4.2).

use crate::config::keyword::{Keyword, Meaning, Places};

/// The entries.
pub const KEYWORDS: &[Keyword] = &[
    entry("option accept-invalid-http-request", Places::FRONT, "", "Accept requests that HTTP forbids"),
    entry("option accept-invalid-http-response", Places::BACK, "", "Accept responses that HTTP forbids"),
    entry("option checkcache", Places::BACK, "", "Refuse cacheable responses with cookies"),
    entry("option disable-h2-upgrade", Places::FRONT, "", "No upgrade to HTTP/2"),
    entry("option external-check", Places::BACK, "", "Check servers by external programs"),
    entry("option forwardfor", Places::PROXY, "[except <network>] [header <name>] [if-none]", "Tell servers the client's address"),
    entry("option h1-case-adjust-bogus-client", Places::FRONT, "", "Spelling of headers' names towards clients"),
    entry("option h1-case-adjust-bogus-server", Places::BACK, "", "Spelling of headers' names towards servers"),
    entry("option http-buffer-request", Places::PROXY, "", "Wait for the request's body"),
    entry("option http-ignore-probes", Places::FRONT, "", "Ignore connections without request"),
    entry("option http-keep-alive", Places::PROXY, "", "Keep connections open between requests"),
    entry("option http-no-delay", Places::PROXY, "", "Send without delay"),
    entry("option http-pretend-keepalive", Places::BACK, "", "Announce keep-alive to servers and close"),
    entry("option http-restrict-req-hdr-names", Places::PROXY, "preserve|delete|reject", "Unusual names of headers"),
    entry("option http-server-close", Places::PROXY, "", "Close server connections after each response"),
    entry("option http-use-htx", Places::PROXY, "", "Internal representation of HTTP"),
    entry("option http-use-proxy-header", Places::FRONT, "", "Take Proxy-Connection for Connection"),
    entry("option httpchk", Places::BACK, "[<method>] [<uri>] [<version>]", "Check servers by HTTP requests"),
    entry("option httpclose", Places::PROXY, "", "Close connections after each response"),
    entry("option httpslog", Places::FRONT, "", "Log requests and their TLS facts"),
    entry("option idle-close-on-response", Places::FRONT, "", "Close idle connections after a response only"),
    entry("option ldap-check", Places::BACK, "", "Check servers by LDAP"),
    entry("option mysql-check", Places::BACK, "[user <name>]", "Check servers by MySQL's handshake"),
    entry("option originalto", Places::PROXY, "[except <network>] [header <name>]", "Tell servers the original destination"),
    entry("option pgsql-check", Places::BACK, "user <name>", "Check servers by PostgreSQL's handshake"),
    entry("option prefer-last-server", Places::BACK, "", "Keep to the server of the last request"),
    entry("option redis-check", Places::BACK, "", "Check servers by a Redis ping"),
    entry("option smtpchk", Places::BACK, "[<hello> <domain>]", "Check servers by SMTP"),
    entry("option spop-check", Places::BACK, "", "Check servers by SPOP"),
    entry("option ssl-hello-chk", Places::BACK, "", "Check servers by a TLS hello"),
    entry("option tcp-check", Places::BACK, "", "Check servers by tcp-check rules"),
    entry("option transparent", Places::BACK, "", "Connect to where the client wanted to go"),
];

const fn entry(name: &'static str, places: Places, syntax: &'static str, summary: &'static str) -> Keyword {
    Keyword::new(name, places, syntax, summary, Meaning::Unsupported).negatable()
}
