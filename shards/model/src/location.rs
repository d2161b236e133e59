//! Places in the configuration, kept for messages.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A place in the configuration (`file:line`), for messages only.
///
/// All places are equal to each other, so that two models compare by what they mean and not by where it was written: a reload of a file in
/// which lines moved, or of the same configuration in the other language, changes nothing.
#[derive(Clone, Debug, Default)]
pub struct Location(Arc<str>);

impl From<Arc<str>> for Location {
    fn from(text: Arc<str>) -> Self {
        Self(text)
    }
}

impl From<&str> for Location {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl Deref for Location {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl PartialEq for Location {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Location {}
