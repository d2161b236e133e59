//! Entries between shards and state file, in bounded steps: a shard is asked for one page at a time, and given so many rows at a time.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::Receiver;
use ringmain_engine::live::TableLive;
use ringmain_model::table::Table;
use ringmain_policy::table::snapshot::{Snapshot, Writer};
use ringmain_policy::table::{Answer, Filter, Request, owner};

use super::super::tables::{PATIENCE, Tables};
use super::file::StateFile;

/// Entries that a shard is asked for at a time.
const PAGE_ROWS: u32 = 256;
/// Rows on their way to the shards at once; their mailboxes have room for more.
const ROWS_UNDER_WAY: usize = 512;

/// Writes the entries of these tables into the file. `pause` between two pages leaves the shards to their sessions. Returns how many
/// entries there were.
///
/// # Errors
/// In plain words, when a shard does not answer or the disk refuses; the file is as it was.
pub(super) fn save(file: &StateFile, tables: &Tables, lives: &[Arc<TableLive>], pause: Duration) -> Result<u64, String> {
    let disk = |error: std::io::Error| error.to_string();
    let mut replacement = file.replace().map_err(disk)?;
    let mut writer = Writer::new(unix_ms());
    let mut count = 0;
    for live in lives {
        writer.table(&live.config());
        for (shard, used) in live.used.iter().enumerate() {
            let mut next = (used.load(std::sync::atomic::Ordering::Relaxed) > 0).then_some(0);
            while let Some(cursor) = next {
                let request = Request::Page { cursor, limit: PAGE_ROWS, filter: Filter::default() };
                let Some(Answer::Rows(page)) = tables.ask(shard, live, request) else {
                    return Err(format!("shard {shard} gives no answer"));
                };
                writer.rows(&page.rows);
                replacement.write(&writer.take()).map_err(disk)?;
                count += page.rows.len() as u64;
                next = page.next;
                std::thread::sleep(pause);
            }
        }
    }
    replacement.write(&writer.finish()).map_err(disk)?;
    replacement.finish().map_err(disk)?;
    Ok(count)
}

/// Gives the entries of a snapshot to their owners, the longest unused first. Returns how many were taken.
///
/// # Errors
/// In plain words, when anything of the snapshot is damaged, of which nothing is taken then, or when a shard does not answer.
pub(super) fn restore(bytes: &[u8], tables: &Tables, lives: &[Arc<TableLive>]) -> Result<u64, String> {
    let configs: Vec<Table> = lives.iter().map(|live| live.config().as_ref().clone()).collect();
    let snapshot = Snapshot::open(bytes, unix_ms(), &configs).map_err(|damage| damage.to_string())?;
    if let Some(damage) = snapshot.damage() {
        return Err(damage.to_string());
    }
    let (reply, answers) = crossbeam_channel::bounded(ROWS_UNDER_WAY);
    let (mut under_way, mut taken) = (0, 0);
    for (place, live) in lives.iter().enumerate() {
        for row in snapshot.rows(place) {
            let shard = owner(&row.key, tables.shards());
            if under_way == ROWS_UNDER_WAY {
                taken += answer(&answers)?;
                under_way -= 1;
            }
            if !tables.tell(shard, live, Request::Restore { row: Box::new(row) }, &reply) {
                return Err(format!("shard {shard} takes no more entries"));
            }
            under_way += 1;
        }
    }
    for _ in 0..under_way {
        taken += answer(&answers)?;
    }
    Ok(taken)
}

/// 1 for an entry that was taken.
fn answer(answers: &Receiver<Answer>) -> Result<u64, String> {
    let answer = answers.recv_timeout(PATIENCE).map_err(|_| "the shards give no answer")?;
    Ok(u64::from(answer == Answer::Done(true)))
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
