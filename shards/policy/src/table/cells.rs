//! Values of entries: reading, counting and writing columns.

use ringmain_model::table::{DataClass, DataType};

use super::frequency::Frequency;
use super::layout::Place;
use super::message::{Cell, Value};
use super::share::Share;

impl Share {
    /// The number in a column; a rate is that of this moment. `None` when it is not stored, or is a name.
    pub(super) fn read(&mut self, slot: u32, data: DataType, index: u32) -> Option<u64> {
        let layout = self.store.layout().clone();
        let (place, index) = layout.serve(data, index)?;
        self.read_place(slot, place, index)
    }

    pub(super) fn read_place(&mut self, slot: u32, place: &Place, index: u32) -> Option<u64> {
        let words = place.words(index)?;
        let (now_ms, idle_ms, period_ms) = (self.now_ms as u32, self.idle_ms(slot), place.period_ms());
        let words = &self.store.record(slot)[words];
        match place.column.data.class() {
            DataClass::Number | DataClass::ServerId => words.first().map(|&number| u64::from(number)),
            DataClass::Large => Some(large(words)),
            DataClass::Rate if idle_ms > 2 * u64::from(period_ms) => Some(0),
            DataClass::Rate => Some(u64::from(Frequency::from_words(words).read(now_ms, period_ms))),
            DataClass::ServerKey => None,
        }
    }

    /// Adds events to a counter or a rate. `None` when it is not stored.
    pub(super) fn count(&mut self, slot: u32, data: DataType, index: u32, amount: u64) -> Option<u64> {
        let layout = self.store.layout().clone();
        let (place, index) = layout.serve(data, index)?;
        let words = place.words(index)?;
        let (now_ms, period_ms) = (self.now_ms as u32, place.period_ms());
        let events = amount.min(u64::from(u32::MAX)) as u32;
        let words = &mut self.store.record(slot)[words];
        match place.column.data.class() {
            DataClass::Number | DataClass::ServerId => {
                let number = words.first_mut()?;
                *number = number.saturating_add(events);
            }
            DataClass::Large => set_large(words, large(words).saturating_add(amount)),
            DataClass::Rate => words.copy_from_slice(&Frequency::from_words(words).add(now_ms, period_ms, events).words()),
            DataClass::ServerKey => return None,
        }
        self.read_place(slot, place, index)
    }

    /// Writes a number; returns the one before. A rate counts as if so many events had happened just now.
    pub(super) fn write(&mut self, slot: u32, data: DataType, index: u32, value: u64) -> Option<u64> {
        let layout = self.store.layout().clone();
        let (place, index) = layout.serve(data, index)?;
        let before = self.read_place(slot, place, index)?;
        let (now_ms, words) = (self.now_ms as u32, place.words(index)?);
        let number = value.min(u64::from(u32::MAX)) as u32;
        let words = &mut self.store.record(slot)[words];
        match place.column.data.class() {
            DataClass::Number | DataClass::ServerId => *words.first_mut()? = number,
            DataClass::Large => set_large(words, value),
            DataClass::Rate => words.copy_from_slice(&Frequency { start_ms: now_ms, current: number, previous: 0 }.words()),
            DataClass::ServerKey => return None,
        }
        Some(before)
    }

    /// Writes one cell, also a name.
    pub(super) fn write_cell(&mut self, slot: u32, cell: &Cell) -> bool {
        match &cell.value {
            Value::Number(number) => self.write(slot, cell.data, cell.index, *number).is_some(),
            Value::Name(name) if cell.data == DataType::ServerKey => {
                let name = name.clone().unwrap_or_else(|| self.nameless.clone());
                self.write_name(slot, &name)
            }
            Value::Name(_) => false,
        }
    }

    /// All values of an entry in the order of `show table`.
    pub(super) fn cells(&mut self, slot: u32) -> Vec<Cell> {
        let layout = self.store.layout().clone();
        let mut cells = Vec::with_capacity(layout.places.len());
        for place in &layout.places {
            for index in 0..place.column.length {
                let value = match self.read_place(slot, place, index) {
                    Some(number) => Value::Number(number),
                    None => Value::Name(self.name(slot)),
                };
                cells.push(Cell { data: place.column.data, index, value });
            }
        }
        cells
    }
}

fn large(words: &[u32]) -> u64 {
    match words {
        &[low, high] => u64::from(high) << 32 | u64::from(low),
        _ => 0,
    }
}

fn set_large(words: &mut [u32], value: u64) {
    if let [low, high] = words {
        (*low, *high) = (value as u32, (value >> 32) as u32);
    }
}
