//! What lists the objects of a journal file: the chain of all entries, the list that each value has of its entries,
//! both hash tables and the counts of the header, against the objects that were found.

use std::{io, mem};

use super::inspect_objects::{FIELD_LISTS, Inspection, OF_DATA, OF_FIELDS, Row, Table, mixed};
use crate::{
    limits::JOURNAL_CHAIN_MAX,
    wire::journal::{
        ALIGNMENT, ArrayHead, DataHead, EntryHead, Header, Layout, State,
        header::HEADER_BYTES_MIN,
        object::{ARRAY_ITEMS_AT, DATA_HEAD_BYTES, HASH_ITEM_BYTES},
        u64_at,
    },
};

/// Seqnums a writer may have used up behind its last entry, for appends that failed.
const SEQNUMS_FAILED_MAX: u64 = 64;
const ALL_LIST: &str = "places in the list of all entries";
const VALUE_LISTS: &str = "lists of the entries with a value";
const COUNTS: &str = "numbers of the header";
const TABLES: &str = "buckets of hash tables that lead astray";
const UNLISTED: &str = "objects that no hash table leads to";
const TABLE_NAMES: [&str; 2] = ["data hash table", "field hash table"];
/// Forward secure sealing, `HEADER_COMPATIBLE_SEALED`.
const COMPATIBLE_SEALED: u32 = 1;
/// A row that a bucket led to.
const VISITED: u32 = u32::MAX;

impl Inspection {
    /// Looks at all that lists objects.
    pub fn lists(&mut self) -> io::Result<()> {
        self.all_entries()?;
        self.table_places();
        if self.cut {
            // Half of the objects would seem to be in no list.
            return Ok(());
        }
        for of in [OF_DATA, OF_FIELDS] {
            self.table(of)?;
        }
        self.value_lists()?;
        self.fields()
    }

    /// The last entry: what lies behind it may be half written, or be left of an append that failed.
    fn settled(&self) -> u64 {
        self.entries.last().copied().unwrap_or_default()
    }

    /// Written after the header was read.
    fn is_news(&self, at: u64) -> bool {
        self.is_online() && at > self.header.tail_object_offset
    }

    /// Follows the chain that lists all entries.
    fn all_entries(&mut self) -> io::Result<()> {
        let layout = self.header.layout();
        let item_bytes = layout.array_item_bytes();
        let (mut at, mut links, mut listed) = (self.header.entry_array_offset, 0, 0u64);
        let n_entries = self.header.n_entries;
        while at != 0 && listed < n_entries {
            links += 1;
            let Some(array) = ArrayHead::parse(self.bytes.at(at, ARRAY_ITEMS_AT)?, layout) else {
                self.findings
                    .add(ALL_LIST, || format!("at {at}: the list of entries leads here, where no part of it is"));
                break;
            };
            let here = array.capacity.min(self.size / item_bytes as u64).min(n_entries - listed);
            for index in 0..here {
                let item_at = at + ARRAY_ITEMS_AT as u64 + index * item_bytes as u64;
                let item = layout.offset(self.bytes.at(item_at, item_bytes)?);
                let number = listed + index;
                let expected = self.entries.get(number as usize).copied();
                if item != expected {
                    let name = |at: Option<u64>| at.map_or("none".to_owned(), |at| format!("one at {at}"));
                    let (item, expected) = (name(item), name(expected));
                    let what = || format!("at {at}: the list of entries has {item} as number {number}, not {expected}");
                    self.findings.add(ALL_LIST, what);
                }
            }
            listed += here;
            if array.next != 0 && array.next <= at || links > JOURNAL_CHAIN_MAX {
                let next = array.next;
                self.findings.add(ALL_LIST, || format!("at {at}: the list of entries leads back to {next}: a loop"));
                break;
            }
            let used_up = listed >= n_entries && !self.cut && array.next != 0 && !self.is_news(array.next);
            if used_up && self.arrays.binary_search(&array.next).is_err() {
                let next = array.next;
                self.findings
                    .add(ALL_LIST, || format!("at {at}: the list of entries goes on at {next}, where no part is"));
            }
            at = array.next;
        }
        if listed < n_entries {
            let what = format!("the list of entries ends after {listed} of the {n_entries} that the header counts");
            self.findings.add(ALL_LIST, || what);
        }
        if at == 0 && n_entries == 0 && self.header.entry_array_offset != 0 {
            self.findings.add(ALL_LIST, || "there is a list of no entries".to_owned());
        }
        Ok(())
    }

    /// Where the header says the tables are, and how large.
    fn table_places(&mut self) {
        let Header { data_hash_table_offset, data_hash_table_size, .. } = self.header;
        let Header { field_hash_table_offset, field_hash_table_size, .. } = self.header;
        let said = [(data_hash_table_offset, data_hash_table_size), (field_hash_table_offset, field_hash_table_size)];
        for ((table, said), name) in self.tables.into_iter().zip(said).zip(TABLE_NAMES) {
            let found = table.map_or((0, 0), |table| (table.items_at, table.bytes));
            // The header learns of a table after it was laid out.
            let begun = said == (0, 0) && self.is_online() && self.entries.is_empty();
            if said != found && !begun && !(self.cut && table.is_none()) {
                let place = |(at, bytes): (u64, u64)| format!("{bytes} bytes at {at}");
                let (said, found) = (place(said), place(found));
                self.findings.add(COUNTS, || format!("{name}: the header says {said}, the file holds {found}"));
            }
        }
    }

    /// Every object is in the bucket of its hash, and every chain ends where its bucket says.
    fn table(&mut self, of: usize) -> io::Result<()> {
        let Some(Table { items_at, bytes }) = self.tables[of] else { return Ok(()) };
        let (name, mut rows) = (TABLE_NAMES[of], mem::take(&mut self.rows[of]));
        for bucket in 0..bytes / HASH_ITEM_BYTES {
            let item = self.bytes.at(items_at + bucket * HASH_ITEM_BYTES, HASH_ITEM_BYTES as usize)?;
            let (first, tail) = (u64_at(item, 0).unwrap_or_default(), u64_at(item, 8).unwrap_or_default());
            let (mut at, mut last, mut wrong) = (first, 0, None);
            while at != 0 && !self.is_news(at) {
                let index = rows.binary_search_by_key(&at, |row| row.at);
                let Some(row) = index.ok().and_then(|index| rows.get_mut(index)) else {
                    wrong = Some(format!("leads to {at}, where nothing of its kind is"));
                    break;
                };
                if at <= last {
                    wrong = Some(format!("leads from {last} back to {at}"));
                    break;
                }
                if u64::from(row.bucket) != bucket {
                    wrong = Some(format!("leads to {at}, which has another hash"));
                    break;
                }
                row.bucket = VISITED;
                (last, at) = (at, row.next);
            }
            if wrong.is_none() && at == 0 && last != tail && !self.is_news(tail) {
                wrong = Some(format!("names {tail} as its last, which is {last}"));
            }
            if let Some(wrong) = wrong {
                self.findings.add(TABLES, || format!("{name}: bucket {bucket} {wrong}"));
            }
        }
        let settled = self.settled();
        for row in rows.iter().filter(|row| row.bucket != VISITED && row.at <= settled) {
            // Nobody looks for a value that no entry has.
            if of == OF_FIELDS || row.entries > 0 {
                self.findings.add(UNLISTED, || format!("at {}: an object that the {name} does not lead to", row.at));
            }
        }
        self.rows[of] = rows;
        Ok(())
    }

    /// The list of entries of every value names all that have it, and no other.
    fn value_lists(&mut self) -> io::Result<()> {
        let rows = mem::take(&mut self.rows[OF_DATA]);
        let layout = self.header.layout();
        let settled = if self.is_online() { self.settled() } else { u64::MAX };
        for row in rows.iter().filter(|row| row.at <= settled) {
            let Some(head) = DataHead::parse(self.bytes.at(row.at, DATA_HEAD_BYTES)?, layout) else { continue };
            if let Some(wrong) = self.value_list(&head, row)? {
                let at = row.at;
                self.findings.add(VALUE_LISTS, || format!("at {at}: the list of the entries with a value {wrong}"));
            }
        }
        self.rows[OF_DATA] = rows;
        Ok(())
    }

    /// What is wrong with one list. It is not followed further than there are entries with the value, so that all lists
    /// together take no longer than all entries.
    fn value_list(&mut self, head: &DataHead, row: &Row) -> io::Result<Option<String>> {
        let layout = self.header.layout();
        let (mut listed, mut sum, mut last, mut array) = (0u64, 0u64, 0u64, head.entry_array);
        if array != 0 && head.n_entries < 2 {
            return Ok(Some(format!("has an array at {array}, but {} entries", head.n_entries)));
        }
        let mut entry = head.entry;
        let (mut place, mut end) = (0, 0);
        while listed < head.n_entries {
            if self.is_news(entry) {
                break;
            }
            if entry <= last {
                return Ok(Some(format!("is not ascending: {entry} follows {last}")));
            }
            if listed == u64::from(row.entries) {
                let (count, has) = (head.n_entries, row.entries);
                return Ok(Some(format!("has {count}, among them the one at {entry}; {has} have the value")));
            }
            (listed, sum, last) = (listed + 1, sum.wrapping_add(mixed(entry)), entry);
            if listed == head.n_entries {
                break;
            }
            if place == end {
                if array == 0 {
                    return Ok(Some(format!("ends after {listed} of {}", head.n_entries)));
                }
                let capacity = self.capacity(array, layout)?;
                if capacity == 0 || self.arrays.binary_search(&array).is_err() {
                    let news = self.is_news(array);
                    return Ok((!news).then(|| format!("leads to {array}, where no array is")));
                }
                let next = self.blocks.word(array + 16)?;
                let before = mem::replace(&mut array, next);
                if array != 0 && array <= before {
                    return Ok(Some(format!("leads from {before} back to {array}: a loop")));
                }
                place = before + ARRAY_ITEMS_AT as u64;
                end = place + capacity * layout.array_item_bytes() as u64;
            }
            entry = self.item(place, layout)?;
            place += layout.array_item_bytes() as u64;
        }
        // The rest of the array, when it was the last, leads nowhere.
        let beyond = array != 0 && listed == head.n_entries && !self.is_news(array);
        if beyond && self.arrays.binary_search(&array).is_err() {
            return Ok(Some(format!("goes on at {array}, where no array is")));
        }
        let has = (u64::from(row.entries), row.sum);
        // The writer may not have come to this one, or have found no room for it.
        let late = self.entries.last().filter(|_| self.last_items.binary_search(&row.at).is_ok());
        let without = late.map(|entry| (has.0.saturating_sub(1), has.1.wrapping_sub(mixed(*entry))));
        let same = (listed, sum) == has || Some((listed, sum)) == without;
        Ok((!same).then(|| match listed == has.0 {
            true => "names another entry than those that have it".to_owned(),
            false => format!("has {listed} of the {} that have it", has.0),
        }))
    }

    /// Items an array has room for; 0 when there is none at `at`.
    fn capacity(&mut self, at: u64, layout: Layout) -> io::Result<u64> {
        let mut head = [0; ARRAY_ITEMS_AT];
        head[..8].copy_from_slice(&self.blocks.word(at)?.to_le_bytes());
        head[8..16].copy_from_slice(&self.blocks.word(at.saturating_add(8))?.to_le_bytes());
        let room = self.size.saturating_sub(at) / layout.array_item_bytes() as u64;
        Ok(ArrayHead::parse(&head, layout).map_or(0, |array| array.capacity.min(room)))
    }

    fn item(&mut self, at: u64, layout: Layout) -> io::Result<u64> {
        let word = self.blocks.word(at / ALIGNMENT * ALIGNMENT)?.to_le_bytes();
        Ok(layout.offset(&word[(at % ALIGNMENT) as usize..]).unwrap_or_default())
    }

    /// Every field that has values begins their list with the newest.
    fn fields(&mut self) -> io::Result<()> {
        let mut all: Vec<_> = self.values.values().copied().collect();
        all.sort_unstable_by_key(|values| (values.field, values.newest));
        for values in all {
            let (field, newest) = (values.field, values.newest);
            if newest == 0 || newest > self.settled() {
                continue;
            }
            if field == 0 {
                self.findings.add(FIELD_LISTS, || format!("at {newest}: a value of a field that is nowhere named"));
                continue;
            }
            let begins = self.blocks.word(field + 32)?;
            let expected = begins == newest || values.unused && begins > newest || self.is_news(begins);
            if !expected && self.unsound.binary_search(&begins).is_err() {
                let what =
                    || format!("at {field}: the list of the values of a field begins at {begins}, not at {newest}");
                self.findings.add(FIELD_LISTS, what);
            }
        }
        // One without values: an append failed, or its list was lost.
        for row in &self.rows[OF_FIELDS] {
            let begins = self.blocks.word(row.at + 32)?;
            let known = self.rows[OF_DATA].binary_search_by_key(&begins, |row| row.at).is_ok();
            if begins != 0 && !known && !self.is_news(begins) {
                let at = row.at;
                self.findings
                    .add(FIELD_LISTS, || format!("at {at}: the list of the values of a field begins at {begins}"));
            }
        }
        Ok(())
    }

    /// Compares what was found with what the header says.
    pub fn counters(&mut self) {
        let Header { n_objects, n_entries, n_data, n_fields, tail_object_offset, state, .. } = self.header;
        if let State::Unknown(other) = state {
            let what = format!("the state in the header is {other}, which is none of offline, online and archived");
            self.findings.add(COUNTS, || what);
        }
        if self.head.get(17..24).is_some_and(|reserved| reserved != [0; 7]) {
            self.findings.add(COUNTS, || "bytes 17 to 23 of the header are not zero".to_owned());
        }
        let younger = |at: usize| u64_at(&self.head, at).filter(|_| self.header.header_size >= at as u64 + 8);
        let count = |kind: usize| self.kinds[kind].0;
        let counts = [
            ("objects", Some(n_objects), self.objects),
            ("entries", Some(n_entries), self.entries.len() as u64),
            ("distinct field values", n_data, count(0)),
            ("names of fields", n_fields, count(1)),
            ("arrays of entries", younger(232), count(5)),
            ("tags", younger(224), count(6)),
        ];
        // The writer counts a thing after it wrote it.
        let late = u64::from(self.is_online());
        for (what, says, found) in counts {
            let Some(says) = says.filter(|says| *says > found || says.saturating_add(late) < found) else { continue };
            self.findings.add(COUNTS, || format!("{what}: the header says {says}, the file holds {found}"));
        }
        let (sealed, tags) = (self.header.compatible & COMPATIBLE_SEALED != 0, count(6));
        if sealed != (tags > 0) && !self.is_online() && !self.cut {
            let says = if sealed { "is sealed" } else { "is not sealed" };
            self.findings.add(COUNTS, || format!("the header says the file {says}, the file holds {tags} tags"));
        }
        if self.last_object != tail_object_offset && !self.cut {
            let (says, found) = (tail_object_offset, self.last_object);
            self.findings.add(COUNTS, || format!("the last object: the header says at {says}, it is at {found}"));
        }
        if self.header.end() < tail_object_offset {
            let (end, last) = (self.header.end(), tail_object_offset);
            self.findings
                .add(COUNTS, || format!("the header says that objects end before {end}, the last is at {last}"));
        }
        if self.header.header_size < HEADER_BYTES_MIN as u64 || !self.header.header_size.is_multiple_of(ALIGNMENT) {
            let bytes = self.header.header_size;
            self.findings.add(COUNTS, || format!("the header says it has {bytes} bytes, which none can have"));
        }
        self.ends();
    }

    /// The first entry and the last one, by the header.
    fn ends(&mut self) {
        let (first, last) = (self.first.unwrap_or_default(), self.last.unwrap_or_default());
        let Header { head_entry_seqnum, head_entry_realtime, tail_entry_realtime, .. } = self.header;
        let tail_offset = self.header.tail_entry_offset.filter(|offset| *offset != 0);
        let of_boot = self.header.tail_entry_boot_id == last.boot_id && !self.entries.is_empty();
        let monotonic = of_boot.then_some(self.header.tail_entry_monotonic);
        let offset = |nth: usize| self.entries.len().checked_sub(nth).and_then(|at| self.entries.get(at));
        let (last_at, before_at) = (offset(1).copied(), offset(2).copied());
        // The one before it while the last one is being written.
        let before = self.before_last.filter(|_| self.is_online());
        let before = |number: fn(&EntryHead) -> u64| before.as_ref().map(number);
        let numbers = [
            ("first seqnum", Some(head_entry_seqnum), first.seqnum, None),
            ("time of the first entry", Some(head_entry_realtime), first.realtime, None),
            ("time of the last entry", Some(tail_entry_realtime), last.realtime, before(|entry| entry.realtime)),
            ("its time since boot", monotonic, last.monotonic, before(|entry| entry.monotonic)),
            (
                "place of the last entry",
                tail_offset,
                last_at.unwrap_or_default(),
                before_at.filter(|_| self.is_online()),
            ),
        ];
        let begun = self.is_online() && self.entries.len() < 2;
        for (what, says, found, or) in numbers {
            let Some(says) = says.filter(|says| *says != found && Some(*says) != or && !(begun && *says == 0)) else {
                continue;
            };
            self.findings.add(COUNTS, || format!("{what}: the header says {says}, the file holds {found}"));
        }
        let (says, found) = (self.header.tail_entry_seqnum, last.seqnum);
        if says < found || says > found.saturating_add(SEQNUMS_FAILED_MAX) && !self.entries.is_empty() {
            self.findings.add(COUNTS, || format!("last seqnum: the header says {says}, the file holds {found}"));
        }
    }
}
