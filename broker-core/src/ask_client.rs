//! Requests of the broker to its clients, on the connections that they opened, and what becomes of the answers.
//!
//! Whoever asks leaves a closure; it is called once, with the client's reply in place or with why there is none. Each
//! question has a time bound, and so many may be open at once and no more: a client that never answers costs an
//! entry until its time is over.

use crate::{held::frame, outbox::Outbox};
use halley_machine::ConnectionId;
use halley_wire::{
    ClientCode, Frame, Serialize,
    encode::{self, ExtField, Request},
    language,
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// Most questions open at once over all clients.
pub(crate) const OPEN_MAX: usize = 4096;

/// What becomes of a question.
pub(crate) type Done = Box<dyn FnOnce(Result<&Frame<'_>, NoAnswer>) + Send>;

/// Why a client did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// Not in time.
    #[error("no answer in time")]
    TimedOut,
    /// Its connection closed.
    #[error("the connection closed")]
    Closed,
}

/// The question was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAsked {
    /// Too many are open.
    #[error("{OPEN_MAX} questions to clients are open already")]
    TooMany,
    /// It does not fit a frame.
    #[error("the question does not fit a frame")]
    TooLong,
}

/// The open questions.
#[derive(Default)]
pub(crate) struct AskClients {
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    questions: BTreeMap<i32, Question>,
    deadlines: BTreeSet<(Instant, i32)>,
    last: i32,
}

struct Question {
    connection: ConnectionId,
    until: Instant,
    done: Done,
}

impl AskClients {
    /// Asks the client at `outbox`; `done` is called when it answered, when its connection closed, or at the first
    /// [`AskClients::expire`] after `wait`. Where the question is not asked, `done` is dropped.
    pub(crate) fn ask(
        &self,
        (connection, outbox): (ConnectionId, &Outbox),
        code: ClientCode,
        fields: &[ExtField<'_>],
        body: &[u8],
        wait: Duration,
        done: Done,
    ) -> Result<(), NotAsked> {
        let mut open = self.open.lock();
        if open.questions.len() >= OPEN_MAX {
            return Err(NotAsked::TooMany);
        }
        let opaque = open.next_number();
        let mut written = Ok(());
        let bytes = frame(|out| written = encode::request(out, request(code, opaque), fields, body));
        written.map_err(|_| NotAsked::TooLong)?;
        let until = Instant::now() + wait;
        open.deadlines.insert((until, opaque));
        open.questions.insert(opaque, Question { connection, until, done });
        // Left under the lock: the answer cannot be looked up before the question is known.
        outbox.send([bytes]);
        Ok(())
    }

    /// A client replied. What nobody asked, or asked somebody else, is ignored.
    pub(crate) fn answered(&self, connection: ConnectionId, reply: &Frame<'_>) {
        let question = {
            let mut open = self.open.lock();
            match open.questions.get(&reply.opaque) {
                Some(question) if question.connection == connection => open.remove(reply.opaque),
                _ => None,
            }
        };
        if let Some(question) = question {
            (question.done)(Ok(reply));
        }
    }

    /// A connection closed: what it was asked is not answered any more.
    pub(crate) fn closed(&self, connection: ConnectionId) {
        self.end(NoAnswer::Closed, |open| {
            let of_it = |(opaque, question): (&i32, &Question)| {
                (question.connection == connection).then_some(*opaque)
            };
            open.questions.iter().filter_map(of_it).collect()
        });
    }

    /// Ends questions whose time is over. To be called about once a second.
    pub(crate) fn expire(&self, now: Instant) {
        self.end(NoAnswer::TimedOut, |open| {
            open.deadlines.range(..=(now, i32::MAX)).map(|(_, opaque)| *opaque).collect()
        });
    }

    fn end(&self, why: NoAnswer, which: impl FnOnce(&Open) -> Vec<i32>) {
        let ended: Vec<Question> = {
            let mut open = self.open.lock();
            if open.questions.is_empty() {
                return;
            }
            which(&open).into_iter().filter_map(|opaque| open.remove(opaque)).collect()
        };
        for question in ended {
            (question.done)(Err(why));
        }
    }
}

impl Open {
    /// A number that no open question has.
    fn next_number(&mut self) -> i32 {
        loop {
            self.last = self.last.wrapping_add(1);
            if !self.questions.contains_key(&self.last) {
                return self.last;
            }
        }
    }

    fn remove(&mut self, opaque: i32) -> Option<Question> {
        let question = self.questions.remove(&opaque)?;
        self.deadlines.remove(&(question.until, opaque));
        Some(question)
    }
}

/// A request as a RocketMQ broker sends it: JSON, which every client reads.
fn request(code: ClientCode, opaque: i32) -> Request {
    Request { serialize: Serialize::Json, language: language::JAVA, ..Request::new(code, opaque) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use halley_wire::{ResponseCode, encode_reply, frame};
    use std::sync::Arc;

    const CLIENT: ConnectionId = ConnectionId(1);

    type Outcome = Arc<Mutex<Option<Result<i32, NoAnswer>>>>;

    /// Asks, and gives what became of it, and the number of the question.
    fn ask(asks: &AskClients, outbox: &Outbox) -> (Outcome, i32) {
        let outcome = Arc::new(Mutex::new(None));
        let told = outcome.clone();
        let done: Done = Box::new(move |reply| *told.lock() = Some(reply.map(|frame| frame.code)));
        let code = ClientCode::NotifyConsumerIdsChanged;
        asks.ask((CLIENT, outbox), code, &[("a", 1.into())], b"x", Duration::from_secs(1), done).unwrap();
        let bytes = outbox.take().frames.concat();
        let (question, _) = frame::decode(&bytes, &frame::Limits::default()).unwrap().unwrap();
        assert_eq!((question.code, question.body, question.is_reply()), (40, &b"x"[..], false));
        (outcome, question.opaque)
    }

    fn answer(asks: &AskClients, connection: ConnectionId, opaque: i32) {
        let mut bytes = BytesMut::new();
        encode_reply(&mut bytes, Serialize::Json, ResponseCode::Success, opaque, None, &[], b"");
        let (reply, _) = frame::decode(&bytes, &frame::Limits::default()).unwrap().unwrap();
        asks.answered(connection, &reply);
    }

    #[test]
    fn every_question_ends_once() {
        let (asks, outbox) = (AskClients::default(), Outbox::default());
        let (answered, first) = ask(&asks, &outbox);
        let (closed, _) = ask(&asks, &outbox);
        let (late, _) = ask(&asks, &outbox);
        answer(&asks, ConnectionId(2), first);
        assert_eq!(*answered.lock(), None, "another client's answer does not count");
        answer(&asks, CLIENT, first);
        answer(&asks, CLIENT, first);
        assert_eq!(*answered.lock(), Some(Ok(0)));
        asks.expire(Instant::now());
        assert_eq!(*late.lock(), None);
        asks.expire(Instant::now() + Duration::from_secs(2));
        assert_eq!(
            (*closed.lock(), *late.lock()),
            (Some(Err(NoAnswer::TimedOut)), Some(Err(NoAnswer::TimedOut)))
        );
        let (closed, _) = ask(&asks, &outbox);
        asks.closed(CLIENT);
        assert_eq!(*closed.lock(), Some(Err(NoAnswer::Closed)));
        assert!(asks.open.lock().deadlines.is_empty());
    }

    #[test]
    fn questions_are_bounded() {
        let (asks, outbox) = (AskClients::default(), Outbox::default());
        let ask = || {
            let code = ClientCode::NotifyConsumerIdsChanged;
            asks.ask((CLIENT, &outbox), code, &[], b"", Duration::from_secs(1), Box::new(|_| ()))
        };
        for _ in 0..OPEN_MAX {
            ask().unwrap();
        }
        assert_eq!(ask(), Err(NotAsked::TooMany));
    }
}
