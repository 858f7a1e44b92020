//! The broker as its process sees it: opened on a directory, served on listeners, stopped in order.

use crate::{
    acks::Acks,
    announcer::Announcer,
    appends::Appends,
    arrivals::Arrivals,
    ask_client::AskClients,
    catalog::{Catalog, Recovered},
    cold::{ColdReads, Lane},
    compactions::Compactions,
    delayed::Delayed,
    follow::rounds,
    housekeeping::Housekeeping,
    identity::Identity,
    kept::Kept,
    lite::LiteTopics,
    log_thread::LogThread,
    lookup::Lookup,
    members::Members,
    metrics::BrokerMetrics,
    name_server::NameServer,
    names::Names,
    opening::{Missing, OpenStore, open_store},
    peers::Peers,
    pop::{Pops, revive::Reviver, take::Popper},
    progress::Progress,
    queues::Queues,
    registrar::Registrar,
    remoting::{QUERIES_MAX, Remoting},
    request_modes::RequestModeTable,
    retention::{self, Retainer, Room},
    scrubber::ScrubThread,
    server,
    settings::{self, Settings},
    state_writer::StateWriter,
    stats::Stats,
    takeover::{JavaStore, TakeoverError},
    tls::Tls,
    transactions::Transactions,
};
use halley_client::Client;
use halley_machine::{
    delay::TIMER_TOPIC,
    groups::Input,
    retention::Policy as RetentionPolicy,
    scrub::Policy as ScrubPolicy,
    state::Tables,
    transactions::{CheckPolicy, HALF_TOPIC},
};
use halley_store::{Durability, KeyIndex, OpenError, Recovery, disk::RealDisk};
use prometheus_client::registry::Registry;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};

/// Usual size of a file of the log.
pub(crate) const SEGMENT_BYTES: u64 = 128 << 20;

/// Whether it is time to compact is looked at this often.
const COMPACTION_NAP: Duration = Duration::from_millis(500);

/// How to open a broker.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory of the store.
    pub data: PathBuf,
    /// The cluster's name, as clients and tools see it.
    pub cluster: String,
    /// The broker's name.
    pub name: String,
    /// Its id among the brokers of that name; 0 is the master.
    pub id: u64,
    /// Whether this process is a name server, too; see [`Broker::name_server`].
    pub name_server: bool,
    /// The address in routes and message ids: where clients reach [`Broker::serve`]'s listener.
    pub address: SocketAddr,
    /// When a record counts as stored.
    pub durability: Durability,
    /// Largest size of a file of the log, in bytes: what is old goes by whole files.
    pub segment_bytes: u64,
    /// How much of the log is kept.
    pub retention: RetentionPolicy,
    /// Most bytes per second that all who read old messages get together while producers send; `None` for any number.
    pub replay: Option<u64>,
    /// How what is stored is read again to find decay; `None` for not at all.
    pub scrub: Option<ScrubPolicy>,
}

#[cfg(test)]
impl Options {
    /// As tests have it, with the usual retention and no scrub.
    pub(crate) fn of_test(data: &Path) -> Self {
        Self {
            data: data.to_owned(),
            cluster: "DefaultCluster".into(),
            name: "broker-a".into(),
            id: 0,
            name_server: false,
            address: "127.0.0.1:10911".parse().expect("it is an address"),
            durability: Durability::Os,
            segment_bytes: SEGMENT_BYTES,
            retention: RetentionPolicy::default(),
            replay: None,
            scrub: None,
        }
    }
}

/// Why a broker could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory cannot be used.
    #[error("the store in {path}: {error}", path = .path.display())]
    Store {
        /// the directory
        path: PathBuf,
        /// what is wrong
        error: OpenError,
    },
    /// The directory has a store of RocketMQ's, which cannot be taken over.
    #[error("the store of RocketMQ's in {path} cannot be taken over: {error}", path = .path.display())]
    Takeover {
        /// the directory
        path: PathBuf,
        /// why
        error: TakeoverError,
    },
    /// There is none.
    #[error("{path} has no store of Halley's", path = .path.display())]
    None {
        /// the directory
        path: PathBuf,
    },
    /// The broker's own state cannot be read from the log.
    #[error("the broker's state could not be read from the log: {0}")]
    State(String),
}

/// A broker in this process, and perhaps a name server. Clones are the same broker.
#[derive(Clone)]
pub struct Broker {
    pub(crate) identity: Identity,
    pub(crate) appends: Appends,
    pub(crate) queues: Queues<RealDisk>,
    pub(crate) cold: ColdReads,
    /// The cold reads of all rules.
    pub(crate) rules_lane: Arc<Lane>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) progress: Arc<Progress>,
    delayed: Arc<Delayed>,
    transactions: Arc<Transactions>,
    writer: StateWriter,
    members: Arc<Members>,
    modes: Arc<RequestModeTable>,
    pops: Arc<Pops>,
    lite: Arc<LiteTopics>,
    asks: Arc<AskClients>,
    names: Option<Arc<Names>>,
    peers: Arc<Peers>,
    lookup: Arc<Lookup>,
    keys: KeyIndex<RealDisk>,
    query_permits: Arc<Semaphore>,
    metrics: Arc<BrokerMetrics>,
    stats: Arc<Stats>,
    pub(crate) settings: Arc<Settings>,
    data: Arc<Path>,
    /// Keeps RocketMQ's broker out of its store.
    #[expect(dead_code, reason = "it is held, not used")]
    java: Option<Arc<JavaStore>>,
    pub(crate) housekeeping: Arc<Housekeeping<RealDisk>>,
    pub(crate) retainer: Arc<Retainer<RealDisk>>,
    threads: Arc<Threads>,
}

/// The log's thread, and how to stop it.
struct Threads {
    stop: Arc<AtomicBool>,
    log: parking_lot::Mutex<Option<JoinHandle<()>>>,
    scrub: parking_lot::Mutex<Option<ScrubThread>>,
    /// Why the store stopped by itself, if it did.
    failed: watch::Receiver<Option<String>>,
}

impl Broker {
    /// Opens the store (blocking while it recovers), folds the broker's state from it, and starts the log's thread.
    pub fn open(options: Options) -> Result<(Self, Recovery), StartError> {
        let Options {
            data,
            cluster,
            name,
            id,
            name_server,
            address,
            durability,
            segment_bytes,
            retention,
            replay,
            scrub,
        } = options;
        let identity = Identity { cluster: cluster.into(), name: name.into(), id, address };
        let checks = CheckPolicy::default();
        let OpenStore { opened, writer, java, tables } =
            open_store(&data, (durability, segment_bytes), &identity, &checks, Missing::Make)?;
        let Tables {
            mut topics,
            mappings,
            compacted,
            groups,
            offsets,
            begins,
            ends: _,
            settings,
            forbidden,
            timers,
            transactions,
            kv,
            namesrv_settings,
            request_modes,
            takeover: _,
        } = tables;
        topics.put_own(&identity.cluster, &identity.name);
        let fixed = settings::fixed(&identity, &data, durability);
        let settings = Arc::new(Settings::new(fixed, settings, retention, writer.clone()));
        let recovered = Recovered { topics, mappings, groups, begins, forbidden };
        let kept = Arc::new(Kept::in_log(kv, namesrv_settings, writer.clone()));
        let names = name_server.then(|| Arc::new(Names::new(kept.clone())));
        let compactions = Arc::new(Compactions::new(compacted, settings.clone(), writer.clone()));
        let announcer = Announcer::new(identity.clone(), names.clone());
        let catalog = Arc::new(Catalog::new(
            &identity,
            recovered,
            settings.clone(),
            compactions.clone(),
            announcer,
            writer.clone(),
        ));
        catalog.announce();
        let progress = Arc::new(Progress::new(offsets, writer.clone()));
        let pops = Arc::new(Pops::new(progress.clone()));
        let modes = Arc::new(RequestModeTable::new(request_modes, writer.clone()));
        let acks = Arc::new(Acks::default());
        acks.advance(opened.log.acked());
        let arrivals = Arc::new(Arrivals::default());
        let (metrics, stats) = (Arc::new(BrokerMetrics::default()), Arc::new(Stats::default()));
        let (stop, rolled) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let log_thread = LogThread {
            acks: acks.clone(),
            arrivals: arrivals.clone(),
            metrics: metrics.clone(),
            stats: stats.clone(),
            stop: stop.clone(),
            rolled: rolled.clone(),
        };
        let (tell_failed, failed) = watch::channel(None);
        let io = opened.io;
        let thread = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || {
                if let Err(reason) = log_thread.run(io) {
                    tracing::error!(reason, "the store stopped: nothing more is acknowledged");
                    tell_failed.send_replace(Some(reason));
                }
            })
            .map_err(|error| StartError::State(format!("no thread for the log: {error}")))?;
        let cold = ColdReads::start(opened.log.clone(), replay)
            .map_err(|error| StartError::State(format!("no thread for cold reads: {error}")))?;
        let members = Arc::new(Members::default());
        let queues = Queues { reader: opened.reader.clone(), arrivals, compactions };
        let delayed = Arc::new(Delayed::new(timers, queues.clone(), settings.clone(), writer.clone()));
        let transactions = Arc::new(Transactions::new(
            identity.clone(),
            transactions,
            queues.clone(),
            members.clone(),
            settings.clone(),
            writer.clone(),
        ));
        let housekeeping = Housekeeping {
            catalog: catalog.clone(),
            progress: progress.clone(),
            kept,
            pops: pops.clone(),
            modes: modes.clone(),
            delayed: delayed.clone(),
            transactions: transactions.clone(),
            log: opened.log.clone(),
            reader: opened.reader,
            snapshots: opened.snapshots,
            flusher: opened.flusher,
            keys: opened.keys.clone(),
            rolled,
            covered: AtomicU64::new(0),
        };
        let lite = Arc::new(LiteTopics::new(
            identity.clone(),
            queues.clone(),
            catalog.clone(),
            progress.clone(),
            settings.clone(),
            names.clone(),
        ));
        let housekeeping = Arc::new(housekeeping);
        let room = Arc::new(Room::new(data.clone()));
        let retainer = Retainer {
            house: housekeeping.clone(),
            retention: opened.retention,
            compactions: queues.compactions.clone(),
            settings: settings.clone(),
            writer: writer.clone(),
            metrics: metrics.clone(),
            room: room.clone(),
            paid: Default::default(),
            ages: Default::default(),
        };
        let scrub = scrub
            .map(|policy| ScrubThread::start(opened.scrubber, policy, metrics.clone()))
            .transpose()
            .map_err(|error| StartError::State(format!("no thread to check the log: {error}")))?;
        // Nobody sees again what was hidden before the restart.
        retainer.hide();
        let lookup = Arc::new(Lookup::default());
        let broker = Self {
            identity,
            appends: Appends::new(opened.log, acks, room),
            queues,
            cold,
            rules_lane: Arc::default(),
            catalog,
            progress,
            delayed,
            transactions,
            writer,
            members,
            modes,
            pops,
            lite,
            asks: Arc::default(),
            peers: Arc::new(Peers::new(names.clone(), lookup.clone())),
            names,
            lookup,
            keys: opened.keys,
            query_permits: Arc::new(Semaphore::new(QUERIES_MAX)),
            metrics,
            stats,
            settings,
            java: java.map(Arc::new),
            data: data.into(),
            housekeeping,
            retainer: Arc::new(retainer),
            threads: Arc::new(Threads {
                stop,
                log: parking_lot::Mutex::new(Some(thread)),
                scrub: parking_lot::Mutex::new(scrub),
                failed,
            }),
        };
        Ok((broker, opened.recovery))
    }

    /// What waits, for tests.
    #[cfg(test)]
    pub(crate) fn waiting_tables(
        &self,
    ) -> (halley_machine::timers::Timers, halley_machine::transactions::Transactions) {
        let timers = self.delayed.table().expect("timers are JSON");
        (serde_json::from_str(timers.get()).expect("timers are read again"), self.transactions.table())
    }

    /// The handles of what waits, for tests.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> (&Delayed, &Transactions) {
        (&self.delayed, &self.transactions)
    }

    /// Ends the log's thread and nothing else, as a crash would, for tests.
    #[cfg(test)]
    pub(crate) fn stop_log(&self) {
        self.threads.stop.store(true, Ordering::Release);
        let thread = self.threads.log.lock().take();
        thread.expect("the log's thread is stopped once").join().expect("the log's thread does not panic");
    }

    /// Serves Remoting clients until `shutdown` turns true, then lets their waiting replies go out.
    pub async fn serve(&self, listener: TcpListener, tls: Tls, shutdown: watch::Receiver<bool>) {
        let service = Remoting {
            identity: self.identity.clone(),
            appends: self.appends.clone(),
            queues: self.queues.clone(),
            cold: self.cold.clone(),
            keys: self.keys.clone(),
            query_permits: self.query_permits.clone(),
            catalog: self.catalog.clone(),
            progress: self.progress.clone(),
            members: self.members.clone(),
            names: self.names.clone(),
            peers: self.peers.clone(),
            lookup: self.lookup.clone(),
            modes: self.modes.clone(),
            popper: self.popper(),
            lite: self.lite.clone(),
            asks: self.asks.clone(),
            transactions: self.transactions.clone(),
            writer: self.writer.clone(),
            metrics: self.metrics.clone(),
            stats: self.stats.clone(),
            settings: self.settings.clone(),
            data: self.data.clone(),
        };
        server::serve(
            listener,
            tls,
            Arc::new(service),
            self.appends.acks.clone(),
            self.metrics.clone(),
            shutdown,
        )
        .await;
    }

    /// The name server of this process, where [`Options::name_server`] asked for one.
    pub fn name_server(&self) -> Option<NameServer> {
        let names = self.names.clone()?;
        Some(NameServer { names, acks: self.appends.acks.clone(), metrics: self.metrics.clone() })
    }

    /// Keeps the broker registered at a name server elsewhere, a `host:port`, until `shutdown` turns true, then takes its
    /// leave there.
    pub async fn register_at(&self, name_server: String, shutdown: watch::Receiver<bool>) {
        let client = Client::new(&name_server, halley_client::Options::default());
        self.lookup.add(client.clone());
        let (identity, catalog) = (self.identity.clone(), self.catalog.clone());
        Registrar { identity, catalog, client }.run(shutdown).await;
    }

    /// Does what must be done at its time: logs offsets, expires clients, syncs, writes snapshots, moves popped messages that
    /// nobody acknowledged. Runs until `shutdown` turns true.
    pub async fn keep_house(&self, shutdown: watch::Receiver<bool>) {
        let reviver = self.reviver();
        tokio::join!(
            self.tick(shutdown.clone()),
            self.compact(shutdown.clone()),
            self.retain(shutdown.clone()),
            reviver.run(shutdown)
        );
    }

    /// Removes what is old, again and again.
    async fn retain(&self, mut shutdown: watch::Receiver<bool>) {
        while !*shutdown.borrow() {
            let retainer = self.retainer.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || retainer.run()).await {
                tracing::error!(%error, "retention failed");
            }
            tokio::select! {
                () = tokio::time::sleep(retention::NAP) => {}
                _ = shutdown.changed() => return,
            }
        }
    }

    /// Compacts, again and again.
    async fn compact(&self, mut shutdown: watch::Receiver<bool>) {
        let mut last = tokio::time::Instant::now();
        while !*shutdown.borrow() {
            tokio::select! {
                // The interval may change meanwhile.
                () = tokio::time::sleep(COMPACTION_NAP) => {}
                _ = shutdown.changed() => return,
            }
            if last.elapsed() < self.settings.compaction_interval() {
                continue;
            }
            let queues = self.queues.clone();
            if let Err(error) =
                tokio::task::spawn_blocking(move || queues.compactions.run(&queues.reader)).await
            {
                tracing::error!(%error, "a compaction failed");
            }
            last = tokio::time::Instant::now();
        }
    }

    async fn tick(&self, mut shutdown: watch::Receiver<bool>) {
        while !*shutdown.borrow() {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                _ = shutdown.changed() => return,
            }
            self.members.step(Input::Tick);
            self.asks.expire(std::time::Instant::now());
            self.progress.tick();
            self.stats.tick();
            let (housekeeping, lite) = (self.housekeeping.clone(), self.lite.clone());
            let run = move || {
                housekeeping.run();
                lite.tick();
            };
            // Syncs, snapshots and store times of lite topics block on the disk.
            if let Err(error) = tokio::task::spawn_blocking(run).await {
                tracing::error!(%error, "housekeeping failed");
            }
        }
    }

    fn popper(&self) -> Popper {
        Popper {
            broker_name: self.identity.name.clone(),
            pops: self.pops.clone(),
            queues: self.queues.clone(),
            catalog: self.catalog.clone(),
            settings: self.settings.clone(),
        }
    }

    fn reviver(&self) -> Reviver {
        Reviver {
            identity: self.identity.clone(),
            pops: self.pops.clone(),
            appends: self.appends.clone(),
            reader: self.queues.reader.clone(),
            catalog: self.catalog.clone(),
            progress: self.progress.clone(),
            arrivals: self.queues.arrivals.clone(),
            metrics: self.metrics.clone(),
            settings: self.settings.clone(),
            lite: self.lite.clone(),
        }
    }

    /// Delivers delayed messages when they are due, and asks producers about open transactions, until `shutdown` turns
    /// true.
    pub async fn keep_time(&self, shutdown: watch::Receiver<bool>) {
        let (delayed, transactions) = (self.delayed.clone(), self.transactions.clone());
        let arrivals = &*self.queues.arrivals;
        tokio::join!(
            rounds(arrivals, TIMER_TOPIC, shutdown.clone(), move || delayed.round()),
            rounds(arrivals, HALF_TOPIC, shutdown, move || transactions.round()),
        );
    }

    /// Logs what is left to log, writes a snapshot, and ends the log's thread. Blocks on the disk.
    pub fn close(&self) {
        let scrub = self.threads.scrub.lock().take();
        if let Some(scrub) = scrub {
            scrub.stop();
        }
        if self.failed().is_none() {
            self.housekeeping.finish();
        }
        self.threads.stop.store(true, Ordering::Release);
        let thread = self.threads.log.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the log's thread panicked");
        }
        if self.failed().is_none() {
            self.housekeeping.snapshot();
        }
    }

    /// Why the store stopped by itself, if it did: the process should end.
    pub fn failed(&self) -> Option<String> {
        self.threads.failed.borrow().clone()
    }

    /// Ends when the store stopped by itself, with the reason.
    pub async fn wait_failed(&self) -> String {
        let mut failed = self.threads.failed.clone();
        let reason = failed.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match reason {
            Some(reason) => reason,
            // The thread ended in order, and will not fail any more.
            None => std::future::pending().await,
        }
    }

    /// Makes the broker's metrics known.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// Brings gauges up to date, before metrics are shown.
    pub fn refresh_metrics(&self) {
        self.metrics.connections.set(self.members.connections() as i64);
        self.metrics.parked.set(self.queues.arrivals.len() as i64);
        self.metrics.cold_waiting.set(self.cold.waiting() as i64);
        let met = self.queues.reader.damaged_reads();
        self.metrics.damaged_reads.inc_by(met.saturating_sub(self.metrics.damaged_reads.get()));
        self.metrics.delayed.set(self.delayed.waiting() as i64);
        self.metrics.transactions.set(self.transactions.open() as i64);
    }
}
