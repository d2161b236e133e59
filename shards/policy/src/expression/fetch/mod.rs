//! Fetches, one file per family. Each family is a list of entries that `registry` joins.

mod constant;

use super::registry::FetchEntry;

/// All families.
pub(super) const FAMILIES: &[&[FetchEntry]] = &[constant::ENTRIES];
