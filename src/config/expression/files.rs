//! Files that expressions name: patterns (`-f`) and maps. Read at load, once each, with bounds; a shard never reads one.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most bytes of all files together: 256 MiB.
const TOTAL_SIZE_LIMIT: usize = 256 << 20;
/// Most lines of one file.
const LINE_COUNT_LIMIT: usize = 4_000_000;

/// The files read so far.
#[derive(Debug, Default)]
pub struct Files {
    directory: Option<PathBuf>,
    texts: HashMap<Arc<str>, Arc<str>>,
    size: usize,
}

impl Files {
    /// Nothing read yet; relative names start at the directory (`-C`), if there is one.
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self { directory, texts: HashMap::new(), size: 0 }
    }

    /// The text of a file.
    ///
    /// # Errors
    /// A sentence that says why it cannot be used.
    pub fn read(&mut self, name: &str) -> Result<Arc<str>, String> {
        if let Some(text) = self.texts.get(name) {
            return Ok(text.clone());
        }
        let path = self.directory.as_ref().map_or_else(|| PathBuf::from(name), |directory| directory.join(name));
        let text = read_bounded(&path, TOTAL_SIZE_LIMIT.saturating_sub(self.size)).map_err(|why| format!("cannot read '{name}': {why}"))?;
        if text.lines().count() > LINE_COUNT_LIMIT {
            return Err(format!("cannot use '{name}': it has more than {LINE_COUNT_LIMIT} lines"));
        }
        self.size += text.len();
        let text: Arc<str> = text.into();
        self.texts.insert(name.into(), text.clone());
        Ok(text)
    }
}

/// The lines of a file that say something, with their numbers from 1: not empty ones and not comments. Blanks at the beginning do not count.
pub fn entries(text: &str) -> impl Iterator<Item = (usize, &str)> {
    // A pattern may begin with '#' when a blank stands in front of it.
    let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#'));
    let lines = lines.map(|(index, line)| (index + 1, line.trim_start_matches([' ', '\t']).trim_end_matches('\r')));
    lines.filter(|(_, line)| !line.is_empty())
}

/// A line of a map: its key and its value, blanks around both taken away.
pub fn key_and_value(line: &str) -> (&str, &str) {
    let (key, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    (key, value.trim_matches([' ', '\t']))
}

fn read_bounded(path: &Path, room: usize) -> Result<String, String> {
    // A pipe or a terminal would hold up the load. The null device is a common way to say "nothing".
    let kind = fs::metadata(path).map_err(|error| plain(&error))?;
    if !kind.is_file() && path != Path::new("/dev/null") {
        return Err("it is not a regular file".into());
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| plain(&error))?;
    file.take(room as u64 + 1).read_to_end(&mut bytes).map_err(|error| plain(&error))?;
    if bytes.len() > room {
        return Err(format!("the files of patterns and maps are larger than {} MiB in all", TOTAL_SIZE_LIMIT >> 20));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or(&[]);
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8 text")
    })
}

/// The system's words for an error, without Rust's "(os error 2)".
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_say_something() {
        let text = "\n# comment\n  10.0.0.0/8 office  \r\n\tlast\n #x";
        assert_eq!(entries(text).collect::<Vec<_>>(), [(3, "10.0.0.0/8 office  "), (4, "last"), (5, "#x")]);
        assert_eq!(key_and_value("10.0.0.0/8  the office "), ("10.0.0.0/8", "the office"));
        assert_eq!(key_and_value("key"), ("key", ""));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let directory = tempfile::tempdir().expect("temporary directory");
        fs::write(directory.path().join("latin"), b"ok\ncaf\xe9\n").expect("written");
        fs::write(directory.path().join("list"), "a\nb\n").expect("written");
        let mut files = Files::new(Some(directory.path().to_owned()));
        assert_eq!(files.read("absent"), Err("cannot read 'absent': No such file or directory".into()));
        assert_eq!(files.read("latin"), Err("cannot read 'latin': line 2 is not UTF-8 text".into()));
        assert_eq!(files.read("."), Err("cannot read '.': it is not a regular file".into()));
        assert_eq!(files.read("list").as_deref(), Ok("a\nb\n"));
        fs::remove_file(directory.path().join("list")).expect("removed");
        assert_eq!(files.read("list").as_deref(), Ok("a\nb\n"), "read once");
        assert_eq!(files.read("/dev/null").as_deref(), Ok(""));
    }
}
