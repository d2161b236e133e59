//! Giving memory back to the system after many sessions have ended.

/// Returns free heap pages to the system. Shards may wait a moment for their part of the heap, so this is done only when a large share of
/// many sessions has gone (`Report::Shrunk`).
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub(super) fn give_back() {
    // SAFETY: malloc_trim(3) takes no pointer, touches free memory only, and may be called from any thread.
    unsafe { nix::libc::malloc_trim(0) };
}

/// Other C libraries give memory back by themselves.
#[cfg(not(target_env = "gnu"))]
pub(super) fn give_back() {}
