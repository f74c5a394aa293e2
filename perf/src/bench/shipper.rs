//! Corelane as a benchmark runs it: a directory, a source of files, Loki targets, one lane.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Lines of its log that a failed run shows.
const LOG_LINES_SHOWN: usize = 10;

/// What is run.
pub struct Setup {
    /// The `corelane` binary.
    pub binary: PathBuf,
    /// A directory on the corpus's file system, for a temporary one of each run.
    pub work: PathBuf,
    /// `uring` or `poll`.
    pub backend: String,
}

/// What it is told to ship, and where to.
pub(super) struct Objects {
    pub(super) glob: String,
    /// No filter without one.
    pub(super) min_level: Option<&'static str>,
    /// Loki targets: name and push URL.
    pub(super) targets: Vec<(&'static str, String)>,
}

/// A running Corelane. Ends with the value, so that no run outlives its benchmark.
pub(super) struct Shipper {
    child: Child,
    log: PathBuf,
}

impl Shipper {
    /// # Errors
    /// It cannot be started, or its objects cannot be written.
    pub(super) fn start(setup: &Setup, directory: &Path, objects: &Objects) -> io::Result<Self> {
        let conf = directory.join("conf.d");
        write_objects(&conf, objects)?;
        let log = directory.join("corelane.log");
        let out = fs::File::create(&log)?;
        let config = directory.join("corelane.toml");
        fs::write(&config, "catch_up_percent = 100\n")?;
        let child = Command::new(&setup.binary)
            .arg("run")
            .arg("--config")
            .arg(config)
            .args(["--backend", &setup.backend, "--listen", "127.0.0.1:0", "--lanes", "1"])
            .arg("--objects")
            .arg(conf)
            .arg("--state-dir")
            .arg(directory.join("state"))
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .map_err(|error| io::Error::other(format!("{}: {error}", setup.binary.display())))?;
        Ok(Self { child, log })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A failure with what it said last.
    pub(super) fn failed(&self, what: &str) -> io::Error {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let end = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n");
        io::Error::other(format!("{what}; the end of its log:\n{end}"))
    }
}

impl Drop for Shipper {
    fn drop(&mut self) {
        // Its state is thrown away, so nothing is lost by it; neither call can fail for a child of ours.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_objects(conf: &Path, objects: &Objects) -> io::Result<()> {
    fs::create_dir_all(conf)?;
    let level = objects.min_level.map(|level| format!("minLevel: {level}\n")).unwrap_or_default();
    let source = format!(
        "kind: source\nname: bench\nfile: {{paths: [\"{}\"]}}\nlogFormat: ZAP_JSON\n{level}startAt: beginning\n\
         enabled: true\n",
        objects.glob
    );
    fs::write(conf.join("source.yaml"), source)?;
    for (name, url) in &objects.targets {
        // The lines are of a fixed time, long ago, and all of one stream, as fast as they can be read: what a stock
        // Loki does not take would be measured otherwise.
        let limits = "{oldest: 36500d, streamRate: 16GiB, streamBurst: 16GiB}";
        let target = format!("kind: target\nname: {name}\ntype: LOKI\nurl: {url}\nlimits: {limits}\nenabled: true\n");
        fs::write(conf.join(format!("{name}.yaml")), target)?;
    }
    Ok(())
}
