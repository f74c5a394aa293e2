//! One checkpoint record as `SLOT_BYTES` bytes.
//!
//! ```text
//!   0 magic u32   4 version u16   6 kind u8   7 reader kind u8   8 sequence u64
//!  16 reader key: device, inode, generation u64, head bytes u32 (+4), head hash u64   |   directory u64
//!  56 source u64   64 target u64
//!  72 flow: position kind u8 (+7), position 120 B | totals 7 × u64, dropped by reason 12 × u64 | newest time i64
//!     reader: mark count u64, marks (place u64, time i64) × TIME_MARKS_MAX, marked up to u64,
//!           lines lost unseen u64, size without a name u64
//! 508 crc32 of all before
//! ```
//! Little endian. A slot that does not check is as if it were not there. Version 1 had room for three reasons to drop.

use crate::{
    limits::{SLOT_BYTES, TIME_MARKS_MAX},
    model::{FileIdentity, JournalPosition, Nanos, ObjectId, Position, ReaderKey},
    stats::{DropReason, Totals},
};

const MAGIC: u32 = 0x4b50_4c43; // "CLPK"
const VERSION: u16 = 2;
const CRC_AT: usize = SLOT_BYTES - 4;
const BODY_AT: usize = 72;
const TOTALS_AT: usize = BODY_AT + 8 + 120;
/// Reasons to drop a slot has room for; those there are not yet are 0.
const REASONS_MAX: usize = 12;
const NEWEST_AT: usize = newest_at(REASONS_MAX);
/// Of version 1, which had so many.
const REASONS_V1: usize = 3;
const MARKED_AT: usize = BODY_AT + 8 + TIME_MARKS_MAX * 16;

const _: () = {
    assert!(NEWEST_AT + 8 <= CRC_AT);
    assert!(DropReason::COUNT <= REASONS_MAX);
    assert!(MARKED_AT + 3 * 8 <= CRC_AT);
};

/// Where the time of the newest line stands behind so many reasons.
const fn newest_at(reasons: usize) -> usize {
    TOTALS_AT + (7 + reasons) * 8
}

/// Whose record it is. Reader records have target 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub reader: ReaderKey,
    pub source: ObjectId,
    pub target: ObjectId,
}

/// What one slot says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Flow {
        position: Position,
        totals: Totals,
        /// Time of the newest line settled; 0 = none.
        newest: Nanos,
    },
    Reader {
        marks: Vec<(u64, Nanos)>,
        /// The last place a mark was used for.
        marked: u64,
        /// Lines lost before they could be seen, as an upper bound.
        unattributed: u64,
        /// Bytes of a file without a name, when it was last looked at; 0 for others.
        size: u64,
    },
    /// The key was forgotten: an older record in another file does not count any more.
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Higher is newer, over all files and restarts.
    pub sequence: u64,
    pub key: Key,
    pub content: Content,
}

impl Slot {
    pub fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut out = [0u8; SLOT_BYTES];
        let mut at = Writer { out: &mut out, at: 0 };
        at.bytes(&MAGIC.to_le_bytes());
        at.bytes(&VERSION.to_le_bytes());
        let kind = match self.content {
            Content::Flow { .. } => 0,
            Content::Reader { .. } => 1,
            Content::Gone => 2,
        };
        at.bytes(&[kind]);
        at.bytes(&[u8::from(matches!(self.key.reader, ReaderKey::Journal { .. }))]);
        at.u64(self.sequence);
        match self.key.reader {
            ReaderKey::File(file) => {
                at.u64(file.device);
                at.u64(file.inode);
                at.u64(file.generation);
                at.u64(u64::from(file.head_bytes));
                at.u64(file.head_hash);
            }
            ReaderKey::Journal { directory } => at.u64(directory),
        }
        at.at = 56;
        at.u64(self.key.source.0);
        at.u64(self.key.target.0);
        match &self.content {
            Content::Flow { position, totals, newest } => {
                put_position(&mut at, position);
                at.at = TOTALS_AT;
                for value in totals_values(totals) {
                    at.u64(value);
                }
                at.at = NEWEST_AT;
                at.u64(newest.0 as u64);
            }
            Content::Reader { marks, marked, unattributed, size } => {
                let marks = &marks[..marks.len().min(TIME_MARKS_MAX)];
                at.u64(marks.len() as u64);
                for (place, time) in marks {
                    at.u64(*place);
                    at.u64(time.0 as u64);
                }
                at.at = MARKED_AT;
                [marked, unattributed, size].into_iter().for_each(|value| at.u64(*value));
            }
            Content::Gone => {}
        }
        let crc = crc32fast::hash(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// `None` for an empty, torn or foreign slot.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; SLOT_BYTES] = bytes.try_into().ok()?;
        let mut from = Reader { bytes, at: 0 };
        if from.take::<4>()? != MAGIC.to_le_bytes() {
            return None;
        }
        let reasons = match u16::from_le_bytes(from.take::<2>()?) {
            1 => REASONS_V1,
            VERSION => REASONS_MAX,
            _ => return None,
        };
        if bytes[CRC_AT..] != crc32fast::hash(&bytes[..CRC_AT]).to_le_bytes() {
            return None;
        }
        let [kind, reader_kind] = from.take::<2>()?;
        let sequence = from.u64()?;
        let reader = match reader_kind {
            0 => ReaderKey::File(FileIdentity {
                device: from.u64()?,
                inode: from.u64()?,
                generation: from.u64()?,
                head_bytes: u32::try_from(from.u64()?).ok()?,
                head_hash: from.u64()?,
            }),
            1 => ReaderKey::Journal { directory: from.u64()? },
            _ => return None,
        };
        from.at = 56;
        let key = Key { reader, source: ObjectId(from.u64()?), target: ObjectId(from.u64()?) };
        let content = match kind {
            0 => {
                let position = take_position(&mut from)?;
                from.at = TOTALS_AT;
                let totals = take_totals(&mut from, reasons)?;
                from.at = newest_at(reasons);
                Content::Flow { position, totals, newest: Nanos(from.u64()? as i64) }
            }
            1 => {
                let count = usize::try_from(from.u64()?).ok().filter(|count| *count <= TIME_MARKS_MAX)?;
                let marks =
                    (0..count).map(|_| Some((from.u64()?, Nanos(from.u64()? as i64)))).collect::<Option<_>>()?;
                from.at = MARKED_AT;
                Content::Reader { marks, marked: from.u64()?, unattributed: from.u64()?, size: from.u64()? }
            }
            2 => Content::Gone,
            _ => return None,
        };
        Some(Self { sequence, key, content })
    }
}

fn totals_values(totals: &Totals) -> impl Iterator<Item = u64> {
    let Totals { read, read_bytes, filtered, delivered, refused, quarantined, dropped, unparsed } = *totals;
    let spare = [0; REASONS_MAX - DropReason::COUNT];
    // The order of the decoder below; new fields go to the end with a new version.
    let first = [read, read_bytes, filtered, delivered, refused, quarantined];
    first.into_iter().chain(dropped).chain(spare).chain([unparsed])
}

fn take_totals(from: &mut Reader<'_>, reasons: usize) -> Option<Totals> {
    let mut totals = Totals {
        read: from.u64()?,
        read_bytes: from.u64()?,
        filtered: from.u64()?,
        delivered: from.u64()?,
        refused: from.u64()?,
        quarantined: from.u64()?,
        ..Totals::default()
    };
    for reason in 0..reasons {
        let count = from.u64()?;
        if let Some(dropped) = totals.dropped.get_mut(reason) {
            *dropped = count;
        }
    }
    totals.unparsed = from.u64()?;
    Some(totals)
}

fn put_position(at: &mut Writer<'_>, position: &Position) {
    match position {
        Position::File { offset } => {
            at.u64(0);
            at.u64(*offset);
        }
        Position::Journal(entry) => {
            at.u64(1);
            at.bytes(&entry.file_id);
            at.bytes(&entry.seqnum_id);
            at.bytes(&entry.boot_id);
            for value in [entry.offset, entry.ordinal, entry.seqnum, entry.monotonic, entry.realtime, entry.xor_hash] {
                at.u64(value);
            }
        }
    }
}

fn take_position(from: &mut Reader<'_>) -> Option<Position> {
    Some(match from.u64()? {
        0 => Position::File { offset: from.u64()? },
        1 => {
            let (file_id, seqnum_id, boot_id) = (from.take()?, from.take()?, from.take()?);
            Position::Journal(JournalPosition {
                file_id,
                seqnum_id,
                boot_id,
                offset: from.u64()?,
                ordinal: from.u64()?,
                seqnum: from.u64()?,
                monotonic: from.u64()?,
                realtime: from.u64()?,
                xor_hash: from.u64()?,
            })
        }
        _ => return None,
    })
}

struct Writer<'a> {
    out: &'a mut [u8; SLOT_BYTES],
    at: usize,
}

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }
}

struct Reader<'a> {
    bytes: &'a [u8; SLOT_BYTES],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = self.bytes.get(self.at..self.at + N)?;
        self.at += N;
        taken.try_into().ok()
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file_key() -> Key {
        let reader =
            ReaderKey::File(FileIdentity { device: 1, inode: 2, generation: 3, head_bytes: 4, head_hash: u64::MAX });
        Key { reader, source: ObjectId(7), target: ObjectId(8) }
    }

    #[test]
    fn golden_layout() {
        let totals = Totals { read: 9, unparsed: 0x55, ..Totals::default() };
        let content = Content::Flow { position: Position::file(0x1122), totals, newest: Nanos(-1) };
        let bytes = Slot { sequence: 5, key: file_key(), content }.encode();
        assert_eq!(&bytes[..24], b"CLPK\x02\0\0\0\x05\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0");
        assert_eq!(bytes[56], 7);
        assert_eq!(bytes[64], 8);
        assert_eq!(&bytes[80..82], [0x22, 0x11]);
        assert_eq!(bytes[200], 9);
        assert_eq!(bytes[344], 0x55);
        // Version 1 had room for three reasons to drop.
        let mut old = bytes;
        old.copy_within(344..360, 272);
        old[4] = 1;
        let crc = crc32fast::hash(&old[..CRC_AT]);
        old[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Slot::decode(&old), Slot::decode(&bytes));
    }

    #[test]
    fn one_flipped_bit_is_no_slot() {
        let content =
            Content::Reader { marks: vec![(1, Nanos(2)), (3, Nanos(4))], marked: 5, unattributed: 6, size: 7 };
        let slot = Slot { sequence: 1, key: file_key(), content };
        let bytes = slot.encode();
        assert_eq!(Slot::decode(&bytes), Some(slot));
        for bit in 0..SLOT_BYTES * 8 {
            let mut torn = bytes;
            torn[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Slot::decode(&torn), None, "bit {bit}");
        }
        assert_eq!(Slot::decode(&[0; SLOT_BYTES]), None);
    }

    proptest! {
        #[test]
        fn round_trip(
            sequence: u64, ids: [u64; 7], head: u32, blobs: [[u8; 16]; 3], journal: bool, numbers: [u64; 6],
            counts: [u64; 8],
        ) {
            let reader = if journal { ReaderKey::Journal { directory: ids[0] } } else {
                ReaderKey::File(FileIdentity {
                    device: ids[0], inode: ids[1], generation: ids[2], head_bytes: head, head_hash: ids[3],
                })
            };
            let [offset, ordinal, seqnum, monotonic, realtime, xor_hash] = numbers;
            let [file_id, seqnum_id, boot_id] = blobs;
            let position = if journal {
                Position::Journal(JournalPosition {
                    file_id, offset, ordinal, seqnum_id, seqnum, boot_id, monotonic, realtime, xor_hash,
                })
            } else { Position::file(offset) };
            let totals = Totals {
                read: counts[0], read_bytes: counts[1], filtered: counts[2], delivered: counts[3], refused: counts[4],
                quarantined: counts[5], unparsed: counts[7],
                dropped: std::array::from_fn(|reason| counts[6].wrapping_add(reason as u64)),
            };
            let slot = Slot {
                sequence,
                key: Key { reader, source: ObjectId(ids[4]), target: ObjectId(ids[5]) },
                content: Content::Flow { position, totals, newest: Nanos(ids[6] as i64) },
            };
            prop_assert_eq!(Slot::decode(&slot.encode()), Some(slot));
        }
    }
}
