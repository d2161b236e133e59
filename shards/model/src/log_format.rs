//! Log formats compiled at load: a program of literal text and variables that a shard renders without looking up a name.

/// One compiled `log-format`, `log-format-sd` or `error-log-format` string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFormat {
    /// The format as written, for `convert` and messages; the built-in formats have HAProxy's equivalent string.
    pub source: String,
}
