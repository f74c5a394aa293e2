//! (to come)
pub mod registry;
pub mod store;
