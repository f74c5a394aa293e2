//! What the kernel offers beside files: small calls no safe library wraps, each with its reason.

pub mod tcp;
