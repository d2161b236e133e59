//! Names of servers, each kept once for all entries that stick to it (`server_key`).

use std::collections::HashMap;
use std::sync::Arc;

/// The names that entries of one share refer to. Bounded by the entries: an unused name is dropped.
#[derive(Debug, Default)]
pub(super) struct Names {
    list: Vec<Named>,
    places: HashMap<Arc<str>, u32>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Named {
    name: Arc<str>,
    uses: u32,
}

impl Names {
    /// The number of a name for one more entry; 0 for the empty name.
    pub fn acquire(&mut self, name: &Arc<str>) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let place = match self.places.get(name) {
            Some(&place) => place,
            None => self.add(name),
        };
        if let Some(named) = self.list.get_mut(place as usize) {
            named.uses += 1;
        }
        place + 1
    }

    fn add(&mut self, name: &Arc<str>) -> u32 {
        let named = Named { name: name.clone(), uses: 0 };
        let place = match self.free.pop() {
            Some(place) => {
                self.list[place as usize] = named;
                place
            }
            None => {
                self.list.push(named);
                self.list.len() as u32 - 1
            }
        };
        self.places.insert(name.clone(), place);
        place
    }

    /// An entry does not refer to it any longer.
    pub fn release(&mut self, number: u32) {
        let Some(place) = number.checked_sub(1) else { return };
        let Some(named) = self.list.get_mut(place as usize) else { return };
        named.uses = named.uses.saturating_sub(1);
        if named.uses == 0 {
            self.places.remove(&named.name);
            self.free.push(place);
        }
    }

    /// The name of a number.
    pub fn get(&self, number: u32) -> Option<&Arc<str>> {
        Some(&self.list.get(number.checked_sub(1)? as usize)?.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_lives_as_long_as_it_is_used() {
        let mut names = Names::default();
        let (first, second): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let number = names.acquire(&first);
        assert_eq!((names.acquire(&first), names.acquire(&second)), (number, number + 1));
        names.release(number);
        assert_eq!(names.get(number), Some(&first));
        names.release(number);
        assert_eq!((names.places.len(), names.acquire(&"c".into())), (1, number));
        assert_eq!((names.acquire(&"".into()), names.get(0)), (0, None));
    }
}
