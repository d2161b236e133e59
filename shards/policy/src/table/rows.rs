//! Whole entries: pages of them, removal by condition, writing and restoring rows.

use super::key::Key;
use super::message::{Answer, CONDITIONS_MAX, Cell, Condition, Filter, Page, Row, Value};
use super::share::Share;

/// Slots that one step of [`Share::page`] or [`Share::remove_some`] looks at.
const SCAN_SLOTS: u32 = 512;
/// Rows of one page at most, whatever was asked for.
const PAGE_ROWS_MAX: u32 = 256;

impl Share {
    /// The entry as a row.
    pub(super) fn row(&mut self, slot: u32) -> Row {
        let idle_ms = self.idle_ms(slot);
        Row {
            key: Key::new(&self.store.key(slot)),
            references: self.references(slot),
            remaining_ms: self.expire_ms.map(|expire| expire.saturating_sub(idle_ms)),
            idle_ms,
            cells: self.cells(slot),
        }
    }

    /// Some rows from `cursor` on. Entries keep their slots, so that one which stays is met exactly once.
    pub(super) fn page(&mut self, cursor: u32, limit: u32, filter: &Filter) -> Page {
        let limit = limit.clamp(1, PAGE_ROWS_MAX) as usize;
        let mut rows = Vec::new();
        let next = self.scan(cursor, |share, slot| {
            if share.meets(slot, filter) {
                rows.push(share.row(slot));
            }
            rows.len() < limit
        });
        Page { rows, next }
    }

    /// Removes some entries from `cursor` on that no session tracks.
    pub(super) fn remove_some(&mut self, cursor: u32, limit: u32, filter: &Filter) -> Answer {
        let mut count = 0;
        let next = self.scan(cursor, |share, slot| {
            if share.references(slot) == 0 && share.meets(slot, filter) {
                share.remove(slot);
                count += 1;
            }
            count < limit.max(1)
        });
        Answer::Removed { count, next }
    }

    /// Visits live entries until `visit` has enough or the step is over; returns where to go on.
    fn scan(&mut self, cursor: u32, mut visit: impl FnMut(&mut Self, u32) -> bool) -> Option<u32> {
        let end = self.store.end();
        for slot in cursor..end.min(cursor.saturating_add(SCAN_SLOTS)) {
            let live = self.store.is_live(slot) && (self.references(slot) > 0 || !self.is_expired(slot));
            if live && !visit(self, slot) {
                return Some(slot + 1).filter(|&next| next < end);
            }
        }
        cursor.checked_add(SCAN_SLOTS).filter(|&next| next < end)
    }

    fn meets(&mut self, slot: u32, filter: &Filter) -> bool {
        let meets = |&Condition { data, index, operator, value }: &Condition| {
            let stored = self.read(slot, data, index);
            stored.is_some_and(|stored| operator.holds(i64::try_from(stored).unwrap_or(i64::MAX), value))
        };
        filter.conditions.iter().take(CONDITIONS_MAX).all(meets)
    }

    /// Creates or refreshes an entry and writes values.
    pub(super) fn set_row(&mut self, key: &[u8], values: &[Cell]) -> Answer {
        let Some((slot, _)) = self.obtain(key) else { return Answer::Refused };
        self.settle_claim(slot);
        let written = values.iter().map(|cell| self.write_cell(slot, cell)).filter(|written| *written).count();
        Answer::Done(written == values.len())
    }

    /// Puts an entry of a snapshot back at its age. What is here already is newer, and the entry that has expired meanwhile is not wanted.
    pub(super) fn restore(&mut self, row: &Row) -> bool {
        let idle_ms = match (self.expire_ms, row.remaining_ms) {
            (Some(expire), Some(remaining)) => expire.saturating_sub(remaining),
            _ => row.idle_ms,
        };
        if self.expire_ms.is_some_and(|expire| idle_ms >= expire)
            || self.len() >= self.capacity()
            || self.find(row.key.as_bytes()).is_some()
        {
            return false;
        }
        let Some(slot) = self.create(row.key.as_bytes()) else { return false };
        for cell in row.cells.iter().filter(|cell| restorable(cell)) {
            self.write_cell(slot, cell);
        }
        self.store.set_used_ms(slot, (self.now_ms as i64).saturating_sub_unsigned(idle_ms));
        self.restore_order(slot);
        self.restored = Some(slot);
        true
    }
}

/// Connections of an earlier process are not open any more; everything else goes on.
fn restorable(cell: &Cell) -> bool {
    cell.data != ringmain_model::table::DataType::ConnCur && cell.value != Value::Name(None)
}
