//! Reads configuration texts: files, directories and standard input, in the order given, with bounded size.
//!
//! Called by `load`. Knows which language a file is written in by its name; never looks at what it says.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostics, SourceId, Sources, Span};

/// Most bytes of configuration text in one load, all files together: 64 MiB. A million servers need less.
pub const TOTAL_SIZE_LIMIT: usize = 64 << 20;
/// Most files in one load.
pub const FILE_COUNT_LIMIT: usize = 10_000;

/// Which texts to load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The arguments of `-f`, in order: files, directories, `-` for standard input.
    pub paths: Vec<PathBuf>,
    /// `-C`: relative paths start here instead of the working directory.
    pub directory: Option<PathBuf>,
}

/// The language of one text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// HAProxy's configuration language: any file whose name does not end in `.toml`.
    Haproxy,
    /// Ringmain's own: files named `*.toml`.
    Toml,
}

impl Language {
    /// The language that a file's name announces.
    pub fn of(path: &Path) -> Self {
        if path.extension().is_some_and(|extension| extension == "toml") { Self::Toml } else { Self::Haproxy }
    }
}

/// One text that was read and is kept in `Sources`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    /// The text.
    pub source: SourceId,
    /// Its language.
    pub language: Language,
}

/// Reads everything that was asked for; what cannot be read is reported and left out.
///
/// A directory stands for its files named `*.cfg` and `*.toml`, in byte order of their names, without hidden files and subdirectories, as
/// HAProxy does (management guide section 3, option `-f`).
pub fn read(request: &Request, sources: &mut Sources, diagnostics: &mut Diagnostics) -> Vec<Input> {
    let files = list_files(request, diagnostics);
    if files.is_empty() && !diagnostics.failed() {
        diagnostics.error(None, "no configuration file to read").help("name one with '-f FILE'");
    }
    let mut room = TOTAL_SIZE_LIMIT;
    let mut inputs = Vec::new();
    for file in files {
        match read_bounded(&file, room) {
            Ok(Some(bytes)) => {
                room -= bytes.len();
                inputs.extend(keep(&file, bytes, sources, diagnostics));
            }
            Ok(None) => {
                let limit = TOTAL_SIZE_LIMIT >> 20;
                diagnostics.error(None, format!("cannot read '{}': the configuration is larger than {limit} MiB in all", file.name));
                break;
            }
            Err(error) => {
                diagnostics.error(None, format!("cannot read '{}': {}", file.name, plain(&error)));
            }
        }
    }
    inputs
}

/// One file to read.
struct File {
    /// As given or as found in a directory, for messages.
    name: String,
    /// Where it is; `None` is standard input.
    path: Option<PathBuf>,
}

fn list_files(request: &Request, diagnostics: &mut Diagnostics) -> Vec<File> {
    let mut files = Vec::new();
    for given in &request.paths {
        if given.as_os_str() == "-" {
            files.push(File { name: "-".into(), path: None });
            continue;
        }
        let path = request.directory.as_ref().map_or_else(|| given.clone(), |directory| directory.join(given));
        if path.is_dir() {
            match list_directory(given, &path) {
                Ok(found) if found.is_empty() => {
                    diagnostics.warning(None, format!("directory '{}' has no file named '*.cfg' or '*.toml'", given.display()));
                }
                Ok(found) => files.extend(found),
                Err(error) => {
                    diagnostics.error(None, format!("cannot read directory '{}': {}", given.display(), plain(&error)));
                }
            }
        } else {
            files.push(File { name: given.display().to_string(), path: Some(path) });
        }
    }
    if files.len() > FILE_COUNT_LIMIT {
        diagnostics.error(None, format!("more than {FILE_COUNT_LIMIT} configuration files"));
        files.truncate(FILE_COUNT_LIMIT);
    }
    files
}

fn list_directory(given: &Path, path: &Path) -> io::Result<Vec<File>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        let wanted = Path::new(&name).extension().is_some_and(|extension| extension == "cfg" || extension == "toml");
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if wanted && !hidden && path.join(&name).is_file() {
            names.push(name);
        }
    }
    names.sort_unstable_by(|left, right| left.as_encoded_bytes().cmp(right.as_encoded_bytes()));
    let file = |name| File { name: given.join(&name).display().to_string(), path: Some(path.join(&name)) };
    Ok(names.into_iter().map(file).collect())
}

/// The bytes of a file, or `None` when there are more than `room`.
fn read_bounded(file: &File, room: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let limit = room as u64 + 1;
    match &file.path {
        Some(path) => fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?,
        None => io::stdin().lock().take(limit).read_to_end(&mut bytes)?,
    };
    Ok((bytes.len() <= room).then_some(bytes))
}

fn keep(file: &File, bytes: Vec<u8>, sources: &mut Sources, diagnostics: &mut Diagnostics) -> Option<Input> {
    match String::from_utf8(bytes) {
        Ok(text) => {
            // Some editors put a byte order mark in front, which means nothing in UTF-8.
            let source = sources.add(&file.name, text.strip_prefix('\u{feff}').unwrap_or(&text));
            Some(Input { source, language: Language::of(Path::new(&file.name)) })
        }
        Err(error) => {
            // Everything before the first bad byte is valid, so its offset is the same in the readable copy.
            let start = error.utf8_error().valid_up_to() as u32;
            let source = sources.add(&file.name, &String::from_utf8_lossy(error.as_bytes()));
            let replacement_length = 3;
            diagnostics
                .error(Span { source, start, end: start + replacement_length }, "this file is not UTF-8 text")
                .label("first byte that is not UTF-8")
                .help("convert the file, for example with 'iconv -f latin1 -t utf-8'");
            None
        }
    }
}

/// The system's words for an error, without Rust's "(os error 2)".
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(paths: &[&str], directory: &Path) -> Request {
        Request { paths: paths.iter().map(PathBuf::from).collect(), directory: Some(directory.to_owned()) }
    }

    fn names(inputs: &[Input], sources: &Sources) -> Vec<String> {
        inputs.iter().map(|input| sources.get(input.source).expect("kept").name.to_string()).collect()
    }

    #[test]
    fn a_directory_stands_for_its_configuration_files_in_byte_order() {
        let directory = tempfile::tempdir().expect("temporary directory");
        for name in ["b.cfg", "a.toml", "Z.cfg", "note.txt", ".hidden.cfg", "x.cfg~"] {
            fs::write(directory.path().join(name), name).expect("written");
        }
        fs::create_dir(directory.path().join("sub.cfg")).expect("created");
        fs::write(directory.path().join("last"), "\u{feff}last").expect("written");
        let (mut sources, mut diagnostics) = Default::default();
        let inputs = read(&request(&["last", "."], directory.path()), &mut sources, &mut diagnostics);
        assert_eq!(names(&inputs, &sources), ["last", "./Z.cfg", "./a.toml", "./b.cfg"]);
        assert_eq!(inputs[2].language, Language::Toml);
        assert_eq!(inputs[0].language, Language::Haproxy);
        assert_eq!(sources.get(inputs[0].source).map(|source| &*source.text), Some("last"), "without byte order mark");
        assert!(diagnostics.list().is_empty(), "{diagnostics:?}");
    }

    #[test]
    fn what_cannot_be_read_is_said_and_the_rest_is_read() {
        let directory = tempfile::tempdir().expect("temporary directory");
        fs::write(directory.path().join("latin.cfg"), b"global\n  description caf\xe9\n").expect("written");
        fs::write(directory.path().join("good.cfg"), "global\n").expect("written");
        let (mut sources, mut diagnostics) = Default::default();
        let inputs = read(&request(&["absent.cfg", "latin.cfg", "good.cfg"], directory.path()), &mut sources, &mut diagnostics);
        assert_eq!(names(&inputs, &sources), ["good.cfg"]);
        assert_eq!(diagnostics.list()[0].message, "cannot read 'absent.cfg': No such file or directory");
        let span = diagnostics.list()[1].span.expect("has a place");
        assert_eq!((span.start, &*sources.location(span)), (24, "latin.cfg:2"));
    }

    #[test]
    fn endless_input_is_refused_at_the_limit() {
        let (mut sources, mut diagnostics) = Default::default();
        let inputs = read(&request(&["/dev/zero"], Path::new("/")), &mut sources, &mut diagnostics);
        assert!(inputs.is_empty());
        assert_eq!(diagnostics.list()[0].message, "cannot read '/dev/zero': the configuration is larger than 64 MiB in all");
    }

    #[test]
    fn nothing_to_read_is_an_error() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (mut sources, mut diagnostics) = Default::default();
        assert!(read(&request(&["."], directory.path()), &mut sources, &mut diagnostics).is_empty());
        assert!(diagnostics.failed());
    }
}
