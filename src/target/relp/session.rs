//! One connection: opened, numbered messages out, answers in, closed.

use std::{collections::VecDeque, time::Duration};

use super::window::{Piece, Window};
use crate::{
    limits::{RELP_ANSWER_BYTES_MAX, RELP_ANSWER_TIMEOUT, RELP_WINDOW_FRAMES, RELP_WRITE_BYTES},
    target::shorten,
    wire::relp::{Answer, Frame, Offers, Txnr, decode, frame_bytes_max, put, put_offers, put_syslog},
};

/// The numbers of one session.
#[derive(Debug)]
pub struct Session {
    stage: Stage,
    /// What was read and is not yet a whole frame; at most one frame and one read.
    heard: Vec<u8>,
    /// Messages sent, oldest first; those answered stay until those before them are. At most
    /// `limits::RELP_WINDOW_FRAMES`.
    sent: VecDeque<Sent>,
    /// Number of `sent[0]`, or of what will be.
    oldest: Txnr,
    next: Txnr,
    /// It took at least one message.
    took: bool,
    /// The peer's words when it first refused: nothing more is sent.
    refusal: Option<String>,
    /// Since when the answer is due that is waited for longest.
    waiting_since: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Opening,
    Open,
    /// We said goodbye under this number.
    Closing(Txnr),
    Closed,
}

#[derive(Debug)]
enum Sent {
    Unanswered(Piece),
    Taken,
    Refused(Piece, String),
}

impl Session {
    /// Puts the first command into `out`: what we offer.
    pub fn new(out: &mut Vec<u8>, now: Duration) -> Self {
        let mut offers = Vec::new();
        put_offers(&mut offers);
        put(out, Txnr::FIRST, "open", &offers);
        let next = Txnr::FIRST.next();
        Self {
            stage: Stage::Opening,
            heard: Vec::new(),
            sent: VecDeque::new(),
            oldest: next,
            next,
            took: false,
            refusal: None,
            waiting_since: Some(now),
        }
    }

    pub fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// The peer has answered our goodbye, or said its own.
    pub fn is_closed(&self) -> bool {
        self.stage == Stage::Closed
    }

    /// Whether it took at least one message.
    pub fn took(&self) -> bool {
        self.took
    }

    /// Whether something sent waits for an answer.
    pub fn is_waiting(&self) -> bool {
        self.waiting_since.is_some()
    }

    /// Puts messages into `out`: as many as the window has and the peer may be sent unanswered, until `out` has
    /// `limits::RELP_WRITE_BYTES`. Gives the number of batches of which an earlier session had sent something.
    pub fn speak<T>(&mut self, window: &mut Window<T>, out: &mut Vec<u8>, now: Duration) -> u64 {
        let mut again = 0;
        if self.stage != Stage::Open || self.refusal.is_some() {
            return again;
        }
        while out.len() < RELP_WRITE_BYTES && self.sent.len() < RELP_WINDOW_FRAMES {
            let Some((piece, message)) = window.next_piece() else { break };
            put_syslog(out, self.next, message);
            self.sent.push_back(Sent::Unanswered(piece));
            self.next = self.next.next();
            self.waiting_since.get_or_insert(now);
            again += u64::from(window.goes_again(piece));
        }
        again
    }

    /// Puts the goodbye into `out`. Only when nothing is waited for.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        debug_assert!(!self.is_waiting());
        put(out, self.next, "close", b"");
        self.stage = Stage::Closing(self.next);
    }

    /// Takes what the peer said; what it has of the window is noted there.
    ///
    /// # Errors
    /// The session must end, for this reason.
    pub fn hear<T>(&mut self, bytes: &[u8], window: &mut Window<T>, now: Duration) -> Result<(), String> {
        let mut heard = std::mem::take(&mut self.heard);
        heard.extend_from_slice(bytes);
        let mut done = 0;
        let understood = loop {
            match decode(&heard[done..], RELP_ANSWER_BYTES_MAX) {
                Ok(Some((frame, length))) => {
                    done += length;
                    if let Err(reason) = self.take(frame, window, now) {
                        break Err(reason);
                    }
                }
                Ok(None) => break Ok(()),
                Err(malformed) => break Err(format!("the peer does not speak RELP: {}", malformed.0)),
            }
        };
        heard.drain(..done);
        debug_assert!(understood.is_err() || heard.len() < frame_bytes_max(RELP_ANSWER_BYTES_MAX));
        self.heard = heard;
        understood?;
        match &self.refusal {
            // What is under way is still waited for, or it would come twice.
            Some(words) if !self.is_waiting() => Err(format!("the peer refuses a message: {words}")),
            _ => Ok(()),
        }
    }

    fn take<T>(&mut self, frame: Frame<'_>, window: &mut Window<T>, now: Duration) -> Result<(), String> {
        if frame.txnr == Txnr::HINT {
            if frame.command != b"serverclose" {
                return Ok(());
            }
            return match self.stage {
                Stage::Closing(_) | Stage::Closed => {
                    self.stage = Stage::Closed;
                    Ok(())
                }
                Stage::Opening | Stage::Open => Err("the peer closed the session".to_owned()),
            };
        }
        if frame.command != b"rsp" {
            return Err(format!("the peer sent a command, `{}`", shorten(&String::from_utf8_lossy(frame.command))));
        }
        match self.stage {
            Stage::Opening => self.opened(frame),
            Stage::Open => self.answered(frame, window, now),
            // librelp answers a goodbye without a code; whatever it says, we go.
            Stage::Closing(txnr) if txnr == frame.txnr => {
                self.stage = Stage::Closed;
                Ok(())
            }
            Stage::Closing(_) | Stage::Closed => Err(unasked()),
        }
    }

    fn opened(&mut self, frame: Frame<'_>) -> Result<(), String> {
        if frame.txnr != Txnr::FIRST {
            return Err(unasked());
        }
        let answer = Answer::parse(frame.data).map_err(|malformed| malformed.0.to_owned())?;
        if !answer.is_ok() {
            return Err(format!("the peer refuses the session: {}", words(&answer)));
        }
        let offers = Offers::parse(answer.data);
        if !offers.version || !offers.syslog {
            return Err("the peer speaks RELP, but offers no syslog".to_owned());
        }
        (self.stage, self.waiting_since) = (Stage::Open, None);
        Ok(())
    }

    fn answered<T>(&mut self, frame: Frame<'_>, window: &mut Window<T>, now: Duration) -> Result<(), String> {
        let index = frame.txnr.since(self.oldest).and_then(|index| usize::try_from(index).ok());
        let Some(sent) = index.and_then(|index| self.sent.get_mut(index)) else { return Err(unasked()) };
        let Sent::Unanswered(piece) = *sent else { return Err(unasked()) };
        let answer = Answer::parse(frame.data).map_err(|malformed| malformed.0.to_owned())?;
        if answer.is_ok() {
            *sent = Sent::Taken;
            self.took = true;
            window.taken(piece);
        } else {
            let words = words(&answer);
            *sent = Sent::Refused(piece, words.clone());
            self.refusal.get_or_insert(words);
        }
        // A refused one stays in its place until the end of the session, which is near: nothing more is sent.
        while let Some(Sent::Taken) = self.sent.front() {
            self.sent.pop_front();
            self.oldest = self.oldest.next();
        }
        let waits = self.sent.iter().any(|sent| matches!(sent, Sent::Unanswered(_)));
        self.waiting_since = waits.then_some(now);
        Ok(())
    }

    /// Whether the peer has been silent for `limits::RELP_ANSWER_TIMEOUT` although something is waited for.
    pub fn is_overdue(&self, now: Duration) -> bool {
        self.waiting_since.is_some_and(|since| now.saturating_sub(since) > RELP_ANSWER_TIMEOUT)
    }

    /// The connection is gone. What was not answered goes back to the window, to be sent again.
    pub fn end<T>(self, window: &mut Window<T>) {
        for sent in self.sent {
            match sent {
                Sent::Unanswered(piece) => window.unanswered(piece),
                Sent::Refused(piece, words) => window.refused(piece, &words, self.took),
                Sent::Taken => {}
            }
        }
        window.begin_anew();
    }
}

fn unasked() -> String {
    "the peer answered what was not asked".to_owned()
}

fn words(answer: &Answer<'_>) -> String {
    shorten(&format!("{} {}", answer.code, String::from_utf8_lossy(answer.words)))
}
