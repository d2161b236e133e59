//! A network of its own for each proxy, so that what one run leaves behind costs no other run anything.
//!
//! A closed connection keeps its port for a minute (TIME_WAIT, RFC 9293, section 3.6.1). When several proxies open thousands of
//! connections a second to one server, free ports become rare and connect(2) searches for them: the same proxy then costs 42 or 115 us
//! per connection, by what ran before it. In a network namespace of its own a proxy meets only its own past, and there ports that have
//! rested for a second may be taken again at once. Used by `subject`; needs the right to make namespaces, as root or in a user namespace.

use anyhow::{Context, anyhow};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;

/// Set in each network, so that ports last: nearly all of them for outgoing connections, and those in TIME_WAIT again after a second.
const SETTINGS: [(&str, &str); 2] = [("ip_local_port_range", "1024 65535"), ("tcp_tw_reuse", "1")];
/// Buckets of a network's own connection table, so that not even its length is shared (Linux 6.1; without it the table is shared).
const TABLE_BUCKETS: &str = "131072";

/// Where a proxy, its server and its generator run.
#[derive(Debug)]
pub(super) enum Network {
    /// The machine's own network, as no other may be made.
    Shared,
    /// A network with nothing but a loopback device.
    Own(OwnedFd),
}

/// Allows this process to make networks. To be called before it has threads: an ordinary user needs a user namespace for it, and the
/// kernel gives one to a process of one thread only.
///
/// # Errors
/// When neither is allowed here; networks are then shared.
pub fn prepare() -> anyhow::Result<()> {
    if unshare(CloneFlags::CLONE_NEWNET).is_err() {
        let (user, group) = (nix::unistd::getuid(), nix::unistd::getgid());
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).context("no network namespace may be made here")?;
        // user_namespaces(7): an ordinary user maps only itself, and its group only after giving up setgroups(2).
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
        fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
    }
    bring_loopback_up()?;
    // Networks made from here on get it; an older kernel has no such setting.
    let _ = fs::write(setting("tcp_child_ehash_entries"), TABLE_BUCKETS);
    Ok(())
}

impl Network {
    /// Makes a network. [`prepare`] must have succeeded.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn own() -> anyhow::Result<Self> {
        // In a thread of its own, which ends with it: this thread stays where it is.
        let made = thread::spawn(|| -> anyhow::Result<OwnedFd> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            bring_loopback_up()?;
            for (name, value) in SETTINGS {
                fs::write(setting(name), value).with_context(|| format!("cannot set {name}"))?;
            }
            Ok(File::open("/proc/thread-self/ns/net")?.into())
        });
        let made = made.join().unwrap_or_else(|_| Err(anyhow!("the thread panicked")));
        made.map(Self::Own).context("cannot make a network namespace")
    }

    /// Does work in this network; threads and processes that it starts stay there.
    ///
    /// # Errors
    /// When the network cannot be entered; else those of the work.
    pub(super) fn within<T: Send>(&self, work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
        let Self::Own(namespace) = self else { return work() };
        thread::scope(|scope| {
            let worker = scope.spawn(move || {
                setns(namespace, CloneFlags::CLONE_NEWNET).context("cannot enter a network namespace")?;
                work()
            });
            worker.join().unwrap_or_else(|_| Err(anyhow!("the thread panicked")))
        })
    }
}

fn setting(name: &str) -> String {
    format!("/proc/sys/net/ipv4/{name}")
}

/// Switches this thread's loopback device on (SIOCSIFFLAGS, netdevice(7)): a new network has it, but down.
#[allow(unsafe_code)]
fn bring_loopback_up() -> anyhow::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: an `ifreq` of zeros is a valid one: a name of no length and empty flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which lives until the call returns.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result < 0 {
        return Err(io::Error::last_os_error()).context("cannot switch the loopback device on");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    /// Where namespaces may not be made there is nothing to test; a container may forbid them even to root.
    fn networks() -> Option<(Network, Network)> {
        Some((Network::own().ok()?, Network::own().ok()?))
    }

    #[test]
    fn networks_do_not_see_each_other() {
        let Some((one, other)) = networks() else { return };
        let listener = one.within(|| Ok(TcpListener::bind("127.0.0.1:0")?)).expect("loopback is up");
        let address = listener.local_addr().expect("bound");
        one.within(|| Ok(TcpStream::connect(address)?)).expect("reached from the same network");
        assert!(other.within(|| Ok(TcpStream::connect(address)?)).is_err());
        let range = other.within(|| Ok(fs::read_to_string(setting("ip_local_port_range"))?)).expect("readable");
        assert_eq!(range.split_whitespace().collect::<Vec<_>>(), ["1024", "65535"]);
    }

    #[test]
    fn a_shared_network_is_this_one() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        Network::Shared.within(|| Ok(TcpStream::connect(address)?)).expect("reached");
    }
}
