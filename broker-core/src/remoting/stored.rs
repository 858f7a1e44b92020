//! Requests about a record that is already stored: answered in place where it is in memory, else beside the connection.

use super::BrokerSession;
use crate::{
    acks::Acks,
    answers::{Refusal, answer, request_of, stopped_refusal, succeed_when_acked},
    held::frame as encode_frame,
    queues::Queues,
};
use bytes::Bytes;
use halley_model::LogOffset;
use halley_store::{ReadError, disk::RealDisk};
use halley_wire::{Frame, ResponseCode};
use std::sync::Arc;

/// Where records are, and who knows when something is stored.
pub(super) struct Stored<'a> {
    pub(super) queues: &'a Queues<RealDisk>,
    pub(super) acks: &'a Arc<Acks>,
}

impl Stored<'_> {
    /// Calls `then` with the record at log offset `at`, and answers with success as soon as everything before the offset
    /// that it returns is acknowledged, with its refusal otherwise.
    pub(super) fn act_on(
        &self,
        at: i64,
        frame: &Frame<'_>,
        session: &mut BrokerSession,
        then: impl FnOnce(Result<Bytes, ReadError>) -> Result<LogOffset, Refusal> + Send + 'static,
    ) -> Result<(), Refusal> {
        // A negative offset is nowhere, and so is the highest one.
        let at = u64::try_from(at).unwrap_or(u64::MAX);
        let (request, oneway) = (request_of(frame), frame.is_oneway());
        if let Some(record) = self.queues.reader.hot_at(at) {
            let end = then(Ok(record))?;
            succeed_when_acked(frame, session, end, self.acks.acked(), b"");
            return Ok(());
        }
        let (reader, acks, outbox) =
            (self.queues.reader.clone(), self.acks.clone(), session.info.outbox.clone());
        tokio::spawn(async move {
            let acted = tokio::task::spawn_blocking(move || then(reader.record_at(at))).await;
            let acted =
                acted.unwrap_or_else(|error| Err(Refusal::new(ResponseCode::SystemError, error.to_string())));
            let stored = match acted {
                Ok(end) => acks.reached(end).await.map_err(|_| stopped_refusal()),
                Err(refusal) => Err(refusal),
            };
            if !oneway {
                outbox.send([encode_frame(|out| match stored {
                    Ok(()) => answer(out, request, ResponseCode::Success, None, &[], b""),
                    Err(refusal) => answer(out, request, refusal.code, Some(&refusal.remark), &[], b""),
                })]);
            }
        });
        Ok(())
    }
}
