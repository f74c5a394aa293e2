//! The one thread that fsyncs: `Op::Persist` of the real backends.
//!
//! fsync can take seconds, so it never runs on a lane. After a failed fsync the kernel may have dropped the dirty pages
//! and report success the next time, so a file whose fsync failed is never used again: each try writes a new one.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use super::{Completion, Op, Token, wake::Bell};
use crate::limits;

/// The lane's end of that thread.
#[derive(Debug)]
pub(super) struct Persister {
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Completion>,
    under_way: usize,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Job {
    token: Token,
    path: PathBuf,
    data: Vec<u8>,
}

impl Persister {
    /// Starts the thread. It rings `bell` after each result.
    pub fn new(bell: Arc<Bell>) -> io::Result<Self> {
        let (jobs, orders) = sync_channel::<Job>(limits::RING_PERSISTS_MAX);
        let (results, done) = sync_channel(limits::RING_PERSISTS_MAX);
        let work = move || {
            for Job { token, path, data } in orders {
                let result = persist(&path, &data).map(|()| data.len());
                if results.send(Completion::Done { token, result, buf: data }).is_err() {
                    return;
                }
                bell.ring();
            }
        };
        let thread = std::thread::Builder::new().name("persist".to_owned()).spawn(work)?;
        Ok(Self { jobs: Some(jobs), done, under_way: 0, thread: Some(thread) })
    }

    /// Takes the work or, with `limits::RING_PERSISTS_MAX` under way, gives it back.
    pub fn submit(&mut self, token: Token, path: PathBuf, data: Vec<u8>) -> Result<(), Op> {
        let job = Job { token, path, data };
        let refused = match &self.jobs {
            Some(jobs) if self.under_way < limits::RING_PERSISTS_MAX => jobs.send(job).map_err(|refused| refused.0),
            _ => Err(job),
        };
        match refused {
            Ok(()) => {
                self.under_way += 1;
                Ok(())
            }
            Err(Job { token, path, data }) => Err(Op::Persist { token, path, data }),
        }
    }

    /// Appends what has ended.
    pub fn collect(&mut self, out: &mut Vec<Completion>) {
        while self.under_way > 0
            && let Ok(completion) = self.done.try_recv()
        {
            self.under_way -= 1;
            out.push(completion);
        }
    }
}

impl Drop for Persister {
    /// Lets the work under way end, so that nobody who comes after finds its path changing.
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already and takes nothing else down.
            let _ = thread.join();
        }
    }
}

/// Replaces the content of `path` so that after any crash it is wholly the old or wholly the new one.
fn persist(path: &Path, data: &[u8]) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let new = beside(path)?;
    let renamed = write_new(&new, data).and_then(|()| std::fs::rename(&new, path));
    if let Err(error) = renamed {
        // What cannot be removed is removed before the next try, or found with an error then.
        let _ = std::fs::remove_file(&new);
        return Err(error);
    }
    // The name is durable only when its directory is.
    File::open(directory)?.sync_all()
}

/// `<name>.new`: always the same, so that crashes leave at most one behind.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let mut name: OsString = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".new");
    Ok(path.with_file_name(name))
}

fn write_new(new: &Path, data: &[u8]) -> io::Result<()> {
    match std::fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    file.write_all(data)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_its_owner_may_read_it_and_nothing_is_left_beside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        std::fs::write(directory.path().join("state.new"), b"torn").unwrap();
        persist(&path, b"first").unwrap();
        persist(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_rename_removes_the_new_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        std::fs::create_dir(&path).unwrap();
        assert!(persist(&path, b"data").is_err());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(persist(Path::new("/"), b"data").is_err());
    }
}
