//! Requests about what is kept: values by namespace and key (100, 101, 102, 219), and settings (318, 319).

use super::{NameSession, tell};
use crate::{
    acks::Acks,
    answers::{Refusal, answer, request_of},
    kept::{ChangeError, Keeping},
    names::{Names, Unsaved},
};
use halley_machine::kv_configs::KvState;
use halley_wire::{
    Frame, ResponseCode,
    body::{kv_configs, properties},
    request::KvConfig,
};
use std::{collections::BTreeMap, net::SocketAddr};

/// What requests about what is kept use.
pub(super) struct KeptRequests<'a> {
    pub(super) names: &'a Names,
    pub(super) acks: &'a Acks,
    pub(super) listen: SocketAddr,
}

impl KeptRequests<'_> {
    /// 100. A key without a value makes its namespace, as there.
    pub(super) fn put(&self, frame: &Frame<'_>, session: &mut NameSession) -> Result<(), Refusal> {
        let KvConfig { namespace, key, value } = KvConfig::decode(&frame.ext)?;
        let keeping = self.names.kept().put(KvState::new(&namespace, &key, value.as_deref()));
        self.keep(keeping.map_err(refusal_of)?, frame, session)
    }

    /// 101.
    pub(super) fn get(&self, frame: &Frame<'_>, session: &mut NameSession) -> Result<(), Refusal> {
        let KvConfig { namespace, key, .. } = KvConfig::decode(&frame.ext)?;
        let value = self.names.kept().kv(|kv| kv.get(&namespace, &key).map(str::to_owned));
        match value {
            Some(value) => tell(frame, session, &[("value", value.as_str().into())], b""),
            None => Err(not_found(format!("No config item, Namespace: {namespace} Key: {key}"))),
        }
    }

    /// 102. There may be nothing to remove.
    pub(super) fn delete(&self, frame: &Frame<'_>, session: &mut NameSession) -> Result<(), Refusal> {
        let KvConfig { namespace, key, .. } = KvConfig::decode(&frame.ext)?;
        let kept = self.names.kept();
        if kept.kv(|kv| kv.get(&namespace, &key).is_none()) {
            return tell(frame, session, &[], b"");
        }
        let keeping = kept.put(KvState::new(&namespace, &key, None));
        self.keep(keeping.map_err(refusal_of)?, frame, session)
    }

    /// 219.
    pub(super) fn list(&self, frame: &Frame<'_>, session: &mut NameSession) -> Result<(), Refusal> {
        let KvConfig { namespace, .. } = KvConfig::decode_namespace(&frame.ext)?;
        match self.names.kept().kv(|kv| kv.namespace(&namespace).map(kv_configs::encode)) {
            Some(body) => tell(frame, session, &[], &body),
            None => Err(not_found(format!("No config item, Namespace: {namespace}"))),
        }
    }

    /// 318.
    pub(super) fn change(&self, frame: &Frame<'_>, session: &mut NameSession) -> Result<(), Refusal> {
        if frame.body.is_empty() {
            return tell(frame, session, &[], b"");
        }
        let unreadable = || Refusal::new(ResponseCode::SystemError, "string2Properties error");
        let wanted = properties::decode(frame.body).ok_or_else(unreadable)?;
        let keeping = self.names.change(&wanted).map_err(refusal_of)?;
        self.keep(keeping, frame, session)
    }

    /// 319: settings that can be changed, and what else there is to know.
    pub(super) fn settings(&self, frame: &Frame<'_>, session: &mut NameSession) -> Result<(), Refusal> {
        let mut all: BTreeMap<&str, String> = self.names.kept().settings().list();
        all.insert("bindAddress", self.listen.ip().to_string());
        all.insert("listenPort", self.listen.port().to_string());
        all.insert("configBlackList", "configBlackList;configStorePath;kvConfigPath".to_owned());
        all.extend(
            self.names.kept().files().into_iter().flatten().map(|(name, file)| (name, file.to_owned())),
        );
        let lines = all.iter().map(|(name, value)| (*name, value.as_str()));
        tell(frame, session, &[], &properties::encode(lines))
    }

    /// Answers with success when the change outlives the process.
    fn keep(&self, keeping: Keeping, frame: &Frame<'_>, session: &mut NameSession) -> Result<(), Refusal> {
        let request = (!frame.is_oneway()).then(|| request_of(frame));
        match keeping {
            Keeping::Unsaved => {
                let unsaved = Unsaved { outbox: session.info.outbox.clone(), request };
                return self
                    .names
                    .save(unsaved)
                    .map_err(|remark| Refusal::new(ResponseCode::SystemBusy, remark));
            }
            Keeping::Logged(end) => {
                if let Some(request) = request {
                    let success = ResponseCode::Success;
                    session.held.push(end, request, |out| answer(out, request, success, None, &[], b""));
                    session.held.release(self.acks.acked(), &mut session.out);
                }
            }
        }
        Ok(())
    }
}

/// The store stopped: nobody knows whether the last changes are in the log.
pub(super) fn fail_held(session: &mut NameSession) {
    let remark = "the store stopped, the change may or may not be stored";
    for request in session.held.fail() {
        answer(session.out.head(), request, ResponseCode::ServiceNotAvailable, Some(remark), &[], b"");
    }
}

fn not_found(remark: String) -> Refusal {
    Refusal::new(ResponseCode::QueryNotFound, remark)
}

fn refusal_of(error: ChangeError) -> Refusal {
    let code = match &error {
        ChangeError::BlackListed(_) => ResponseCode::NoPermission,
        ChangeError::TooMuch(_) | ChangeError::Stage(_) => ResponseCode::SystemError,
    };
    Refusal::new(code, error.to_string())
}
