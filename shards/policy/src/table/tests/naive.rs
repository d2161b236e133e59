//! The naive model: a map, linear scans, and every event that ever happened.

use super::*;

const COLUMNS: [DataType; 6] =
    [DataType::ServerId, DataType::Gpc0, DataType::Gpc0Rate, DataType::ConnCnt, DataType::ConnRate, DataType::BytesInCnt];
const PERIOD_MS: u64 = 700;

#[derive(Clone, Debug)]
enum Step {
    Match(u8),
    Claim(u8, u32),
    Store(u8, u32),
    Withdraw(u8, u32),
    Track(u8),
    Untrack(usize),
    Transfer(usize, u64),
    Count(u8, u64),
    Set(u8, u64),
    Exists(u8),
    Remove(u8),
    Expire(usize),
}

#[derive(Clone, Debug, Default)]
struct Entry {
    used_ms: u64,
    references: u32,
    server: u32,
    claimed: bool,
    created: bool,
    tag: u64,
    tagged: Vec<(u64, u64)>,
    connections: Vec<(u64, u64)>,
    bytes: u64,
}

struct Naive {
    entries: HashMap<u8, Entry>,
    size: usize,
    expire_ms: Option<u64>,
    no_purge: bool,
    conn_cur: bool,
}

/// The rate from all events: periods follow each other from an event on, as long as none is without events.
fn rate(events: &[(u64, u64)], now_ms: u64) -> u64 {
    let Some(&(mut start, _)) = events.first() else { return 0 };
    let mut successive = false;
    for &(at, _) in events {
        if at >= start + 2 * PERIOD_MS {
            (start, successive) = (at, false);
        } else if at >= start + PERIOD_MS {
            (start, successive) = (start + PERIOD_MS, true);
        }
    }
    let sum = |from: u64, to: u64| -> u64 { events.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, count)| count).sum() };
    let current = sum(start, start + PERIOD_MS);
    let previous = if successive { sum(start - PERIOD_MS, start) } else { 0 };
    match now_ms - start {
        age if age < PERIOD_MS => current + previous * (PERIOD_MS - age) / PERIOD_MS,
        age if age < 2 * PERIOD_MS && current == 1 => 1,
        age if age < 2 * PERIOD_MS => current * (2 * PERIOD_MS - age) / PERIOD_MS,
        _ => 0,
    }
}

impl Naive {
    fn purge(&mut self, now_ms: u64) {
        let Some(expire) = self.expire_ms else { return };
        self.entries.retain(|_, entry| entry.references > 0 || now_ms - entry.used_ms < expire);
    }

    fn obtain(&mut self, now_ms: u64, key: u8) -> Option<&mut Entry> {
        if !self.entries.contains_key(&key) && self.entries.len() >= self.size {
            let idle = self.entries.iter().filter(|(_, entry)| entry.references == 0 && !self.no_purge);
            let oldest = *idle.min_by_key(|(_, entry)| entry.used_ms)?.0;
            self.entries.remove(&oldest);
        }
        let entry = self.entries.entry(key).or_insert_with(|| Entry { created: true, ..Entry::default() });
        entry.used_ms = now_ms;
        Some(entry)
    }

    fn answer(&mut self, now_ms: u64, step: &Step, held: &mut Vec<u8>) -> Answer {
        let named = |id| if id == 0 { None } else { Some(StickServer { id, name: "".into() }) };
        match *step {
            Step::Match(key) => {
                let Some(entry) = self.entries.get_mut(&key) else { return Answer::Server(None) };
                entry.used_ms = now_ms;
                entry.claimed &= entry.server == 0;
                Answer::Server(named(entry.server))
            }
            Step::Claim(key, id) => {
                let created = !self.entries.contains_key(&key);
                let Some(entry) = self.obtain(now_ms, key) else { return Answer::Refused };
                let won = entry.server == 0;
                if won {
                    (entry.server, entry.created) = (id, created);
                }
                entry.claimed = won;
                Answer::Claimed { server: named(entry.server).unwrap(), won }
            }
            Step::Store(key, id) => {
                let Some(entry) = self.obtain(now_ms, key) else { return Answer::Refused };
                (entry.server, entry.claimed) = (id, false);
                Answer::Done(true)
            }
            Step::Withdraw(key, id) => {
                let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.claimed && entry.server == id) else {
                    return Answer::Done(false);
                };
                (entry.server, entry.claimed) = (0, false);
                if entry.created {
                    self.entries.remove(&key);
                }
                Answer::Done(true)
            }
            Step::Track(key) => {
                let Some(entry) = self.obtain(now_ms, key) else { return Answer::Handle(None) };
                entry.references += 1;
                entry.created = false;
                entry.connections.push((now_ms, 1));
                held.push(key);
                Answer::Handle(Some(Handle { slot: 0, generation: 0 }))
            }
            Step::Untrack(place) => {
                let key = held.remove(place);
                let entry = self.entries.get_mut(&key).unwrap();
                entry.references -= 1;
                if self.conn_cur {
                    entry.used_ms = now_ms;
                }
                Answer::Done(true)
            }
            Step::Transfer(place, bytes) => {
                let entry = self.entries.get_mut(&held[place]).unwrap();
                entry.bytes += bytes;
                entry.used_ms = now_ms;
                Answer::Done(true)
            }
            Step::Count(key, amount) => {
                let Some(entry) = self.obtain(now_ms, key) else { return Answer::Number(None) };
                entry.created = false;
                entry.tag += amount;
                entry.tagged.push((now_ms, amount));
                Answer::Number(Some(entry.tag as i64))
            }
            Step::Set(key, value) => {
                let Some(entry) = self.obtain(now_ms, key) else { return Answer::Number(None) };
                entry.created = false;
                Answer::Number(Some(std::mem::replace(&mut entry.tag, value) as i64))
            }
            Step::Exists(key) => Answer::Done(self.entries.contains_key(&key)),
            Step::Remove(key) => {
                let idle = self.entries.get(&key).is_some_and(|entry| entry.references == 0);
                Answer::Done(idle && self.entries.remove(&key).is_some())
            }
            Step::Expire(_) => Answer::Done(true),
        }
    }

    fn cells(&self, key: u8, now_ms: u64) -> Vec<u64> {
        let entry = &self.entries[&key];
        let mut cells = vec![u64::from(entry.server), entry.tag, rate(&entry.tagged, now_ms)];
        cells.extend([entry.connections.len() as u64, rate(&entry.connections, now_ms)]);
        if self.conn_cur {
            cells.push(u64::from(entry.references));
        }
        cells.push(entry.bytes);
        cells
    }
}

fn request(step: &Step, handles: &[Handle]) -> Request {
    let (target, server) = (|number: u8| Target::Key(key(number)), |id| StickServer { id, name: "".into() });
    match *step {
        Step::Match(number) => Request::Match { key: key(number) },
        Step::Claim(number, id) => Request::Claim { key: key(number), expected: None, server: server(id) },
        Step::Store(number, id) => Request::Store { key: key(number), server: server(id) },
        Step::Withdraw(number, id) => Request::Withdraw { key: key(number), server: server(id) },
        Step::Track(number) => Request::Track { key: key(number) },
        Step::Untrack(place) => Request::Untrack { handle: handles[place] },
        Step::Transfer(place, bytes) => Request::Transfer { handle: handles[place], received: bytes, sent: bytes },
        Step::Count(number, amount) => Request::Count { target: target(number), event: Event::Gpc0, amount },
        Step::Set(number, value) => Request::Set { target: target(number), data: DataType::Gpc0, index: 0, value },
        Step::Exists(number) => Request::Exists { key: key(number) },
        Step::Remove(number) => Request::RemoveKey { key: key(number) },
        Step::Expire(_) => unreachable!("not a request"),
    }
}

fn step() -> impl Strategy<Value = Step> {
    let (key, id) = (|| 0_u8..12, || 1_u32..4);
    prop_oneof![
        key().prop_map(Step::Match),
        (key(), id()).prop_map(|(key, id)| Step::Claim(key, id)),
        (key(), id()).prop_map(|(key, id)| Step::Store(key, id)),
        (key(), id()).prop_map(|(key, id)| Step::Withdraw(key, id)),
        key().prop_map(Step::Track),
        any::<usize>().prop_map(Step::Untrack),
        (any::<usize>(), 1_u64..1000).prop_map(|(place, bytes)| Step::Transfer(place, bytes)),
        (key(), 1_u64..5).prop_map(|(key, amount)| Step::Count(key, amount)),
        (key(), 0_u64..5).prop_map(|(key, value)| Step::Set(key, value)),
        key().prop_map(Step::Exists),
        key().prop_map(Step::Remove),
        (0_usize..4).prop_map(Step::Expire),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_share_does_what_the_naive_model_does(
        steps in prop::collection::vec((prop_oneof![Just(1_u64), 1_u64..50, 1_u64..1500], step()), 1..150),
        size in 1_u32..8,
        expire_ms in prop::option::of(50_u32..3000),
        no_purge: bool,
        conn_cur: bool,
    ) {
        let mut columns = COLUMNS.to_vec();
        columns.extend(conn_cur.then_some(DataType::ConnCur));
        let mut share = Share::new(&Table { no_purge, ..table(size, expire_ms, &columns) }, 0, 1, 5);
        let mut naive =
            Naive { entries: HashMap::new(), size: size as usize, expire_ms: expire_ms.map(u64::from), no_purge, conn_cur };
        let (mut now, mut handles, mut held) = (10_000, Vec::new(), Vec::new());
        for (pause, step) in steps {
            now += pause;
            let step = match step {
                Step::Untrack(_) | Step::Transfer(..) if handles.is_empty() => continue,
                Step::Untrack(place) => Step::Untrack(place % handles.len()),
                Step::Transfer(place, bytes) => Step::Transfer(place % handles.len(), bytes),
                step => step,
            };
            naive.purge(now);
            if let Step::Expire(budget) = step {
                prop_assert!(share.expire(now, budget) <= budget);
                continue;
            }
            let answer = share.apply(now, &request(&step, &handles));
            let expected = naive.answer(now, &step, &mut held);
            match (&answer, &expected) {
                (Answer::Handle(Some(handle)), Answer::Handle(Some(_))) => handles.push(*handle),
                _ => prop_assert_eq!(&answer, &expected, "{:?} at {}", step, now),
            }
            if let Step::Untrack(place) = step {
                handles.remove(place);
            }
            naive.purge(now);
            prop_assert!(share.len() <= size as usize);
        }
        naive.purge(now);
        let rows = rows(&mut share, now);
        prop_assert_eq!(rows.len(), naive.entries.len());
        for row in rows {
            let number: u8 = row.key.display(STRING).to_string().parse().unwrap();
            let entry = &naive.entries[&number];
            let cells: Vec<u64> =
                row.cells.iter().map(|cell| if let Value::Number(number) = cell.value { number } else { panic!("{cell:?}") }).collect();
            prop_assert_eq!(cells, naive.cells(number, now));
            prop_assert_eq!((row.references, row.idle_ms), (entry.references, now - entry.used_ms));
            prop_assert_eq!(row.remaining_ms, naive.expire_ms.map(|expire| expire.saturating_sub(now - entry.used_ms)));
        }
    }
}
