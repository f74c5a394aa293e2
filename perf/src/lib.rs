//! Load, receivers and measurements for judging a log shipper from outside; knows nothing of Corelane's code.
//!
//! A run is: [`load`] writes numbered lines into files, the shipper under test carries them, [`loki`] or [`syslog`]
//! receives them and [`verify`] says which numbers are missing, which came twice, and whether what came twice was the
//! same. Everything that decodes here was written from the published formats, apart from the shipper's encoders, so
//! that a mistake cannot cancel itself out. [`certs`] makes the certificates, [`procfs`] reads what it cost,
//! [`mod@bench`] puts it all together.

pub mod bench;
pub mod certs;
pub mod load;
pub mod loki;
pub mod net;
pub mod procfs;
pub mod syslog;
pub mod time;
pub mod verify;
