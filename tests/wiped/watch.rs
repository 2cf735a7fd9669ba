//! An allocator that looks into what is given back to it.
#![allow(unsafe_code, reason = "an allocator cannot be written without it")]

use std::alloc::GlobalAlloc;
use std::alloc::Layout;
use std::alloc::System;
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::slice;
use std::sync::Mutex;
use std::sync::PoisonError;

/// Hands out the system's memory. Buffers that grow are moved each time, as in the worst case they are anyway: the
/// default `realloc` does so.
pub(crate) struct Watching;

/// What must not be in memory that is given back.
pub(crate) struct Canary {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
}

/// A canary that was found, and the crate that gave its memory back.
pub(crate) type Found = (&'static str, String);

static WATCH: Mutex<(Vec<Canary>, BTreeSet<Found>)> = Mutex::new((Vec::new(), BTreeSet::new()));

/// Several tests share the one allocator of the program.
static TURN: Mutex<()> = Mutex::new(());

thread_local! {
    /// Whether this thread is watched: neither the tests' own copies are nor what looking into memory takes.
    static IS_WATCHED: Cell<bool> = const { Cell::new(false) };
}

// SAFETY: all memory comes from, and goes back to, the system's allocator, which keeps the contract; between a call and
// the one that is passed on the block is only read.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Zeroed, so that all of a block may be read before all of it was written.
        // SAFETY: the caller keeps the contract of this very method.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if IS_WATCHED.try_with(|watched| watched.replace(false)).unwrap_or(false) {
            // SAFETY: the block is the caller's until it is given back below, has this size and was initialised above.
            look_into(unsafe { slice::from_raw_parts(block, layout.size()) });
            IS_WATCHED.set(true);
        }
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

fn look_into(block: &[u8]) {
    let mut watch = WATCH.lock().unwrap_or_else(PoisonError::into_inner);
    let (canaries, found) = &mut *watch;
    for canary in canaries.iter().filter(|canary| contains(block, &canary.bytes)) {
        found.insert((canary.name, culprit(&Backtrace::force_capture().to_string())));
    }
}

fn contains(block: &[u8], canary: &[u8]) -> bool {
    let starts = block.iter().enumerate().filter(|(_, byte)| **byte == canary[0]);
    starts.map(|(at, _)| &block[at..]).any(|rest| rest.starts_with(canary))
}

/// The crate that is named first, from the innermost call outwards, besides Rust's own and this module.
fn culprit(trace: &str) -> String {
    const PASSED_OVER: [&str; 7] = ["__rustc", "alloc", "core", "std", "rustc_demangle", "backtrace_rs", ""];
    let calls = trace.lines().filter_map(|line| line.trim_start().split_once(": ").map(|(_, call)| call));
    let calls = calls.filter(|call| !call.contains("watch::"));
    let paths =
        calls.flat_map(|call| call.split(|letter: char| !letter.is_alphanumeric() && !"_:".contains(letter)));
    let mut crates = paths.filter_map(|path| path.split_once("::")).map(|(name, _)| name);
    crates.find(|name| !PASSED_OVER.contains(name)).unwrap_or("nobody").to_owned()
}

/// How [`found_in`] names the crate `name`: releases are stripped, and name nobody.
pub(crate) fn known_as(name: &str) -> String {
    let name = if cfg!(debug_assertions) { name } else { "nobody" };
    name.to_owned()
}

/// What of `canaries` was still in memory that this thread gave back while `work` was done, and by whom.
pub(crate) fn found_in(canaries: Vec<Canary>, work: impl FnOnce()) -> BTreeSet<Found> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    *WATCH.lock().unwrap_or_else(PoisonError::into_inner) = (canaries, BTreeSet::new());
    IS_WATCHED.set(true);
    work();
    IS_WATCHED.set(false);
    std::mem::take(&mut *WATCH.lock().unwrap_or_else(PoisonError::into_inner)).1
}
