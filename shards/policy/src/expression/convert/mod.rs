//! Converters, one file per family. Each family is a list of entries that `registry` joins.

mod text;

use super::registry::ConverterEntry;

/// All families.
pub(super) const FAMILIES: &[&[ConverterEntry]] = &[text::ENTRIES];
