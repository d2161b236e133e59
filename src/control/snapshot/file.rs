//! The state file on disk: read as a whole, replaced as a whole. Whoever dies while writing leaves the old file as it was.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, renameat};
use nix::sys::signal::kill;
use nix::sys::stat::Mode;
use nix::unistd::{Pid, UnlinkatFlags, unlinkat};

/// A state file. Its directory stays open, so that it can be replaced after a chroot and without rights on the way to it.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    name: OsString,
    directory: OwnedFd,
    /// What this process has found or written last.
    last: Mutex<Option<Version>>,
}

/// One of the files that stood under the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    inode: u64,
    modified: (i64, i64),
}

impl Version {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { inode: metadata.ino(), modified: (metadata.mtime(), metadata.mtime_nsec()) })
    }
}

impl StateFile {
    /// Opens the directory; the file itself need not be there. Removes what processes that died while writing have left.
    ///
    /// # Errors
    /// When the path names no file, or its directory cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(Errno::EISDIR)?.to_os_string();
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let directory = open(parent, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let file = Self { path: path.to_path_buf(), name, directory, last: Mutex::default() };
        file.remove_leftovers(parent);
        if let Ok(Some(current)) = file.current() {
            file.remember(&current)?;
        }
        Ok(file)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All of it; `None` when there is no such file.
    ///
    /// # Errors
    /// When it cannot be read, or is no ordinary file.
    pub fn read(&self) -> io::Result<Option<Vec<u8>>> {
        let Some(mut file) = self.current()? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Whether another process has replaced the file since this one opened or wrote it.
    pub fn is_somebody_elses(&self) -> bool {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current().ok().flatten().and_then(|file| Version::of(&file).ok());
        current.is_some() && current != last
    }

    /// Begins a new content.
    ///
    /// # Errors
    /// When no file can be made in the directory.
    pub fn replace(&self) -> io::Result<Replacement<'_>> {
        let name = self.temporary(std::process::id());
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(self.directory.as_fd(), name.as_os_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        Ok(Replacement { target: self, name, file: file.into(), stands: false })
    }

    fn current(&self) -> io::Result<Option<File>> {
        // Whoever opens a FIFO must not wait for its other end.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file: File = match openat(self.directory.as_fd(), self.name.as_os_str(), flags, Mode::empty()) {
            Ok(file) => file.into(),
            Err(Errno::ENOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no ordinary file"));
        }
        Ok(Some(file))
    }

    fn remember(&self, file: &File) -> io::Result<()> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Version::of(file)?);
        Ok(())
    }

    /// `NAME.PID.new`: processes that replace one another do not write into the same file.
    fn temporary(&self, process: u32) -> OsString {
        let mut name = self.name.clone();
        name.push(format!(".{process}.new"));
        name
    }

    fn remove_leftovers(&self, parent: &Path) {
        let Ok(entries) = std::fs::read_dir(parent) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let process = writer_of(&name, &self.name).and_then(|process| i32::try_from(process).ok());
            if process.is_some_and(|process| kill(Pid::from_raw(process), None) == Err(Errno::ESRCH)) {
                // If it stays it is in nobody's way.
                let _ = unlinkat(self.directory.as_fd(), name.as_os_str(), UnlinkatFlags::NoRemoveDir);
            }
        }
    }
}

/// The process that wrote the temporary file of this name.
fn writer_of(name: &OsStr, target: &OsStr) -> Option<u32> {
    let rest = name.to_str()?.strip_prefix(target.to_str()?)?;
    rest.strip_prefix('.')?.strip_suffix(".new")?.parse().ok()
}

/// A new content on its way. Dropped before `finish` it leaves nothing behind.
#[derive(Debug)]
pub(super) struct Replacement<'a> {
    target: &'a StateFile,
    name: OsString,
    file: File,
    stands: bool,
}

impl Replacement<'_> {
    /// Adds bytes.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Puts the new content in the old one's place once it is safely on the disk.
    ///
    /// # Errors
    /// Those of the disk; the old content stands then.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        let directory = self.target.directory.as_fd();
        renameat(directory, self.name.as_os_str(), directory, self.target.name.as_os_str())?;
        self.stands = true;
        self.target.remember(&self.file)?;
        nix::unistd::fsync(directory)?;
        Ok(())
    }
}

impl Drop for Replacement<'_> {
    fn drop(&mut self) {
        if !self.stands {
            // If it stays the next start removes it.
            let _ = unlinkat(self.target.directory.as_fd(), self.name.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).expect("a directory").flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn write(file: &StateFile, bytes: &[u8]) {
        let mut replacement = file.replace().expect("a new file");
        replacement.write(bytes).expect("room");
        replacement.finish().expect("replaced");
    }

    #[test]
    fn the_old_content_stands_until_the_new_one_is_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("tables");
        let file = StateFile::open(&path).expect("a directory");
        assert_eq!(file.read().expect("no error"), None);
        write(&file, b"old");
        let mut replacement = file.replace().expect("a new file");
        replacement.write(b"ne").expect("room");
        assert_eq!(std::fs::read(&path).expect("a file"), b"old");
        drop(replacement);
        assert_eq!(names(directory.path()), ["tables"]);
        write(&file, b"new");
        assert_eq!(file.read().expect("no error").as_deref(), Some(&b"new"[..]));
        assert_eq!(names(directory.path()), ["tables"]);
        assert_eq!(path.metadata().expect("a file").mode() & 0o777, 0o600);
    }

    #[test]
    fn leftovers_of_dead_processes_are_removed_and_nothing_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut child = std::process::Command::new("true").spawn().expect("a process");
        let dead = child.id();
        child.wait().expect("its end");
        let alive = std::process::id();
        let other = format!("tables.{dead}.old");
        let living = format!("tables.{alive}.new");
        for name in [&format!("tables.{dead}.new"), &living, &other, "tables.x.new", "tables"] {
            std::fs::write(directory.path().join(name), "x").expect("a file");
        }
        StateFile::open(&directory.path().join("tables")).expect("a directory");
        let mut expected = ["tables", "tables.x.new", &living, &other].map(str::to_string);
        expected.sort();
        assert_eq!(names(directory.path()), expected);
    }

    #[test]
    fn what_another_process_wrote_is_known() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("tables");
        let [old, new] = [(); 2].map(|()| StateFile::open(&path).expect("a directory"));
        assert!(!old.is_somebody_elses(), "there is none");
        write(&old, b"old");
        assert!(!old.is_somebody_elses() && new.is_somebody_elses());
        let new = StateFile::open(&path).expect("a directory");
        assert!(!new.is_somebody_elses());
        write(&new, b"new");
        assert!(old.is_somebody_elses() && !new.is_somebody_elses());
    }

    #[test]
    fn only_ordinary_files_are_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("tables");
        nix::unistd::mkfifo(&path, Mode::S_IRUSR).expect("a fifo");
        assert!(StateFile::open(&path).expect("a directory").read().is_err());
        assert!(StateFile::open(directory.path()).expect("a directory").read().is_err());
        assert!(StateFile::open(&path.join("x")).is_err());
        assert!(StateFile::open(Path::new("/")).is_err());
    }
}
