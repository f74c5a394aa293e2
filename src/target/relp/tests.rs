//! The session and its window against a model of a peer: whatever it answers, in whatever order, and however often the
//! connection dies, what settles was taken or refused message by message, and all of it settles in the end.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    limits::{RELP_ANSWER_TIMEOUT, RELP_REFUSALS_MAX, RELP_WINDOW_FRAMES},
    orders::Refusal,
    wire::relp::{Txnr, decode, put},
};

const NOW: Duration = Duration::from_secs(5);
const OPENED: &[u8] = b"1 rsp 37 200 OK\nrelp_version=0\ncommands=syslog\n";

/// A body of messages with these texts.
fn body<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Bytes {
    texts.into_iter().map(|text| format!("{} {}", text.as_ref().len(), text.as_ref())).collect::<String>().into()
}

fn answer(out: &mut Vec<u8>, txnr: Txnr, words: &str) {
    put(out, txnr, "rsp", words.as_bytes());
}

/// A session as its peer sees it: the messages that came, each with its number.
struct Talk {
    session: Session,
    came: Vec<(Txnr, String)>,
}

impl Talk {
    fn open<T>(window: &mut Window<T>) -> Self {
        let mut out = Vec::new();
        let mut session = Session::new(&mut out, NOW);
        let (frame, length) = decode(&out, 1000).unwrap().unwrap();
        assert_eq!((frame.txnr, frame.command, length), (Txnr::FIRST, &b"open"[..], out.len()));
        assert!(!session.is_open() && session.is_waiting());
        session.hear(OPENED, window, NOW).unwrap();
        assert!(session.is_open() && !session.is_waiting());
        Self { session, came: Vec::new() }
    }

    /// Lets it speak until it has nothing to say; gives the number of batches sent again.
    fn speak<T>(&mut self, window: &mut Window<T>) -> u64 {
        let mut again = 0;
        loop {
            let mut out = Vec::new();
            again += self.session.speak(window, &mut out, NOW);
            if out.is_empty() {
                return again;
            }
            let mut rest = &out[..];
            while let Some((frame, length)) = decode(rest, 1 << 20).unwrap() {
                assert_eq!(frame.command, b"syslog");
                self.came.push((frame.txnr, String::from_utf8(frame.data.to_vec()).unwrap()));
                rest = &rest[length..];
            }
            assert_eq!(rest, b"");
        }
    }

    fn say<T>(&mut self, index: usize, words: &str, window: &mut Window<T>) -> Result<(), String> {
        let mut out = Vec::new();
        answer(&mut out, self.came[index].0, words);
        self.session.hear(&out, window, NOW)
    }

    fn texts(&self) -> Vec<&str> {
        self.came.iter().map(|(_, text)| text.as_str()).collect()
    }
}

fn settled<T>(window: &mut Window<T>) -> Vec<Settled<T>> {
    std::iter::from_fn(|| window.settled()).collect()
}

fn acked<T>(load: T) -> Settled<T> {
    Settled { load, refusal: None }
}

#[test]
fn a_batch_settles_with_the_last_of_its_messages_and_in_order() {
    let mut window = Window::default();
    window.push('a', body(["1", "2"]));
    window.push('b', body(["3"]));
    let mut talk = Talk::open(&mut window);
    assert_eq!(talk.speak(&mut window), 0);
    assert_eq!(talk.texts(), ["1", "2", "3"]);
    talk.say(2, "200 OK", &mut window).unwrap();
    talk.say(1, "200 OK", &mut window).unwrap();
    assert_eq!(settled(&mut window), vec![]);
    assert!(talk.session.is_waiting());
    talk.say(0, "200 OK", &mut window).unwrap();
    assert!(!talk.session.is_waiting());
    assert_eq!(settled(&mut window), vec![acked('a'), acked('b')]);
    assert!(window.is_empty());
}

#[test]
fn a_lost_session_sends_again_what_was_not_answered_and_nothing_else() {
    let mut window = Window::default();
    window.push('a', body(["1", "2", "3"]));
    window.push('b', body(["4"]));
    let mut talk = Talk::open(&mut window);
    talk.speak(&mut window);
    talk.say(1, "200 OK", &mut window).unwrap();
    talk.session.end(&mut window);
    window.push('c', body(["5"]));
    let mut talk = Talk::open(&mut window);
    assert_eq!(talk.speak(&mut window), 2, "a and b go again, c goes for the first time");
    assert_eq!(talk.texts(), ["1", "3", "4", "5"]);
    // Lost once more before any answer, it is the same again.
    talk.session.end(&mut window);
    let mut talk = Talk::open(&mut window);
    assert_eq!(talk.speak(&mut window), 3);
    assert_eq!(talk.texts(), ["1", "3", "4", "5"]);
    (0..4).for_each(|index| talk.say(index, "200 OK", &mut window).unwrap());
    assert_eq!(settled(&mut window), vec![acked('a'), acked('b'), acked('c')]);
}

#[test]
fn no_more_than_the_window_is_sent_unanswered() {
    let mut window = Window::default();
    let texts: Vec<String> = (0..2 * RELP_WINDOW_FRAMES).map(|number| number.to_string()).collect();
    window.push((), body(&texts));
    let mut talk = Talk::open(&mut window);
    talk.speak(&mut window);
    assert_eq!(talk.came.len(), RELP_WINDOW_FRAMES);
    talk.say(1, "200 OK", &mut window).unwrap();
    talk.speak(&mut window);
    assert_eq!(talk.came.len(), RELP_WINDOW_FRAMES, "the oldest is not answered");
    talk.say(0, "200 OK", &mut window).unwrap();
    talk.speak(&mut window);
    assert_eq!(talk.came.len(), RELP_WINDOW_FRAMES + 2);
}

#[test]
fn a_refusal_ends_the_session_when_the_others_are_answered() {
    let mut window = Window::default();
    window.push((), body(["1", "2"]));
    let mut talk = Talk::open(&mut window);
    talk.speak(&mut window);
    window.push((), body(["3"]));
    talk.say(0, "500 disk\nfull", &mut window).unwrap();
    talk.speak(&mut window);
    assert_eq!(talk.came.len(), 2, "nothing more is sent");
    let reason = talk.say(1, "200 OK", &mut window).unwrap_err();
    assert_eq!(reason, "the peer refuses a message: 500 disk");
    talk.session.end(&mut window);
    let mut talk = Talk::open(&mut window);
    assert_eq!(talk.speak(&mut window), 1);
    assert_eq!(talk.texts(), ["1", "3"]);
}

#[test]
fn a_peer_that_refuses_everything_is_waited_for_and_one_that_refuses_one_message_is_not() {
    let mut window = Window::default();
    window.push('a', body(["1"]));
    for _ in 0..10 * RELP_REFUSALS_MAX {
        let mut talk = Talk::open(&mut window);
        talk.speak(&mut window);
        talk.say(0, "500 no", &mut window).unwrap_err();
        talk.session.end(&mut window);
        assert_eq!(settled(&mut window), vec![]);
    }
    for (number, load) in (0..RELP_REFUSALS_MAX).zip('b'..) {
        assert_eq!(settled(&mut window), vec![]);
        window.push(load, body(["2"]));
        let mut talk = Talk::open(&mut window);
        talk.speak(&mut window);
        assert_eq!(talk.texts(), ["1", "2"], "{number}");
        talk.say(0, "500 no", &mut window).unwrap();
        talk.say(1, "200 OK", &mut window).unwrap_err();
        talk.session.end(&mut window);
    }
    let refusal = Some(Refusal { entries: 1, reason: "500 no".to_owned() });
    let mut expected = vec![Settled { load: 'a', refusal }];
    expected.extend(('b'..).take(RELP_REFUSALS_MAX as usize).map(acked));
    assert_eq!(settled(&mut window), expected);
}

#[test]
fn what_no_peer_may_say_ends_the_session_with_a_reason() {
    for (bytes, reason) in [
        (&b"220 smtp ready\r\n"[..], "the peer does not speak RELP: a length is not a number"),
        (b"HTTP/1.1 400 Bad Request\r\n", "the peer does not speak RELP: a number"),
        (b"1 rsp 9 500 never\n", "the peer refuses the session: 500 never"),
        (b"1 rsp 6 200 OK\n", "the peer speaks RELP, but offers no syslog"),
        (b"1 rsp 21 200 OK\nrelp_version=0\n", "the peer speaks RELP, but offers no syslog"),
        (b"2 rsp 6 200 OK\n", "the peer answered what was not asked"),
        (b"1 open 0\n", "the peer sent a command, `open`"),
        (b"0 serverclose 0\n", "the peer closed the session"),
    ] {
        let mut session = Session::new(&mut Vec::new(), NOW);
        let heard = session.hear(bytes, &mut Window::<()>::default(), NOW);
        assert_eq!(heard, Err(reason.to_owned()), "{}", String::from_utf8_lossy(bytes));
    }
    let mut window = Window::default();
    window.push((), body(["1", "2"]));
    for (bytes, reason) in [
        (&b"4 rsp 6 200 OK\n"[..], "the peer answered what was not asked"),
        (b"3 rsp 6 200 OK\n3 rsp 6 200 OK\n", "the peer answered what was not asked"),
        (b"2 rsp 0\n", "an answer has no code"),
        (b"0 serverclose 0\n", "the peer closed the session"),
    ] {
        let mut talk = Talk::open(&mut window);
        talk.speak(&mut window);
        assert_eq!(talk.session.hear(bytes, &mut window, NOW), Err(reason.to_owned()));
        talk.session.end(&mut window);
    }
    // A hint that is not known is none of our business.
    let mut talk = Talk::open(&mut window);
    assert_eq!(talk.session.hear(b"0 whatever 2 ab\n", &mut window, NOW), Ok(()));
}

#[test]
fn a_goodbye_is_answered_by_an_answer_or_by_the_peers_own() {
    for bytes in [&b"2 rsp 0\n"[..], b"0 serverclose 0\n"] {
        let mut window = Window::<()>::default();
        let (mut talk, mut out) = (Talk::open(&mut window), Vec::new());
        talk.session.close(&mut out);
        assert_eq!(out, b"2 close 0\n");
        assert!(!talk.session.is_closed());
        talk.session.hear(bytes, &mut window, NOW).unwrap();
        assert!(talk.session.is_closed());
    }
}

#[test]
fn silence_is_borne_only_while_nothing_is_asked() {
    let mut window = Window::default();
    let late = NOW + RELP_ANSWER_TIMEOUT + Duration::from_millis(1);
    let mut talk = Talk::open(&mut window);
    assert!(!talk.session.is_overdue(late));
    window.push((), body(["1", "2"]));
    talk.speak(&mut window);
    assert!(!talk.session.is_overdue(NOW + RELP_ANSWER_TIMEOUT));
    assert!(talk.session.is_overdue(late));
    // Any answer is a sign of life.
    let mut out = Vec::new();
    answer(&mut out, talk.came[0].0, "200 OK");
    talk.session.hear(&out, &mut window, late).unwrap();
    assert!(!talk.session.is_overdue(late + RELP_ANSWER_TIMEOUT));
}

#[derive(Clone, Debug)]
enum Step {
    /// A batch of so many messages comes.
    Push(usize),
    Speak,
    /// One of the messages unanswered is answered, by the rule.
    Answer(usize),
    /// The connection dies.
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..6_usize).prop_map(Step::Push),
        4 => Just(Step::Speak),
        8 => any::<usize>().prop_map(Step::Answer),
        1 => Just(Step::Lose),
    ]
}

/// A peer that never takes messages whose number is a multiple of 11, and other multiples of 7 only the second time.
#[derive(Default)]
struct World {
    window: Window<usize>,
    /// First message and number of messages of each batch.
    pushed: Vec<(usize, usize)>,
    messages: usize,
    talk: Option<Talk>,
    taken: Vec<usize>,
    refusals: HashMap<usize, usize>,
    settled: usize,
}

impl World {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Push(count) => {
                let texts = (self.messages..self.messages + count).map(|number| format!("message {number}"));
                self.window.push(self.pushed.len(), body(texts));
                self.pushed.push((self.messages, *count));
                self.messages += count;
            }
            Step::Speak => {
                let talk = self.talk.get_or_insert_with(|| Talk::open(&mut self.window));
                talk.speak(&mut self.window);
            }
            Step::Answer(choice) => self.answer(*choice),
            Step::Lose => self.lose(),
        }
        self.judge();
    }

    fn answer(&mut self, choice: usize) {
        let Some(talk) = self.talk.as_mut().filter(|talk| !talk.came.is_empty()) else { return };
        let index = choice % talk.came.len();
        let message: usize = talk.came[index].1["message ".len()..].parse().unwrap();
        let refusals = self.refusals.entry(message).or_default();
        let takes = !message.is_multiple_of(11) && (!message.is_multiple_of(7) || *refusals > 0);
        *refusals += usize::from(!takes);
        if takes {
            self.taken.push(message);
        }
        let heard = talk.say(index, if takes { "200 OK" } else { "500 no" }, &mut self.window);
        talk.came.remove(index);
        if heard.is_err() {
            assert!(talk.came.is_empty(), "what is under way is waited for");
            self.lose();
        }
    }

    fn lose(&mut self) {
        if let Some(talk) = self.talk.take() {
            talk.session.end(&mut self.window);
        }
    }

    /// What settles, settles in order, and each of its messages was taken or is counted as refused, never both.
    fn judge(&mut self) {
        while let Some(Settled { load, refusal }) = self.window.settled() {
            assert_eq!(load, self.settled);
            self.settled += 1;
            let (first, count) = self.pushed[load];
            let untaken = (first..first + count).filter(|message| !self.taken.contains(message));
            let untaken: Vec<usize> = untaken.collect();
            assert!(untaken.iter().all(|message| message.is_multiple_of(11)), "{untaken:?} settled and never taken");
            assert_eq!(refusal.map_or(0, |refusal| refusal.entries as usize), untaken.len());
        }
    }
}

proptest! {
    #[test]
    fn what_settles_was_answered_and_all_of_it_settles(steps in prop::collection::vec(step(), 0..300)) {
        let mut world = World::default();
        for step in &steps {
            world.apply(step);
        }
        // In sessions that take something, what is refused for ever is so in a bounded number of them.
        for _ in 0..RELP_REFUSALS_MAX {
            world.lose();
            world.window.push(world.pushed.len(), body(["message 1"]));
            world.pushed.push((1, 1));
            world.apply(&Step::Speak);
            while world.talk.as_ref().is_some_and(|talk| !talk.came.is_empty()) {
                world.apply(&Step::Answer(0));
            }
        }
        world.lose();
        world.judge();
        prop_assert_eq!(world.settled, world.pushed.len());
    }
}
