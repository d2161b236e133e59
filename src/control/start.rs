//! Start-up, in the order that matters: limits, sockets, background, threads, targets of the log, rights, and only then the word that all
//! is well.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringmain_engine::live::ProcessLive;
use ringmain_engine::mailbox::{ControlPort, Mail, Port, Report};
use ringmain_engine::ring;
use ringmain_engine::shard::{self, ShardSetup};
use ringmain_model::{Global, LogDestination, Model, RingMode};
use ringmain_policy::log::{LocalTime, LogHandle, Renderer};

use super::checks::Checks;
use super::console::Console;
use super::core::{Channels, Core};
use super::daemon::{self, Side, Waiting};
use super::fleet::Fleet;
use super::listen::{self, KeyedSockets, Neighbours};
use super::listeners::Listeners;
use super::load::Loader;
use super::notify::Notifier;
use super::outbox::Outbox;
use super::registry::{Proposal, Registry};
use super::reload::Reloading;
use super::signals::Signals;
use super::snapshot::Snapshots;
use super::state::{ControlState, host_name};
use super::stop::{Ended, Stopping};
use super::timers::Timers;
use super::{limits, privileges, variables};
use crate::cli::{Farewell, Options};
use crate::log::{Logs, Reporter, local_time};
use crate::runtime::RuntimeServer;
use crate::stats::Averages;

/// How long shards may take to start and to take the first generation.
const SHARDS_PATIENCE: Duration = Duration::from_secs(20);
/// How often and how long listening is tried while an old process (`-sf`, `-st`) lets go.
const BIND_ATTEMPTS: u32 = 200;
/// The same without old processes: the kernel takes the rings of a process that was killed apart only after its end, and until then its
/// addresses are in use. A service manager restarts faster than that.
const BIND_ATTEMPTS_ALONE: u32 = 50;
const BIND_PAUSE: Duration = Duration::from_millis(10);

/// How a start ended.
pub enum Run {
    /// The parent of a daemon: exit with this code.
    Exit(i32),
    /// The process served until this.
    Served(Ended),
}

/// Everything that is open before the first thread.
struct Opened {
    registry: Registry,
    proposal: Proposal,
    sockets: KeyedSockets,
    runtime: RuntimeServer,
    descriptor_limit: u64,
}

/// The shards and the ways to them.
struct Shards {
    outbox: Outbox,
    reports: Receiver<Report>,
    control_port: ControlPort,
    threads: Vec<JoinHandle<()>>,
    process: Arc<ProcessLive>,
}

/// Starts the process with a checked configuration and serves until it is told to stop.
///
/// # Errors
/// When the process cannot start: the lines to show, each on its own.
pub fn run(options: &Options, loader: Loader, model: Model, program: Arc<str>, console: Console) -> Result<Run, Vec<String>> {
    let one = |line: String| vec![line];
    let opened = open(options, model, program.clone(), &console)?;
    let model = opened.proposal.generation.model.clone();
    let waiting = match if model.global.daemon { daemon::detach().map_err(one)? } else { Side::Alone } {
        Side::Parent(code) => return Ok(Run::Exit(code)),
        Side::Child(waiting) => Some(waiting),
        Side::Alone => None,
    };
    let notifier = Notifier::from_environment();
    if options.systemd && !notifier.is_connected() {
        console.warning("'-Ws' was given but nobody listens at NOTIFY_SOCKET.");
    }
    let signals = Signals::block().map_err(|error| one(format!("cannot block signals: {}", error.desc())))?;
    let (mut core, sockets) = assemble(opened, loader, program, console, notifier, signals)?;
    core.threads_ready()?;
    core.open_logs();
    if let Some(path) = &model.global.pidfile {
        daemon::write_pidfile(path).map_err(one)?;
    }
    core.open_state_file();
    privileges::drop_privileges(&model.global).map_err(one)?;
    core.restore_tables();
    variables::set(core.fleet.generation(), &host_name());
    core.go_into_service(sockets, options, waiting)?;
    Ok(Run::Served(core.run()))
}

fn open(options: &Options, mut model: Model, program: Arc<str>, console: &Console) -> Result<Opened, Vec<String>> {
    let descriptors = limits::fit_descriptors(&mut model).map_err(|line| vec![format!("[ringmain.main()] {line}")])?;
    if let Some(warning) = descriptors.warning {
        console.warning(&warning);
    }
    limits::raise_locked_memory(model.global.shards);
    ring::probe().map_err(|error| vec![format!("[ringmain.main()] {error}")])?;
    let shards = usize::from(model.global.shards.max(1));
    let registry = Registry::new(shards, program);
    let proposal = registry.propose(Arc::new(model));
    let sockets = listen_patiently(options, &proposal, shards)?;
    let runtime = RuntimeServer::bind(&proposal.generation.model.global).map_err(|error| vec![error.to_string()])?;
    Ok(Opened { registry, proposal, sockets, runtime, descriptor_limit: descriptors.limit })
}

/// Opens the listeners. Old processes that hold them are asked to pause until it works; others are given a moment to be gone.
fn listen_patiently(options: &Options, proposal: &Proposal, shards: usize) -> Result<KeyedSockets, Vec<String>> {
    let model = &proposal.generation.model;
    let listeners = Listeners::default();
    let wanted = listeners.missing(model, &proposal.listeners);
    let replaces = !options.old_processes.is_empty();
    let neighbours = if replaces { Neighbours::Share } else { Neighbours::Refuse };
    let attempts = if replaces { BIND_ATTEMPTS } else { BIND_ATTEMPTS_ALONE };
    let mut failures = Vec::new();
    for attempt in 1..=attempts {
        match listen::open(model, &wanted, &[], shards, neighbours) {
            Ok(sockets) => return Ok(sockets),
            Err(lines) => failures = lines,
        }
        if attempt < attempts {
            signal_all(&options.old_processes, Signal::SIGTTOU);
            std::thread::sleep(BIND_PAUSE);
        }
    }
    signal_all(&options.old_processes, Signal::SIGTTIN);
    failures.push("[ringmain.main()] Some protocols failed to start their listeners! Exiting.".into());
    Err(failures)
}

fn signal_all(processes: &[i32], signal: Signal) {
    for process in processes {
        // One that has gone meanwhile is what was wanted.
        let _ = kill(Pid::from_raw(*process), signal);
    }
}

fn assemble(
    opened: Opened,
    loader: Loader,
    program: Arc<str>,
    console: Console,
    notifier: Notifier,
    signals: Signals,
) -> Result<(Core, KeyedSockets), Vec<String>> {
    let Opened { mut registry, proposal, sockets, runtime, descriptor_limit } = opened;
    let model = proposal.generation.model.clone();
    let count = usize::from(model.global.shards.max(1));
    let local_time = Arc::new(local_time());
    let (logs, handles) =
        Logs::start(count + 1, local_time.clone()).map_err(|error| vec![format!("cannot start the log writer: {error}")])?;
    let mut handles = handles.into_iter();
    let reporter = handles.next().map(Reporter::new).ok_or_else(|| vec!["the log writer has no ring".to_string()])?;
    let Shards { outbox, reports, control_port, threads, process } = start_shards(&model, handles, &local_time)?;
    let now_ms = ring::now_ms();
    let (generation, listeners) = registry.accept(proposal);
    let mut state = ControlState::new(program, process, now_ms);
    state.descriptor_limit = descriptor_limit;
    state.tables = outbox.tables();
    state.describe(&generation, now_ms);
    let reloading = Reloading::new(count).map_err(|error| vec![format!("cannot make an eventfd: {}", error.desc())])?;
    let channels = Channels::new(&model, &state.program);
    let mut core = Core {
        fleet: Fleet::new(generation, now_ms),
        state,
        registry,
        listeners: Listeners::default(),
        checks: Checks::default(),
        timers: Timers::default(),
        outbox,
        reports,
        control_port,
        signals,
        runtime,
        averages: Averages::default(),
        logs,
        reporter,
        channels,
        console,
        notifier,
        loader: Arc::new(loader),
        reloading,
        stopping: Stopping::new(count),
        snapshots: Snapshots::default(),
        threads,
    };
    core.listeners.replace(listeners);
    Ok((core, sockets))
}

fn start_shards(model: &Model, handles: impl Iterator<Item = LogHandle>, local_time: &Arc<LocalTime>) -> Result<Shards, Vec<String>> {
    let global = &model.global;
    let count = usize::from(global.shards.max(1));
    let process = Arc::new(ProcessLive::new(count, global.maxconn));
    let (ports, inboxes): (Vec<Arc<Port>>, Vec<Receiver<Mail>>) = (0..count).map(Port::new).unzip();
    let (control_port, reports) = ControlPort::new().map_err(|error| vec![format!("cannot make an eventfd: {}", error.desc())])?;
    let cpus = choose_cpus(global, count);
    let host: Arc<str> = host_name().into();
    let mut threads = Vec::new();
    for (index, (inbox, log)) in inboxes.into_iter().zip(handles).enumerate() {
        let setup = ShardSetup {
            index,
            cpu: cpus.get(index).copied().flatten(),
            ring: ring_config(global),
            process: process.clone(),
            ports: ports.clone(),
            inbox,
            control: control_port.clone(),
            log,
            renderer: Renderer::new(host.clone(), std::process::id(), local_time.clone()),
        };
        threads.push(shard::start(setup).map_err(|line| vec![line])?);
    }
    Ok(Shards { outbox: Outbox::new(ports), reports, control_port, threads, process })
}

fn ring_config(global: &Global) -> ring::Config {
    let tuning = &global.tuning;
    ring::Config {
        mode: match tuning.ring.mode {
            RingMode::Auto => ring::Mode::Auto,
            RingMode::Fast => ring::Mode::Fast,
            RingMode::Portable => ring::Mode::Portable,
        },
        buffer_count: tuning.ring.buffer_count,
        buffer_size: tuning.ring.buffer_size,
        pipe_size: tuning.pipe_size,
        ..ring::Config::default()
    }
}

/// The CPU of each shard: as configured; else one each when there are as many shards as CPUs; else whatever the scheduler likes.
fn choose_cpus(global: &Global, count: usize) -> Vec<Option<usize>> {
    let configured: Vec<Option<usize>> = (0..count).map(|index| global.shard_cpus.get(index).copied().flatten().map(usize::from)).collect();
    let allowed = allowed_cpus(&std::fs::read_to_string("/proc/self/status").unwrap_or_default());
    if configured.iter().all(Option::is_none) && count > 1 && allowed.len() == count {
        return allowed.into_iter().map(Some).collect();
    }
    configured
}

/// The CPUs that the process may run on, from the text of /proc/self/status.
fn allowed_cpus(status: &str) -> Vec<usize> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or("");
    let range = |part: &str| {
        let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

impl Core {
    /// Waits until every shard's ring stands.
    fn threads_ready(&mut self) -> Result<(), Vec<String>> {
        let deadline = Instant::now() + SHARDS_PATIENCE;
        let mut missing = self.outbox.shards();
        while missing > 0 {
            match self.reports.recv_deadline(deadline) {
                Ok(Report::Started { shard, ring: Ok(ring) }) => {
                    self.state.rings[shard] = ring;
                    missing -= 1;
                }
                Ok(Report::Started { shard, ring: Err(reason) }) => return Err(vec![format!("shard {shard} cannot start: {reason}")]),
                Ok(_) => {}
                Err(_) => return Err(vec![format!("{missing} shards did not start in time")]),
            }
        }
        Ok(())
    }

    fn open_logs(&mut self) {
        let channels = self.channels.all(self.fleet.generation());
        for failure in self.logs.open(&channels) {
            self.console.warning(&failure);
        }
    }

    /// The last steps: shards listen, whoever waits for this process hears of it, old processes are told to go.
    fn go_into_service(&mut self, sockets: KeyedSockets, options: &Options, waiting: Option<Waiting>) -> Result<(), Vec<String>> {
        self.publish(sockets);
        let deadline = Instant::now() + SHARDS_PATIENCE;
        let mut missing = self.outbox.shards();
        // The first shard may have served somebody before the last one listens.
        let mut early = Vec::new();
        while missing > 0 {
            match self.reports.recv_deadline(deadline) {
                Ok(Report::Adopted { .. }) => missing -= 1,
                Ok(report) => early.push(report),
                Err(_) => return Err(vec![format!("{missing} shards did not go into service in time")]),
            }
        }
        early.into_iter().for_each(|report| self.take(report));
        if let Some(farewell) = options.farewell {
            let signal = if farewell == Farewell::Finish { Signal::SIGUSR1 } else { Signal::SIGTERM };
            signal_all(&options.old_processes, signal);
        }
        self.console.started();
        if let Some(waiting) = waiting {
            waiting.succeed(&streams_in_use(self.fleet.model())).map_err(|error| vec![format!("cannot leave the terminal: {error}")])?;
        }
        self.notifier.ready(&format!("{} frontends, {} servers", self.fleet.model().frontends.len(), self.fleet.model().servers.len()));
        Ok(())
    }
}

/// Standard streams that are log targets and stay open in the background.
fn streams_in_use(model: &Model) -> Vec<i32> {
    let of_proxies = model.frontends.iter().map(|frontend| &frontend.log).chain(model.backends.iter().map(|backend| &backend.log));
    let targets = model.global.log_targets.iter().chain(of_proxies.flat_map(|log| &log.targets));
    let number = |destination: &LogDestination| if let LogDestination::Descriptor(number) = destination { Some(*number) } else { None };
    let numbers: HashMap<i32, ()> = targets.filter_map(|target| number(&target.destination)).map(|number| (number, ())).collect();
    numbers.into_keys().collect()
}

/// Ends this process by a signal's own effect, so that whoever started it sees what ended it, as with HAProxy.
pub fn die_by(signal: Signal) -> i32 {
    let mut set = nix::sys::signal::SigSet::empty();
    set.add(signal);
    // Whoever started this in the background may have had the signal ignored.
    let raised = default_effect(signal).and_then(|()| set.thread_unblock()).and_then(|()| nix::sys::signal::raise(signal));
    // Only reached when something failed.
    128 + raised.map_or_else(|error: Errno| error as i32, |()| signal as i32)
}

/// Gives a signal its own effect back.
#[allow(unsafe_code)]
fn default_effect(signal: Signal) -> Result<(), Errno> {
    // SAFETY: no handler is installed, only the kernel's own effect.
    unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_read_from_the_kernels_list() {
        assert_eq!(allowed_cpus("Name:\tx\nCpus_allowed_list:\t0-2,5,7-8\n"), [0, 1, 2, 5, 7, 8]);
        assert_eq!(allowed_cpus("Cpus_allowed_list:\tnonsense"), Vec::<usize>::new());
        assert_eq!(allowed_cpus(""), Vec::<usize>::new());
    }
}
