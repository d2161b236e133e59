//! What operators want of a server: maintenance and drain, its own or inherited from the server that it tracks.

/// A set of administrative wishes. Numeric values are HAProxy's in `show servers state`, column `srv_admin_state`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Admin(u8);

impl Admin {
    /// Maintenance asked for this server.
    pub const FORCED_MAINTENANCE: Self = Self(0x01);
    /// Maintenance inherited from the tracked server.
    pub const INHERITED_MAINTENANCE: Self = Self(0x02);
    /// Maintenance by `disabled` in the configuration; set together with `FORCED_MAINTENANCE`.
    pub const CONFIGURED_MAINTENANCE: Self = Self(0x04);
    /// Drain asked for this server.
    pub const FORCED_DRAIN: Self = Self(0x08);
    /// Drain inherited from the tracked server.
    pub const INHERITED_DRAIN: Self = Self(0x10);
    /// Maintenance for want of an address.
    pub const UNRESOLVED: Self = Self(0x20);

    /// All reasons to be in maintenance.
    pub const MAINTENANCE: Self = Self(0x01 | 0x02 | 0x04 | 0x20);
    /// All reasons to drain.
    pub const DRAIN: Self = Self(0x08 | 0x10);

    /// Whether any of `flags` is set.
    pub fn has(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// With `flags` set.
    pub fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    /// With `flags` cleared.
    pub fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }

    /// In maintenance for whatever reason: no sessions, no checks.
    pub fn in_maintenance(self) -> bool {
        self.has(Self::MAINTENANCE)
    }

    /// Drains, for whatever reason: no new sessions by balancing.
    pub fn drains(self) -> bool {
        self.has(Self::DRAIN)
    }

    /// HAProxy's number.
    pub const fn bits(self) -> u8 {
        self.0
    }
}
