//! How requests are answered, by broker and name server alike: with success or a refusal, at once, when the log has
//! acknowledged something, or when a task or a thread that may block has found the answer.

use crate::{connection::Session, held::RequestId};
use bytes::Bytes;
use halley_model::LogOffset;
use halley_store::StageError;
use halley_wire::{Frame, ResponseCode, encode::ExtField, encode_reply, reply};

/// What a client hears where too many requests of its kind wait already (`NettyRemotingAbstract.processRequestCommand`, 5.5).
pub(crate) const SYSTEM_BUSY: &str = "[OVERLOAD]system busy, start flow control for a while";

/// A request that is answered with an error.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: ResponseCode,
    pub(crate) remark: String,
    /// The request cannot be read. What RocketMQ answers to its own exception then has no fields.
    unreadable: bool,
    /// What forbids a pull.
    forbidden: Option<Forbidden>,
}

/// What forbids a pull (`ForbiddenType`, 5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forbidden {
    Broker = 1,
    Group = 2,
    Topic = 3,
    Broadcasting = 4,
    Subscription = 5,
}

impl Refusal {
    pub(crate) fn new(code: ResponseCode, remark: impl Into<String>) -> Self {
        Self { code, remark: remark.into(), unreadable: false, forbidden: None }
    }

    /// A pull that may not be.
    pub(crate) fn forbidden(forbidden: Forbidden, remark: impl Into<String>) -> Self {
        Self { forbidden: Some(forbidden), ..Self::new(ResponseCode::NoPermission, remark) }
    }
}

/// What a client sent cannot be read: the broker of RocketMQ answers SYSTEM_ERROR with the exception's text.
impl<E: std::error::Error> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self { unreadable: true, ..Self::new(ResponseCode::SystemError, error.to_string()) }
    }
}

/// An answer that was found later, by a thread that may block or by asking others.
#[derive(Debug, Default)]
pub(crate) struct Later {
    pub(crate) fields: Vec<ExtField<'static>>,
    pub(crate) body: Vec<u8>,
}

/// Answers when `find` has found the answer, which it does without blocking, by asking others.
pub(crate) fn answer_when<S>(
    frame: &Frame<'_>,
    session: &Session<S>,
    find: impl Future<Output = Result<Later, Refusal>> + Send + 'static,
) {
    let (outbox, request, oneway) = (session.info.outbox.clone(), request_of(frame), frame.is_oneway());
    tokio::spawn(async move {
        let found = find.await;
        if !oneway {
            outbox.send([found_frame(request, &found)]);
        }
    });
}

/// Has `find` look for the answer on a thread that may block on the disk.
pub(crate) fn answer_later<S>(
    frame: &Frame<'_>,
    session: &Session<S>,
    find: impl FnOnce() -> Result<Later, Refusal> + Send + 'static,
) {
    let (outbox, request, oneway) = (session.info.outbox.clone(), request_of(frame), frame.is_oneway());
    tokio::task::spawn_blocking(move || {
        let found = find();
        if !oneway {
            outbox.send([found_frame(request, &found)]);
        }
    });
}

fn found_frame(request: RequestId, found: &Result<Later, Refusal>) -> Bytes {
    crate::held::frame(|out| match found {
        Ok(Later { fields, body }) => answer(out, request, ResponseCode::Success, None, fields, body),
        Err(refusal) => answer(out, request, refusal.code, Some(&refusal.remark), &[], b""),
    })
}

/// Answers with success once everything before `end` is acknowledged.
pub(crate) fn succeed_when_acked<S>(
    frame: &Frame<'_>,
    session: &mut Session<S>,
    end: LogOffset,
    acked: LogOffset,
    body: &[u8],
) {
    let request = request_of(frame);
    if !frame.is_oneway() {
        session.held.push(end, request, |out| answer(out, request, ResponseCode::Success, None, &[], body));
        // What is acknowledged already waits for nothing.
        session.held.release(acked, &mut session.out);
    }
}

/// Code 3: nobody here serves the request; the connection goes on.
pub(crate) fn not_supported(code: i32) -> Refusal {
    Refusal::new(ResponseCode::RequestCodeNotSupported, reply::not_supported(code))
}

/// What a client hears where the store does not take a message.
pub(crate) fn not_stored(error: StageError) -> Refusal {
    let code = match error {
        StageError::Record(_) | StageError::Queue(_) | StageError::TooLong { .. } => {
            ResponseCode::MessageIllegal
        }
        StageError::Overloaded { .. } | StageError::NoSegment => {
            let remark = format!("[PC_SYNCHRONIZED]broker busy, start flow control for a while: {error}");
            return Refusal::new(ResponseCode::SystemBusy, remark);
        }
        StageError::Full | StageError::Poisoned(_) => ResponseCode::ServiceNotAvailable,
    };
    Refusal::new(code, error.to_string())
}

/// What a producer hears where the store does not take a message: of a full disk in RocketMQ's words
/// (`SendMessageProcessor.handlePutMessageResult`, 5.5), `percent` of which is used.
pub(crate) fn not_sent(error: StageError, percent: u8) -> Refusal {
    if error != StageError::Full {
        return not_stored(error);
    }
    let used = f64::from(percent) / 100.0;
    let remark = format!(
        "service not available now. It may be caused by one of the following reasons: the broker's disk is full \
         [CL: {used:5.2} CQ: {used:5.2} INDEX: {used:5.2}], messages are put to the slave, message store has been \
         shut down, etc."
    );
    Refusal::new(ResponseCode::ServiceNotAvailable, remark)
}

/// What was staged before the store stopped may be found by recovery.
pub(crate) fn stopped_refusal() -> Refusal {
    let remark = "the store stopped, the message may or may not be stored";
    Refusal::new(ResponseCode::ServiceNotAvailable, remark)
}

/// What a reply needs of its request.
pub(crate) fn request_of(frame: &Frame<'_>) -> RequestId {
    RequestId { opaque: frame.opaque, serialize: frame.serialize }
}

/// Appends a reply.
pub(crate) fn answer(
    out: &mut bytes::BytesMut,
    request: RequestId,
    code: ResponseCode,
    remark: Option<&str>,
    fields: &[ExtField<'_>],
    body: &[u8],
) {
    encode_reply(out, request.serialize, code, request.opaque, remark, fields, body);
}

/// Answers a request with success, unless no answer is wanted.
pub(crate) fn succeed<S>(frame: &Frame<'_>, session: &mut Session<S>, fields: &[ExtField<'_>], body: &[u8]) {
    if !frame.is_oneway() {
        answer(session.out.head(), request_of(frame), ResponseCode::Success, None, fields, body);
    }
}

/// Answers a request with an error, and with these fields where it could be read, unless no answer is wanted.
pub(crate) fn refuse<S>(
    frame: &Frame<'_>,
    session: &mut Session<S>,
    refusal: &Refusal,
    fields: &[ExtField<'_>],
) {
    if !frame.is_oneway() {
        let forbidden = refusal.forbidden.map(|by| ("forbiddenType", (by as i64).into()));
        let fields = match &forbidden {
            Some(forbidden) => std::slice::from_ref(forbidden),
            None if refusal.unreadable => &[],
            None => fields,
        };
        let (request, remark) = (request_of(frame), Some(&*refusal.remark));
        answer(session.out.head(), request, refusal.code, remark, fields, b"");
    }
}
