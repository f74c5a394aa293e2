//! A real etcd of one or three members on loopback, which never outlives the test.

use std::{
    fs,
    net::TcpListener,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use etcd_client::{Client, GetOptions};
use rustix::process::{Pid, Signal, kill_process};

use super::wait::{PATIENCE, await_some};

const PROGRAM: &str = "etcd";

/// One member: its flags, and its process while it runs.
struct Member {
    name: String,
    client: u16,
    peer: u16,
    /// Where the others reach it.
    advertised: u16,
    child: Option<Child>,
}

/// An etcd.
pub struct Etcd {
    place: tempfile::TempDir,
    members: Vec<Member>,
    scheme: &'static str,
    flags: Vec<String>,
}

impl Etcd {
    /// Starts so many members and waits until they have a leader.
    pub fn start(count: usize) -> Self {
        let etcd = Self::with_flags(count, "http", Vec::new());
        etcd.ready();
        etcd
    }

    /// Starts members with further flags. Whether they are ready only a client that may ask can tell.
    pub fn with_flags(count: usize, scheme: &'static str, flags: Vec<String>) -> Self {
        Self::with(count, scheme, flags, |peer| peer)
    }

    /// Starts members that reach each other where `wire` leads from: it is given the port that each listens at.
    pub fn wired(count: usize, wire: impl FnMut(u16) -> u16) -> Self {
        let etcd = Self::with(count, "http", Vec::new(), wire);
        etcd.ready();
        etcd
    }

    fn with(count: usize, scheme: &'static str, flags: Vec<String>, mut wire: impl FnMut(u16) -> u16) -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let member = |at| {
            let (client, peer) = (free_port(), free_port());
            Member { name: format!("m{at}"), client, peer, advertised: wire(peer), child: None }
        };
        let mut etcd = Self { place, members: (0..count).map(member).collect(), scheme, flags };
        for at in 0..count {
            etcd.spawn(at);
        }
        etcd
    }

    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("{}://127.0.0.1:{}", self.scheme, member.client)).collect()
    }

    /// Waits until a member answers for all of them.
    pub fn ready(&self) {
        let (runtime, endpoints) = (runtime(), self.endpoints());
        await_some("etcd answers", || {
            runtime.block_on(async {
                let asking = async { Client::connect(&endpoints, None).await?.get("x", None).await };
                tokio::time::timeout(Duration::from_secs(1), asking).await.ok()?.ok().map(|_| ())
            })
        });
    }

    /// Starts a member (again).
    pub fn spawn(&mut self, at: usize) {
        let peers: Vec<String> = self
            .members
            .iter()
            .map(|member| format!("{}=http://127.0.0.1:{}", member.name, member.advertised))
            .collect();
        let member = &self.members[at];
        let client = format!("{}://127.0.0.1:{}", self.scheme, member.client);
        let [peer, advertised] = [member.peer, member.advertised].map(|port| format!("http://127.0.0.1:{port}"));
        let log = fs::File::create(self.place.path().join(format!("{}.log", member.name))).expect("a file");
        let child = Command::new(PROGRAM)
            .args(["--name", &member.name, "--data-dir"])
            .arg(self.place.path().join(&member.name))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &advertised])
            .args(["--initial-cluster", &peers.join(","), "--initial-cluster-state", "new"])
            .args(["--logger", "zap", "--log-level", "warn"])
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{PROGRAM}: {error}: apt-get install etcd-server"));
        self.members[at].child = Some(child);
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self, at: usize) {
        let mut child = self.members[at].child.take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("a child");
    }

    /// Takes a member's data away; it must not run.
    pub fn wipe(&mut self, at: usize) {
        fs::remove_dir_all(self.place.path().join(&self.members[at].name)).expect("its data");
    }

    /// SIGSTOP: to its peers and clients it is as a member behind a cut cable.
    pub fn freeze(&self, at: usize) {
        self.signal(at, Signal::STOP);
    }

    pub fn thaw(&self, at: usize) {
        self.signal(at, Signal::CONT);
    }

    pub fn pid(&self, at: usize) -> u32 {
        self.members[at].child.as_ref().expect("it runs").id()
    }

    fn signal(&self, at: usize, signal: Signal) {
        let pid = i32::try_from(self.pid(at)).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, signal).expect("it can be signalled");
    }

    /// A client of one member.
    pub async fn client(&self, at: usize) -> Client {
        Client::connect([&self.endpoints()[at]], None).await.expect("etcd takes clients")
    }

    /// The member that leads.
    pub async fn leader(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for at in (0..self.members.len()).filter(|at| self.members[*at].child.is_some()) {
                let asking = async {
                    let mut client = Client::connect([&self.endpoints()[at]], None).await?;
                    client.status().await
                };
                let answer = tokio::time::timeout(Duration::from_secs(1), asking).await;
                if let Ok(Ok(status)) = answer
                    && status.leader() == status.header().expect("a header").member_id()
                {
                    return at;
                }
            }
            assert!(Instant::now() < deadline, "no member leads");
        }
    }

    /// Every value there is, as text, with the keys.
    pub async fn dump(&self) -> String {
        let answer = self.client(0).await.get("", Some(GetOptions::new().with_all_keys())).await.expect("etcd answers");
        let lines = answer
            .kvs()
            .iter()
            .map(|kv| format!("{} {}\n", String::from_utf8_lossy(kv.key()), String::from_utf8_lossy(kv.value())));
        lines.collect()
    }
}

impl Etcd {
    /// What all entries of the history would undo, as text.
    pub async fn undo(&self) -> String {
        let options = GetOptions::new().with_prefix();
        let found = self.client(0).await.get("/corelane/test/v1/history/", Some(options)).await.expect("etcd answers");
        let undo = |kv: &etcd_client::KeyValue| {
            let entry: serde_json::Value = serde_json::from_slice(kv.value()).expect("JSON");
            let packed = STANDARD.decode(entry["undo"].as_str().unwrap_or_default()).expect("base64");
            String::from_utf8(zstd::stream::decode_all(packed.as_slice()).expect("zstd")).expect("text")
        };
        found.kvs().iter().map(undo).collect()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for child in self.members.iter_mut().filter_map(|member| member.child.as_mut()) {
            // Gone already is as good. SIGKILL ends a stopped process too.
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            for member in &self.members {
                let log = fs::read_to_string(self.place.path().join(format!("{}.log", member.name)));
                let log = log.unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                println!("{} ends:\n{}", member.name, lines[lines.len().saturating_sub(10)..].join("\n"));
            }
        }
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port()
}
