//! One request, one answer.

use ringmain_model::table::DataType;

use super::message::{Answer, Event, Handle, Page, Request, Target};
use super::share::Share;

impl Share {
    /// Does what is asked at `now_ms` (milliseconds of a monotonic clock; earlier times than before count as the latest) and answers.
    pub fn apply(&mut self, now_ms: u64, request: &Request) -> Answer {
        self.advance(now_ms);
        match request {
            Request::Match { key } => Answer::Server(self.match_server(key.as_bytes())),
            Request::Claim { key, expected, server } => self.claim(key.as_bytes(), expected.as_ref(), server),
            Request::Store { key, server } => self.store_server(key.as_bytes(), server),
            Request::Withdraw { key, server } => Answer::Done(self.withdraw(key.as_bytes(), server)),
            Request::Track { key } => Answer::Handle(self.track(key.as_bytes())),
            Request::Untrack { handle } => Answer::Done(self.untrack(*handle)),
            Request::Exists { key } => Answer::Done(self.find(key.as_bytes()).is_some()),
            Request::Read { target, data, index } => {
                let slot = self.slot(target);
                Answer::Number(slot.and_then(|slot| self.read(slot, *data, *index)).map(signed))
            }
            Request::ReadRow { target } => {
                let rows = self.slot(target).map(|slot| self.row(slot)).into_iter().collect();
                Answer::Rows(Box::new(Page { rows, next: None }))
            }
            Request::Trackers { target } => Answer::Number(self.slot(target).map(|slot| i64::from(self.references(slot)))),
            Request::Count { target, event, amount } => Answer::Number(self.count_event(target, *event, *amount)),
            Request::Transfer { handle, received, sent } => Answer::Done(self.transfer(*handle, *received, *sent)),
            Request::Add { target, data, index, amount } => Answer::Number(self.add(target, *data, *index, *amount)),
            Request::Set { target, data, index, value } => Answer::Number(self.set(target, *data, *index, *value)),
            Request::SetRow { key, values } => self.set_row(key.as_bytes(), values),
            Request::Page { cursor, limit, filter } => Answer::Rows(Box::new(self.page(*cursor, *limit, filter))),
            Request::RemoveKey { key } => Answer::Done(self.remove_key(key.as_bytes())),
            Request::Remove { cursor, limit, filter } => self.remove_some(*cursor, *limit, filter),
            Request::Restore { row } => Answer::Done(self.restore(row)),
        }
    }

    fn slot(&mut self, target: &Target) -> Option<u32> {
        match target {
            Target::Key(key) => self.find(key.as_bytes()),
            Target::Handle(handle) => self.held(*handle),
        }
    }

    /// The slot in which to write a column: a key without an entry gets one, and writing is a use. `None` when the column is not stored.
    fn writable(&mut self, target: &Target, data: DataType, index: u32) -> Option<u32> {
        self.store.layout().serve(data, index).filter(|(place, index)| place.words(*index).is_some())?;
        let slot = match target {
            Target::Key(key) => self.obtain(key.as_bytes())?.0,
            Target::Handle(handle) => self.held(*handle)?,
        };
        self.touch(slot);
        self.outlive_claim(slot);
        Some(slot)
    }

    fn track(&mut self, key: &[u8]) -> Option<Handle> {
        let (slot, _) = self.obtain(key)?;
        self.outlive_claim(slot);
        for data in [DataType::ConnCnt, DataType::ConnRate, DataType::ConnCur] {
            self.count(slot, data, 0, 1);
        }
        Some(self.acquire(slot))
    }

    fn untrack(&mut self, handle: Handle) -> bool {
        let Some(slot) = self.held(handle) else { return false };
        if let Some(open) = self.read(slot, DataType::ConnCur, 0) {
            self.write(slot, DataType::ConnCur, 0, open.saturating_sub(1));
            self.touch(slot);
        }
        self.release(slot);
        true
    }

    fn count_event(&mut self, target: &Target, event: Event, amount: u64) -> Option<i64> {
        let (counter, rate, index) = event.columns();
        let slot = self.writable(target, counter, index).or_else(|| self.writable(target, rate, index))?;
        self.count_at(slot, event, amount).map(signed)
    }

    fn count_at(&mut self, slot: u32, event: Event, amount: u64) -> Option<u64> {
        let (counter, rate, index) = event.columns();
        let rate = self.count(slot, rate, index, amount);
        self.count(slot, counter, index, amount).or(rate)
    }

    fn transfer(&mut self, handle: Handle, received: u64, sent: u64) -> bool {
        let Some(slot) = self.held(handle) else { return false };
        for (event, bytes) in [(Event::BytesIn, received), (Event::BytesOut, sent)] {
            if bytes > 0 && self.count_at(slot, event, bytes).is_some() {
                self.touch(slot);
            }
        }
        true
    }

    fn add(&mut self, target: &Target, data: DataType, index: u32, amount: i64) -> Option<i64> {
        let slot = self.writable(target, data, index)?;
        if amount >= 0 {
            return self.count(slot, data, index, amount.unsigned_abs()).map(signed);
        }
        let left = self.read(slot, data, index)?.saturating_sub(amount.unsigned_abs());
        self.write(slot, data, index, left)?;
        Some(signed(left))
    }

    fn set(&mut self, target: &Target, data: DataType, index: u32, value: u64) -> Option<i64> {
        let slot = self.writable(target, data, index)?;
        self.write(slot, data, index, value).map(signed)
    }

    fn remove_key(&mut self, key: &[u8]) -> bool {
        match self.find(key) {
            Some(slot) if self.references(slot) == 0 => {
                self.remove(slot);
                true
            }
            _ => false,
        }
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
