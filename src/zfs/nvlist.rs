//! Name-value lists, in which `libzfs_core` takes and gives everything that is not a name or a number.
//!
//! A list is owned by one [`NvList`]; what is read from it borrows from it ([`View`], [`Value`]), so nothing can outlive
//! the list's memory. Reading moves a cursor inside the list, so a list may move to another thread but not be shared
//! by two; the compiler sees to both.

#![expect(unsafe_code, reason = "wraps libnvpair")]

use std::ffi::{CStr, CString, c_int};
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use nvpair_sys as sys;

use super::library::Loaded;

/// An owned list with unique names.
#[derive(Debug)]
pub(super) struct NvList(NonNull<sys::nvlist_t>);

// SAFETY: the list's memory belongs to this value alone and libnvpair uses no thread-local state.
unsafe impl Send for NvList {}

impl Drop for NvList {
    fn drop(&mut self) {
        // SAFETY: the pointer came from libnvpair, is owned, and is freed once; no borrow outlives `self`.
        unsafe { sys::nvlist_free(self.0.as_ptr()) }
    }
}

impl NvList {
    /// An empty list. Unique names are what makes `nvlist_add_*` replace and what the kernel expects.
    pub(super) fn new(_: Loaded) -> io::Result<Self> {
        let mut list = ptr::null_mut();
        // SAFETY: `list` is a valid place for the result; `Loaded` proves that the function is there.
        check(unsafe { sys::nvlist_alloc(&raw mut list, sys::NV_UNIQUE_NAME, 0) })?;
        Ok(Self(NonNull::new(list).ok_or(io::ErrorKind::OutOfMemory)?))
    }

    /// Takes over what a call left in its out-parameter; `None` where it left nothing.
    ///
    /// # Safety
    /// `list` is null or a list that nothing else owns.
    pub(super) unsafe fn from_out(list: *mut sys::nvlist_t, _: Loaded) -> Option<Self> {
        NonNull::new(list).map(Self)
    }

    /// For a call that reads the list, or compresses it for the kernel.
    pub(super) fn as_ptr(&self) -> *mut sys::nvlist_t {
        self.0.as_ptr()
    }

    /// Adds a name without a value.
    pub(super) fn add_flag(&mut self, name: &str) -> io::Result<()> {
        let name = c_string(name)?;
        // SAFETY: the list is live and uniquely borrowed; the name is a C string that the library copies.
        check(unsafe { sys::nvlist_add_boolean(self.as_ptr(), name.as_ptr()) })
    }

    /// Adds a text.
    pub(super) fn add_text(&mut self, name: &str, value: &str) -> io::Result<()> {
        let (name, value) = (c_string(name)?, c_string(value)?);
        // SAFETY: as in `add_flag`; the value is copied too.
        check(unsafe { sys::nvlist_add_string(self.as_ptr(), name.as_ptr(), value.as_ptr()) })
    }

    /// Adds a copy of a list.
    pub(super) fn add_list(&mut self, name: &str, value: &Self) -> io::Result<()> {
        let name = c_string(name)?;
        // SAFETY: as in `add_flag`; `value` is live for the call, which copies it.
        check(unsafe { sys::nvlist_add_nvlist(self.as_ptr(), name.as_ptr(), value.as_ptr()) })
    }

    /// The list's content.
    pub(super) fn view(&self) -> View<'_> {
        View { list: self.0, owner: PhantomData }
    }
}

/// A list in memory that another list owns.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    list: NonNull<sys::nvlist_t>,
    owner: PhantomData<&'a NvList>,
}

/// One value, of the kinds that ZFS answers us with.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    /// `int32`: errors are of this kind.
    Int32(i32),
    /// `uint64`: properties and times are of this kind.
    Uint64(u64),
    /// `nvlist`
    List(View<'a>),
    /// A kind that no answer to us has.
    Other,
}

impl<'a> Value<'a> {
    /// The error number.
    pub(super) fn int32(self) -> Option<i32> {
        if let Self::Int32(value) = self { Some(value) } else { None }
    }

    /// The number.
    pub(super) fn uint64(self) -> Option<u64> {
        if let Self::Uint64(value) = self { Some(value) } else { None }
    }

    /// The list inside.
    pub(super) fn list(self) -> Option<View<'a>> {
        if let Self::List(value) = self { Some(value) } else { None }
    }
}

impl<'a> View<'a> {
    /// Every name with its value, in the list's order.
    pub(super) fn iter(self) -> Iter<'a> {
        Iter { view: self, at: ptr::null_mut() }
    }

    /// The value of this name.
    pub(super) fn get(self, name: &str) -> Option<Value<'a>> {
        let name = name.as_bytes();
        self.iter().find_map(|(key, value)| (key.to_bytes() == name).then_some(value))
    }
}

/// Walks a list. The list cannot change meanwhile: the view borrows its owner.
pub(super) struct Iter<'a> {
    view: View<'a>,
    at: *mut sys::nvpair_t,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a CStr, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        // SAFETY: the list is live for 'a; `at` is null (start) or a pair of this list.
        let pair = unsafe { sys::nvlist_next_nvpair(self.view.list.as_ptr(), self.at) };
        self.at = NonNull::new(pair)?.as_ptr();
        // SAFETY: `pair` is a pair of a list that is live for 'a.
        let name = unsafe { sys::nvpair_name(pair) };
        // SAFETY: a pair's name is a C string inside the pair, so it lives as long.
        let name = unsafe { CStr::from_ptr(name) };
        // SAFETY: `pair` is a pair of a list that is live for 'a.
        Some((name, unsafe { value(pair) }))
    }
}

/// Reads one pair.
///
/// # Safety
/// `pair` belongs to a list that is live, and unchanged, for `'a`.
unsafe fn value<'a>(pair: *mut sys::nvpair_t) -> Value<'a> {
    use sys::data_type_t as kind;
    // SAFETY: the caller's promise.
    let found = unsafe { sys::nvpair_type(pair) };
    let value = match found {
        kind::DATA_TYPE_INT32 => {
            // SAFETY: the pair is live, and of the type that this getter reads and then writes.
            unsafe { read(pair, sys::nvpair_value_int32) }.map(Value::Int32)
        }
        kind::DATA_TYPE_UINT64 => {
            // SAFETY: the same.
            unsafe { read(pair, sys::nvpair_value_uint64) }.map(Value::Uint64)
        }
        kind::DATA_TYPE_NVLIST => {
            // SAFETY: the same; the inner list is in the outer one's memory and lives as long.
            let list = unsafe { read(pair, sys::nvpair_value_nvlist) }.and_then(NonNull::new);
            let owner = PhantomData;
            list.map(|list| Value::List(View { list, owner }))
        }
        _ => None,
    };
    value.unwrap_or(Value::Other)
}

/// Calls one of libnvpair's getters; `None` where it refuses.
///
/// # Safety
/// `pair` is live, and `get` writes its second argument whenever it returns 0.
unsafe fn read<T>(
    pair: *mut sys::nvpair_t,
    get: unsafe extern "C" fn(*mut sys::nvpair_t, *mut T) -> c_int,
) -> Option<T> {
    let mut place = MaybeUninit::uninit();
    // SAFETY: the caller's promise, and the place is valid for a write.
    if unsafe { get(pair, place.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: written, since the getter returned 0.
    Some(unsafe { place.assume_init() })
}

fn check(errno: c_int) -> io::Result<()> {
    if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
}

/// Fails on a NUL inside; names that the model has checked have none.
pub(super) fn c_string(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zfs::library::LoadError;

    /// `None` where the libraries are not installed, having asserted that this is said in words.
    fn load() -> Option<Loaded> {
        match Loaded::load() {
            Ok(loaded) => Some(loaded),
            Err(error) => {
                assert!(matches!(error, LoadError::NoLibrary { .. }), "{error:?}");
                assert!(error.to_string().contains("apt install zfsutils-linux"), "{error}");
                None
            }
        }
    }

    #[test]
    fn lists_round_trip_or_the_missing_library_is_named() {
        let Some(loaded) = load() else { return };
        let mut list = NvList::new(loaded).unwrap();
        list.add_flag("guid").unwrap();
        list.add_text("p/a@1", "tag").unwrap();
        list.add_text("p/a@1", "replaced").unwrap();
        assert!(list.add_flag("with\0nul").is_err());

        let names: Vec<_> = list.view().iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names, [c"guid".to_owned(), c"p/a@1".to_owned()]);
        assert!(list.view().get("missing").is_none());
        assert!(list.view().get("guid").is_some_and(|v| v.uint64().is_none()));
    }

    #[test]
    fn numbers_and_inner_lists_are_read_or_the_missing_library_is_named() {
        let Some(loaded) = load() else { return };
        let inner = NvList::new(loaded).unwrap();
        // SAFETY: a live list and a C string.
        check(unsafe { sys::nvlist_add_uint64(inner.as_ptr(), c"value".as_ptr(), u64::MAX) }).unwrap();
        let outer = NvList::new(loaded).unwrap();
        // SAFETY: live lists and a C string; the inner list is copied.
        check(unsafe { sys::nvlist_add_nvlist(outer.as_ptr(), c"guid".as_ptr(), inner.as_ptr()) }).unwrap();
        // SAFETY: a live list and a C string.
        check(unsafe { sys::nvlist_add_int32(outer.as_ptr(), c"errno".as_ptr(), -5) }).unwrap();
        drop(inner);

        let read = outer.view().get("guid").and_then(Value::list).unwrap();
        assert_eq!(read.get("value").and_then(Value::uint64), Some(u64::MAX));
        assert_eq!(outer.view().get("errno").and_then(Value::int32), Some(-5));
        // Looking something up inside a walk moves the list's cursor and must not disturb the walk.
        let walked = outer.view().iter().map(|(name, _)| {
            outer.view().get("guid").unwrap();
            name
        });
        assert_eq!(walked.count(), 2);
    }
}
