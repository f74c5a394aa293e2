//! The command line through the built binary, each test on a node of its own.

mod apply;
mod basic;
mod help;
mod node;
mod view;
mod wait;
