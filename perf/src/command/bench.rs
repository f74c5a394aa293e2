//! `corelane-perf bench`: what is measured, and how it is told.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Subcommand};
use corelane_perf::bench::{
    Corpus, Spread,
    fanout::{self, Beside},
    floor, outage,
    run::{self, Outcome, Setup},
};

use super::at;

#[derive(Subcommand)]
pub enum Kind {
    /// A file of zap lines to a verifying Loki: CPU seconds per GB, beside the cost of the bare work.
    FileToLoki(FileToLoki),
    /// Two targets, one of them down for minutes: the other's lag, and memory.
    Outage(Outage),
    /// CPU of one target, of one and another at half speed, of one and a dead one, by turns.
    Fanout(Fanout),
}

/// How Corelane is run.
#[derive(Args)]
struct Shipper {
    /// The binary to be measured, a release build.
    #[arg(long, default_value = "target/release/corelane", value_name = "FILE")]
    binary: PathBuf,
    #[arg(long, default_value = "uring")]
    backend: String,
    /// Where to make a temporary directory for the files.
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Megabytes (10⁶) written each second.
    #[arg(long, default_value_t = 5.0)]
    megabytes: f64,
    /// Fail if what is measured is worse than what is promised.
    #[arg(long)]
    check: bool,
}

#[derive(Args)]
pub struct Outage {
    #[command(flatten)]
    shipper: Shipper,
    /// Seconds one of the targets is down.
    #[arg(long, default_value_t = 600)]
    outage: u64,
    /// Seconds both are up, before and after.
    #[arg(long, default_value_t = 120)]
    around: u64,
}

#[derive(Args)]
pub struct Fanout {
    #[command(flatten)]
    shipper: Shipper,
    /// Seconds lines are written in each run.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
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
    match kind {
        Kind::FileToLoki(arguments) => in_work(arguments.work.as_deref(), |work| measure(arguments, work)),
        Kind::Outage(arguments) => in_work(arguments.shipper.work.as_deref(), |work| outage(arguments, work)),
        Kind::Fanout(arguments) => in_work(arguments.shipper.work.as_deref(), |work| fanout(arguments, work)),
    }
}

/// Runs something in a directory of its own.
fn in_work(parent: Option<&Path>, measure: impl FnOnce(&Path) -> Result<(), String>) -> Result<ExitCode, String> {
    let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
    let work = parent.join(format!("corelane-bench-{}", std::process::id()));
    fs::create_dir(&work).map_err(at(work.display()))?;
    let measured = measure(&work);
    fs::remove_dir_all(&work).map_err(at(work.display()))?;
    measured.map(|()| ExitCode::SUCCESS)
}

impl Shipper {
    fn setup(&self, work: &Path) -> Setup {
        Setup { binary: self.binary.clone(), work: work.to_owned(), backend: self.backend.clone() }
    }

    fn judge(&self, broken: Vec<String>) -> Result<(), String> {
        if broken.is_empty() || !self.check { Ok(()) } else { Err(broken.join("; ")) }
    }
}

fn outage(arguments: &Outage, work: &Path) -> Result<(), String> {
    let plan = outage::Plan {
        bytes_per_second: arguments.shipper.megabytes * 1e6,
        around: Duration::from_secs(arguments.around),
        outage: Duration::from_secs(arguments.outage),
    };
    let phases = outage::once(&arguments.shipper.setup(work), &plan).map_err(at("outage"))?;
    for phase in &phases {
        let (low, high) = (phase.rss_min_bytes as f64 / 1048576.0, phase.rss_max_bytes as f64 / 1048576.0);
        println!(
            "{:12} {:6.0} s  lag p50 {:.3} s, p99 {:.3} s, most {:.3} s  RSS {low:.1} to {high:.1} MiB  CPU {:.1} %",
            phase.name,
            phase.seconds,
            phase.lag_p50,
            phase.lag_p99,
            phase.lag_max,
            100.0 * phase.cpu_seconds / phase.seconds
        );
    }
    arguments.shipper.judge(outage::broken_promises(&phases))
}

fn fanout(arguments: &Fanout, work: &Path) -> Result<(), String> {
    let (rate, time) = (arguments.shipper.megabytes * 1e6, Duration::from_secs(arguments.seconds));
    let mut costs: [Vec<f64>; 3] = Default::default();
    for number in 1..=arguments.runs {
        for (beside, costs) in Beside::ALL.into_iter().zip(&mut costs) {
            let outcome =
                fanout::once(&arguments.shipper.setup(work), beside, rate, time).map_err(at(beside.name()))?;
            // A line is counted where it was written: the length of a run is by the clock.
            let cost = outcome.cpu_seconds / (outcome.lines as f64 / 1e6);
            println!(
                "{number}: {:22} {:.3} CPU-s, {cost:.3} per million lines, {:.1} s ({} of {} lines at the other \
                 when the first had all)",
                beside.name(),
                outcome.cpu_seconds,
                outcome.wall_seconds,
                outcome.slow_had,
                outcome.lines
            );
            costs.push(cost);
        }
    }
    let medians = costs.map(Spread::of);
    let one = medians[0].map_or(f64::NAN, |spread| spread.median);
    for (beside, spread) in Beside::ALL.into_iter().zip(medians) {
        if let Some(Spread { min, median, max }) = spread {
            println!(
                "{:22} {median:.3} CPU-s per million lines (least {min:.3}, most {max:.3}), {:.2} times one",
                beside.name(),
                median / one
            );
        }
    }
    let times = Beside::ALL
        .into_iter()
        .zip(medians)
        .map(|(beside, spread)| (beside, spread.map_or(f64::NAN, |s| s.median / one)));
    let broken = times.filter(|(beside, times)| times.is_nan() || *times > beside.promised());
    let told =
        broken.map(|(beside, times)| format!("{}: {times:.2} times one, at most {}", beside.name(), beside.promised()));
    arguments.shipper.judge(told.collect())
}

fn measure(arguments: &FileToLoki, work: &Path) -> Result<(), String> {
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
