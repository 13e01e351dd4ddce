//! Memory that the guest surely has from its host.
//!
//! A guest hands freed memory back, and touching it again costs a fault in the hypervisor: appends to the page
//! cache then look up to ten times dearer than they are. A reservoir holds all memory that is free, touched, and
//! lets go of it in steps as others need it, so that all brokers find warm memory.

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use std::ffi::c_void;
use std::fs::read_to_string;
use std::io;
use std::ptr::null_mut;
use std::time::Duration;

const STEP_BYTES: usize = 32 << 20;
const PAGE_BYTES: usize = 4096;
/// The reservoir gives below this much free memory and takes above that much.
const FREE_LOW_KIB: u64 = 400 << 10;
const FREE_HIGH_KIB: u64 = 600 << 10;
const PERIOD: Duration = Duration::from_millis(5);

/// Keeps free memory within bounds for as long as the process lives.
pub fn keep() -> io::Result<()> {
    let mut steps = Vec::new();
    loop {
        let free = free_kib()?;
        if free > FREE_HIGH_KIB {
            steps.push(take()?);
            continue;
        }
        if free < FREE_LOW_KIB {
            for step in steps.drain(steps.len().saturating_sub(2)..) {
                // SAFETY: mapped by `take` and forgotten now.
                unsafe { munmap(step, STEP_BYTES)? };
            }
        }
        std::thread::sleep(PERIOD);
    }
}

fn take() -> io::Result<*mut c_void> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: new memory at an address that the kernel chooses; only the caller knows it.
    unsafe {
        let step = mmap_anonymous(null_mut(), STEP_BYTES, access, MapFlags::PRIVATE)?;
        madvise(step, STEP_BYTES, Advice::LinuxHugepage)?;
        for page in (0..STEP_BYTES).step_by(PAGE_BYTES) {
            step.cast::<u8>().add(page).write_volatile(1);
        }
        Ok(step)
    }
}

fn free_kib() -> io::Result<u64> {
    let text = read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemFree:"));
    let value = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    value.ok_or_else(|| io::Error::other("a meminfo without MemFree"))
}
