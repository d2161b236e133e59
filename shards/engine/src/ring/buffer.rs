//! The shard's receive buffers: one block of memory, cut into equal pieces, shared by all sockets.
//!
//! In fast mode the pieces lie in a ring the kernel takes from (`IORING_REGISTER_PBUF_RING`), so an idle connection
//! holds none. In portable mode the shard takes them itself. A piece that holds received bytes is a [`Buf`], which
//! goes back when dropped; the kernel sees it again at the driver's next turn.

use std::alloc::{Layout, alloc, dealloc};
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::core;

/// End of a linked list of buffers.
pub(super) const NO_BUFFER: u16 = u16::MAX;
/// The one buffer group of the ring.
pub(super) const GROUP: u16 = 0;
const PAGE: usize = 4096;

/// Received bytes in one of the shard's buffers. Dropping it gives the buffer back.
pub struct Buf {
    id: u16,
    offset: u16,
    length: u16,
    // Belongs to this thread's ring.
    _local: PhantomData<*const ()>,
}

impl Buf {
    pub(super) fn new(id: u16, length: u16) -> Buf {
        Buf { id, offset: 0, length, _local: PhantomData }
    }

    /// Removes `count` bytes from the front (all of them if there are fewer).
    pub fn advance(&mut self, count: usize) {
        let count = count.min(self.length as usize) as u16;
        self.offset += count;
        self.length -= count;
    }

    /// Keeps only the first `length` bytes (all of them if there are fewer).
    pub fn truncate(&mut self, length: usize) {
        self.length = length.min(self.length as usize) as u16;
    }

    fn pointer(&self) -> *mut u8 {
        core::pool_data(self.id, self.offset)
    }
}

impl Deref for Buf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: a `Buf` owns its piece of the pool; the kernel filled `offset + length` bytes of it and does not
        // touch it again before it is given back. The pool lives as long as any `Buf` (see `Core` teardown).
        unsafe { std::slice::from_raw_parts(self.pointer(), self.length as usize) }
    }
}

impl DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(), self.length as usize) }
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        core::release_buffer(self.id);
    }
}

/// All buffers of one shard.
pub(super) struct Pool {
    ring: *mut BufRingEntry,
    ring_layout: Layout,
    data: *mut u8,
    data_layout: Layout,
    size: u32,
    count: u16,
    tail: Cell<u16>,
    published: Cell<u16>,
    free: RefCell<Vec<u16>>,
    out: Cell<u32>,
    next: Box<[Cell<u16>]>,
    length: Box<[Cell<u16>]>,
}

impl Pool {
    /// Allocates `count` (a power of two up to 32768) buffers of `size` bytes (up to 32768); `None` when there is
    /// no memory. All buffers start as free.
    pub(super) fn new(count: u16, size: u32, kernel_ring: bool) -> Option<Pool> {
        let data_layout = Layout::from_size_align(count as usize * size as usize, PAGE).ok()?;
        let ring_layout = Layout::from_size_align(count as usize * size_of::<BufRingEntry>(), PAGE).ok()?;
        // SAFETY: both layouts have a size above zero, because count and size are checked by the caller.
        let (data, ring) = unsafe { (alloc(data_layout), alloc(ring_layout).cast::<BufRingEntry>()) };
        let pool = Pool {
            ring,
            ring_layout,
            data,
            data_layout,
            size,
            count,
            tail: Cell::new(0),
            published: Cell::new(0),
            free: RefCell::new(Vec::new()),
            out: Cell::new(0),
            next: vec![Cell::new(NO_BUFFER); count as usize].into(),
            length: vec![Cell::new(0); count as usize].into(),
        };
        if data.is_null() || ring.is_null() {
            return None;
        }
        // SAFETY: `ring` points to `ring_layout.size()` writable bytes.
        unsafe { ring.cast::<u8>().write_bytes(0, ring_layout.size()) };
        if kernel_ring {
            (0..count).for_each(|id| pool.offer(id));
        } else {
            pool.free.borrow_mut().extend((0..count).rev());
        }
        Some(pool)
    }

    /// Address of the ring of entries, to be registered with the kernel.
    pub(super) fn ring_address(&self) -> u64 {
        self.ring as u64
    }

    /// Bytes in one buffer.
    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// Number of buffers.
    pub(super) fn count(&self) -> u16 {
        self.count
    }

    /// Buffers that hold bytes or belong to a task.
    pub(super) fn out(&self) -> u32 {
        self.out.get()
    }

    /// Buffers that can still take bytes.
    pub(super) fn available(&self) -> u32 {
        (self.count as u32).saturating_sub(self.out.get())
    }

    /// Address of byte `offset` of buffer `id`.
    pub(super) fn pointer(&self, id: u16, offset: u16) -> *mut u8 {
        debug_assert!(id < self.count && offset as u32 <= self.size);
        // SAFETY: `id` is below `count` and `offset` at most `size`, so the address lies within the block.
        unsafe { self.data.add(id as usize * self.size as usize + offset as usize) }
    }

    /// The kernel has put bytes into buffer `id`: it is ours until released.
    pub(super) fn taken_by_kernel(&self, id: u16) -> bool {
        self.out.set(self.out.get() + 1);
        id < self.count
    }

    /// Takes a free buffer (portable mode).
    pub(super) fn take(&self) -> Option<u16> {
        let id = self.free.borrow_mut().pop()?;
        self.out.set(self.out.get() + 1);
        Some(id)
    }

    /// Gives a buffer back; `kernel_ring` says to whom.
    pub(super) fn release(&self, id: u16, kernel_ring: bool) {
        self.out.set(self.out.get().saturating_sub(1));
        if kernel_ring {
            self.offer(id);
        } else {
            self.free.borrow_mut().push(id);
        }
    }

    /// Shows the kernel all buffers that were released since the last call.
    pub(super) fn publish(&self) {
        if self.tail == self.published {
            return;
        }
        self.published.set(self.tail.get());
        // SAFETY: `ring` is the page-aligned, initialised start of the registered ring; its tail is a naturally
        // aligned u16 that we alone write and the kernel reads with acquire order.
        unsafe { (*BufRingEntry::tail(self.ring).cast::<AtomicU16>()).store(self.tail.get(), Ordering::Release) };
    }

    fn offer(&self, id: u16) {
        let at = self.tail.get() & (self.count - 1);
        // SAFETY: `at` is below `count`. The entry is not visible to the kernel before `publish`: at most `count`
        // buffers exist, so the place of an unconsumed entry is never reached. Setters leave the tail field alone.
        let entry = unsafe { &mut *self.ring.add(at as usize) };
        entry.set_addr(self.pointer(id, 0) as u64);
        entry.set_len(self.size);
        entry.set_bid(id);
        self.tail.set(self.tail.get().wrapping_add(1));
    }

    /// Appends buffer `id` holding `length` bytes to a list given by its ends.
    pub(super) fn append(&self, head: &Cell<u16>, tail: &Cell<u16>, id: u16, length: u16) {
        self.next[id as usize].set(NO_BUFFER);
        self.length[id as usize].set(length);
        match tail.get() {
            NO_BUFFER => head.set(id),
            last => self.next[last as usize].set(id),
        }
        tail.set(id);
    }

    /// Takes the first buffer of a list.
    pub(super) fn pop(&self, head: &Cell<u16>, tail: &Cell<u16>) -> Option<Buf> {
        let id = head.get();
        if id == NO_BUFFER {
            return None;
        }
        head.set(self.next[id as usize].get());
        if head.get() == NO_BUFFER {
            tail.set(NO_BUFFER);
        }
        Some(Buf::new(id, self.length[id as usize].get()))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with these layouts; null pointers were never allocated. The owner drops the
        // pool only when no buffer is out and the kernel has let go of the ring.
        unsafe {
            if !self.data.is_null() {
                dealloc(self.data, self.data_layout);
            }
            if !self.ring.is_null() {
                dealloc(self.ring.cast(), self.ring_layout);
            }
        }
    }
}
