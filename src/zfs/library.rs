//! Loads OpenZFS's libraries at run time and opens `/dev/zfs`.
//!
//! zhaul starts on machines that have neither (a target's agent, a config check, `--help`); only what needs ZFS asks
//! for the [`Library`], and gets it or the reason in words. Everything else in `zfs` is reached through it, so no call
//! can run before the libraries are there.

#![expect(unsafe_code, reason = "dlopen and dlsym have no safe form")]

use std::ffi::{CStr, c_void};
use std::io;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use libzetta::zfs::ZfsLzc;

use super::trampolines::{Origin, SLOTS, SYMBOLS};

/// The sonames, unchanged from OpenZFS 2.1 to 2.4; `libnvpair` first because the other needs it.
const CORE: &CStr = c"libzfs_core.so.3";
const NVPAIR: &CStr = c"libnvpair.so.3";

/// Why ZFS cannot be used on this machine, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A shared library is not installed, or not for this machine.
    #[error(
        "cannot load {library}; it comes with OpenZFS (Debian: apt install zfsutils-linux, which brings {package})"
    )]
    NoLibrary {
        /// Its soname.
        library: &'static str,
        /// The Debian package that holds it.
        package: &'static str,
        /// The dynamic loader's message.
        #[source]
        detail: LoaderMessage,
    },
    /// A shared library is there but lacks a function.
    #[error("{library} has no {symbol}: this OpenZFS is not one that zhaul knows (2.1 to 2.4)")]
    NoSymbol {
        /// Its soname.
        library: &'static str,
        /// The function.
        symbol: &'static str,
    },
    /// The kernel module is not loaded, or this is a container without the device.
    #[error(
        "/dev/zfs does not exist; load the kernel module (modprobe zfs), or pass the device into this container"
    )]
    NoModule,
    /// The device exists and may not be opened.
    #[error("no permission to open /dev/zfs; run as root, or as a user that the device's mode lets in")]
    Denied(#[source] io::Error),
    /// The device exists and cannot be opened for another reason.
    #[error("cannot open /dev/zfs")]
    Device(#[source] io::Error),
}

/// The dynamic loader's own words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LoaderMessage(String);

/// Proof that every function in `trampolines` leads to the real one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loaded(());

/// Access to ZFS: both libraries loaded, `/dev/zfs` open. There is one per process.
#[derive(Debug)]
pub struct Library {
    loaded: Loaded,
    lzc: ZfsLzc,
}

impl Library {
    /// Loads the libraries and opens `/dev/zfs`, once: the first success is kept, a failed load is tried again.
    pub fn load() -> Result<&'static Self, LoadError> {
        static LIBRARY: OnceLock<Library> = OnceLock::new();
        if let Some(library) = LIBRARY.get() {
            return Ok(library);
        }
        let loaded = Loaded::load()?;
        // Calls libzfs_core_init, which counts its callers: a race here costs nothing.
        let lzc = ZfsLzc::new().map_err(device_error)?;
        Ok(LIBRARY.get_or_init(|| Self { loaded, lzc }))
    }

    /// For building nvlists.
    pub(super) fn loaded(&self) -> Loaded {
        self.loaded
    }

    /// libzetta's engine, for the calls of it that are sound.
    pub(super) fn lzc(&self) -> &ZfsLzc {
        &self.lzc
    }
}

impl Loaded {
    /// Loads both libraries and fills the slots. Cheap when repeated: the loader counts, and the same values are stored.
    pub(super) fn load() -> Result<Self, LoadError> {
        static LOADED: OnceLock<Loaded> = OnceLock::new();
        if let Some(loaded) = LOADED.get() {
            return Ok(*loaded);
        }
        let nvpair = open(NVPAIR)?;
        let core = open(CORE)?;
        for ((origin, symbol), slot) in SYMBOLS.iter().zip(&SLOTS) {
            let (handle, soname) = match origin {
                Origin::Core => (core, CORE),
                Origin::Nvpair => (nvpair, NVPAIR),
            };
            // SAFETY: `handle` is a live handle that dlopen gave; the name is a C string.
            let address = unsafe { libc::dlsym(handle, symbol.as_ptr()) };
            if address.is_null() {
                return Err(LoadError::NoSymbol { library: text(soname), symbol: text(symbol) });
            }
            slot.store(address, Ordering::Release);
        }
        Ok(*LOADED.get_or_init(|| Self(())))
    }
}

/// The handle is never closed: the slots point into the library for the life of the process.
fn open(soname: &'static CStr) -> Result<*mut c_void, LoadError> {
    // SAFETY: the name is a C string; the libraries have no constructors that could misbehave.
    let handle = unsafe { libc::dlopen(soname.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if !handle.is_null() {
        return Ok(handle);
    }
    // SAFETY: no precondition; the text stays valid until this thread's next dl call.
    let message = unsafe { libc::dlerror() };
    let detail = if message.is_null() {
        "the dynamic loader gives no reason".to_owned()
    } else {
        // SAFETY: not null, so a C string, and no dl call has been made since.
        unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned()
    };
    let package = if ptr::eq(soname, CORE) {
        "libzfs4linux, libzfs6linux or libzfs7linux by version"
    } else {
        "libnvpair3linux"
    };
    Err(LoadError::NoLibrary { library: text(soname), package, detail: LoaderMessage(detail) })
}

fn text(name: &'static CStr) -> &'static str {
    name.to_str().unwrap_or("a function")
}

fn device_error(error: libzetta::zfs::Error) -> LoadError {
    use libzetta::zfs::Error::LZCInitializationFailed;
    let LZCInitializationFailed(error) = error else {
        return LoadError::Device(io::Error::other(error.to_string()));
    };
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENXIO | libc::ENODEV) => LoadError::NoModule,
        Some(libc::EACCES | libc::EPERM) => LoadError::Denied(error),
        _ => LoadError::Device(error),
    }
}
