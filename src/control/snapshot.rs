//! Stick tables over restarts (`state-file`): read before the first connection is accepted, written every few minutes and at the end.
//!
//! `start`, `core`, `reload` and `stop` call this on their occasions. A thread of its own talks to the disk, so that the control loop goes
//! on; a file that is damaged or cannot be written is told and keeps nobody from serving.

mod file;
mod transfer;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use ringmain_model::Level;

use super::core::Core;
use super::memory;
use super::state::Phase;
use super::timers::Timer;
use file::StateFile;

/// How often tables are saved while they have entries.
const INTERVAL_MS: u64 = 5 * 60 * 1000;
/// Pause between two pages while there are sessions to serve.
const PAUSE: Duration = Duration::from_millis(1);
/// How long the last save may take, and the one that it waits for.
const LAST_PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two looks at the last save.
const LOOK_PAUSE: Duration = Duration::from_millis(1);

/// Into which file and how many entries, or why not.
type Saved = (Arc<StateFile>, Result<u64, String>);

/// The state file and what is being done with it.
#[derive(Debug)]
pub struct Snapshots {
    file: Option<Arc<StateFile>>,
    /// What `open_state_file` has read for `restore_tables`.
    bytes: Option<Vec<u8>>,
    sender: Sender<Saved>,
    saved: Receiver<Saved>,
    /// A thread is writing.
    busy: bool,
    /// Another save is wanted after this one: into another file.
    again: bool,
    /// The file holds entries, so that it is written once more when the tables are empty.
    holds_entries: bool,
}

impl Default for Snapshots {
    fn default() -> Self {
        let (sender, saved) = crossbeam_channel::bounded(1);
        Self { file: None, bytes: None, sender, saved, busy: false, again: false, holds_entries: false }
    }
}

impl Core {
    /// Opens the state file with the rights of the start.
    pub(super) fn open_state_file(&mut self) {
        let Some(path) = self.fleet.model().global.state_file.clone() else { return };
        match StateFile::open(&path) {
            Ok(file) => {
                match file.read() {
                    Ok(bytes) => self.snapshots.bytes = bytes,
                    Err(error) => self.warn_of(&path, &format!("cannot be read, stick tables start empty: {error}")),
                }
                self.snapshots.file = Some(Arc::new(file));
            }
            Err(error) => self.warn_of(&path, &format!("cannot be used, stick tables are not kept: {error}")),
        }
    }

    /// Puts back what was read, with the rights that are left.
    pub(super) fn restore_tables(&mut self) {
        let Some(file) = self.snapshots.file.clone() else { return };
        if let Some(bytes) = self.snapshots.bytes.take() {
            match transfer::restore(&bytes, &self.state.tables, &self.fleet.generation().tables) {
                Ok(count) => {
                    self.snapshots.holds_entries = count > 0;
                    self.announce(Level::Notice, &format!("Stick tables: {count} entries restored from '{}'.", file.path().display()));
                }
                Err(reason) => self.warn_of(file.path(), &format!("cannot be restored, stick tables start empty: {reason}")),
            }
            drop(bytes);
            memory::give_back();
        }
        self.keep(file);
    }

    /// Takes up another state file after a reload.
    pub(super) fn change_state_file(&mut self) {
        let path = self.fleet.model().global.state_file.clone();
        if self.snapshots.file.as_ref().map(|file| file.path()) == path.as_deref() {
            return;
        }
        self.snapshots.file = None;
        self.snapshots.holds_entries = false;
        let Some(path) = path else { return };
        match StateFile::open(&path) {
            Ok(file) => {
                self.keep(Arc::new(file));
                self.save_tables();
            }
            Err(error) => self.warn_of(&path, &format!("cannot be used, stick tables are not kept: {error}")),
        }
    }

    /// Saves into this file from now on, if that is possible.
    fn keep(&mut self, file: Arc<StateFile>) {
        if let Err(error) = file.replace() {
            self.warn_of(file.path(), &format!("cannot be written, stick tables are not kept: {error}"));
        }
        // Whatever is wrong may be put right while the process runs.
        self.snapshots.file = Some(file);
        self.timers.add_once(self.fleet.now_ms() + INTERVAL_MS, Timer::SaveTables);
    }

    /// It is time to save.
    pub(super) fn on_save_timer(&mut self) {
        // When the process ends its successor may have the file already.
        if self.snapshots.file.is_some() && self.state.phase == Phase::Running {
            self.save_tables();
            self.timers.add_once(self.fleet.now_ms() + INTERVAL_MS, Timer::SaveTables);
        }
    }

    fn save_tables(&mut self) {
        if self.snapshots.busy {
            self.snapshots.again = true;
            return;
        }
        self.start_saving(PAUSE);
    }

    /// Starts the thread, unless there is nothing to save.
    fn start_saving(&mut self, pause: Duration) {
        let Some(file) = self.snapshots.file.clone() else { return };
        let lives = self.fleet.generation().tables.clone();
        if !self.snapshots.holds_entries && lives.iter().all(|live| live.entries() == 0) {
            return;
        }
        let (tables, sender, control) = (self.state.tables.clone(), self.snapshots.sender.clone(), self.control_port.clone());
        let path = file.path().to_path_buf();
        let thread = std::thread::Builder::new().name("tables".into()).spawn(move || {
            // There is room for the one result.
            let saved = transfer::save(&file, &tables, &lives, pause);
            let _ = sender.send((file, saved));
            let _ = control.bell().write(1);
        });
        self.snapshots.busy = true;
        if let Err(error) = thread {
            self.snapshots.busy = false;
            self.warn_of(&path, &format!("is not written: cannot start a thread: {error}"));
        }
    }

    /// Notes how a save ended, if one has.
    pub(super) fn take_saved(&mut self) {
        let Ok((file, saved)) = self.snapshots.saved.try_recv() else { return };
        self.snapshots.busy = false;
        match saved {
            Ok(count) if self.snapshots.file.as_ref().is_some_and(|current| Arc::ptr_eq(current, &file)) => {
                self.snapshots.holds_entries = count > 0;
            }
            Ok(_) => {}
            Err(reason) => self.warn_of(file.path(), &format!("is not written: {reason}")),
        }
        if std::mem::take(&mut self.snapshots.again) {
            self.save_tables();
        }
    }

    /// Saves once more before the shards end.
    pub(super) fn save_last(&mut self) {
        let Some(file) = self.snapshots.file.clone() else { return };
        let deadline = Instant::now() + LAST_PATIENCE;
        self.snapshots.again = false;
        self.wait_until_saved(deadline);
        if file.is_somebody_elses() {
            let text = format!("State file '{}' was written by another process and is left as it is.", file.path().display());
            return self.announce(Level::Notice, &text);
        }
        if !self.snapshots.busy {
            self.start_saving(Duration::ZERO);
            self.wait_until_saved(deadline);
        }
        if self.snapshots.busy {
            self.warn_of(file.path(), "is not written: it takes too long");
        }
    }

    fn wait_until_saved(&mut self, deadline: Instant) {
        while self.snapshots.busy && Instant::now() < deadline {
            self.take_saved();
            self.outbox.retry();
            // Shards whose reports nobody takes may not go on.
            while self.reports.try_recv().is_ok() {}
            std::thread::sleep(LOOK_PAUSE);
        }
    }

    fn warn_of(&mut self, path: &Path, what: &str) {
        self.announce(Level::Warning, &format!("State file '{}' {what}.", path.display()));
    }
}
