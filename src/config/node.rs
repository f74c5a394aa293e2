//! The facts of one node: `/etc/corelane/corelane.toml` and the flags that override it.
//!
//! Objects (sources, targets, TLS bundles) never live here, so that what is true of the machine and what is wanted of
//! the cluster are not mixed up. Every key is known by name; an unknown one is refused, and all faults are told at
//! once.

mod etcd;

pub use etcd::{EtcdConfig, StoreKind};

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{
    Site,
    compile::amount,
    document::{spelling, target::Amount},
};
use crate::{fault::Fault, limits};

/// Where the file is looked for when no flag says otherwise. It may be missing: every key has a default.
pub const CONFIG_FILE: &str = "/etc/corelane/corelane.toml";
pub const STATE_DIR: &str = "/var/lib/corelane";
/// Where the cluster key of a node lies that shares its objects with others.
pub const CLUSTER_KEY_FILE: &str = "/etc/corelane/cluster.key";
const KEYS: [&str; 22] = [
    "node",
    "cluster",
    "listen",
    "lanes",
    "backend",
    "memory_max",
    "catch_up_percent",
    "spool_max",
    "pinned_max",
    "state_dir",
    "objects",
    "tls_cert",
    "tls_key",
    "jwt_keys",
    "store",
    "etcd_endpoints",
    "etcd_ca",
    "etcd_cert",
    "etcd_key",
    "etcd_user",
    "etcd_password_file",
    "cluster_key",
];

/// Which way a lane talks to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// A probe decides.
    #[default]
    Auto,
    Uring,
    Poll,
}

impl Backend {
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "auto" => Some(Self::Auto),
            "uring" => Some(Self::Uring),
            "poll" => Some(Self::Poll),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Poll => "poll",
        }
    }
}

/// The facts of this node, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// Label `node` of every line, id of the collector, and a name in the generated certificate.
    /// Default: the host's name. Changing it starts new streams.
    pub node: String,
    /// Label `cluster` of every line. Default: `default`.
    pub cluster: String,
    /// Where the API listens. Default `127.0.0.1:8443`; port 0 takes a free one; an address other than loopback opens
    /// the API to the network (it stays TLS with a token).
    pub listen: SocketAddr,
    /// Lanes, each one thread. Default 1, at most `limits::LANES_MAX`; more only where one core cannot keep up.
    pub lanes: usize,
    /// Default `auto`. `uring` refuses to start where io_uring is denied; `poll` never tries it.
    pub backend: Backend,
    /// Most bytes pools and queues may take together; a plan above is refused with the arithmetic. Default: none, that
    /// is the fixed pools (64 MiB) plus what the targets' `queueBytes` ask for.
    pub memory_max: Option<usize>,
    /// Share of a core a lane may take to catch up on lines older than a minute, in percent. Default 25: what an outage
    /// left behind must not take the CPU from what is live, on the node and in the lane. 100 = no limit.
    pub catch_up_percent: u8,
    /// Most bytes on disk, and most bytes of deleted files held open, for what was deleted while a target lags. Default
    /// 2 GiB and 1 GiB; 0 keeps nothing there.
    pub spool_max: u64,
    pub pinned_max: u64,
    /// Checkpoints, the embedded store and generated keys. Default `/var/lib/corelane`. Losing it means new keys, no
    /// objects and readers that begin at their `startAt`.
    pub state_dir: PathBuf,
    /// A directory of read-only object files. Default: none.
    pub objects: Option<PathBuf>,
    /// PEM files of the API's certificate chain and key; both or neither. Default: a generated self-signed pair.
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    /// A directory of public keys that sign tokens, one PEM file a key, named by its `kid` with `_` for `:`. Default:
    /// none; the generated key of `system:root` is always taken besides.
    pub jwt_keys: Option<PathBuf>,
    /// Where objects are kept. Default `embedded`: in the state directory.
    pub store: StoreKind,
    pub etcd: EtcdConfig,
    /// The file of the keys that seal secrets, the same on every node of the cluster. Default: with the embedded store
    /// one that is generated, with etcd `CLUSTER_KEY_FILE`.
    pub cluster_key: Option<PathBuf>,
    /// Started by `run --dev`: everything is made up and temporary.
    pub dev: bool,
}

/// What flags say; each wins over the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub node: Option<String>,
    pub cluster: Option<String>,
    pub listen: Option<SocketAddr>,
    pub lanes: Option<usize>,
    pub backend: Option<Backend>,
    pub state_dir: Option<PathBuf>,
    pub objects: Option<PathBuf>,
}

impl NodeConfig {
    /// The defaults on this host.
    pub fn defaults() -> Self {
        let uname = rustix::system::uname();
        let host = uname.nodename().to_str().unwrap_or_default();
        Self {
            node: if host.is_empty() { "localhost".to_owned() } else { host.to_owned() },
            cluster: "default".to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], 8443)),
            lanes: 1,
            backend: Backend::Auto,
            memory_max: None,
            catch_up_percent: limits::CATCH_UP_PERCENT,
            spool_max: limits::SPOOL_BYTES_MAX,
            pinned_max: limits::PINNED_BYTES_MAX,
            state_dir: PathBuf::from(STATE_DIR),
            objects: None,
            tls_cert: None,
            tls_key: None,
            jwt_keys: None,
            store: StoreKind::Embedded,
            etcd: EtcdConfig::default(),
            cluster_key: None,
            dev: false,
        }
    }

    /// Reads `file`, or the usual file if it exists, and lays the flags over it. A file that was named must exist.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its line.
    pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Self, Vec<Fault>> {
        let path = file.unwrap_or(Path::new(CONFIG_FILE));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && file.is_none() => String::new(),
            Err(error) => return Err(vec![Fault::io(path.display().to_string(), &error)]),
        };
        let mut config = Self::parse(&text, &path.display().to_string())?;
        config.lay_over(overrides);
        config.check().map_err(|fault| vec![fault])?;
        Ok(config)
    }

    /// The text of a file over the defaults; `place` names it in faults.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its line.
    pub fn parse(text: &str, place: &str) -> Result<Self, Vec<Fault>> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            vec![Fault::invalid(format!("{place}:{line}"), error.message().to_owned())]
        })?;
        let mut config = Self::defaults();
        let mut faults = Vec::new();
        for (key, value) in &table {
            if let Err(cause) = config.take(key, value) {
                faults.push(Fault::invalid(format!("{place}:{}", line_of(text, key)), cause));
            }
        }
        if faults.is_empty() { Ok(config) } else { Err(faults) }
    }

    fn take(&mut self, key: &str, value: &Value) -> Result<(), String> {
        match key {
            "node" => self.node = label(key, value)?,
            "cluster" => self.cluster = label(key, value)?,
            "listen" => {
                let text = string(key, value)?;
                self.listen = text.parse().map_err(|_| format!("`listen` {text:?} is not `address:port`"))?;
            }
            "lanes" => {
                self.lanes = value
                    .as_integer()
                    .and_then(|lanes| usize::try_from(lanes).ok())
                    .ok_or_else(|| "`lanes` must be a whole number".to_owned())?;
            }
            "backend" => {
                let word = string(key, value)?;
                self.backend = Backend::parse(&word)
                    .ok_or_else(|| format!("`backend` {word:?} is not one of auto, uring and poll"))?;
            }
            "memory_max" => self.memory_max = Some(bytes(key, value)?),
            "spool_max" => self.spool_max = bytes(key, value)? as u64,
            "pinned_max" => self.pinned_max = bytes(key, value)? as u64,
            "catch_up_percent" => {
                let percent = value.as_integer().and_then(|percent| u8::try_from(percent).ok());
                self.catch_up_percent = percent
                    .filter(|percent| (1..=100).contains(percent))
                    .ok_or_else(|| "`catch_up_percent` must be a whole number from 1 to 100".to_owned())?;
            }
            "state_dir" => self.state_dir = path(key, value)?,
            "objects" => self.objects = Some(path(key, value)?),
            "tls_cert" => self.tls_cert = Some(path(key, value)?),
            "tls_key" => self.tls_key = Some(path(key, value)?),
            "jwt_keys" => self.jwt_keys = Some(path(key, value)?),
            "store" => {
                let word = string(key, value)?;
                self.store = StoreKind::parse(&word)
                    .ok_or_else(|| format!("`store` {word:?} is not one of embedded and etcd"))?;
            }
            "etcd_endpoints" => self.etcd.endpoints = etcd::endpoints(key, value)?,
            "etcd_ca" => self.etcd.ca = Some(path(key, value)?),
            "etcd_cert" => self.etcd.cert = Some(path(key, value)?),
            "etcd_key" => self.etcd.key = Some(path(key, value)?),
            "etcd_user" => self.etcd.user = Some(string(key, value)?),
            "etcd_password_file" => self.etcd.password_file = Some(path(key, value)?),
            "cluster_key" => self.cluster_key = Some(path(key, value)?),
            _ => return Err(format!("unknown key `{key}`{}", spelling::did_you_mean(key, KEYS))),
        }
        Ok(())
    }

    fn lay_over(&mut self, flags: &Overrides) {
        fn set<T: Clone>(field: &mut T, flag: &Option<T>) {
            if let Some(value) = flag {
                *field = value.clone();
            }
        }
        set(&mut self.node, &flags.node);
        set(&mut self.cluster, &flags.cluster);
        set(&mut self.listen, &flags.listen);
        set(&mut self.lanes, &flags.lanes);
        set(&mut self.backend, &flags.backend);
        set(&mut self.state_dir, &flags.state_dir);
        if flags.objects.is_some() {
            self.objects.clone_from(&flags.objects);
        }
    }

    fn check(&self) -> Result<(), Fault> {
        if !(1..=limits::LANES_MAX).contains(&self.lanes) {
            return Err(Fault::invalid("lanes", format!("{} is outside of 1 to {}", self.lanes, limits::LANES_MAX)));
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err(Fault::invalid("tls_cert, tls_key", "one is given without the other").way_out("give both"));
        }
        self.etcd.check(self.store)?;
        if let Some(most) = self.memory_max
            && most < limits::MEMORY_POOLS_BYTES
        {
            let (most, pools) = (amount::bytes_text(most), amount::bytes_text(limits::MEMORY_POOLS_BYTES));
            return Err(Fault::invalid("memory_max", format!("{most} is less than the fixed pools take, {pools}")));
        }
        Ok(())
    }

    /// What compiling a plan needs of this node. Reads `/etc/machine-id`.
    pub fn site(&self) -> Site {
        let machine_id = std::fs::read_to_string("/etc/machine-id").ok().map(|id| id.trim().to_owned());
        Site {
            cluster: self.cluster.clone(),
            node: self.node.clone(),
            lanes: self.lanes,
            memory_max: self.memory_max,
            machine_id: machine_id.filter(|id| id.len() == 32),
        }
    }
}

fn bytes(key: &str, value: &Value) -> Result<usize, String> {
    let amount = match value {
        Value::Integer(number) => Amount::Number(u64::try_from(*number).map_err(|_| format!("`{key}` is negative"))?),
        _ => Amount::Text(string(key, value)?),
    };
    amount::bytes(&amount).map_err(|text| format!("`{key}`: {text}"))
}

fn string(key: &str, value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("`{key}` must be a string"))
}

/// A label value: not empty, not longer than Loki takes.
fn label(key: &str, value: &Value) -> Result<String, String> {
    let text = string(key, value)?;
    if text.is_empty() || text.len() > limits::LABEL_VALUE_BYTES_MAX || text.contains(char::is_control) {
        return Err(format!("`{key}` must be 1 to {} bytes of text", limits::LABEL_VALUE_BYTES_MAX));
    }
    Ok(text)
}

fn path(key: &str, value: &Value) -> Result<PathBuf, String> {
    match string(key, value)? {
        text if text.starts_with('/') => Ok(PathBuf::from(text)),
        text => Err(format!("`{key}` {text:?} is not an absolute path")),
    }
}

/// The first line that mentions `word`; 1 when none does. Good enough to lead an eye to it.
pub(crate) fn line_of(text: &str, word: &str) -> usize {
    text.lines().position(|line| line.contains(word)).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(NodeConfig::parse("", "x").unwrap(), NodeConfig::defaults());
    }

    #[test]
    fn every_key_is_taken() {
        let text = r#"
            node = "n1"
            cluster = "c1"
            listen = "[::1]:9000"
            lanes = 2
            backend = "poll"
            memory_max = "128MiB"
            catch_up_percent = 40
            spool_max = "64MiB"
            pinned_max = 0
            state_dir = "/s"
            objects = "/o"
            tls_cert = "/c.pem"
            tls_key = "/k.pem"
            jwt_keys = "/j"
            store = "etcd"
            etcd_endpoints = ["https://e:2379"]
            etcd_ca = "/a.pem"
            etcd_cert = "/e.pem"
            etcd_key = "/f.pem"
            etcd_user = "u"
            etcd_password_file = "/p"
            cluster_key = "/q"
        "#;
        let config = NodeConfig::parse(text, "x").unwrap();
        assert_eq!(KEYS.len(), text.matches(" = ").count(), "the test has every key");
        assert_eq!((config.node.as_str(), config.lanes, config.backend), ("n1", 2, Backend::Poll));
        assert_eq!(config.catch_up_percent, 40);
        assert_eq!((config.spool_max, config.pinned_max), (64 << 20, 0));
        assert_eq!((config.memory_max, config.listen), (Some(128 << 20), "[::1]:9000".parse().unwrap()));
    }

    #[test]
    fn all_faults_are_told_with_their_lines() {
        let faults = NodeConfig::parse("node = \"a\"\nlisten_on = 3\nlanes = \"two\"\nobjects = \"here\"\n", "f.toml");
        let texts: Vec<String> = faults.unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "f.toml:3: `lanes` must be a whole number",
                "f.toml:2: unknown key `listen_on`; did you mean `listen`?",
                "f.toml:4: `objects` \"here\" is not an absolute path",
            ]
        );
        let faults = NodeConfig::parse("node = \"a\"\nlanes = = 3\n", "f.toml").unwrap_err();
        assert!(faults[0].to_string().starts_with("f.toml:2: "), "{}", faults[0]);
    }

    #[test]
    fn a_named_file_must_exist_and_flags_win() {
        let missing = NodeConfig::load(Some(Path::new("/nonexistent/x.toml")), &Overrides::default()).unwrap_err();
        assert_eq!(missing[0].to_string(), "/nonexistent/x.toml: no such file or directory");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("c.toml");
        std::fs::write(&file, "lanes = 2\n").unwrap();
        let overrides = Overrides { lanes: Some(3), ..Overrides::default() };
        assert_eq!(NodeConfig::load(Some(&file), &overrides).unwrap().lanes, 3);
        let overrides = Overrides { lanes: Some(0), ..Overrides::default() };
        assert!(NodeConfig::load(Some(&file), &overrides).is_err());
        std::fs::write(&file, "tls_cert = \"/c\"\n").unwrap();
        assert!(NodeConfig::load(Some(&file), &Overrides::default()).is_err());
    }
}
