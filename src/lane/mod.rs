//! The lane (to come)
pub mod checkpoint;
pub mod identity;
