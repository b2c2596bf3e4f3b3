//! The C library of Faretra.
//!
//! Every function that C sees is an `extern "C" fn` in one of the modules below `border` and `arrow`. Its parameters say what C
//! promises: handles are [`Option<&T>`](Option), as C may pass a null pointer; places for results are
//! `Option<&mut MaybeUninit<T>>`; strings, memory and Arrow's structures go through `border` and `arrow`, which follow the pointers.
//! Where another module has `unsafe` (for memory that comes with a length of its own, in values and drafts), it says which promise of
//! C's that relies on. The documentation of the functions is written for those who read the header: `cargo xtask header
//! --write` makes `include/faretra.h` of it, and the words at the head of each module become its chapters.
//!
//! * C1: no panic crosses the border ([`border::run`]).
//! * C2: a handle is told from a null pointer, a handle of another kind, and (as long as its memory was not used again) one
//!   that was freed, before anything is done with it.
//! * C3: a call keeps nothing of the memory that it was given, and of Arrow's structures leaves their release to the caller.
//! * C4: what a handle holds is `Send` and `Sync`, which the compiler checks ([`border::Body`]): C may use it in any thread.
#![allow(unsafe_code, reason = "a border to C: names that the linker sees, and pointers in `border` and `arrow`")]
#![allow(non_camel_case_types, reason = "the names of C")]

mod border;
mod error;

mod arrow;

mod arena;
mod channel;
mod draft;
mod feed;
mod object;
mod ready;
mod sync;
mod value;
