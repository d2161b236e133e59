//! The bulk phase of a direction: poll and splice(2) through a pooled pipe, or a copy through one large buffer.
//!
//! Entered by `forward.rs` on bulk or on a slow receiver. What the ring had received already is copied out first, so
//! that a slow receiver holds none of the shard's shared buffers; from then on bytes wait in the sender's socket, and
//! the direction holds one pipe (or buffer) at most, and only while bytes are in it: a large one when its receiver keeps up.

use std::cell::RefCell;
use std::io;

use crate::forward::{End, Meter, Splice, code};
use crate::ring::{self, Buf, Load, Pipe, S};

/// Fills per turn of the driver: more gains nothing in bulk and costs other sessions their latency.
const FILLS_PER_TURN: u32 = 1;
/// Wakes in a row with few bytes after which the direction goes back to messages.
const SMALL_WAKES: u32 = 16;
/// Bytes per wake that count as few.
const SMALL_BYTES: usize = 16 << 10;
/// Loads in a row that a receiver must have taken without a stall before loads become large.
const PROMPT_LOADS: u32 = 4;
/// A wait for room that is longer than this is a stall, in milliseconds.
const STALL_MS: u64 = 50;
/// The buffer used where splice(2) is not.
const COPY_BYTES: usize = 64 << 10;

/// Copy buffers kept for the next user.
const KEPT_BUFFERS: usize = 4;

thread_local! {
    static BUFFERS: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A large buffer, pooled: the one used last is the one still in the cache.
struct Large {
    bytes: Box<[u8]>,
}

impl Large {
    fn take() -> Large {
        let kept = BUFFERS.with_borrow_mut(Vec::pop);
        Large { bytes: kept.unwrap_or_else(|| vec![0; COPY_BYTES].into()) }
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        // A thread that is ending keeps nothing.
        let _ = BUFFERS.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < KEPT_BUFFERS {
                kept.push(bytes);
            }
        });
    }
}

/// How a bulk phase ended.
pub(crate) enum Bulk {
    /// Traffic has become light: back to messages.
    Quiet,
    /// The direction is over.
    End(End),
}

/// Runs the bulk phase; `held` is a buffer already read and not yet sent.
pub(crate) async fn bulk(from: S, to: S, meter: impl AsRef<Meter>, splice: Splice, held: Option<Buf>) -> Bulk {
    let meter = meter.as_ref();
    meter.bulk_phases.set(meter.bulk_phases.get() + 1);
    if let Err(end) = prepare(from, to, meter, held).await {
        return Bulk::End(end);
    }
    match from.receive_ended() {
        None => shovel(from, to, meter, splice).await,
        Some(Ok(())) => Bulk::End(End::Eof),
        Some(Err(error)) => Bulk::End(End::ReadError(code(&error))),
    }
}

/// Hands over what the ring has received and makes sure that nothing of ours is in flight.
async fn prepare(from: S, to: S, meter: &Meter, held: Option<Buf>) -> Result<(), End> {
    from.stop_recv().await;
    let mut spill = Vec::new();
    if let Some(buf) = held {
        spill.extend_from_slice(&buf);
    }
    while let Some(buf) = from.take_queued() {
        meter.read(buf.len());
        spill.extend_from_slice(&buf);
    }
    to.tx_idle().await.map_err(write_error)?;
    let mut rest = &spill[..];
    while !rest.is_empty() {
        match to.try_write(rest) {
            Ok(count) => {
                meter.written(count);
                rest = &rest[count..];
            }
            Err(error) => wait_for_room(to, error).await?,
        }
    }
    Ok(())
}

/// Moves bytes until the stream ends or traffic becomes light.
async fn shovel(from: S, to: S, meter: &Meter, splice: Splice) -> Bulk {
    let mut manner = Manner { can_splice: splice != Splice::Never, prompt_loads: 0 };
    let mut small_wakes = 0;
    loop {
        let mut moved = 0;
        let mut fills = 0;
        let end = loop {
            match carry(from, to, meter, &mut manner).await {
                Ok(Some(count)) => moved += count,
                Ok(None) => break Some(End::Eof),
                Err(Stop::Empty) => break None,
                Err(Stop::End(end)) => break Some(end),
            }
            fills += 1;
            if fills == FILLS_PER_TURN {
                fills = 0;
                ring::yield_now().await;
            }
        };
        if let Some(end) = end {
            return Bulk::End(end);
        }
        small_wakes = if moved < SMALL_BYTES { small_wakes + 1 } else { 0 };
        if small_wakes >= SMALL_WAKES && splice != Splice::Always {
            return Bulk::Quiet;
        }
        if let Err(error) = from.readable().await {
            return Bulk::End(End::ReadError(code(&error)));
        }
    }
}

/// What a bulk phase has found out about its sockets.
struct Manner {
    can_splice: bool,
    /// Loads in a row that the receiver took without a stall.
    prompt_loads: u32,
}

impl Manner {
    fn load(&self) -> Load {
        if self.prompt_loads >= PROMPT_LOADS { Load::Large } else { Load::Usual }
    }
}

enum Stop {
    Empty,
    End(End),
}

/// Moves one load from socket to socket: its size, `None` at the end of the stream.
async fn carry(from: S, to: S, meter: &Meter, manner: &mut Manner) -> Result<Option<usize>, Stop> {
    if manner.can_splice {
        // Without a pipe (no descriptor left) bytes are copied instead.
        if let Ok(pipe) = Pipe::take(manner.load()) {
            match splice_once(from, to, meter, pipe, manner).await {
                Err(Stop::End(End::ReadError(libc::EINVAL))) => manner.can_splice = false,
                other => return other,
            }
        }
    }
    copy_once(from, to, meter).await
}

async fn splice_once(from: S, to: S, meter: &Meter, mut pipe: Pipe, manner: &mut Manner) -> Result<Option<usize>, Stop> {
    let count = filled(|| pipe.fill(from))?;
    if count == 0 {
        return Ok(None);
    }
    meter.read(count);
    let begun_ms = ring::now_ms();
    while pipe.held() > 0 {
        match pipe.drain(to) {
            Ok(count) => meter.written(count),
            Err(error) => wait_for_room(to, error).await.map_err(Stop::End)?,
        }
    }
    let prompt = ring::now_ms().saturating_sub(begun_ms) < STALL_MS;
    manner.prompt_loads = if prompt { manner.prompt_loads.saturating_add(1) } else { 0 };
    Ok(Some(count))
}

async fn copy_once(from: S, to: S, meter: &Meter) -> Result<Option<usize>, Stop> {
    let mut buffer = Large::take();
    let count = filled(|| from.try_read(&mut buffer.bytes))?;
    if count == 0 {
        return Ok(None);
    }
    meter.read(count);
    let mut sent = 0;
    while sent < count {
        let rest = buffer.bytes.get(sent..count).unwrap_or_default();
        match to.try_write(rest) {
            Ok(count) => {
                meter.written(count);
                sent += count;
            }
            Err(error) => wait_for_room(to, error).await.map_err(Stop::End)?,
        }
    }
    Ok(Some(count))
}

fn filled(mut read: impl FnMut() -> io::Result<usize>) -> Result<usize, Stop> {
    loop {
        match read() {
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(Stop::Empty),
            Err(error) => return Err(Stop::End(End::ReadError(code(&error)))),
        }
    }
}

async fn wait_for_room(to: S, error: io::Error) -> Result<(), End> {
    match error.kind() {
        io::ErrorKind::WouldBlock => to.writable().await.map_err(write_error),
        io::ErrorKind::Interrupted => Ok(()),
        _ => Err(write_error(error)),
    }
}

fn write_error(error: io::Error) -> End {
    End::WriteError(code(&error))
}
