//! Memory for buffers of pages' size that are filled quickly, read at random and used again.
//!
//! A restored context is thousands of buffers of some hundred kilobytes. From the system's allocator each is a mapping of
//! its own, whose memory the kernel hands out in pieces of 4 KiB: touching it for the first time costs several times what
//! reading a file into it does, and rows gathered from it miss the address cache. [`PageAllocator`] takes such buffers
//! from chunks that are backed by huge pages, and keeps what is freed for the next one of that size. Everything else goes
//! to the system's allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::{self, NonNull};
use std::sync::Mutex;

use memmap2::{Advice, MmapMut};

/// Sizes are rounded up to multiples of this.
const UNIT: usize = 4 << 10;
/// Smallest and (not included) largest buffer that is ours. Larger ones vary in size and are worth a mapping of their own.
const SMALLEST: usize = 128 << 10;
const LARGEST: usize = 2 << 20;
/// What is asked of the system at a time: a whole number of huge pages.
const CHUNK: usize = 64 << 20;

/// A global allocator that puts buffers of 128 KiB to 2 MiB into huge pages. A program names it as its own:
/// `#[global_allocator] static ALLOCATOR: PageAllocator = PageAllocator;`
///
/// What is freed is not returned to the system: it stays for buffers of the same size, of which a cache with a budget has
/// a bounded number.
#[derive(Debug, Default)]
pub struct PageAllocator;

/// Free buffers of each size, and the rest of the chunk that was mapped last.
struct Arena {
    /// The first free buffer of each number of units; each holds the address of the next.
    free: [Option<NonNull<u8>>; LARGEST / UNIT + 1],
    next: *mut u8,
    left: usize,
}

// SAFETY: the addresses are those of memory that nothing else refers to.
unsafe impl Send for Arena {}

static ARENA: Mutex<Arena> = Mutex::new(Arena {
    free: [None; LARGEST / UNIT + 1],
    next: ptr::null_mut(),
    left: 0,
});

/// Whether such a buffer is ours: decided by its layout alone, so that it is known again when it is freed.
fn is_ours(layout: Layout) -> bool {
    (SMALLEST..LARGEST).contains(&layout.size()) && layout.align() <= UNIT
}

impl Arena {
    /// A buffer of `units`, and whether it is known to be zeros; `None` if the system has no memory.
    fn take(&mut self, units: usize) -> Option<(NonNull<u8>, bool)> {
        if let Some(buffer) = self.free[units] {
            // SAFETY: a buffer in the list is free, at least 128 KiB long, aligned to 4 KiB, and holds the next one's
            // address, written by `give`.
            self.free[units] = unsafe { buffer.cast().read() };
            return Some((buffer, false));
        }
        let bytes = units * UNIT;
        if bytes > self.left {
            // What is left of the old chunk is less than one buffer of this size: under a hundredth of it, for pages.
            let mut chunk = MmapMut::map_anon(CHUNK).ok()?;
            // Without huge pages it is as good as any other memory.
            chunk.advise(Advice::HugePage).ok();
            self.next = chunk.as_mut_ptr();
            self.left = CHUNK;
            // It stays mapped for as long as the program runs.
            std::mem::forget(chunk);
        }
        let buffer = NonNull::new(self.next)?;
        // SAFETY: `left` bytes from `next` on lie in the chunk, and `bytes` are no more.
        self.next = unsafe { self.next.add(bytes) };
        self.left -= bytes;
        Some((buffer, true))
    }

    /// Keeps a buffer of `units` for the next one of that size.
    fn give(&mut self, buffer: NonNull<u8>, units: usize) {
        // SAFETY: the buffer was taken, is aligned to 4 KiB and at least 128 KiB long, and its owner has given it up.
        unsafe { buffer.cast().write(self.free[units]) };
        self.free[units] = Some(buffer);
    }
}

/// Takes a buffer from the arena.
fn take(size: usize) -> Option<(NonNull<u8>, bool)> {
    // Nothing panics while it is held, so it is never poisoned.
    ARENA.lock().ok()?.take(size.div_ceil(UNIT))
}

// SAFETY: buffers do not overlap while they are out: each comes from fresh memory or from a list that it was taken off. Which
// allocator a buffer belongs to follows from its layout, which is the same when it is freed. Nothing here allocates but
// through the system, and nothing unwinds.
unsafe impl GlobalAlloc for PageAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !is_ours(layout) {
            // SAFETY: the caller's promise is handed on.
            return unsafe { System.alloc(layout) };
        }
        take(layout.size()).map_or(ptr::null_mut(), |(buffer, _)| buffer.as_ptr())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !is_ours(layout) {
            // SAFETY: the caller's promise is handed on.
            return unsafe { System.alloc_zeroed(layout) };
        }
        let Some((buffer, zeros)) = take(layout.size()) else {
            return ptr::null_mut();
        };
        if !zeros {
            // SAFETY: the buffer has at least `size` bytes, and is ours until it is returned.
            unsafe { buffer.write_bytes(0, layout.size()) };
        }
        buffer.as_ptr()
    }

    unsafe fn dealloc(&self, buffer: *mut u8, layout: Layout) {
        if !is_ours(layout) {
            // SAFETY: a layout that is not ours was not ours when the buffer was allocated.
            return unsafe { System.dealloc(buffer, layout) };
        }
        if let (Some(buffer), Ok(mut arena)) = (NonNull::new(buffer), ARENA.lock()) {
            arena.give(buffer, layout.size().div_ceil(UNIT));
        }
    }

    unsafe fn realloc(&self, buffer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `size` makes a layout.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if !is_ours(layout) && !is_ours(new) {
            // SAFETY: the buffer is the system's, and stays with it.
            return unsafe { System.realloc(buffer, layout, size) };
        }
        if is_ours(layout) && is_ours(new) && layout.size().div_ceil(UNIT) == size.div_ceil(UNIT) {
            return buffer;
        }
        // SAFETY: the caller's promises about `buffer` and `size` hold for both calls, and both buffers are at least as long
        // as what is copied.
        unsafe {
            let moved = self.alloc(new);
            if !moved.is_null() {
                ptr::copy_nonoverlapping(buffer, moved, layout.size().min(size));
                self.dealloc(buffer, layout);
            }
            moved
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: [usize; 7] = [
        100,
        SMALLEST - 1,
        SMALLEST,
        449_840,
        450_000,
        LARGEST - 1,
        LARGEST,
    ];

    /// A buffer filled with a byte of its own, to see whether anybody else writes to it.
    struct Filled {
        buffer: *mut u8,
        layout: Layout,
        byte: u8,
    }

    impl Filled {
        fn new(size: usize, byte: u8, zeroed: bool) -> Self {
            let layout = Layout::from_size_align(size, 8).unwrap();
            // SAFETY: the size is not 0; what is written lies in the buffer.
            let buffer = unsafe {
                let buffer = if zeroed {
                    PageAllocator.alloc_zeroed(layout)
                } else {
                    PageAllocator.alloc(layout)
                };
                assert!(!buffer.is_null());
                if zeroed {
                    assert!(
                        std::slice::from_raw_parts(buffer, size)
                            .iter()
                            .all(|&byte| byte == 0)
                    );
                }
                buffer.write_bytes(byte, size);
                buffer
            };
            Self { buffer, layout, byte }
        }

        fn check(&self) {
            // SAFETY: it was written in full.
            let bytes = unsafe { std::slice::from_raw_parts(self.buffer, self.layout.size()) };
            assert!(bytes.iter().all(|&byte| byte == self.byte));
        }

        fn resize(&mut self, size: usize) {
            self.check();
            // SAFETY: the buffer has this layout; the new size is not 0.
            unsafe {
                self.buffer = PageAllocator.realloc(self.buffer, self.layout, size);
                let kept = self.layout.size().min(size);
                assert!(
                    std::slice::from_raw_parts(self.buffer, kept)
                        .iter()
                        .all(|&byte| byte == self.byte)
                );
                self.buffer.write_bytes(self.byte, size);
            }
            self.layout = Layout::from_size_align(size, 8).unwrap();
        }
    }

    impl Drop for Filled {
        fn drop(&mut self) {
            self.check();
            // SAFETY: it was allocated with this layout.
            unsafe { PageAllocator.dealloc(self.buffer, self.layout) };
        }
    }

    #[test]
    fn buffers_keep_to_themselves_whatever_comes_and_goes() {
        std::thread::scope(|scope| {
            for thread in 0..4_usize {
                scope.spawn(move || {
                    let mut held: Vec<Filled> = Vec::new();
                    for step in 0..300_usize {
                        let size = SIZES[(step * 5 + thread) % SIZES.len()];
                        held.push(Filled::new(size, (step * 7 + thread) as u8, step % 3 == 0));
                        if step % 4 == 1 {
                            let index = step * 31 % held.len();
                            held[index].resize(SIZES[(step / 2) % SIZES.len()]);
                        }
                        if held.len() > 12 {
                            held.swap_remove(step * 17 % held.len());
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn what_is_freed_is_used_again() {
        // A size that no other test has.
        let layout = Layout::from_size_align(777_777, 64).unwrap();
        // SAFETY: both buffers are freed with the layout they were allocated with.
        unsafe {
            let first = PageAllocator.alloc(layout);
            PageAllocator.dealloc(first, layout);
            let second = PageAllocator.alloc(layout);
            assert_eq!(first, second);
            PageAllocator.dealloc(second, layout);
        }
    }
}
