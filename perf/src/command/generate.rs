//! `corelane-perf gen`.

use std::{path::PathBuf, process::ExitCode, sync::atomic::Ordering, time::Duration};

use clap::{Args, ValueEnum};
use corelane_perf::load::{Clock, End, Format, Load, Pace, Rotation, Spec, Writer, drive};

use super::{at, interruption};

#[derive(Args)]
pub struct Arguments {
    /// The file to append to; it is made if it does not exist.
    #[arg(long)]
    out: PathBuf,
    /// Form of the lines. Numbers stand as "seq":N in zap, as seq=N in the others.
    #[arg(long, value_enum, default_value = "zap")]
    format: FormatArgument,
    /// The same seed gives the same lines.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Share of debug lines.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u8).range(0..=100), value_name = "PERCENT")]
    debug: u8,
    /// Number of the first line.
    #[arg(long, default_value_t = 0, value_name = "SEQ")]
    first: u64,
    /// Stop after so many lines.
    #[arg(long)]
    lines: Option<u64>,
    /// Stop after so many seconds. Without --lines and --seconds: until ctrl-c.
    #[arg(long)]
    seconds: Option<f64>,
    /// Lines per second; without any rate as fast as possible.
    #[arg(long, value_name = "LINES", conflicts_with = "rate_bytes")]
    rate: Option<f64>,
    /// Bytes per second.
    #[arg(long, value_name = "BYTES")]
    rate_bytes: Option<f64>,
    /// Rotate by rename after so many lines.
    #[arg(long, value_name = "LINES", conflicts_with = "rotate_bytes")]
    rotate_lines: Option<u64>,
    /// Rotate by rename after so many bytes.
    #[arg(long, value_name = "BYTES")]
    rotate_bytes: Option<u64>,
    /// Rotated files to keep, FILE.1 being the newest.
    #[arg(long, default_value_t = 5, value_name = "FILES")]
    keep: usize,
    /// Let the lines' times begin here, in nanoseconds since 1970, and advance by 1 ms a line: the bytes then depend on
    /// the seed alone. Without it lines carry the time of writing.
    #[arg(long, value_name = "NANOSECONDS")]
    start_time: Option<i64>,
    /// Print the summary as one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatArgument {
    Zap,
    Logfmt,
    Plain,
}

/// # Errors
/// The file cannot be written.
pub fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let spec = Spec {
        seed: arguments.seed,
        format: match arguments.format {
            FormatArgument::Zap => Format::Zap,
            FormatArgument::Logfmt => Format::Logfmt,
            FormatArgument::Plain => Format::Plain,
        },
        debug_percent: arguments.debug,
        clock: arguments.start_time.map_or(Clock::Wall, |start_ns| Clock::Counted { start_ns, step_ns: 1_000_000 }),
    };
    let rotation = match (arguments.rotate_lines, arguments.rotate_bytes) {
        (Some(lines), _) => Rotation::Lines(lines),
        (None, Some(bytes)) => Rotation::Bytes(bytes),
        (None, None) => Rotation::Never,
    };
    let pace = match (positive(arguments.rate, "--rate")?, positive(arguments.rate_bytes, "--rate-bytes")?) {
        (Some(lines), _) => Pace::LinesPerSecond(lines),
        (None, Some(bytes)) => Pace::BytesPerSecond(bytes),
        (None, None) => Pace::Unlimited,
    };
    let time = positive(arguments.seconds, "--seconds")?.map(Duration::from_secs_f64);
    let stop = interruption().map_err(at("signals"))?;
    let place = arguments.out.display();
    let writer = Writer::open(&arguments.out, Load::new(spec)).map_err(at(place))?;
    let mut writer = writer.starting_at(arguments.first).rotating(rotation, arguments.keep);
    let end = End { lines: arguments.lines, time };
    let summary =
        drive(&mut writer, pace, end, || stop.load(Ordering::Relaxed)).map_err(at(arguments.out.display()))?;
    if arguments.json {
        let value = serde_json::json!({
            "lines": summary.lines, "bytes": summary.bytes, "seconds": summary.seconds,
            "rotations": summary.rotations, "nextSeq": writer.next_seq(),
        });
        println!("{value}");
    } else {
        println!(
            "wrote {} lines, {} bytes in {:.1} s ({:.1} MB/s), {} rotations; the next line is number {}",
            summary.lines,
            summary.bytes,
            summary.seconds,
            summary.bytes as f64 / 1e6 / summary.seconds.max(1e-9),
            summary.rotations,
            writer.next_seq()
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn positive(value: Option<f64>, flag: &str) -> Result<Option<f64>, String> {
    match value {
        // The upper end keeps a duration of so many seconds from overflowing.
        Some(number) if !(number > 0.0 && number < 1e15) => Err(format!("{flag}: {number} is not a usable number")),
        value => Ok(value),
    }
}
