//! Asking the processor to fetch what will be read soon.

/// Bytes the processor fetches at once, on all it runs on here; where they are more, some requests say nothing new.
const LINE_BYTES: usize = 64;

/// Says that these bytes will be read soon. Never waits, and reads nothing that could fail; where the processor cannot
/// be told, nothing happens.
#[inline(always)]
pub fn will_read(bytes: &[u8]) {
    will_read_at(bytes.as_ptr().addr(), bytes.len());
}

/// The same of an address.
#[inline(always)]
pub fn will_read_at(address: usize, bytes: usize) {
    for line in (address..address.saturating_add(bytes)).step_by(LINE_BYTES) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch has no effect a program could see, whatever its address. SSE, which brings it, is part of
        // every x86-64.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::without_provenance(line));
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = line;
    }
}
