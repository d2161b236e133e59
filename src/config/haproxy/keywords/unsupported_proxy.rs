//! Proxy keywords that HAProxy knows and Ringmain does not support yet (manual section 4.2).

use crate::config::keyword::{Keyword, Meaning, Places};

const NAMED: Places = Places::PROXY.without(Places::DEFAULTS);
const FRONT_ONLY: Places = Places::FRONT.without(Places::DEFAULTS);
const BACK_ONLY: Places = Places::BACK.without(Places::DEFAULTS);

/// The entries.
pub const KEYWORDS: &[Keyword] = &[
    entry("capture cookie", FRONT_ONLY, "<name> len <bytes>", "Log a cookie"),
    entry("capture request", FRONT_ONLY, "header <name> len <bytes>", "Log a request header"),
    entry("capture response", FRONT_ONLY, "header <name> len <bytes>", "Log a response header"),
    entry("clitcpka-cnt", Places::FRONT, "<number>", "Keep-alive probes towards clients"),
    entry("clitcpka-idle", Places::FRONT, "<time>", "Silence before keep-alive probes towards clients"),
    entry("clitcpka-intvl", Places::FRONT, "<time>", "Time between keep-alive probes towards clients"),
    entry("compression", Places::PROXY, "algo|type|offload ...", "Compress responses"),
    entry("cookie", Places::BACK, "<name> [<option>...]", "Keep clients on their server by a cookie"),
    entry("dispatch", BACK_ONLY, "<address>:<port>", "One target without servers"),
    entry("email-alert", Places::PROXY, "from|level|mailers|myhostname|to ...", "Send mail about server states"),
    entry("errorfile", Places::PROXY, "<status> <file>", "Answer of HTTP errors"),
    entry("errorfiles", Places::PROXY, "<section> [<status>...]", "Answers of HTTP errors from a section"),
    entry("errorloc", Places::PROXY, "<status> <url>", "Redirection of HTTP errors"),
    entry("errorloc302", Places::PROXY, "<status> <url>", "Redirection of HTTP errors"),
    entry("errorloc303", Places::PROXY, "<status> <url>", "Redirection of HTTP errors"),
    entry("external-check", Places::BACK, "command|path ...", "Program of external checks"),
    entry("filter", NAMED, "<name> [<option>...]", "Insert a filter"),
    entry("http-after-response", Places::PROXY, "<action> [if|unless <condition>]", "Rules for all responses"),
    entry("http-check", Places::BACK, "<rule> ...", "Rules of HTTP checks"),
    entry("http-error", Places::PROXY, "status <status> ...", "Answer of an HTTP error"),
    entry("http-request", Places::PROXY, "<action> [if|unless <condition>]", "Rules for requests"),
    entry("http-response", Places::PROXY, "<action> [if|unless <condition>]", "Rules for responses"),
    entry("http-reuse", Places::BACK, "never|safe|aggressive|always", "Sharing of idle server connections"),
    entry("http-send-name-header", Places::BACK, "[<name>]", "Tell servers their names"),
    entry("load-server-state-from-file", Places::BACK, "global|local|none", "Take server states from a file"),
    entry("max-keep-alive-queue", Places::BACK, "<number>", "Queue length above which idle connections are given up"),
    entry("monitor", FRONT_ONLY, "fail if|unless <condition>", "Let monitoring requests fail"),
    entry("monitor-uri", Places::FRONT, "<path>", "Answer monitoring requests"),
    entry("persist", Places::BACK, "rdp-cookie[(<name>)]", "Persistence by RDP cookie"),
    entry("redirect", NAMED, "location|prefix|scheme ...", "Redirect requests"),
    entry("retry-on", Places::BACK, "<event>...", "Which errors are tried again"),
    entry("server-state-file-name", Places::BACK, "[<file>]", "Name of the file of server states"),
    Keyword::new(
        "server-template",
        BACK_ONLY,
        "<prefix> <number> <address>[:<port>] [<option>...]",
        "Several servers of one name",
        Meaning::Unsupported,
    )
    .strict(),
    entry("srvtcpka-cnt", Places::BACK, "<number>", "Keep-alive probes towards servers"),
    entry("srvtcpka-idle", Places::BACK, "<time>", "Silence before keep-alive probes towards servers"),
    entry("srvtcpka-intvl", Places::BACK, "<time>", "Time between keep-alive probes towards servers"),
    entry("stats", Places::PROXY, "<setting> ...", "Statistics page"),
    entry("tcp-check", Places::BACK, "<rule> ...", "Rules of TCP checks"),
    entry("transparent", Places::BACK, "", "Connect to where the client wanted to go"),
    entry("unique-id-format", Places::FRONT, "<format>", "Number requests"),
    entry("unique-id-header", Places::FRONT, "<name>", "Tell servers the number of a request"),
    entry("use-fcgi-app", BACK_ONLY, "<name>", "Speak FastCGI to servers"),
];

const fn entry(name: &'static str, places: Places, syntax: &'static str, summary: &'static str) -> Keyword {
    Keyword::new(name, places, syntax, summary, Meaning::Unsupported)
}
