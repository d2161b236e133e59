//! Reload in place: the configuration is read and checked on a thread of its own, everything new is opened, and only then does anything
//! change. A reload that fails says why and changes nothing.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use nix::sys::eventfd::{EfdFlags, EventFd};
use ringmain_engine::mailbox::Mail;
use ringmain_model::{FrontendId, Level, Model};

use super::core::{Channels, Core};
use super::fleet::{FrontendService, needs_restart};
use super::limits;
use super::listen::{self, KeyedSockets, Neighbours};
use super::load::Outcome;
use super::privileges::gives_up_rights;
use super::registry::Proposal;
use super::state::{Phase, ReloadResult, host_name};
use super::timers::Timer;
use super::variables;
use crate::runtime::{ControlContext, Prepared};

/// A reload on its way.
#[derive(Debug)]
pub struct Reloading {
    bell: Arc<EventFd>,
    sender: Sender<Outcome>,
    loaded: Receiver<Outcome>,
    /// One is being read, or shards have yet to take it.
    busy: bool,
    /// Another was asked for meanwhile: files may have changed since they were read.
    again: bool,
    /// The generation that shards have yet to take, by shard.
    awaited: Vec<Option<u64>>,
}

/// What a reload has opened before it changes anything.
struct Ready {
    proposal: Proposal,
    sockets: KeyedSockets,
    runtime: Prepared,
    warnings: Vec<String>,
}

impl Reloading {
    /// Nothing is on its way.
    ///
    /// # Errors
    /// When there is no eventfd to be had.
    pub fn new(shards: usize) -> nix::Result<Self> {
        let bell = Arc::new(EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let (sender, loaded) = crossbeam_channel::bounded(1);
        Ok(Self { bell, sender, loaded, busy: false, again: false, awaited: vec![None; shards] })
    }

    /// Becomes readable when the configuration has been read.
    pub fn bell(&self) -> &EventFd {
        &self.bell
    }
}

impl Core {
    /// Begins a reload, or remembers that another one is wanted when one is on its way.
    pub(super) fn start_reload(&mut self) {
        if self.state.phase != Phase::Running {
            return self.announce(Level::Notice, "Reload ignored: the process is stopping.");
        }
        if self.reloading.busy {
            self.reloading.again = true;
            return;
        }
        self.notifier.reloading(ringmain_engine::ring::now_us());
        self.state.reloads.last = ReloadResult::Running;
        let (loader, sender, bell) = (self.loader.clone(), self.reloading.sender.clone(), self.reloading.bell.clone());
        let thread = std::thread::Builder::new().name("reload".into()).spawn(move || {
            // The control thread lives as long as this one; there is room for the one result.
            let _ = sender.send(loader.load());
            let _ = bell.write(1);
        });
        self.reloading.busy = true;
        if let Err(error) = thread {
            self.fail(&format!("cannot start a thread to read the configuration: {error}"));
        }
    }

    /// Takes what was read, if something was.
    pub(super) fn take_loaded(&mut self) {
        let Ok(outcome) = self.reloading.loaded.try_recv() else { return };
        // What this turn has left to do names servers and frontends by their places in the model that is about to go.
        self.carry_out_effects();
        let Some(model) = outcome.model else {
            let mut reason = outcome.findings;
            if gives_up_rights(&self.fleet.model().global) {
                reason.push_str(
                    "The configuration is read with the rights and in the root directory that the process has after 'user', 'group' and \
                     'chroot': files that only root may read, or that lie outside, cannot be reloaded.\n",
                );
            }
            return self.fail(&reason);
        };
        if self.state.phase != Phase::Running {
            return self.fail("the process is stopping");
        }
        match self.prepare(model) {
            Ok(ready) => self.switch(ready, &outcome.findings),
            Err(reason) => self.fail(&reason),
        }
    }

    /// Opens everything that the new configuration adds. Nothing has changed when it fails.
    fn prepare(&mut self, mut model: Model) -> Result<Ready, String> {
        let current = self.fleet.model().clone();
        let mut warnings = needs_restart(&current, &model);
        keep_fixed_settings(&current, &mut model);
        let descriptors = limits::fit_descriptors(&mut model)?;
        warnings.extend(descriptors.warning);
        self.state.descriptor_limit = descriptors.limit.max(self.state.descriptor_limit);
        let proposal = self.registry.propose(Arc::new(model));
        let model = &proposal.generation.model;
        warnings.extend(self.listeners.changed(&current, model, &proposal.listeners));
        let runtime = self.runtime.prepare(&model.global).map_err(|error| error.to_string())?;
        let missing = self.listeners.missing(model, &proposal.listeners);
        let held = self.listeners.held();
        let sockets =
            listen::open(model, &missing, &held, self.outbox.shards(), Neighbours::Refuse).map_err(|failures| failures.join("\n"))?;
        Ok(Ready { proposal, sockets, runtime, warnings })
    }

    /// Makes the new configuration the current one.
    fn switch(&mut self, ready: Ready, findings: &str) {
        let Ready { proposal, sockets, runtime, mut warnings } = ready;
        let old_maxconn = self.fleet.model().global.maxconn;
        let (generation, listeners) = self.registry.accept(proposal);
        let channels = Channels::new(&generation.model, &self.state.program);
        warnings.extend(self.logs.open(&channels.all(&generation)));
        self.channels = channels;
        self.runtime.adopt(runtime);
        self.fleet.adopt(generation.clone());
        self.checks.forget_missing(&self.fleet);
        self.listeners.replace(listeners);
        let global = &generation.model.global;
        if global.maxconn != old_maxconn {
            self.state.process.sessions.set_limit(global.maxconn);
        }
        self.state.describe(&generation, self.fleet.now_ms());
        variables::set(&generation, &host_name());
        self.publish(sockets);
        self.rest_paused();
        self.refresh_local_time();
        self.change_state_file();
        self.reloading.awaited.fill(Some(generation.number));
        if let Some(limit) = global.hard_stop_after {
            self.timers.add(self.fleet.now_ms() + limit.get(), Timer::GenerationsEnd(generation.number));
        }
        if !findings.is_empty() {
            self.console.raw(findings);
        }
        for warning in warnings {
            self.announce(Level::Warning, &format!("Reload: {warning}."));
        }
    }

    /// Frontends that rest go on resting with listeners that are new.
    fn rest_paused(&mut self) {
        for index in 0..self.fleet.model().frontends.len() {
            let id = FrontendId::new(index);
            if self.fleet.frontend(id).service == FrontendService::Paused {
                self.apply_service(id);
            }
        }
    }

    fn refresh_local_time(&mut self) {
        let local_time = Arc::new(crate::log::local_time());
        self.logs.set_local_time(local_time.clone());
        self.outbox.broadcast(|| Mail::SetLocalTime(local_time.clone()));
    }

    /// A shard runs a generation now; with the last one the reload is over.
    pub(super) fn on_adopted(&mut self, shard: usize, generation: u64) {
        let Some(awaited) = self.reloading.awaited.get_mut(shard).filter(|awaited| **awaited == Some(generation)) else { return };
        *awaited = None;
        if self.reloading.busy && self.reloading.awaited.iter().all(Option::is_none) {
            self.state.reloads.succeeded += 1;
            let text = format!("Reload succeeded: generation {generation} is in service.");
            self.end_reload(ReloadResult::Published(generation), Level::Notice, &text, &text.clone());
        }
    }

    fn fail(&mut self, reason: &str) {
        self.state.reloads.failed += 1;
        let first = reason.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
        let line = format!("Reload failed, nothing has changed: {first}");
        let whole = format!("Reload failed, nothing has changed:\n{}", reason.trim_end());
        self.end_reload(ReloadResult::Failed(reason.to_string()), Level::Alert, &line, &whole);
    }

    /// Says how a reload ended to everybody who wants to know, and begins the next one if it was asked for.
    fn end_reload(&mut self, result: ReloadResult, level: Level, line: &str, whole: &str) {
        self.reloading.busy = false;
        self.state.reloads.last = result;
        self.state.reloads.last_ended = Some(std::time::SystemTime::now());
        self.reporter.report(&self.channels.global, level, line);
        if level == Level::Alert {
            self.console.alert(whole);
        } else {
            self.console.notice(whole);
        }
        self.notifier.ready(line);
        let mut context = ControlContext { fleet: &mut self.fleet, state: &mut self.state, averages: &mut self.averages };
        self.runtime.reload_finished(whole, &mut context);
        if std::mem::take(&mut self.reloading.again) {
            self.start_reload();
        }
    }
}

/// What belongs to the process as it was started stays as it is.
fn keep_fixed_settings(current: &Model, model: &mut Model) {
    let (fixed, global) = (&current.global, &mut model.global);
    global.shards = fixed.shards;
    global.shard_cpus.clone_from(&fixed.shard_cpus);
    (global.uid, global.gid) = (fixed.uid, fixed.gid);
    global.chroot.clone_from(&fixed.chroot);
    global.pidfile.clone_from(&fixed.pidfile);
    global.daemon = fixed.daemon;
}
