//! Every bound of the appliance, with its unit, in one place.
//!
//! A buffer, queue, cache or list that can grow has its limit here and nowhere else, so that the worst case can be
//! read off one page: those of the data plane here, those of the control plane in `control`. Relations that must hold
//! between limits are asserted at compile time at the end of the file.

mod control;

use std::time::Duration;

pub use control::*;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

// ---- reading ---------------------------------------------------------------------------------------------------

/// Bytes of one chunk, the unit of reading a file. 64–256 KiB measured best; beyond it the L2 cache is lost.
pub const CHUNK_BYTES: usize = 256 * KIB;
/// Longest frame, in bytes: what Loki takes as one line by default. A longer line is shipped in pieces of this size.
pub const FRAME_BYTES_MAX: usize = 256 * KIB - 4 * KIB;
/// Bytes a reader looks back before its position to tell equal neighbours apart and to inherit a time.
pub const LOOK_BACK_BYTES: u64 = 64 * KIB as u64;
/// Entries a journal reader looks back for the same purpose.
pub const LOOK_BACK_ENTRIES: u64 = 64;
/// Head of a file hashed into its identity, in bytes.
pub const FINGERPRINT_BYTES: usize = 256;
/// Files one lane follows at once; further ones wait, counted and complained of.
pub const READERS_MAX: usize = 8192;
/// Descriptors of files that were rotated away or deleted and are still being drained.
pub const DRAINING_READERS_MAX: usize = 1024;
/// Directories one glob may visit below its fixed prefix.
pub const GLOB_DIRECTORIES_MAX: usize = 4096;
/// Sources that can share one journal directory: the width of a `SourceMask`.
pub const JOURNAL_SOURCES_MAX: usize = 128;
/// Window of a journal reader, in bytes. The kernel copies longer pieces faster; still larger ones cost more memory
/// than they save time.
pub const JOURNAL_WINDOW_BYTES: usize = MIB;
/// Bytes of a journal file that are mapped at once, where much is to be read. Tests map a page, so that small files
/// have several.
pub const JOURNAL_STRETCH_BYTES: usize = if SMALL_STRETCHES { 4 * KIB } else { 2 * MIB };
/// Bytes behind it that are mapped with it, for what begins in it and ends after it.
pub const JOURNAL_STRETCH_SLACK_BYTES: usize = 64 * KIB;
/// Bytes ahead that must be wanted for a stretch to be mapped.
pub const JOURNAL_STRETCH_WORTH_BYTES: usize = if SMALL_STRETCHES { KIB } else { 256 * KIB };
const SMALL_STRETCHES: bool = cfg!(any(test, feature = "fuzz", feature = "lives"));
/// Rendered field values a journal reader keeps, by DATA offset.
pub const JOURNAL_CACHE_ENTRIES_MAX: usize = 16_384;
/// Kinds of entries a journal reader knows by heart, per file. Each takes some 500 bytes.
pub const JOURNAL_TEMPLATES_MAX: usize = 1024;
/// Entries a journal reader remembers, so that one that stands in two files is read once.
pub const JOURNAL_REMEMBERED_MAX: usize = 65_536;
/// Entries a file must have left before it is worth asking whether any of them can match. Fuzzing asks small files too.
pub const JOURNAL_LOOKUP_ENTRIES_MIN: u64 = if cfg!(feature = "fuzz") { 16 } else { 1024 };
/// Values whose entries are found by the index of one journal file; when more are asked for, all entries are read.
pub const JOURNAL_INDEX_LISTS_MAX: usize = 16;
/// Entries the index of one journal file may lead to (4 bytes each are kept of them); of a file with more all are read.
pub const JOURNAL_INDEX_ENTRIES_MAX: u64 = 1 << 19;
/// Values of one field that are looked at for that; of a field with more the entries are read.
pub const JOURNAL_LOOKUP_VALUES_MAX: u32 = 4096;
/// Largest decompressed journal field; the size is checked before allocating. Longer ones are truncated and counted.
pub const JOURNAL_FIELD_BYTES_MAX: usize = MIB;
/// How long a place of a journal file that cannot be read is tried again before what lies there counts as damaged. Each
/// place after it gets half of what the one before got, down to `JOURNAL_PATIENCE_MIN`.
pub const JOURNAL_PATIENCE: Duration = Duration::from_secs(60);
pub const JOURNAL_PATIENCE_MIN: Duration = Duration::from_secs(1);
/// Longest journal field that is exported; one that is longer is left out, and told of.
pub const JOURNAL_EXPORT_FIELD_BYTES_MAX: usize = 64 * MIB;
/// Journal files of one directory that are listed; a directory with more is complained of.
pub const JOURNAL_FILES_MAX: usize = 4096;
/// Journal files that went away of which a reader remembers how far it had come, for when they are back (some 100 bytes
/// each).
pub const JOURNAL_GONE_FILES_MAX: usize = 4096;
/// Seqnum ids of which a journal reader knows which seqnums are missing; the one met first is forgotten.
pub const JOURNAL_IDS_MAX: usize = 64;
/// Names of journals (`system`, `user-1000`) of one seqnum id of which is known how far they were read.
pub const JOURNAL_NAMES_MAX: usize = 256;
/// Journal files held open although their turn has not come, so that a vacuum cannot take them away.
pub const JOURNAL_OPEN_FILES_MAX: usize = 64;
/// Journal files that keep their window while nothing is to be read; more of them give it back.
pub const JOURNAL_WARM_FILES_MAX: usize = 4;
/// Entries one step of a journal reader may pass over before it yields.
pub const JOURNAL_STEP_ENTRIES_MAX: u32 = 4096;
/// Arrays in the chain that lists the entries of one journal file. Each is twice as long as the one before.
pub const JOURNAL_CHAIN_MAX: usize = 4096;
/// A walk through a damaged journal file ends after so many bytes without anything that looks like an object.
pub const JOURNAL_WALK_BLIND_BYTES_MAX: u64 = 256 * MIB as u64;
/// Bytes read at once of an entry array.
pub const JOURNAL_ARRAY_READ_BYTES: usize = 16 * KIB;
/// Bytes read at once of a journal field that lies outside the window.
pub const JOURNAL_DATA_READ_BYTES: usize = 4 * KIB;
/// Longest value a journal reader keeps in its cache; longer ones are read again. With `JOURNAL_CACHE_ENTRIES_MAX` this
/// bounds the cache of one file to 4 MiB; values are a few bytes each in practice.
pub const JOURNAL_CACHED_VALUE_BYTES_MAX: usize = 256;
/// Complaints of a journal reader waiting to be told; later ones are dropped and counted.
pub const JOURNAL_TROUBLES_MAX: usize = 64;
/// How far `_SOURCE_REALTIME_TIMESTAMP` may lie from the journal's own time of the entry to be believed.
pub const JOURNAL_SOURCE_TIME_SKEW: Duration = Duration::from_secs(3600);
/// How far before the last position other journals (other seqnum ids) are read again on resume, since only the clock
/// relates them.
pub const JOURNAL_MERGE_SLACK: Duration = Duration::from_secs(5);
/// How long a drained file that was rotated away is kept open for late writers.
pub const ROTATED_QUIET: Duration = Duration::from_secs(10);
/// How often the head of a growing file is compared with what it was, at most.
pub const HEAD_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How often a hot file's size is looked at.
pub const TAIL_POLL: Duration = Duration::from_millis(50);
/// A file with no growth for so long leaves the hot list and waits on a one-shot watch.
pub const TAIL_IDLE: Duration = Duration::from_secs(5);
/// How often the globs are matched anew when no directory event says so earlier.
pub const DISCOVERY_INTERVAL: Duration = Duration::from_secs(10);
/// Looks in a row in which something could not be looked at, before what was not found counts as gone.
pub const UNSURE_LOOKS_MAX: u32 = 6;

// ---- the ring --------------------------------------------------------------------------------------------------

/// Reads one ring has under way at once. Their buffers belong to whoever submitted them.
pub const RING_READS_MAX: usize = 64;
/// `Op::Persist` waiting or under way in one ring.
pub const RING_PERSISTS_MAX: usize = 8;
/// Stretches of files in memory in the whole process; what comes beyond is read instead.
pub const MAPPINGS_MAX: usize = 256;
/// Bytes of watch events taken from the kernel at once.
pub const RING_EVENTS_BYTES: usize = 16 * KIB;
/// Kernel threads one ring may keep busy with reads that wait for a device.
pub const RING_WORKERS_MAX: u32 = 4;
/// How long a ring that goes away waits for the kernel to let go of its buffers; later ones are leaked, never freed.
pub const RING_DRAIN: Duration = Duration::from_secs(5);

// ---- the lane --------------------------------------------------------------------------------------------------

/// Lanes of one appliance.
pub const LANES_MAX: usize = 64;
/// Targets of one plan.
pub const TARGETS_MAX: usize = 64;
/// Credits one lane keeps, one for each target and each tenant of a Loki: the width of a `TargetSet`. Tenants beyond
/// share the credit of their target.
pub const OUTLETS_MAX: usize = 2 * TARGETS_MAX;
/// Sources of one plan.
pub const SOURCES_MAX: usize = 1024;
/// Flows of one lane, which is also the number of slots of its checkpoint.
pub const FLOWS_MAX: usize = 32_768;
/// Bytes one pass may carry at once before the next pass of its source has its turn.
pub const PASS_BYTES: usize = CHUNK_BYTES;
/// Bytes all passes together may carry in one turn: what settles, changes or is due waits no longer than that.
pub const TURN_BYTES: u64 = 16 * PASS_BYTES as u64;
/// Longest a lane sleeps without looking at the world.
pub const TURN_SLEEP_MAX: Duration = Duration::from_millis(500);
/// Bytes one source may carry in one round before the next source has its turn. A lane turn has several rounds.
pub const ROUND_BYTES: usize = 4 * PASS_BYTES;
/// How far, in event time, a reader may run ahead of another of the same source towards a Loki target. Loki refuses
/// what is an hour behind its stream.
pub const EVENT_TIME_SLACK: Duration = Duration::from_secs(15 * 60);
/// A read or an opening that takes longer no longer holds up the other readers of its source.
pub const HOLD_MAX: Duration = Duration::from_secs(2);
/// Lines older than this are caught up on, at a share of the core.
pub const CATCH_UP_LAG: Duration = Duration::from_secs(60);
/// That share by default, in percent of a core.
pub const CATCH_UP_PERCENT: u8 = 25;
/// Least `rateBytes` of a source, in bytes a second.
pub const RATE_BYTES_MIN: u64 = 1024;
/// Orders waiting for one lane.
pub const LANE_ORDERS_MAX: usize = 64;
/// Time marks a reader keeps for records without a time of their own.
pub const TIME_MARKS_MAX: usize = 24;
/// Shortest distance between two time marks. It doubles with every `TIME_MARKS_MAX / 6` marks there are.
pub const TIME_MARK_INTERVAL: Duration = Duration::from_secs(1);
/// A target without credit for so long leaves the pass it shares; it replays from its own position later. Until then it
/// holds up the others of the pass, so this is short: what bridges an outage is the target's queue, not this. Longer
/// than a healthy target takes to answer, or two that are equally fast would part all the time.
pub const SPLIT_AFTER: Duration = Duration::from_millis(50);
/// After a target gave batches back it rests for so long before they are read again for it.
pub const RETURN_PAUSE: Duration = Duration::from_millis(500);
/// Chunks of one lane, lent to the passes that read.
pub const CHUNKS_MAX: usize = 16;
/// A pass whose reader failed is tried again after so long.
pub const READ_RETRY: Duration = Duration::from_secs(1);
/// A file whose head cannot be read holds up for so long that looks count: a restart would take it for one that was let
/// go.
pub const OPENING_PATIENCE: Duration = Duration::from_secs(60);
/// Files of which the head is being read at once.
pub const OPENING_MAX: usize = 64;
/// Bytes read at once while looking for where `startAt` lies.
pub const SEEK_BYTES: usize = 64 * KIB;
/// A file in a format without times begins at most so many bytes before its end when `startAt` is a duration.
pub const UNTIMED_BACKLOG_BYTES: u64 = MIB as u64;
/// Sentences of trouble a lane reports at most.
pub const TROUBLES_MAX: usize = 32;
/// Sentences of trouble a lane logs within `TROUBLE_LOG_INTERVAL`; further ones are counted.
pub const TROUBLES_LOGGED_MAX: u32 = 32;
pub const TROUBLE_LOG_INTERVAL: Duration = Duration::from_secs(60);
/// How often a journal directory is looked at when no event says so earlier.
pub const JOURNAL_POLL: Duration = Duration::from_millis(250);
/// How long a journal directory is left alone after an event: a busy writer makes one for every entry.
pub const JOURNAL_REST: Duration = Duration::from_millis(20);

// ---- batches ---------------------------------------------------------------------------------------------------

/// An open batch is sealed at this size, in bytes before compression. Stock Loki refuses above 4 MiB.
pub const BATCH_BYTES: usize = MIB;
/// Entries of one batch.
pub const BATCH_ENTRIES_MAX: usize = 32_768;
/// Streams of one batch.
pub const BATCH_STREAMS_MAX: usize = 512;
/// An open batch is sealed at this age.
pub const BATCH_LINGER: Duration = Duration::from_millis(100);
/// Parts (reader × source) one batch may settle.
pub const BATCH_PARTS_MAX: usize = 1024;
/// Labels of one stream (Loki's stock limit).
pub const LABELS_MAX: usize = 15;
/// Bytes of one label value (Loki's stock limit is 2,048).
pub const LABEL_VALUE_BYTES_MAX: usize = 2048;
/// Fields a decoder hands out for one record.
pub const FIELDS_MAX: usize = 16;
/// Bytes of one structured-metadata value.
pub const METADATA_VALUE_BYTES_MAX: usize = 4096;
/// Bytes of all structured metadata of one entry, names included (Loki's stock limit is 64 KiB); pairs beyond stay out.
pub const METADATA_BYTES_MAX: usize = 48 * KIB;
/// Bytes of all open batches of one lane together, before compression; above it the largest are sealed early. With many
/// tenants there are many.
pub const OPEN_BYTES_MAX: usize = 32 * MIB;
/// Of more open batches than this none keeps its buffers for its next filling.
pub const OPEN_KEPT_MAX: usize = 16;
/// Buffers an open batch keeps for its next filling, in bytes; what grew beyond is given back.
pub const BATCH_KEPT_BYTES: usize = 2 * MIB;
/// Message bytes every part of a split syslog message carries at least, however long its header is.
pub const SYSLOG_PART_BYTES_MIN: usize = 64;
/// Syslog message size by default (rsyslog's own default), in bytes.
pub const SYSLOG_MESSAGE_BYTES: usize = 8192;

// ---- delivery --------------------------------------------------------------------------------------------------

/// Memory budget of sealed batches for one target and lane, by default, in bytes.
pub const QUEUE_BYTES: usize = 8 * MIB;
/// Least and most `queueBytes` may be.
pub const QUEUE_BYTES_MIN: usize = 2 * MIB;
pub const QUEUE_BYTES_MAX: usize = 1024 * MIB;
/// Batches of one target in flight from one lane, whatever their size.
pub const BATCHES_IN_FLIGHT_MAX: usize = 64;
/// Slots of the hand-off ring between a lane and an egress thread.
pub const HANDOFF_SLOTS: usize = 1024;
/// Slots of the verdict ring back to a lane.
pub const VERDICT_SLOTS: usize = OUTLETS_MAX * BATCHES_IN_FLIGHT_MAX;
/// First and longest pause between two tries at a target.
pub const BACKOFF_MIN: Duration = Duration::from_millis(100);
pub const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A request unanswered for so long is tried again.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection not made in so long is given up.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer body that are read for its reason.
pub const ANSWER_BYTES_MAX: usize = 16 * KIB;
/// Oldest entry a stock Loki takes (`reject_old_samples_max_age`), and furthest ahead of now (`creation_grace_period`).
pub const LOKI_OLDEST: Duration = Duration::from_secs(7 * 24 * 3600);
pub const LOKI_AHEAD: Duration = Duration::from_secs(600);
/// A stream is at risk when an entry is so far behind its newest, and no push holds more of one stream than so much
/// time: Loki takes an hour (half of `max_chunk_age`), and a push sent again must not be refused for itself.
pub const LOKI_SPAN: Duration = Duration::from_secs(50 * 60);
/// Rate of one stream, in bytes per second, and what it may send at once (Loki's stock limits).
pub const LOKI_STREAM_RATE_BYTES: u64 = 3 * MIB as u64;
pub const LOKI_STREAM_BURST_BYTES: u64 = 15 * MIB as u64;
/// Least a rate of a stream may be, in bytes.
pub const LOKI_RATE_BYTES_MIN: usize = 64 * KIB;
/// A stream that would leave less of its burst than this, in per cent, is at risk.
pub const LOKI_BURST_RESERVE_PERCENT: u64 = 20;
/// Streams one target gets from one lane by default; stock Loki refuses a tenant's 5,001st.
pub const LOKI_STREAMS_MAX: usize = 4096;
/// Streams a session remembers; when there are more it begins anew, and all are at risk again.
pub const LOKI_STREAMS_KNOWN_MAX: usize = 16_384;
/// Largest push in bytes before compression, until a Loki says less.
pub const LOKI_PUSH_BYTES_MAX: usize = 4 * MIB - 64 * KIB;
/// How long the lines of a stream wait that Loki does not take for having too many.
pub const LOKI_STREAM_PAUSE: Duration = Duration::from_secs(10);
/// Pushes that may be spent on finding out which lines of one batch are refused; then the rest counts as refused.
pub const LOKI_PROBES_MAX: u32 = 512;
/// Lines a Loki that has never taken anything may refuse one by one, before it is no Loki and everything waits.
pub const LOKI_STRANGERS_MAX: u32 = 8;
/// What the quarantine of one target may hold, in bytes; then refused lines are dropped, counted.
pub const QUARANTINE_BYTES_MAX: u64 = 64 * MIB as u64;
/// A file of a quarantine that has reached this size is followed by another.
pub const QUARANTINE_FILE_BYTES: u64 = 8 * MIB as u64;
/// Longest line of a quarantine file that is read: a line and its metadata, escaped.
pub const QUARANTINE_LINE_BYTES_MAX: u64 = 8 * MIB as u64;
/// How often a target looks for lines that are to be sent again.
pub const QUARANTINE_POLL: Duration = Duration::from_secs(2);
/// Tenants of one target that have a connection of their own; further ones share one.
pub const TENANT_TASKS_MAX: usize = 64;
/// A syslog session must outlive the acknowledgement of a batch by so long before the batch counts as delivered.
pub const SYSLOG_SETTLE: Duration = Duration::from_secs(1);
/// TCP_USER_TIMEOUT of syslog sessions.
pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest pause a target's `Retry-After` can ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// Bytes of a target's words that are kept as a reason.
pub const REASON_BYTES_MAX: usize = 300;
/// Addresses of one name that are tried at one connect.
pub const ADDRESSES_MAX: usize = 16;
/// Least time one of several addresses is given at a connect.
pub const ADDRESS_TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// Orders waiting for the egress thread.
pub const EGRESS_ORDERS_MAX: usize = 64;
/// Threads of one egress thread's pool for what must block: name lookup, system certificates, the console.
pub const EGRESS_BLOCKING_THREADS_MAX: usize = 2 * TARGETS_MAX;
/// How often a syslog session with unsettled batches asks the kernel what was acknowledged.
pub const SYSLOG_POLL: Duration = Duration::from_millis(50);
/// Bytes read at once from a syslog peer, whose words are only waited for, not understood.
pub const SYSLOG_READ_BYTES: usize = 4 * KIB;
/// Messages a RELP peer may be sent that it has not answered. What was not answered when a session ends comes twice at
/// most once.
pub const RELP_WINDOW_FRAMES: usize = 2048;
/// Bytes of RELP frames made at once; one message more may follow.
pub const RELP_WRITE_BYTES: usize = 64 * KIB;
/// Bytes read at once from a RELP peer: an answer takes some 20.
pub const RELP_READ_BYTES: usize = 16 * KIB;
/// Largest answer of a RELP peer, in bytes.
pub const RELP_ANSWER_BYTES_MAX: usize = 4 * KIB;
/// A RELP peer that answers nothing for so long although something is waited for is given up (librelp's own default).
pub const RELP_ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
/// How often that is looked at.
pub const RELP_POLL: Duration = Duration::from_secs(1);
/// A message that a RELP peer has refused in so many sessions, and each time took others, counts as refused.
pub const RELP_REFUSALS_MAX: u32 = 3;
/// A syslog session that is to be replaced under a new plan is given up when nothing settles for so long.
pub const SESSION_DRAIN: Duration = Duration::from_secs(10);
/// A silent session is probed after so long, and so often (TCP keep-alive).
pub const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// How long a stopping appliance waits for what is in flight.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// What can arrive twice for one flow after a crash is what its target's `queueBytes` may hold in flight, and so much
/// more, in bytes before compression: a lane reads on while a whole batch still fits, and the last line of a batch may
/// reach beyond its mark.
pub const RESEND_BEYOND_QUEUE_BYTES: usize = FRAME_BYTES_MAX + METADATA_BYTES_MAX;
/// The same for a target with the queue it has by default: the most that can arrive twice for one flow after a crash.
/// Duplicates beyond it are a defect; tests hold the appliance to it.
pub const RESEND_WINDOW_BYTES: usize = QUEUE_BYTES + RESEND_BEYOND_QUEUE_BYTES;

// ---- checkpoint ------------------------------------------------------------------------------------------------

/// Bytes of one checkpoint slot.
pub const SLOT_BYTES: usize = 512;
/// A checkpoint file that cannot be read at start is tried so often before the lane starts without it.
pub const CHECKPOINT_READ_TRIES: usize = 5;
/// Batches wait at most so long for a checkpoint that cannot be written (a full disk) before they leave without it.
pub const CHECKPOINT_HOLD: Duration = Duration::from_secs(1);
/// An fsynced generation of the checkpoint follows at most this often.
pub const CHECKPOINT_SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Rotated files that are done are held open at most so long for a generation that cannot be synced; a power loss after
/// that may send them again.
pub const CHECKPOINT_SYNC_HOLD: Duration = Duration::from_secs(60);

// ---- what would vanish -----------------------------------------------------------------------------------------

/// Bytes of deleted files that all lanes together hold open because lines in them are not settled.
pub const PINNED_BYTES_MAX: u64 = 1024 * MIB as u64;
/// Bytes of the spool of all lanes together, compressed.
pub const SPOOL_BYTES_MAX: u64 = 2048 * MIB as u64;
/// The spool leaves so much of its file system free, in percent.
pub const SPOOL_FREE_PERCENT: u64 = 10;
/// A segment of the spool is written when it holds so many compressed bytes.
pub const SPOOL_SEGMENT_BYTES: usize = 4 * MIB;
/// Bytes of a file that are compressed together in the spool.
pub const SPOOL_BLOCK_BYTES: usize = CHUNK_BYTES;
/// Blocks of the spool a lane keeps uncompressed for those who read them.
pub const SPOOL_WINDOWS_MAX: usize = 4;
/// How often what cannot be written to the spool, or read from it, is tried before it counts as lost.
pub const SPOOL_TRIES_MAX: u32 = 5;
/// A lane moves one block to the spool at most so often, so that those who read are not held up.
pub const SPOOL_PACE: Duration = Duration::from_millis(4);
/// How often a lane looks at the files it holds that have no name any more.
pub const VANISHING_LOOK: Duration = Duration::from_secs(1);

const _: () = {
    assert!(FRAME_BYTES_MAX < CHUNK_BYTES, "a whole frame and its newline must fit a chunk");
    assert!(FRAME_BYTES_MAX <= 262_144, "Loki refuses longer lines");
    assert!(BATCH_BYTES + 2 * FRAME_BYTES_MAX < 4 * MIB, "one append past the mark must stay below Loki's 4 MiB");
    assert!(ROUND_BYTES as u64 <= TURN_BYTES, "a turn has room for one source at least");
    assert!(EVENT_TIME_SLACK.as_secs() < 3600, "Loki refuses what is an hour behind its stream");
    assert!(LOKI_SPAN.as_secs() < 3600, "what Loki takes behind a stream's newest");
    assert!(BATCH_BYTES + FRAME_BYTES_MAX + METADATA_BYTES_MAX < LOKI_PUSH_BYTES_MAX);
    assert!(QUEUE_BYTES_MIN >= 2 * BATCH_BYTES, "one batch in flight while the next is filled");
    assert!(QUEUE_BYTES_MIN <= QUEUE_BYTES && QUEUE_BYTES <= QUEUE_BYTES_MAX);
    assert!(RING_EVENTS_BYTES >= 16 + 256, "one watch event with the longest name must fit (inotify(7))");
    assert!(RING_WORKERS_MAX > 3, "before 6.1 the ring's three standing reads may each hold a worker");
    assert!(HANDOFF_SLOTS >= BATCHES_IN_FLIGHT_MAX);
    assert!(JOURNAL_SOURCES_MAX <= 128 && OUTLETS_MAX <= 128, "masks are u128");
    assert!(LOOK_BACK_BYTES as usize <= CHUNK_BYTES, "the look-back is one read");
    assert!(
        BACKOFF_MIN.as_millis() <= BACKOFF_MAX.as_millis() && BACKOFF_MAX.as_millis() <= RETRY_AFTER_MAX.as_millis()
    );
    assert!(SYSLOG_POLL.as_millis() * 4 <= SYSLOG_SETTLE.as_millis(), "a session's death is seen before it settles");
    assert!(SLOT_BYTES.is_power_of_two() && SLOT_BYTES <= 4096, "a slot never crosses a page");
};
