//! Which parts run, and in which order they start and stop.
//!
//! Start: the log is recovered, topics are made sure of, all ports are bound, and only then anything is served. Stop:
//! the ingress takes nothing new, deliveries end, clients get their last replies, and the log is closed.

use crate::{admin, commands::Error};
use halley_backend::Backend;
use halley_bridge::Bridge;
use halley_broker::{
    Broker, Durability, NameServer, Options, Recovery, RetentionPolicy, ScrubPolicy, Tls, TlsFiles, TlsMode,
    TopicPolicy, Watermarks,
};
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

/// A name server hears within this time that its broker leaves.
const FAREWELL: Duration = Duration::from_millis(600);

/// A running server.
pub(crate) struct Running {
    broker: Option<Broker>,
    bridge: Option<Bridge>,
    ready: Arc<AtomicBool>,
    config: Arc<Config>,
    addresses: Addresses,
    /// Tells the ingress to take nothing new, and name servers elsewhere that the broker leaves.
    stop_intake: watch::Sender<bool>,
    /// Tells listeners and housekeeping to end.
    stop_clients: watch::Sender<bool>,
    ingress: Option<JoinHandle<()>>,
    registrars: Vec<JoinHandle<()>>,
    clients: Vec<JoinHandle<()>>,
}

/// Where the listeners really are; port 0 was resolved.
struct Addresses {
    namesrv: Option<SocketAddr>,
    broker: Option<SocketAddr>,
    ingress: Option<SocketAddr>,
    admin: SocketAddr,
}

/// Bound, and not yet served.
struct Listeners {
    namesrv: Option<TcpListener>,
    broker: Option<TcpListener>,
    ingress: Option<TcpListener>,
    admin: TcpListener,
}

/// Starts everything the configuration says.
pub(crate) async fn start(config: Config, data: PathBuf) -> Result<Running, Error> {
    let config = Arc::new(config);
    let (listeners, addresses) = bind_all(&config.server).await?;
    let tls = tls(&config.server.tls).await?;
    let broker = match addresses.broker {
        None => None,
        Some(listening) => {
            let address = config.server.advertise.unwrap_or(listening);
            let (broker, recovery) = open(&config.server, data.clone(), address).await?;
            report(&recovery);
            ensure_topics(&broker, &config).await?;
            Some(broker)
        }
    };
    let names = match &broker {
        Some(broker) => broker.name_server(),
        None => Some(open_names(data).await?),
    };

    let (stop_intake, intake_stopped) = watch::channel(false);
    let (stop_clients, clients_stopped) = watch::channel(false);
    let ready = Arc::new(AtomicBool::new(false));
    let ingress_metrics = IngressMetrics::default();
    let mut status = ServerStatus::new(broker.clone(), ready.clone());
    if let (None, Some(names)) = (&broker, &names) {
        names.register_metrics(&mut status.registry);
    }
    let bridge = match &broker {
        None => None,
        Some(broker) => {
            let bridge = Bridge::start(Arc::new(broker.clone()), &config, sinks()).await?;
            ingress_metrics.register(&mut status.registry);
            bridge.metrics().register(&mut status.registry);
            Some(bridge)
        }
    };
    let Listeners { namesrv, broker: remoting, ingress, admin } = listeners;
    let mut clients = vec![serve_admin(admin, status, clients_stopped.clone())];
    clients.push(tokio::spawn(tls.clone().watch(clients_stopped.clone())));
    if let (Some(names), Some(listener)) = (names, namesrv) {
        let (house, stopped) = (names.clone(), clients_stopped.clone());
        clients.push(tokio::spawn(async move { house.keep_house(stopped).await }));
        let (tls, stopped) = (tls.clone(), clients_stopped.clone());
        clients.push(tokio::spawn(async move { names.serve(listener, tls, stopped).await }));
    }
    let mut registrars = Vec::new();
    if let (Some(broker), Some(listener)) = (&broker, remoting) {
        let (house, stopped) = (broker.clone(), clients_stopped.clone());
        clients.push(tokio::spawn(async move { house.keep_house(stopped).await }));
        let (time, stopped) = (broker.clone(), clients_stopped.clone());
        clients.push(tokio::spawn(async move { time.keep_time(stopped).await }));
        let (serving, stopped) = (broker.clone(), clients_stopped.clone());
        clients.push(tokio::spawn(async move { serving.serve(listener, tls, stopped).await }));
        for name_server in &config.server.register_at {
            let (broker, name_server, stopped) =
                (broker.clone(), name_server.clone(), intake_stopped.clone());
            registrars.push(tokio::spawn(async move { broker.register_at(name_server, stopped).await }));
        }
    }
    let ingress = broker.as_ref().zip(ingress).map(|(broker, listener)| {
        let (backend, config) = (Arc::new(broker.clone()), config.clone());
        let limits = Limits::default();
        tokio::spawn(halley_ingress::serve(
            listener,
            backend,
            config,
            limits,
            ingress_metrics,
            intake_stopped,
        ))
    });
    ready.store(true, Ordering::Release);
    let Addresses { namesrv, broker: remoting, ingress: events, admin } = &addresses;
    tracing::info!(
        ingress = events.map(tracing::field::display),
        namesrv = namesrv.map(tracing::field::display),
        broker = remoting.map(tracing::field::display),
        %admin,
        "ready"
    );
    Ok(Running {
        broker,
        bridge,
        ready,
        config,
        addresses,
        stop_intake,
        stop_clients,
        ingress,
        registrars,
        clients,
    })
}

impl Running {
    /// Prints where everything is, and a line to try.
    pub(crate) fn greet(&self) {
        let Addresses { namesrv, broker, ingress, admin } = &self.addresses;
        println!("Halley is ready.");
        if let Some(ingress) = ingress {
            println!("  CloudEvents over HTTP   http://{ingress}/{{bus}}");
        }
        if let Some(namesrv) = namesrv {
            println!("  RocketMQ name server    {namesrv}");
        }
        if let Some(broker) = broker {
            println!("  RocketMQ broker         {broker}");
        }
        println!("  health and metrics      http://{admin}/metrics");
        let Some(ingress) = ingress else { return };
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
            reason = wait_failed(self.broker.as_ref()) => Some(reason),
        };
        self.ready.store(false, Ordering::Release);
        match &failed {
            None => tracing::info!("stopping"),
            Some(reason) => {
                tracing::error!(reason, "the store stopped, the process ends: restart it to recover");
                tokio::time::sleep(LAST_WORDS).await;
            }
        }
        self.stop_intake.send_replace(true);
        join_until(Instant::now() + FAREWELL, self.registrars, "registration").await;
        if let Some(mut ingress) = self.ingress {
            join(&mut ingress, "ingress").await;
        }
        if let Some(bridge) = self.bridge {
            bridge.stop(BRIDGE_DRAIN).await;
        }
        self.stop_clients.send_replace(true);
        // Half-open connections, for instance at the admin port, end with the process.
        join_until(Instant::now() + CLIENT_DRAIN, self.clients, "listener").await;
        if let Some(broker) = self.broker.take() {
            let closed = tokio::task::spawn_blocking(move || broker.close()).await;
            if let Err(error) = closed {
                tracing::error!(%error, "the log was not closed in order");
            }
        }
        tracing::info!("stopped");
        failed
    }
}

/// Ends when the store stopped by itself, never where there is none.
async fn wait_failed(broker: Option<&Broker>) -> String {
    match broker {
        Some(broker) => broker.wait_failed().await,
        None => std::future::pending().await,
    }
}

fn serve_admin(
    listener: TcpListener,
    status: ServerStatus,
    mut stopped: watch::Receiver<bool>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let shutdown = async move {
            // The sender lives as long as the server.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        if let Err(error) = admin::serve(listener, Arc::new(status), shutdown).await {
            tracing::error!(%error, "the admin port ended");
        }
    })
}

/// Waits for tasks that were told to end; those that do not in time are cancelled.
async fn join_until(until: Instant, tasks: Vec<JoinHandle<()>>, what: &str) {
    for mut task in tasks {
        if timeout_at(until, join(&mut task, what)).await.is_err() {
            task.abort();
        }
    }
}

async fn join(task: &mut JoinHandle<()>, what: &str) {
    if let Err(error) = task.await {
        tracing::error!(%error, what, "a task ended badly");
    }
}

async fn bind_all(server: &config::Server) -> Result<(Listeners, Addresses), Error> {
    let listeners = Listeners {
        namesrv: bind_if("server.namesrv.listen", server.namesrv).await?,
        broker: bind_if("server.broker.listen", server.broker).await?,
        ingress: bind_if("server.ingress.listen", server.ingress).await?,
        admin: bind("server.admin.listen", server.admin).await?,
    };
    let address = |listener: &Option<TcpListener>| listener.as_ref().map(TcpListener::local_addr).transpose();
    let addresses = Addresses {
        namesrv: address(&listeners.namesrv)?,
        broker: address(&listeners.broker)?,
        ingress: address(&listeners.ingress)?,
        admin: listeners.admin.local_addr()?,
    };
    Ok((listeners, addresses))
}

async fn bind_if(key: &str, address: Option<SocketAddr>) -> Result<Option<TcpListener>, Error> {
    match address {
        Some(address) => bind(key, address).await.map(Some),
        None => Ok(None),
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
        id: server.broker_id,
        name_server: server.namesrv.is_some(),
        address,
        durability: durability(server.durability),
        segment_bytes: server.segment_bytes,
        retention: retention(&server.retention),
        replay: server.replay,
        scrub: server.scrub.map(scrub),
    };
    // Recovery reads the disk.
    Ok(tokio::task::spawn_blocking(move || Broker::open(options)).await??)
}

fn retention(section: &config::Retention) -> RetentionPolicy {
    let config::Retention { age_ms, size, clean, forced, refuse } = *section;
    let age = age_ms.map(|age| i64::try_from(age).unwrap_or(i64::MAX));
    RetentionPolicy { age, size, disk: Watermarks { clean, forced, refuse }, force: true }
}

fn scrub(section: config::Scrub) -> ScrubPolicy {
    let config::Scrub { rate, every_ms } = section;
    ScrubPolicy { rate, every: i64::try_from(every_ms).unwrap_or(i64::MAX) }
}

/// The certificate is read, or made, before anything is served.
async fn tls(section: &config::TlsSection) -> Result<Tls, Error> {
    let mode = match section.mode {
        config::TlsMode::Disabled => TlsMode::Disabled,
        config::TlsMode::Permissive => TlsMode::Permissive,
        config::TlsMode::Enforcing => TlsMode::Enforcing,
    };
    let files =
        section.files.as_ref().map(|files| TlsFiles { cert: (&files.cert).into(), key: (&files.key).into() });
    let made = tokio::task::spawn_blocking(move || Tls::new(mode, files)).await?;
    made.map_err(|error| format!("server.tls: {error}").into())
}

/// A name server without a broker.
async fn open_names(data: PathBuf) -> Result<NameServer, Error> {
    let opened = {
        let data = data.clone();
        tokio::task::spawn_blocking(move || NameServer::open(data)).await?
    };
    opened.map_err(|error| format!("the name server's files in {}: {error}", data.display()).into())
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

fn durability(of: config::Durability) -> Durability {
    match of {
        config::Durability::Os => Durability::Os,
        config::Durability::Sync => Durability::Sync,
    }
}

/// Topics of buses and routes exist before the first event comes, and are kept as the file says.
async fn ensure_topics(broker: &Broker, config: &Config) -> Result<(), Error> {
    for bus in &config.buses {
        broker.ensure_topic(&bus.topic, bus.queues).await?;
        let policy = TopicPolicy {
            retention: bus.retention_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX)),
            durability: bus.durability.map(durability),
        };
        broker.keep_topic(&bus.topic, policy).await?;
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
    broker: Option<Broker>,
    registry: Registry,
    ready: Arc<AtomicBool>,
}

impl ServerStatus {
    fn new(broker: Option<Broker>, ready: Arc<AtomicBool>) -> Self {
        let mut registry = Registry::default();
        if let Some(broker) = &broker {
            broker.register_metrics(&mut registry);
        }
        Self { broker, registry, ready }
    }
}

impl admin::Status for ServerStatus {
    fn failed(&self) -> Option<String> {
        let failed = self.broker.as_ref().and_then(Broker::failed);
        failed.map(|reason| format!("the store stopped: {reason}"))
    }

    fn unready(&self) -> Option<String> {
        let starting = || (!self.ready.load(Ordering::Acquire)).then(|| "starting or stopping".to_owned());
        self.failed().or_else(starting)
    }

    fn metrics(&self) -> String {
        if let Some(broker) = &self.broker {
            broker.refresh_metrics();
        }
        let mut out = String::new();
        match text::encode(&mut out, &self.registry) {
            Ok(()) => out,
            Err(error) => format!("# metrics could not be written: {error}\n"),
        }
    }
}
