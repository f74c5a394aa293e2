//! `corelane inspect journal`: what a journal file holds, and what is wrong with it, in words.
//!
//! Looks at every object once, from the first to the last (`inspect_objects`), then at what lists them
//! (`inspect_lists`). A file that is being written to may be in between for a moment; that is said.

use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::ExitCode,
};

use jiff::Timestamp;
use rustix::fs::OFlags;
use serde_json::{Value, json};

use super::{
    grammar::Access,
    inspect_bytes::{Blocks, Bytes},
    inspect_objects::{Inspection, KINDS},
    print,
    screen::Screen,
    table::Table,
};
use crate::{
    fault::Fault,
    wire::journal::{
        EntryHead, Header, State,
        header::{self, HEADER_BYTES},
    },
};

/// Tells what is in `path`; the code is 1 when anything is wrong with it.
///
/// # Errors
/// It cannot be read, or is no journal file.
pub fn journal(path: &Path, access: &Access) -> Result<ExitCode, Fault> {
    let place = path.display().to_string();
    let failed = |error: io::Error| Fault::io(place.clone(), &error);
    let file = open(path, &place)?;
    let mut bytes = Bytes::new(file.try_clone().map_err(failed)?);
    let head = bytes.at(0, HEADER_BYTES).map_err(failed)?.to_vec();
    let header = Header::parse(&head).map_err(|fault| Fault::invalid(place.clone(), fault.to_string()))?;
    // A file that is being written to grows: what its header knows of is within a size measured later.
    let size = file.metadata().map_err(failed)?.len();
    let blocks = Blocks::new(file, size);
    let mut inspection = Inspection::new(bytes, blocks, header, head, size);
    inspection.objects().and_then(|()| inspection.lists()).map_err(failed)?;
    inspection.counters();
    let sound = inspection.findings.total() == 0;
    print::value(access, &inspection.told(&place), human)?;
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Opens a regular file and nothing else: a FIFO would wait for its writer for ever.
fn open(path: &Path, place: &str) -> Result<File, Fault> {
    let failed = |error: io::Error| Fault::io(place, &error);
    let refused = |metadata: &Metadata| {
        let what = if metadata.is_dir() { "a directory" } else { "no regular file" };
        let hint = match metadata.is_dir() {
            true => "name one of the files in it; `--export` takes a directory",
            false => "name a file that journald wrote, or a copy of one",
        };
        Fault::invalid(place, format!("{what}, not a journal file")).way_out(hint)
    };
    // Opening a device may already do something; and what was looked at may be another file by now.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(refused(&metadata));
    }
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32;
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_file() { Ok(file) } else { Err(refused(&metadata)) }
}

impl Inspection {
    fn told(&self, place: &str) -> Value {
        let Header { state, incompatible, compatible, .. } = self.header;
        let state = match state {
            State::Offline => "offline: closed by its writer".to_owned(),
            State::Online => "online: being written to, or its writer died".to_owned(),
            State::Archived => "archived: nothing more will be written".to_owned(),
            State::Unknown(other) => format!("unknown: {other}"),
        };
        let flags = [
            (incompatible & header::INCOMPATIBLE_COMPACT, "compact"),
            (incompatible & header::INCOMPATIBLE_KEYED_HASH, "keyed hash"),
            (incompatible & header::INCOMPATIBLE_ZSTD, "zstd"),
            (incompatible & header::INCOMPATIBLE_LZ4, "lz4"),
            (incompatible & header::INCOMPATIBLE_XZ, "xz"),
            (compatible & 1, "sealed"),
        ];
        let flags: Vec<&str> = flags.iter().filter(|(set, _)| *set != 0).map(|(_, name)| *name).collect();
        let time = |entry: &EntryHead| {
            Timestamp::from_microsecond(entry.realtime as i64).map_or(Value::Null, |time| json!(time.to_string()))
        };
        let ends = |entry: Option<EntryHead>| entry.map(|entry| json!({"seqnum": entry.seqnum, "time": time(&entry)}));
        let kinds = KINDS.iter().zip(self.kinds);
        json!({
            "file": place,
            "bytes": self.size,
            "state": state,
            "flags": flags,
            "fileId": hex(&self.header.file_id),
            "machineId": hex(&self.header.machine_id),
            "seqnumId": hex(&self.header.seqnum_id),
            "lastBootId": hex(&self.header.tail_entry_boot_id),
            "entries": self.entries.len(),
            "first": ends(self.first),
            "last": ends(self.last),
            "compressedValues": self.compressed,
            "objects": kinds.map(|((name, _), (count, bytes))| json!({"kind": name, "count": count, "bytes": bytes}))
                .collect::<Vec<_>>(),
            "problems": self.findings.told(),
            "problemsTotal": self.findings.total(),
        })
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn human(told: &Value, screen: &Screen) -> String {
    let flags = list(&told["flags"]).iter().map(text).collect::<Vec<_>>().join(", ");
    let mut out = format!("{}: journal file, {} bytes\n", text(&told["file"]), told["bytes"]);
    out.push_str(&format!("state      {}\nflags      {flags}\n", text(&told["state"])));
    for (name, key) in
        [("file", "fileId"), ("machine", "machineId"), ("seqnum id", "seqnumId"), ("last boot", "lastBootId")]
    {
        out.push_str(&format!("{name:10} {}\n", text(&told[key])));
    }
    out.push_str(&format!("entries    {}\n", told["entries"]));
    for (name, key) in [("first", "first"), ("last", "last")] {
        if !told[key].is_null() {
            out.push_str(&format!("{name:10} seqnum {}, {}\n", told[key]["seqnum"], text(&told[key]["time"])));
        }
    }
    let mut table = Table::new(&["OBJECTS", "COUNT", "BYTES"]);
    for kind in list(&told["objects"]) {
        table.row(vec![text(&kind["kind"]), kind["count"].to_string(), kind["bytes"].to_string()]);
    }
    let mut out = format!("{}\n{}", print::plain(&out), table.render(screen));
    out.push_str(&print::plain(&findings(told)));
    out
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// What is wrong with the file, in words.
fn findings(told: &Value) -> String {
    let mut out = format!("{} values are compressed\n", told["compressedValues"]);
    let total = told["problemsTotal"].as_u64().unwrap_or(0);
    if total == 0 {
        out.push_str("\nnothing is wrong with it\n");
        return out;
    }
    out.push_str(&format!("\n{total} thing(s) are wrong with it:\n"));
    list(&told["problems"]).iter().for_each(|problem| out.push_str(&format!("  {}\n", text(problem))));
    if text(&told["state"]).starts_with("online") {
        out.push_str(
            "It is marked as being written to; what is in between now may be whole in a moment: look again.\n",
        );
    }
    out
}
