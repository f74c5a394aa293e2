//! `corelane-perf usage PID`.

use std::process::ExitCode;

use clap::Args;
use corelane_perf::procfs::Usage;

use super::at;

#[derive(Args)]
pub struct Arguments {
    /// The process to look at.
    pid: u32,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// # Errors
/// There is no such process.
pub fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let usage = Usage::of(arguments.pid).map_err(at(format!("process {}", arguments.pid)))?;
    if arguments.json {
        let value = serde_json::json!({
            "cpuSeconds": usage.cpu_seconds(), "userSeconds": usage.user_seconds, "systemSeconds": usage.system_seconds,
            "peakRssBytes": usage.peak_rss_bytes, "rssBytes": usage.rss_bytes,
        });
        println!("{value}");
    } else {
        println!(
            "cpu {:.2} s (user {:.2} s, system {:.2} s)",
            usage.cpu_seconds(),
            usage.user_seconds,
            usage.system_seconds
        );
        println!("memory {:.1} MiB, peak {:.1} MiB", mib(usage.rss_bytes), mib(usage.peak_rss_bytes));
    }
    Ok(ExitCode::SUCCESS)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
