//! The memory that limiters have freed, back to the operating system.

use rustler::{Atom, NifResult};

use crate::atoms;
use crate::catch_panic::catch_panic;

/// Gives free memory back. It takes the locks of the allocator, for about a millisecond for each few megabytes.
#[rustler::nif(schedule = "DirtyCpu")]
fn release_memory() -> NifResult<Atom> {
    catch_panic(|| {
        release();
        Ok(atoms::ok())
    })
}

/// By itself, the allocator of glibc gives back only what lies at the end of a heap, so one key that stays keeps what a
/// flood of others has left. Others give memory back when it is freed.
#[allow(unsafe_code)]
pub(crate) fn release() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        extern "C" {
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: glibc has it with this signature, for any thread at any time.
        unsafe { malloc_trim(0) };
    }
}
