//! A control loop in a thread: the runtime server over a real fleet, without shards, and clients for its sockets.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollTimeout, poll};
use ringmain::config::check::{Context, SystemNames};
use ringmain::config::diagnostic::{RenderOptions, render};
use ringmain::config::environment::Environment;
use ringmain::config::load_texts;
use ringmain::control::registry::Registry;
use ringmain::control::state::Request;
use ringmain::control::{ControlState, Fleet};
use ringmain::runtime::{ControlContext, Interest, RuntimeServer};
use ringmain::stats::Averages;
use ringmain_engine::live::ProcessLive;
use ringmain_model::Model;

/// How long a test waits for anything before it fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Checks a haproxy.cfg text.
pub fn model(text: &str) -> Model {
    let context = Context { descriptor_limit: 20_000, cpu_count: 2, host_name: "node.test", names: &SystemNames::default() };
    let loaded = load_texts(&[("test.cfg", text)], Environment::inherited(), &context);
    let options = RenderOptions { colour: false, show_no_effect: true, limit: 50 };
    let findings = render(&loaded.sources, &loaded.diagnostics, options);
    loaded.model.unwrap_or_else(|| panic!("{findings}"))
}

/// What runs in the thread.
pub struct Loop {
    pub fleet: Fleet,
    pub state: ControlState,
    pub registry: Registry,
    averages: Averages,
    server: RuntimeServer,
    started: Instant,
}

type Act = Box<dyn FnOnce(&mut Loop) + Send>;

impl Loop {
    fn new(text: &str) -> Self {
        let model = Arc::new(model(text));
        let shards = usize::from(model.global.shards);
        let mut registry = Registry::new(shards, "ringmain".into());
        let process = Arc::new(ProcessLive::new(shards, model.global.maxconn));
        let proposal = registry.propose(model.clone());
        let (generation, _) = registry.accept(proposal);
        let mut state = ControlState::new("ringmain".into(), process, 0);
        state.describe(&generation, 0);
        let fleet = Fleet::new(generation, 0);
        let server = RuntimeServer::bind(&model.global).expect("stats sockets");
        Self { fleet, state, registry, averages: Averages::default(), server, started: Instant::now() }
    }

    /// Ends the reload that clients wait for.
    pub fn finish_reload(&mut self, text: &str) {
        let mut context = ControlContext { fleet: &mut self.fleet, state: &mut self.state, averages: &mut self.averages };
        self.server.reload_finished(text, &mut context);
    }

    /// How many runtime connections are open.
    pub fn clients(&self) -> usize {
        self.server.clients()
    }

    fn run(mut self, acts: &Receiver<Act>) {
        loop {
            loop {
                match acts.try_recv() {
                    Ok(act) => act(&mut self),
                    Err(std::sync::mpsc::TryRecvError::Empty) => break,
                    Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
                }
            }
            self.turn();
        }
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn turn(&mut self) {
        let mut interests = Vec::new();
        self.server.interests(&mut interests);
        for Interest { descriptor, events } in ready(&interests) {
            self.fleet.set_now(self.now_ms());
            let mut context = ControlContext { fleet: &mut self.fleet, state: &mut self.state, averages: &mut self.averages };
            self.server.ready(descriptor, events, &mut context);
            self.fleet.take_effects();
        }
        let now_ms = self.now_ms();
        if self.server.next_deadline().is_some_and(|deadline_ms| deadline_ms <= now_ms) {
            self.server.expire(now_ms);
        }
    }
}

/// Polls for a few milliseconds; returns what is ready.
#[allow(unsafe_code)]
fn ready(interests: &[Interest]) -> Vec<Interest> {
    let borrow = |interest: &Interest| {
        // SAFETY: the server keeps its descriptors open until it is called again, which is after this function.
        PollFd::new(unsafe { BorrowedFd::borrow_raw(interest.descriptor) }, interest.events)
    };
    let mut descriptors: Vec<PollFd<'_>> = interests.iter().map(borrow).collect();
    poll(&mut descriptors, PollTimeout::from(3u8)).expect("poll");
    let events = descriptors.iter().map(|descriptor| descriptor.revents().expect("known events"));
    let both = interests.iter().zip(events);
    both.filter(|(_, events)| !events.is_empty()).map(|(interest, events)| Interest { events, ..*interest }).collect()
}

/// A running loop with its sockets in a directory of its own.
pub struct Process {
    pub directory: tempfile::TempDir,
    acts: Option<Sender<Act>>,
    thread: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts with a configuration in which `DIR` stands for the directory.
    pub fn start(text: &str) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let text = text.replace("DIR", &directory.path().display().to_string());
        let (acts, receiver) = channel::<Act>();
        let (bound, is_bound) = channel();
        let thread = std::thread::spawn(move || {
            let running = Loop::new(&text);
            bound.send(()).expect("the test waits");
            running.run(&receiver);
        });
        is_bound.recv_timeout(PATIENCE).expect("the loop starts");
        Self { directory, acts: Some(acts), thread: Some(thread) }
    }

    /// A path in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs something in the loop and waits for its result.
    pub fn with<T: Send + 'static>(&self, act: impl FnOnce(&mut Loop) -> T + Send + 'static) -> T {
        let (sender, result) = channel();
        let act = Box::new(move |running: &mut Loop| {
            let _ = sender.send(act(running));
        });
        self.acts.as_ref().expect("running").send(act).expect("running");
        result.recv_timeout(PATIENCE).expect("the loop answers")
    }

    /// Waits until a condition holds in the loop.
    pub fn wait(&self, what: &str, condition: impl Fn(&mut Loop) -> bool + Send + Copy + 'static) {
        let start = Instant::now();
        while !self.with(condition) {
            assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        }
    }

    /// Whether a reload was asked for.
    pub fn reload_requested(running: &mut Loop) -> bool {
        running.state.requests.contains(&Request::Reload)
    }

    /// Asks on the socket `admin.sock`.
    pub fn ask(&self, command: &str) -> String {
        ask(&self.path("admin.sock"), format!("{command}\n").as_bytes())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.acts.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the loop panicked");
        }
    }
}

/// Connects to a unix socket.
pub fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("timeout");
    stream
}

/// Sends, shuts down the writing half as `nc -N` does, and reads to the end.
pub fn ask(path: &Path, bytes: &[u8]) -> String {
    let mut stream = connect(path);
    stream.write_all(bytes).expect("write");
    let _ = stream.shutdown(Shutdown::Write);
    read_all(&mut stream)
}

/// Reads to the end.
pub fn read_all(stream: &mut UnixStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer and its end");
    String::from_utf8(answer).expect("text")
}

/// Reads exactly what is expected next.
pub fn expect(stream: &mut UnixStream, expected: &str) {
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).expect("more of the answer");
    assert_eq!(String::from_utf8_lossy(&answer), expected);
}
