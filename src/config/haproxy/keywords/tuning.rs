//! `tune.*` and other performance settings of `global` (manual section 3.2): those with a meaning here, and those that tune machinery of
//! HAProxy's own.

use ringmain_model::RingMode;

use crate::config::check::builder::{Arguments, GlobalBuilder};
use crate::config::keyword::{Keyword, Meaning, Places};

/// The entries.
pub const KEYWORDS: &[Keyword] = &[
    entry("tune.bufsize", "<bytes>", "With tune.maxrewrite, the most bytes of a connection that rules see, default 16384", buffer_size),
    entry("tune.maxrewrite", "<bytes>", "Part of tune.bufsize that rules do not see, default 1024, at most half of it", reserved_size),
    entry("tune.pipesize", "<bytes>", "Size of the pipes that splice(2) moves data through", pipe_size),
    entry("tune.rcvbuf.client", "<bytes>", "Receive buffer of client sockets in the kernel", client_receive_buffer),
    entry("tune.rcvbuf.server", "<bytes>", "Receive buffer of server sockets in the kernel", server_receive_buffer),
    entry("tune.sndbuf.client", "<bytes>", "Send buffer of client sockets in the kernel", client_send_buffer),
    entry("tune.sndbuf.server", "<bytes>", "Send buffer of server sockets in the kernel", server_send_buffer),
    entry("tune.ring.mode", "auto|fast|portable", "Which kernel interface the shards' rings use (Ringmain's own)", ring_mode),
    entry("tune.ring.buffers", "<number>", "Receive buffers of a shard, a power of two from 16 to 32768 (Ringmain's own)", ring_buffers),
    entry("tune.ring.buffer-size", "<bytes>", "Size of one receive buffer, 512 to 65536 (Ringmain's own)", ring_buffer_size),
    nothing("busy-polling", "", "Poll without sleeping").negatable(),
    nothing("noepoll", "", "Do not use epoll"),
    nothing("nopoll", "", "Do not use poll"),
    nothing("noevports", "", "Do not use Solaris event ports"),
    nothing("nokqueue", "", "Do not use kqueue"),
    nothing("nogetaddrinfo", "", "Resolve names with gethostbyname"),
    nothing("noreuseport", "", "Do not share listening ports between processes"),
    nothing("maxpipes", "<number>", "Most pipes for splicing; the pool of pipes is bounded anyway"),
    nothing("numa-cpu-mapping", "", "Keep to one NUMA node").negatable(),
    nothing("insecure-fork-wanted", "", "Allow forks").negatable(),
    nothing("insecure-setuid-wanted", "", "Allow set-uid programs"),
    nothing("expose-experimental-directives", "", "Allow experimental keywords"),
    nothing("profiling.tasks", "auto|on|off", "Profile tasks"),
    nothing("profiling.memory", "on|off", "Profile memory"),
    nothing("quiet", "", "Say nothing at start; use the flag -q"),
    nothing("master-worker", "[no-exit-on-failure]", "Supervise worker processes; there is only one process here"),
    nothing("mworker-max-reloads", "<number>", "Reloads that a worker process may survive"),
    nothing("close-spread-time", "<time>", "Spread the closing of idle HTTP connections"),
    nothing("thread-groups", "<number>", "Number of groups of threads"),
    nothing("tune.buffers.limit", "<number>", "Most buffers of a process"),
    nothing("tune.buffers.reserve", "<number>", "Buffers kept for emergencies"),
    nothing("tune.comp.maxlevel", "<number>", "Highest level of compression"),
    nothing("tune.fail-alloc", "<number>", "Let allocations fail for tests"),
    nothing("tune.fd.edge-triggered", "on|off", "Use edge-triggered polling"),
    nothing("tune.h2.header-table-size", "<bytes>", "HTTP/2 header table"),
    nothing("tune.h2.initial-window-size", "<bytes>", "HTTP/2 window"),
    nothing("tune.h2.max-concurrent-streams", "<number>", "HTTP/2 streams per connection"),
    nothing("tune.h2.max-frame-size", "<bytes>", "HTTP/2 frames"),
    nothing("tune.http.cookielen", "<bytes>", "Longest captured cookie"),
    nothing("tune.http.logurilen", "<bytes>", "Longest URI in logs"),
    nothing("tune.http.maxhdr", "<number>", "Most headers of a message"),
    nothing("tune.idle-pool.shared", "on|off", "Share idle connections between threads"),
    nothing("tune.idletimer", "<time>", "When a stream counts as idle"),
    nothing("tune.listener.multi-queue", "on|off", "Spread accepted connections over threads"),
    nothing("tune.lua.forced-yield", "<number>", "Lua scheduling"),
    nothing("tune.lua.maxmem", "<number>", "Lua memory"),
    nothing("tune.lua.service-timeout", "<time>", "Lua service timeout"),
    nothing("tune.lua.session-timeout", "<time>", "Lua session timeout"),
    nothing("tune.lua.task-timeout", "<time>", "Lua task timeout"),
    nothing("tune.maxaccept", "<number>", "Connections accepted in a row"),
    nothing("tune.maxpollevents", "<number>", "Events per poll"),
    nothing("tune.pattern.cache-size", "<number>", "Cache of pattern lookups"),
    nothing("tune.peers.max-updates-at-once", "<number>", "Stick-table updates in a row"),
    nothing("tune.pool-high-fd-ratio", "<percent>", "Descriptors for idle connections, upper bound"),
    nothing("tune.pool-low-fd-ratio", "<percent>", "Descriptors for idle connections, lower bound"),
    nothing("tune.quic.frontend.conn-tx-buffers.limit", "<number>", "QUIC send buffers"),
    nothing("tune.quic.frontend.max-idle-timeout", "<time>", "QUIC idle timeout"),
    nothing("tune.quic.frontend.max-streams-bidi", "<number>", "QUIC streams"),
    nothing("tune.quic.retry-threshold", "<number>", "QUIC retry"),
    nothing("tune.recv_enough", "<bytes>", "Bytes after which a receive is not repeated"),
    nothing("tune.runqueue-depth", "<number>", "Tasks run in a row"),
    nothing("tune.sched.low-latency", "on|off", "Scheduling of tasks"),
    nothing("tune.ssl.cachesize", "<number>", "Size of the session cache"),
    nothing("tune.ssl.capture-buffer-size", "<bytes>", "Captured part of a TLS hello"),
    nothing("tune.ssl.capture-cipherlist-size", "<bytes>", "Captured part of a cipher list"),
    nothing("tune.ssl.default-dh-param", "<number>", "Size of Diffie-Hellman parameters, unused by TLS 1.3 and ECDHE"),
    nothing("tune.ssl.force-private-cache", "", "Do not share the session cache"),
    nothing("tune.ssl.hard-maxrecord", "<bytes>", "Largest TLS record, hard"),
    nothing("tune.ssl.lifetime", "<time>", "Life of cached sessions"),
    nothing("tune.ssl.maxrecord", "<bytes>", "Largest TLS record"),
    nothing("tune.ssl.ssl-ctx-cache-size", "<number>", "Cache of generated certificates"),
    nothing("tune.vars.check-max-size", "<bytes>", "Memory of check variables"),
    nothing("tune.vars.global-max-size", "<bytes>", "Memory of all variables"),
    nothing("tune.vars.proc-max-size", "<bytes>", "Memory of process variables"),
    nothing("tune.vars.reqres-max-size", "<bytes>", "Memory of request and response variables"),
    nothing("tune.vars.sess-max-size", "<bytes>", "Memory of session variables"),
    nothing("tune.vars.txn-max-size", "<bytes>", "Memory of transaction variables"),
    nothing("tune.zlib.memlevel", "<number>", "Memory of zlib"),
    nothing("tune.zlib.windowsize", "<number>", "Window of zlib"),
];

const fn entry(
    name: &'static str,
    syntax: &'static str,
    summary: &'static str,
    apply: fn(&mut GlobalBuilder, &mut Arguments<'_>),
) -> Keyword {
    Keyword::new(name, Places::GLOBAL, syntax, summary, Meaning::Global(apply))
}

const fn nothing(name: &'static str, syntax: &'static str, summary: &'static str) -> Keyword {
    Keyword::new(name, Places::GLOBAL, syntax, summary, Meaning::NoEffect)
}

/// The largest buffer: HAProxy's own bound.
const LARGEST_BUFFER: u32 = 256 << 20;

fn buffer_size(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    let word = arguments.peek();
    let (Some(size), Some(word)) = (arguments.size(), word) else { return };
    if !(1..=LARGEST_BUFFER).contains(&size) {
        arguments.error(word, "'tune.bufsize' must be between 1 and 268435456");
    } else if arguments.finish() {
        // HAProxy rounds it up so.
        global.tuning.buffer_bytes = size.next_multiple_of(16);
    }
}

fn reserved_size(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    if let Some(size) = arguments.size()
        && arguments.finish()
    {
        global.tuning.reserved_bytes = size;
    }
}

fn pipe_size(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    if let Some(size) = arguments.size()
        && arguments.finish()
    {
        global.tuning.pipe_size = size;
    }
}

fn client_receive_buffer(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    buffer(&mut global.tuning.client_receive_buffer, arguments);
}

fn server_receive_buffer(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    buffer(&mut global.tuning.server_receive_buffer, arguments);
}

fn client_send_buffer(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    buffer(&mut global.tuning.client_send_buffer, arguments);
}

fn server_send_buffer(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    buffer(&mut global.tuning.server_send_buffer, arguments);
}

fn buffer(slot: &mut Option<u32>, arguments: &mut Arguments<'_>) {
    let Some(size) = arguments.size() else { return };
    if !arguments.finish() {
        return;
    }
    if slot.is_some() {
        let (span, message) = (arguments.span(), format!("'{}' was given before; the first one counts", arguments.name()));
        arguments.diagnostics.warning(span, message);
        return;
    }
    *slot = Some(size).filter(|size| *size > 0);
}

fn ring_mode(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    let choices = [("auto", RingMode::Auto), ("fast", RingMode::Fast), ("portable", RingMode::Portable)];
    if let Some(mode) = arguments.choice(&choices)
        && arguments.finish()
    {
        global.tuning.ring.mode = mode;
    }
}

fn ring_buffers(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    let Some(word) = arguments.only("a number") else { return };
    match arguments.number_of(word, 16, 32768) {
        Some(number) if (number as u64).is_power_of_two() => global.tuning.ring.buffer_count = number as u16,
        Some(_) => {
            arguments.error(word, "'tune.ring.buffers' must be a power of two");
        }
        None => {}
    }
}

fn ring_buffer_size(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    let Some(word) = arguments.peek() else {
        arguments.required("a number of bytes");
        return;
    };
    let Some(size) = arguments.size() else { return };
    if !(512..=65536).contains(&size) {
        arguments.error(word, "'tune.ring.buffer-size' must be between 512 and 65536");
    } else if arguments.finish() {
        global.tuning.ring.buffer_size = size;
    }
}
