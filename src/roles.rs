//! Which parts run, and in which order they start and stop.
//!
//! Start: the log is recovered, topics are made sure of, all ports are bound, and only then anything is served. Stop:
//! the ingress takes nothing new, deliveries end, clients get their last replies, and the log is closed.

use crate::{admin, commands::Error};
use halley_backend::Backend;
use halley_bridge::{Bridge, Metrics};
use halley_broker::{Broker, Durability, Options, Recovery};
use halley_connector_http as http;
use halley_ingress::{IngressMetrics, Limits};
use halley_rules::{Config, config};
use prometheus_client::{encoding::text, registry::Registry};
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

/// Running deliveries have this long to end when the server stops. With the ingress's 1.5 s, and a second each for clients and
/// the log, a stop takes less than 5 s whatever others do.
const BRIDGE_DRAIN: Duration = Duration::from_secs(1);

/// Clients have this long for their last replies.
const CLIENT_DRAIN: Duration = Duration::from_millis(1200);

/// After the store stopped, waiting clients have this long to get their errors.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A running server.
pub(crate) struct Running {
    broker: Broker,
    bridge: Bridge,
    ready: Arc<AtomicBool>,
    config: Arc<Config>,
    addresses: Addresses,
    /// Tells the ingress to take nothing new.
    stop_ingress: watch::Sender<bool>,
    /// Tells listeners and housekeeping to end.
    stop_clients: watch::Sender<bool>,
    ingress: JoinHandle<()>,
    clients: Vec<JoinHandle<()>>,
}

/// Where the listeners really are; port 0 was resolved.
struct Addresses {
    namesrv: SocketAddr,
    broker: SocketAddr,
    ingress: SocketAddr,
    admin: SocketAddr,
}

/// Starts everything the configuration says.
pub(crate) async fn start(config: Config, data: PathBuf) -> Result<Running, Error> {
    let config = Arc::new(config);
    let server = &config.server;
    let namesrv = bind("server.namesrv.listen", server.namesrv).await?;
    let remoting = bind("server.broker.listen", server.broker).await?;
    let ingress = bind("server.ingress.listen", server.ingress).await?;
    let admin = bind("server.admin.listen", server.admin).await?;
    let addresses = Addresses {
        namesrv: namesrv.local_addr()?,
        broker: remoting.local_addr()?,
        ingress: ingress.local_addr()?,
        admin: admin.local_addr()?,
    };
    let (broker, recovery) = open(server, data, server.advertise.unwrap_or(addresses.broker)).await?;
    report(&recovery);
    ensure_topics(&broker, &config).await?;

    let (stop_ingress, ingress_stopped) = watch::channel(false);
    let (stop_clients, clients_stopped) = watch::channel(false);
    let (backend, ready) = (Arc::new(broker.clone()), Arc::new(AtomicBool::new(false)));
    let ingress_metrics = IngressMetrics::default();
    let bridge = Bridge::start(backend.clone(), &config, sinks()).await?;
    let status =
        Arc::new(ServerStatus::new(broker.clone(), &ingress_metrics, &bridge.metrics(), ready.clone()));

    let spawn_clients = |broker: Broker, stopped: watch::Receiver<bool>| {
        let (names, brokers, house, time) = (broker.clone(), broker.clone(), broker.clone(), broker);
        let (for_names, for_broker, for_house) = (stopped.clone(), stopped.clone(), stopped.clone());
        vec![
            tokio::spawn(async move { names.serve_names(namesrv, for_names).await }),
            tokio::spawn(async move { brokers.serve(remoting, for_broker).await }),
            tokio::spawn(async move { house.keep_house(for_house).await }),
            tokio::spawn(async move { time.keep_time(stopped).await }),
        ]
    };
    let mut clients = spawn_clients(broker.clone(), clients_stopped.clone());
    clients.push(tokio::spawn(async move {
        let mut stopped = clients_stopped;
        let shutdown = async move {
            // The sender lives as long as the server.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        if let Err(error) = admin::serve(admin, status, shutdown).await {
            tracing::error!(%error, "the admin port ended");
        }
    }));
    let serve = halley_ingress::serve(
        ingress,
        backend,
        config.clone(),
        Limits::default(),
        ingress_metrics,
        ingress_stopped,
    );
    let ingress = tokio::spawn(serve);
    ready.store(true, Ordering::Release);
    tracing::info!(
        ingress = %addresses.ingress,
        namesrv = %addresses.namesrv,
        broker = %addresses.broker,
        admin = %addresses.admin,
        "ready"
    );
    Ok(Running { broker, bridge, ready, config, addresses, stop_ingress, stop_clients, ingress, clients })
}

impl Running {
    /// Prints where everything is, and a line to try.
    pub(crate) fn greet(&self) {
        let Addresses { namesrv, broker, ingress, admin } = &self.addresses;
        println!("Halley is ready.");
        println!("  CloudEvents over HTTP   http://{ingress}/{{bus}}");
        println!("  RocketMQ name server    {namesrv}");
        println!("  RocketMQ broker         {broker}");
        println!("  health and metrics      http://{admin}/metrics");
        for bus in &self.config.buses {
            println!("  bus {:<20}topic {}", bus.name, bus.topic);
        }
        println!("Try it:");
        println!(
            "  curl -i http://{ingress}/ -H 'ce-specversion: 1.0' -H 'ce-type: hello' -H 'ce-source: /me' -H 'ce-id: 1' \
             -H 'content-type: text/plain' -d 'Hello, Halley'"
        );
    }

    /// Serves until a signal or until the store stops by itself, then stops in order; why the store stopped.
    pub(crate) async fn run_until_stopped(mut self) -> Option<String> {
        let failed = tokio::select! {
            () = stop_signal() => None,
            reason = self.broker.wait_failed() => Some(reason),
        };
        self.ready.store(false, Ordering::Release);
        match &failed {
            None => tracing::info!("stopping"),
            Some(reason) => {
                tracing::error!(reason, "the store stopped, the process ends: restart it to recover");
                tokio::time::sleep(LAST_WORDS).await;
            }
        }
        self.stop_ingress.send_replace(true);
        join(&mut self.ingress, "ingress").await;
        self.bridge.stop(BRIDGE_DRAIN).await;
        self.stop_clients.send_replace(true);
        let until = Instant::now() + CLIENT_DRAIN;
        for mut client in self.clients {
            if timeout_at(until, join(&mut client, "listener")).await.is_err() {
                // Half-open connections, for instance at the admin port, end with the process.
                client.abort();
            }
        }
        let broker = self.broker;
        let closed = tokio::task::spawn_blocking(move || broker.close()).await;
        if let Err(error) = closed {
            tracing::error!(%error, "the log was not closed in order");
        }
        tracing::info!("stopped");
        failed
    }
}

async fn join(task: &mut JoinHandle<()>, what: &str) {
    if let Err(error) = task.await {
        tracing::error!(%error, what, "a task ended badly");
    }
}

async fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|error| {
        format!("{key}: cannot listen on {address}: {error}; is another Halley or RocketMQ running?").into()
    })
}

async fn open(
    server: &config::Server,
    data: PathBuf,
    address: SocketAddr,
) -> Result<(Broker, Recovery), Error> {
    let options = Options {
        data,
        cluster: server.cluster.clone(),
        name: server.broker_name.clone(),
        address,
        durability: match server.durability {
            config::Durability::Os => Durability::Os,
            config::Durability::Sync => Durability::Sync,
        },
    };
    // Recovery reads the disk.
    Ok(tokio::task::spawn_blocking(move || Broker::open(options)).await??)
}

fn report(recovery: &Recovery) {
    tracing::info!(
        epoch = recovery.epoch,
        log_end = recovery.end,
        segments = recovery.segments,
        scanned_bytes = recovery.bytes_scanned,
        "log opened"
    );
    if let Some(cut) = &recovery.cut {
        tracing::warn!(at = cut.at, reason = cut.reason, "a torn tail was cut off the log");
    }
}

/// Topics of buses and routes exist before the first event comes.
async fn ensure_topics(broker: &Broker, config: &Config) -> Result<(), Error> {
    for bus in &config.buses {
        broker.ensure_topic(&bus.topic, bus.queues).await?;
        for route in &bus.routes {
            broker.ensure_topic(&route.topic, bus.queues).await?;
        }
    }
    Ok(())
}

/// Makes the HTTP sink of a rule's target; all share one client.
fn sinks() -> impl Fn(&config::Rule, &config::Target) -> http::HttpSink {
    let client = http::Client::default();
    move |rule, target| {
        let config::HttpTarget { url, mode, timeout, headers } = &target.http;
        let mode = match mode {
            config::Mode::Binary => http::Mode::Binary,
            config::Mode::Structured => http::Mode::Structured,
        };
        let retry_on = http::RetryOn::new(rule.retry.statuses.ranges().iter().copied());
        let settings = http::Config::new(url, mode, *timeout, headers, retry_on);
        http::HttpSink::new(
            client.clone(),
            settings.expect("the configuration's own check is the stricter one"),
        )
    }
}

/// Ends at SIGTERM or SIGINT.
async fn stop_signal() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be caught: the server will not stop in order");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// What the admin port tells.
struct ServerStatus {
    broker: Broker,
    registry: Registry,
    ready: Arc<AtomicBool>,
}

impl ServerStatus {
    fn new(broker: Broker, ingress: &IngressMetrics, bridge: &Metrics, ready: Arc<AtomicBool>) -> Self {
        let mut registry = Registry::default();
        broker.register_metrics(&mut registry);
        ingress.register(&mut registry);
        bridge.register(&mut registry);
        Self { broker, registry, ready }
    }
}

impl admin::Status for ServerStatus {
    fn failed(&self) -> Option<String> {
        self.broker.failed().map(|reason| format!("the store stopped: {reason}"))
    }

    fn unready(&self) -> Option<String> {
        let starting = || (!self.ready.load(Ordering::Acquire)).then(|| "starting or stopping".to_owned());
        self.failed().or_else(starting)
    }

    fn metrics(&self) -> String {
        self.broker.refresh_metrics();
        let mut out = String::new();
        match text::encode(&mut out, &self.registry) {
            Ok(()) => out,
            Err(error) => format!("# metrics could not be written: {error}\n"),
        }
    }
}
