//! Ending transactions: request 37.

use super::{BrokerSession, stored::Stored};
use crate::answers::{Refusal, not_stored};
use crate::transactions::{EndError, Transactions};
use halley_model::RecordView;
use halley_wire::{Frame, ResponseCode, request::EndTransaction};
use std::sync::Arc;

/// What requests about transactions use.
pub(super) struct TransactionRequests<'a> {
    pub(super) transactions: &'a Arc<Transactions>,
    pub(super) stored: Stored<'a>,
}

impl TransactionRequests<'_> {
    /// 37.
    pub(super) fn end(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let header = EndTransaction::decode(&frame.ext)?.into_owned();
        let transactions = self.transactions.clone();
        self.stored.act_on(header.commit_log_offset, frame, session, move |half| {
            // It may have been moved before the oldest part of the log was removed.
            let half = half.ok().or_else(|| transactions.moved(header.tran_state_table_offset));
            let half = half.ok_or_else(|| refusal(EndError::NotOpen))?;
            let half = RecordView::parse(&half)?;
            transactions.end(&header, &half).map_err(refusal)
        })
    }
}

fn refusal(error: EndError) -> Refusal {
    match error {
        EndError::Group | EndError::Offset | EndError::NotOpen => {
            Refusal::new(ResponseCode::SystemError, error.to_string())
        }
        EndError::TooLate => Refusal::new(ResponseCode::IllegalOperation, error.to_string()),
        EndError::Stage(error) => not_stored(error),
    }
}
