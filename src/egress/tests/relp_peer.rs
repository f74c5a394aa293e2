//! A RELP receiver that keeps what it took, session by session, and answers as told. It reads frames in its own way,
//! octet by octet as the grammar has it.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// What the peer does with one session.
#[derive(Clone, Debug)]
pub(super) enum Manner {
    /// Takes and answers everything.
    Take,
    /// Answers so many messages, then cuts the connection with a reset.
    AnswerThenReset(usize),
    /// Takes so many messages and answers none of them before it cuts the connection.
    TakeThenReset(usize),
    /// Takes so many messages before it answers them, the last one first.
    AnswerBackwards(usize),
    /// Refuses messages with this text in them.
    Refuse(&'static str),
    /// Says this instead of opening the session.
    Say(&'static str),
    /// Closes with a hint after so many messages.
    ServerClose(usize),
}

#[derive(Debug, Default)]
struct Seen {
    /// What was taken in each session, refused ones left out.
    sessions: Vec<Vec<String>>,
    /// Sessions that were closed by the client's goodbye.
    goodbyes: usize,
}

#[derive(Clone, Debug)]
pub(super) struct RelpPeer {
    pub(super) port: u16,
    seen: Arc<Mutex<Seen>>,
    changed: Arc<Notify>,
}

struct Frame {
    txnr: u64,
    command: String,
    data: String,
}

impl RelpPeer {
    /// The n-th session is treated in the n-th manner, those after the last are taken.
    pub(super) async fn start(manners: impl IntoIterator<Item = Manner>) -> Self {
        let mut manners: Vec<Manner> = manners.into_iter().collect();
        manners.reverse();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let peer = Self { port, seen: Arc::default(), changed: Arc::default() };
        let accepting = peer.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let session = {
                    let mut seen = accepting.seen();
                    seen.sessions.push(Vec::new());
                    seen.sessions.len() - 1
                };
                let manner = manners.pop().unwrap_or(Manner::Take);
                let peer = accepting.clone();
                tokio::spawn(async move { peer.serve(stream, session, &manner).await });
            }
        });
        peer
    }

    /// `None`: the client is gone.
    async fn serve(&self, stream: TcpStream, session: usize, manner: &Manner) -> Option<()> {
        let mut stream = BufReader::new(stream);
        let open = frame(&mut stream).await?;
        assert_eq!((open.txnr, open.command.as_str()), (1, "open"));
        if let Manner::Say(words) = manner {
            // Not reset: that could take the words with it.
            return stream.write_all(words.as_bytes()).await.ok();
        }
        answer(&mut stream, 1, "200 OK\nrelp_version=0\ncommands=syslog").await?;
        let (mut next, mut taken) = (2, Vec::new());
        loop {
            let frame = frame(&mut stream).await?;
            // librelp ends a session in which a number is left out.
            assert_eq!(frame.txnr, next);
            next += 1;
            if frame.command == "close" {
                // What librelp does: an answer without a code, then the hint.
                stream.write_all(format!("{} rsp 0\n0 serverclose 0\n", frame.txnr).as_bytes()).await.ok()?;
                self.seen().goodbyes += 1;
                self.changed.notify_waiters();
                return Some(());
            }
            assert_eq!(frame.command, "syslog");
            if let Manner::Refuse(text) = manner
                && frame.data.contains(text)
            {
                answer(&mut stream, frame.txnr, "500 not this one").await?;
                continue;
            }
            taken.push(frame.txnr);
            self.seen().sessions[session].push(frame.data);
            self.changed.notify_waiters();
            match *manner {
                Manner::TakeThenReset(count) if taken.len() == count => return reset(stream),
                Manner::AnswerBackwards(count) if taken.len() < count => {}
                Manner::AnswerBackwards(count) if taken.len() == count => {
                    for txnr in taken.iter().rev() {
                        answer(&mut stream, *txnr, "200 OK").await?;
                    }
                }
                Manner::TakeThenReset(_) => {}
                _ => answer(&mut stream, frame.txnr, "200 OK").await?,
            }
            match *manner {
                Manner::AnswerThenReset(count) if taken.len() == count => return reset(stream),
                Manner::ServerClose(count) if taken.len() == count => {
                    return stream.write_all(b"0 serverclose 0\n").await.ok();
                }
                _ => {}
            }
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no panic in a peer")
    }

    pub(super) fn sessions(&self) -> Vec<Vec<String>> {
        self.seen().sessions.clone()
    }

    pub(super) async fn until_taken(&self, session: usize, count: usize) {
        self.until(|seen| seen.sessions.get(session).is_some_and(|taken| taken.len() >= count)).await;
    }

    pub(super) async fn until_goodbye(&self, count: usize) {
        self.until(|seen| seen.goodbyes >= count).await;
    }

    async fn until(&self, holds: impl Fn(&Seen) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if holds(&self.seen()) {
                    return;
                }
                changed.await;
            }
        };
        assert!(tokio::time::timeout(super::DEADLINE, wait).await.is_ok(), "the peer never saw it: {:?}", self.seen());
    }
}

/// Everything unread is gone, and so may be answers under way.
fn reset(stream: BufReader<TcpStream>) -> Option<()> {
    rustix::net::sockopt::set_socket_linger(stream.get_ref(), Some(std::time::Duration::ZERO)).ok()
}

async fn answer(stream: &mut BufReader<TcpStream>, txnr: u64, words: &str) -> Option<()> {
    stream.write_all(format!("{txnr} rsp {} {words}\n", words.len()).as_bytes()).await.ok()
}

async fn frame(stream: &mut BufReader<TcpStream>) -> Option<Frame> {
    let txnr = word(stream, b' ').await?.parse().expect("a number");
    let command = word(stream, b' ').await?;
    // The length ends with the frame when it is 0, else with a space.
    let mut digits = String::new();
    let end = loop {
        match stream.read_u8().await.ok()? {
            digit @ b'0'..=b'9' => digits.push(char::from(digit)),
            end => break end,
        }
    };
    let mut data = vec![0; digits.parse().expect("a length")];
    if end == b' ' {
        stream.read_exact(&mut data).await.ok()?;
        assert_eq!(stream.read_u8().await.ok()?, b'\n');
    } else {
        assert_eq!((end, data.len()), (b'\n', 0));
    }
    Some(Frame { txnr, command, data: String::from_utf8(data).expect("UTF-8") })
}

async fn word(stream: &mut BufReader<TcpStream>, end: u8) -> Option<String> {
    let mut word = Vec::new();
    stream.read_until(end, &mut word).await.ok().filter(|count| *count > 0)?;
    (word.pop() == Some(end)).then(|| String::from_utf8(word).expect("text"))
}
