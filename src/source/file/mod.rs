//! Log files: found by globs, told apart by identity, read line by line from a byte offset.

pub mod cursor;
pub mod discovery;
pub mod head;
pub mod seek;

pub use cursor::FileCursor;
pub use discovery::{Found, Walk, discover};
pub use head::Head;
pub use seek::{Seek, Want};
