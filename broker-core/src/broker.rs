//! The broker as its process sees it: opened on a directory, served on listeners, stopped in order.

use crate::{
    acks::Acks,
    appends::Appends,
    arrivals::Arrivals,
    catalog::Catalog,
    clock,
    delayed::Delayed,
    follow::{follow, rounds},
    housekeeping::Housekeeping,
    identity::Identity,
    log_thread::LogThread,
    members::Members,
    metrics::BrokerMetrics,
    name_server::NameServer,
    progress::Progress,
    queues::Queues,
    remoting::Remoting,
    server,
    state_writer::StateWriter,
    transactions::Transactions,
};
use halley_machine::{
    delay::{TIMER_TOPIC, Waiting},
    groups::Input,
    state::{STATE_TOPIC, Snapshot, StateRecord, Tables},
    transactions::{CheckPolicy, HALF_TOPIC},
};
use halley_store::{
    Durability, LogReader, OpenError, Recovery, Snapshots,
    disk::{Disk, DiskError, RealDisk},
};
use prometheus_client::registry::Registry;
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::{net::TcpListener, sync::watch};

/// How to open a broker.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory of the store.
    pub data: PathBuf,
    /// The cluster's name, as clients and tools see it.
    pub cluster: String,
    /// The broker's name.
    pub name: String,
    /// The address in routes and message ids: where clients reach [`Broker::serve`]'s listener.
    pub address: SocketAddr,
    /// When a record counts as stored.
    pub durability: Durability,
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
    /// The broker's own state cannot be read from the log.
    #[error("the broker's state could not be read from the log: {0}")]
    State(String),
}

/// A broker and name server in this process. Clones are the same broker.
#[derive(Clone)]
pub struct Broker {
    pub(crate) identity: Identity,
    pub(crate) appends: Appends,
    pub(crate) queues: Queues<RealDisk>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) progress: Arc<Progress>,
    delayed: Arc<Delayed>,
    transactions: Arc<Transactions>,
    writer: StateWriter,
    members: Arc<Members>,
    metrics: Arc<BrokerMetrics>,
    housekeeping: Arc<Housekeeping<RealDisk>>,
    threads: Arc<Threads>,
}

/// The log's thread, and how to stop it.
struct Threads {
    stop: Arc<AtomicBool>,
    log: parking_lot::Mutex<Option<JoinHandle<()>>>,
    /// Why the store stopped by itself, if it did.
    failed: watch::Receiver<Option<String>>,
}

impl Broker {
    /// Opens the store (blocking while it recovers), folds the broker's state from it, and starts the log's thread.
    pub fn open(options: Options) -> Result<(Self, Recovery), StartError> {
        let Options { data, cluster, name, address, durability } = options;
        let store_error = |error| StartError::Store { path: data.clone(), error };
        let disk = RealDisk::new(&data).map_err(|error| store_error(error.into()))?;
        let store_options = halley_store::Options::new(durability, address);
        let opened = halley_store::open(Arc::new(disk), store_options, clock::now()).map_err(store_error)?;

        let identity = Identity { cluster: cluster.into(), name: name.into(), address };
        let checks = CheckPolicy::default();
        let tables = fold_state(&opened.reader, &opened.snapshots, &checks)?;
        let Tables { topics, groups, offsets, timers, transactions } = tables;
        let writer = StateWriter::new(opened.log.clone(), identity.clone());
        let catalog = Arc::new(Catalog::new(identity.clone(), topics, groups, writer.clone()));
        catalog.announce();
        let progress = Arc::new(Progress::new(offsets, writer.clone()));
        let acks = Arc::new(Acks::default());
        acks.advance(opened.log.acked());
        let arrivals = Arc::new(Arrivals::default());
        let metrics = Arc::new(BrokerMetrics::default());
        let (stop, rolled) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let log_thread = LogThread {
            acks: acks.clone(),
            arrivals: arrivals.clone(),
            metrics: metrics.clone(),
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
        let members = Arc::new(Members::default());
        let queues = Queues { reader: opened.reader.clone(), arrivals };
        let delayed = Arc::new(Delayed::new(timers, queues.clone(), writer.clone()));
        let transactions = Arc::new(Transactions::new(
            identity.clone(),
            checks,
            transactions,
            queues.clone(),
            members.clone(),
            writer.clone(),
        ));
        let housekeeping = Housekeeping {
            catalog: catalog.clone(),
            progress: progress.clone(),
            delayed: delayed.clone(),
            transactions: transactions.clone(),
            log: opened.log.clone(),
            reader: opened.reader,
            snapshots: opened.snapshots,
            flusher: opened.flusher,
            rolled,
        };
        let broker = Self {
            identity,
            appends: Appends::new(opened.log, acks),
            queues,
            catalog,
            progress,
            delayed,
            transactions,
            writer,
            members,
            metrics,
            housekeeping: Arc::new(housekeeping),
            threads: Arc::new(Threads { stop, log: parking_lot::Mutex::new(Some(thread)), failed }),
        };
        Ok((broker, opened.recovery))
    }

    /// Serves Remoting clients until `shutdown` turns true, then lets their waiting replies go out.
    pub async fn serve(&self, listener: TcpListener, shutdown: watch::Receiver<bool>) {
        let service = Remoting {
            identity: self.identity.clone(),
            appends: self.appends.clone(),
            queues: self.queues.clone(),
            catalog: self.catalog.clone(),
            progress: self.progress.clone(),
            members: self.members.clone(),
            transactions: self.transactions.clone(),
            writer: self.writer.clone(),
            metrics: self.metrics.clone(),
        };
        server::serve(listener, Arc::new(service), self.appends.acks.clone(), self.metrics.clone(), shutdown)
            .await;
    }

    /// Serves route queries until `shutdown` turns true.
    pub async fn serve_names(&self, listener: TcpListener, shutdown: watch::Receiver<bool>) {
        let service = NameServer { catalog: self.catalog.clone() };
        server::serve(listener, Arc::new(service), self.appends.acks.clone(), self.metrics.clone(), shutdown)
            .await;
    }

    /// Does what must be done now and then: logs offsets, expires clients, syncs, writes snapshots. Runs until
    /// `shutdown` turns true.
    pub async fn keep_house(&self, mut shutdown: watch::Receiver<bool>) {
        while !*shutdown.borrow() {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                _ = shutdown.changed() => return,
            }
            self.members.step(Input::Tick);
            self.progress.tick();
            let housekeeping = self.housekeeping.clone();
            // Syncs and snapshots block on the disk.
            if let Err(error) = tokio::task::spawn_blocking(move || housekeeping.run()).await {
                tracing::error!(%error, "housekeeping failed");
            }
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
        self.metrics.delayed.set(self.delayed.waiting() as i64);
        self.metrics.transactions.set(self.transactions.open() as i64);
    }
}

/// The broker's state: the newest snapshot, and every record behind it. The queues that timers and transactions are views
/// of come before the state records that end some.
fn fold_state<D: Disk>(
    reader: &LogReader<D>,
    snapshots: &Snapshots<D>,
    checks: &CheckPolicy,
) -> Result<Tables, StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::State(error.to_string());
    let latest = snapshots.latest().map_err(|error: DiskError| failed(&error))?;
    let snapshot = match &latest {
        Some(snapshot) => serde_json::from_slice(&snapshot.bytes).map_err(|error| failed(&error))?,
        None => Snapshot::default(),
    };
    let Snapshot { next, state, timers, transactions } = snapshot;
    let mut tables = Tables { timers, transactions, ..Tables::default() };
    state.fold(&mut tables);
    let (timers, transactions) = (&mut tables.timers, &mut tables.transactions);
    follow(reader, TIMER_TOPIC, timers.next(), |record| timers.see(Waiting::of(record).timer()))
        .and_then(|()| {
            follow(reader, HALF_TOPIC, transactions.next(), |half| transactions.see(&half, checks))
        })
        .map_err(|error| failed(&error))?;
    let mut records = Ok(());
    follow(reader, STATE_TOPIC, next, |record| match StateRecord::decode(record.body()) {
        Ok(record) => record.fold(&mut tables),
        Err(error) => records = Err(failed(&error)),
    })
    .map_err(|error| failed(&error))?;
    records?;
    tables.offsets.clamp(|topic, queue| reader.bounds(topic, queue).map_or(0, |(_, max)| max));
    Ok(tables)
}
