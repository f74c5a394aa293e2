//! `corelane-perf bench file-to-loki`.

use std::{fs, path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use corelane_perf::bench::{
    Corpus, Spread, floor,
    run::{self, Outcome, Setup},
};

use super::at;

#[derive(Subcommand)]
pub enum Kind {
    /// A file of zap lines to a verifying Loki: CPU seconds per GB, beside the cost of the bare work.
    FileToLoki(FileToLoki),
}

#[derive(Args)]
pub struct FileToLoki {
    /// The binary to be measured, a release build.
    #[arg(long, default_value = "target/release/corelane", value_name = "FILE")]
    binary: PathBuf,
    /// Lines of the file; four million are 1.16 GB.
    #[arg(long, default_value_t = 4_000_000, value_parser = clap::value_parser!(u64).range(1000..))]
    lines: u64,
    /// The same seed gives the same file.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs with each backend.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Backends to be measured, by turns.
    #[arg(long, default_value = "uring,poll", value_delimiter = ',')]
    backend: Vec<String>,
    /// Where to make a temporary directory for the file and the runs; it takes the file's size.
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
}

/// # Errors
/// A run that is not whole, a file that cannot be written.
pub fn run(kind: &Kind) -> Result<ExitCode, String> {
    let Kind::FileToLoki(arguments) = kind;
    let parent = arguments.work.clone().unwrap_or_else(std::env::temp_dir);
    let work = parent.join(format!("corelane-bench-{}", std::process::id()));
    fs::create_dir(&work).map_err(at(work.display()))?;
    let measured = measure(arguments, &work);
    fs::remove_dir_all(&work).map_err(at(work.display()))?;
    measured.map(|()| ExitCode::SUCCESS)
}

fn measure(arguments: &FileToLoki, work: &std::path::Path) -> Result<(), String> {
    let corpus = Corpus::write(&work.join("load.log"), arguments.lines, arguments.seed).map_err(at(work.display()))?;
    println!("{} lines, {} bytes, {} of them pass", corpus.lines, corpus.bytes, corpus.passing());
    let mut floors = Vec::new();
    let mut outcomes: Vec<Vec<Outcome>> = arguments.backend.iter().map(|_| Vec::new()).collect();
    // By turns, so that what else the machine does meets all of them alike.
    for number in 1..=arguments.runs {
        let floor = floor::measure(&corpus).map_err(at("the floor"))?;
        println!("{number}: floor {:.2} CPU-s per GB", corpus.per_gb(floor.all));
        floors.push(floor);
        for (backend, outcomes) in arguments.backend.iter().zip(&mut outcomes) {
            let setup = Setup { binary: arguments.binary.clone(), work: work.to_owned(), backend: backend.clone() };
            let outcome = run::once(&setup, &corpus).map_err(at(backend))?;
            println!("{number}: {backend} {:.2} CPU-s per GB", corpus.per_gb(outcome.cpu_seconds()));
            outcomes.push(outcome);
        }
    }
    let tell = |name: &str, unit: &str, values: &mut dyn Iterator<Item = f64>| {
        if let Some(Spread { min, median, max }) = Spread::of(values) {
            println!("{name:28} {median:10.3} {unit} (least {min:.3}, most {max:.3})");
        }
    };
    let gb = "CPU-s/GB";
    tell("floor: read", gb, &mut floors.iter().map(|floor| corpus.per_gb(floor.read)));
    tell("floor: read, split, drop", gb, &mut floors.iter().map(|floor| corpus.per_gb(floor.split)));
    tell("floor: all, with snappy", gb, &mut floors.iter().map(|floor| corpus.per_gb(floor.all)));
    for (backend, outcomes) in arguments.backend.iter().zip(&outcomes) {
        let tell = |name: &str, unit: &str, value: &dyn Fn(&Outcome) -> f64| {
            tell(&format!("{backend}: {name}"), unit, &mut outcomes.iter().map(value));
        };
        tell("user + system", gb, &|outcome| corpus.per_gb(outcome.cpu_seconds()));
        tell("user", gb, &|outcome| corpus.per_gb(outcome.user_seconds));
        tell("system", gb, &|outcome| corpus.per_gb(outcome.system_seconds));
        tell("speed", "MB/s", &|outcome| corpus.bytes as f64 / 1e6 / outcome.wall_seconds);
        tell("speed", "lines/s", &|outcome| corpus.lines as f64 / outcome.wall_seconds);
        tell("peak memory", "MiB", &|outcome| outcome.peak_rss_bytes as f64 / f64::from(1 << 20));
        tell("sent", "MB", &|outcome| outcome.sent_bytes as f64 / 1e6);
        tell("duplicates", "lines", &|outcome| outcome.duplicates as f64);
    }
    Ok(())
}
