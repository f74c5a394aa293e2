//! The batches of one target between hand-over and settlement, message by message.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{limits::RELP_REFUSALS_MAX, orders::Refusal, wire::relp::counted};

/// Batches in order. What of them was sent in the session of now is noted there; here stands what is still to be sent.
#[derive(Debug)]
pub struct Window<T> {
    /// Bounded by the credit of those who push.
    items: VecDeque<Item<T>>,
    /// The number of `items[0]`; it counts batches from 0.
    first: u64,
    /// Items before this one have nothing to send.
    sending: usize,
}

/// One message of one batch: an octet-counted piece of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    batch: u64,
    at: usize,
    bytes: usize,
}

/// A batch all of whose messages were answered, and what of it was refused for good, in messages: a line that was split
/// counts more than once.
#[derive(Debug, PartialEq, Eq)]
pub struct Settled<T> {
    pub load: T,
    pub refusal: Option<Refusal>,
}

#[derive(Debug)]
struct Item<T> {
    load: T,
    body: Bytes,
    /// Where in the body the messages begin that were never sent.
    fresh: usize,
    /// Messages that are to be sent again, in order.
    again: VecDeque<Piece>,
    /// Messages sent in this session and not answered, or refused in it.
    open: usize,
    /// How often which message was refused by sessions that took others.
    refusals: Vec<(usize, u32)>,
    /// Messages refused for good, and the peer's words on the last of them.
    refused: u32,
    words: String,
    /// Something of it was sent in an earlier session; said once a session.
    sent_before: bool,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self { items: VecDeque::new(), first: 0, sending: 0 }
    }
}

impl<T> Window<T> {
    /// Takes in a batch of octet-counted messages, behind all others.
    pub fn push(&mut self, load: T, body: Bytes) {
        self.items.push_back(Item {
            load,
            body,
            fresh: 0,
            again: VecDeque::new(),
            open: 0,
            refusals: Vec::new(),
            refused: 0,
            words: String::new(),
            sent_before: false,
        });
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The message to be sent next, with its length before it.
    pub fn next_piece(&mut self) -> Option<(Piece, &[u8])> {
        while self.items.get(self.sending).is_some_and(Item::is_sent) {
            self.sending += 1;
        }
        let batch = self.first + self.sending as u64;
        let item = self.items.get_mut(self.sending)?;
        let piece = item.again.pop_front().or_else(|| item.fresh_piece(batch))?;
        item.open += 1;
        Some((piece, &item.body[piece.at..piece.at + piece.bytes]))
    }

    /// Whether the batch of `piece` is one that an earlier session had begun to send: it is *sent again*. Says so once
    /// a session.
    pub fn goes_again(&mut self, piece: Piece) -> bool {
        self.item(piece).is_some_and(|item| std::mem::take(&mut item.sent_before))
    }

    /// The peer has it.
    pub fn taken(&mut self, piece: Piece) {
        if let Some(item) = self.item(piece) {
            item.open -= 1;
        }
    }

    /// The session ended without an answer to it.
    pub fn unanswered(&mut self, piece: Piece) {
        self.sending = 0;
        if let Some(item) = self.item(piece) {
            item.open -= 1;
            item.again.push_back(piece);
        }
    }

    /// The session that ends refused it, in these words. `counts`: and it took others.
    pub fn refused(&mut self, piece: Piece, words: &str, counts: bool) {
        let Some(item) = self.item(piece) else { return };
        if counts && item.refuse(piece.at) >= RELP_REFUSALS_MAX {
            item.open -= 1;
            item.refused = item.refused.saturating_add(1);
            words.clone_into(&mut item.words);
        } else {
            self.unanswered(piece);
        }
    }

    /// Takes out the oldest batch if all its messages are answered.
    pub fn settled(&mut self) -> Option<Settled<T>> {
        let item = self.items.pop_front_if(|item| item.open == 0 && item.is_sent())?;
        self.first += 1;
        self.sending = self.sending.saturating_sub(1);
        let refusal = (item.refused > 0).then_some(Refusal { entries: item.refused, reason: item.words });
        Some(Settled { load: item.load, refusal })
    }

    /// After the session that ended has given back what it had: all of it goes again in order.
    pub fn begin_anew(&mut self) {
        self.sending = 0;
        for item in &mut self.items {
            debug_assert_eq!(item.open, 0, "the session gave everything back");
            item.again.make_contiguous().sort_unstable_by_key(|piece| piece.at);
            item.sent_before = item.fresh > 0;
        }
    }

    fn item(&mut self, piece: Piece) -> Option<&mut Item<T>> {
        let index = usize::try_from(piece.batch.checked_sub(self.first)?).ok()?;
        self.items.get_mut(index)
    }
}

impl<T> Item<T> {
    fn is_sent(&self) -> bool {
        self.fresh == self.body.len() && self.again.is_empty()
    }

    fn fresh_piece(&mut self, batch: u64) -> Option<Piece> {
        let rest = &self.body[self.fresh..];
        let Some(bytes) = counted(rest) else {
            // Only a defect in the encoder can bring this. Sent as it is it would break the session, for ever.
            debug_assert!(rest.is_empty(), "a body is a row of counted messages");
            if !rest.is_empty() {
                self.refused = u32::MAX;
                "defect: a batch is no row of counted messages".clone_into(&mut self.words);
                self.fresh = self.body.len();
            }
            return None;
        };
        let piece = Piece { batch, at: self.fresh, bytes };
        self.fresh += bytes;
        Some(piece)
    }

    /// Counts a refusal of the message at `at`; gives how many there were.
    fn refuse(&mut self, at: usize) -> u32 {
        match self.refusals.iter_mut().find(|(known, _)| *known == at) {
            Some((_, times)) => {
                *times += 1;
                *times
            }
            None => {
                self.refusals.push((at, 1));
                1
            }
        }
    }
}
