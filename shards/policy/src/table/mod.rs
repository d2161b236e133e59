//! Stick tables.

/// A key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(smallvec::SmallVec<[u8; 32]>);
