//! (to come)
pub mod keys;
pub mod registry;
pub mod store;
pub mod token;
