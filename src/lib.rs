//! Corelane: a log ingestion appliance. One binary reads journals and log files and ships every line to Grafana Loki
//! and syslog, at least once, for almost no CPU.
//!
//! This page is the map. It follows one line through the files, then says what holds everywhere.
//!
//! # The way of a line
//!
//! ```text
//!  journal files ─┐   lane: one thread, one ring, nothing shared                              egress: tokio
//!  log files ─────┤→ read → frame → decode → filter → label → batch → seal ── hand-off ring ─→ Loki / syslog / console
//!                 └────────── ledger + checkpoint ◀───── settle ◀───────────── verdicts ◀──────────────┘
//!  control: tokio   store + conf.d → documents → plan → orders to both │ reports → status, health
//! ```
//!
//! 1. [`lane::Lane::turn`] is the loop. Everything a lane does is a step of it, in one order; `src/lane/mod.rs` lists
//!    them.
//! 2. `lane/discover.rs` walks the globs of a source ([`source::file::discover()`]) and `lane/open.rs` tells which file
//!    it is (device, inode, generation, hash of the head) and where reading begins. The result is a
//!    [`lane::reader::Reader`]: one file, or one journal directory.
//! 3. `lane/tail.rs` notices that the file has grown. Its *pass* (one walk over the reader, shared by all flows that
//!    stand at the same position) becomes ready.
//! 4. `lane/schedule.rs` gives ready passes their turn while their targets have credit: sources by turns, the files of
//!    one source by event time. `records` in `lane/carry.rs` is the hot loop:
//!    - a cursor ([`source::FileCursor`], [`source::journal::JournalCursor`]) frames the next record within its chunk;
//!    - [`decode::Decoder`] finds level, time, message and fields, borrowing from the chunk;
//!    - [`lane::identity::Identity`] gives the record the time it will have at every resend;
//!    - each branch of the pass counts it, filters it by level, and appends it to an open batch
//!      ([`batch::Open::append`]): the one copy of its bytes, straight into the wire encoding.
//! 5. A full or old batch is sealed ([`batch::Open::seal`], compressed on the lane) and says which (reader, source) it
//!    settles up to which position. Every flow in it notes that in its window ([`lane::flow::Flow`]).
//! 6. Time marks and positions go into the checkpoint ([`lane::checkpoint::Checkpoint`]); only then is the batch handed
//!    over by pointer ([`orders::Port`], [`orders::handoff()`]).
//! 7. [`egress`] gives the batch to its target's task, which delivers in order and forever: what an answer means is
//!    decided without IO in [`target`].
//! 8. The verdict comes back. The flow's position moves over what is settled at the front of its window, never over
//!    what is not; totals move with it ([`stats::Totals`]), in the same checkpoint record.
//!
//! # What holds everywhere
//!
//! - **Two planes that never wait for each other.** The data plane is lanes and egress; the control plane is
//!   [`control`]. They meet in [`orders`] (plans down, batches across, verdicts back) and on the [`stats::Board`]
//!   (reports). Only [`appliance`] sees both.
//! - **One seam to the kernel.** A lane reaches disk and clock only through [`ring::Ring`]: io_uring, poll, or a
//!   simulated machine from a seed. The tests in `src/lane/tests` run the production lane through crashes in the last
//!   one; `tests/lives` runs thousands of such lives, and `scripts/planted` shows that they find what is broken.
//! - **The source is the write-ahead log.** Nothing is buffered for a target beyond its `queueBytes`. A target that
//!   takes nothing leaves the pass it shares and is replayed from its own position when it returns (`lane/group.rs`).
//! - **What would vanish is kept within bounds.** A deleted file that a flow still needs is held open (by the service
//!   manager too), then spooled, then counted and dropped (`lane/vanish.rs`, [`lane::spool`]). A spooled file is read
//!   like any other: only the ring below knows.
//! - **Resent entries are identical.** An entry's bytes depend on the record and its look-back alone, not on how
//!   batches were cut, so Loki stores it once. See [`lane::identity`].
//! - **Nothing is lost uncounted.** Per flow, read = filtered + delivered + refused + quarantined + dropped + in
//!   flight.
//! - **Configuration is a value.** Documents ([`config::document`]) compile into an immutable [`plan::Plan`]; nobody
//!   below `config` sees a document, and a record is handled wholly under one plan.
//! - **Every bound has a name** in [`limits`]; a [`fault::Fault`] names cause, place and way out.
//!
//! # Layers
//!
//! Dependencies point down; modules on one line do not know each other. `tests/tidy.rs` keeps it.
//!
//! ```text
//!  7  cli
//!  6  appliance                                  the only module that sees both planes
//!  5  lane │ egress │ control                    they meet only in orders and on the board
//!  4  source │ decode │ batch │ target │ config
//!  3  orders
//!  2  plan │ stats
//!  1  model │ wire    and the two fences around unsafe code: ring │ os
//!  0  limits │ fault
//! ```
//!
//! # Words
//!
//! *Source* and *target* are objects of the configuration. A *reader* is one file or journal directory, a *pass* one
//! walk over it, a *flow* one reader's lines of one source on their way to one target. *Framing* finds records,
//! *decoding* finds what is in them. A *batch* is open, sealed, in flight, settled. *Credit* is what a target may still
//! be given, a *verdict* what became of a batch there: acked, refused, returned.

pub mod appliance;
pub mod batch;
pub mod cli;
pub mod config;
pub mod control;
pub mod decode;
pub mod egress;
pub mod fault;
pub mod lane;
pub mod limits;
pub mod model;
pub mod orders;
pub mod os;
pub mod plan;
pub mod ring;
pub mod source;
pub mod stats;
pub mod target;
pub mod wire;
