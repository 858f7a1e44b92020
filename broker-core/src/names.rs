//! What a name server knows, and who must be told when it changes.

use crate::{
    answers::answer,
    clock,
    held::{RequestId, frame},
    kept::{ChangeError, Keeping, Kept},
    outbox::Outbox,
};
use halley_client::{Connection, Options};
use halley_machine::{
    ConnectionId,
    routes::{Effect, MinBrokerId, Registered, Registration, Routes, SingleTopicFirst},
};
use halley_model::{QueueMapping, TopicConfig};
use halley_wire::{ResponseCode, request::MinBrokerIdChange};
use parking_lot::{Mutex, RwLock};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep},
};

/// Notices to brokers that wait to be sent; the newest are dropped beyond that. Brokers ask for their group now and then, too.
const NOTICES_MAX: usize = 256;

/// A broker that is to be told something must take a connection within this time.
const NOTICE_CONNECT_MAX: Duration = Duration::from_millis(300);

/// Changes that wait until they are saved in files; more are refused.
const UNSAVED_MAX: usize = 1024;

/// The tables of a name server.
pub(crate) struct Names {
    routes: RwLock<Routes>,
    kept: Arc<Kept>,
    started: Instant,
    notices: mpsc::Sender<MinBrokerId>,
    unsaved: mpsc::Sender<Unsaved>,
    /// Taken by [`Names::keep`].
    work: Mutex<Option<Work>>,
}

/// What is done on the side.
struct Work {
    notices: mpsc::Receiver<MinBrokerId>,
    unsaved: mpsc::Receiver<Unsaved>,
}

/// Who waits for a change to be saved.
pub(crate) struct Unsaved {
    pub(crate) outbox: Arc<Outbox>,
    /// `None` where no answer is wanted.
    pub(crate) request: Option<RequestId>,
}

impl Names {
    /// No brokers yet.
    pub(crate) fn new(kept: Arc<Kept>) -> Self {
        let (notices, to_send) = mpsc::channel(NOTICES_MAX);
        let (unsaved, to_save) = mpsc::channel(UNSAVED_MAX);
        let mut routes = Routes::default();
        routes.set(kept.settings().routes);
        Self {
            routes: RwLock::new(routes),
            kept,
            started: Instant::now(),
            notices,
            unsaved,
            work: Mutex::new(Some(Work { notices: to_send, unsaved: to_save })),
        }
    }

    /// What is kept beyond the process.
    pub(crate) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Changes settings, with effect at once.
    pub(crate) fn change(&self, wanted: &BTreeMap<String, String>) -> Result<Keeping, ChangeError> {
        let keeping = self.kept.change(wanted)?;
        self.routes.write().set(self.kept.settings().routes);
        Ok(keeping)
    }

    /// Has changes saved, and who waits for that told. Fails where too many wait.
    pub(crate) fn save(&self, unsaved: Unsaved) -> Result<(), &'static str> {
        self.unsaved.try_send(unsaved).map_err(|_| "too many changes wait to be saved")
    }

    /// Whether routes are still refused, so that brokers have time to register.
    pub(crate) fn is_starting(&self) -> bool {
        let settings = self.kept.settings();
        let wait = Duration::from_secs(settings.wait_seconds_for_service.max(0).cast_unsigned());
        settings.need_wait_for_service && self.started.elapsed() < wait
    }

    /// The broker of this process registers; it has more than one topic, or is known.
    pub(crate) fn register(&self, registration: Registration) {
        if let Err(SingleTopicFirst) =
            self.step(|routes, effects| routes.register(clock::now(), registration, effects))
        {
            tracing::error!("the broker of this process registered with one topic alone");
        }
    }

    /// A broker elsewhere registers.
    pub(crate) fn register_remote(&self, registration: Registration) -> Result<Registered, SingleTopicFirst> {
        self.step(|routes, effects| routes.register(clock::now(), registration, effects))
    }

    /// A topic of the broker of this process came or changed.
    pub(crate) fn topic(&self, broker: &str, topic: &TopicConfig) {
        self.routes.write().topic(broker, topic);
    }

    /// A static topic of the broker of this process came, or its queues moved.
    pub(crate) fn mapping(&self, broker: &str, topic: &str, mapping: QueueMapping) {
        self.routes.write().mapping(broker, topic, mapping);
    }

    /// A topic of the broker in this process is no more.
    pub(crate) fn remove_topic(&self, broker: &str, topic: &str) {
        self.routes.write().remove_topic(broker, topic);
    }

    /// A connection of a broker, or of somebody else, is gone.
    pub(crate) fn closed(&self, connection: ConnectionId) {
        self.step(|routes, effects| routes.closed(connection, effects));
    }

    /// Looks at the routes.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Routes) -> T) -> T {
        look(&self.routes.read())
    }

    /// Changes the routes, and tells brokers what the change asks to be told.
    pub(crate) fn step<T>(&self, step: impl FnOnce(&mut Routes, &mut Vec<Effect>) -> T) -> T {
        let mut effects = Vec::new();
        let result = step(&mut self.routes.write(), &mut effects);
        for Effect::NotifyMinBrokerId(notice) in effects {
            if self.notices.try_send(notice).is_err() {
                tracing::warn!(
                    limit = NOTICES_MAX,
                    "too many notices wait to be sent to brokers, one is dropped"
                );
            }
        }
        result
    }

    /// Forgets silent brokers, sends notices and saves changes, until `shutdown` turns true.
    pub(crate) async fn keep(&self, mut shutdown: watch::Receiver<bool>) {
        let Some(Work { mut notices, mut unsaved }) = self.work.lock().take() else { return };
        let mut waiting = Vec::new();
        let mut scanned = Instant::now();
        while !*shutdown.borrow() {
            let interval = self.kept.settings().scan_not_active_broker_interval.max(0).cast_unsigned();
            let scan = scanned + Duration::from_millis(interval);
            tokio::select! {
                () = sleep(scan.saturating_duration_since(Instant::now())) => {
                    scanned = Instant::now();
                    self.step(|routes, effects| routes.tick(clock::now(), effects));
                }
                Some(notice) = notices.recv() => send(notice).await,
                _ = unsaved.recv_many(&mut waiting, UNSAVED_MAX) => self.save_for(waiting.split_off(0)).await,
                _ = shutdown.changed() => {}
            }
        }
        while let Ok(last) = unsaved.try_recv() {
            waiting.push(last);
        }
        self.save_for(waiting).await;
    }

    /// Saves all changes, and answers those who waited.
    async fn save_for(&self, waiting: Vec<Unsaved>) {
        if waiting.is_empty() {
            return;
        }
        let kept = self.kept.clone();
        // It blocks on the disk.
        let saved = match tokio::task::spawn_blocking(move || kept.save()).await {
            Ok(saved) => saved.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = &saved {
            tracing::error!(error, "changes were not saved");
        }
        let (code, remark) = match &saved {
            Ok(()) => (ResponseCode::Success, None),
            Err(error) => (ResponseCode::SystemError, Some(error.as_str())),
        };
        for Unsaved { outbox, request } in waiting {
            if let Some(request) = request {
                outbox.send([frame(|out| answer(out, request, code, remark, &[], b""))]);
            }
        }
    }
}

/// Tells all at once; whoever cannot be reached misses it.
async fn send(notice: MinBrokerId) {
    let MinBrokerId { to, id, address, offline, ha_address } = notice;
    let request = MinBrokerIdChange {
        min_broker_id: id,
        min_broker_addr: address.into(),
        offline_broker_addr: offline.map(Into::into),
        ha_broker_addr: ha_address.map(Into::into),
    };
    let mut bytes = bytes::BytesMut::new();
    if let Err(error) = request.encode(&mut bytes) {
        tracing::warn!(%error, "a notice to brokers was not written");
        return;
    }
    let bytes = bytes.freeze();
    let options = Arc::new(Options { connect: NOTICE_CONNECT_MAX, ..Options::default() });
    let mut sending = JoinSet::new();
    for broker in to {
        let (bytes, options) = (bytes.clone(), options.clone());
        sending.spawn(async move {
            let sent = match Connection::open(&broker, &options).await {
                Ok(connection) => connection.send(bytes).await,
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                tracing::warn!(%error, "a broker was not told who has the least id of its group");
            }
        });
    }
    while sending.join_next().await.is_some() {}
}
