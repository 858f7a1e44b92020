//! A real RocketMQ 5.5.0 on free loopback ports, which says what is right.

use super::{eventually, free_ports, home, remoting::Connection};
use halley_wire::{NamesrvCode, Serialize};
use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// A name server and a broker `broker-a` of the cluster `DefaultCluster`, or one of both; they are stopped and their data deleted when dropped.
#[derive(Debug)]
pub struct Oracle {
    name: String,
    version: &'static str,
    pub namesrv: SocketAddr,
    pub broker: SocketAddr,
    /// Someone else may go on with its store, which is not among the data that is deleted.
    is_store_kept: bool,
}

/// Which brokers serve a topic.
const ROUTE: i32 = NamesrvCode::GetRouteInfoByTopic.number();

impl Oracle {
    /// Starts it, with these further lines of `broker.conf`. `None`, with a line that says how to get it, where Java or
    /// RocketMQ is not installed; in CI they must be.
    pub fn start(broker_conf: &str) -> Option<Self> {
        let [namesrv] = free_ports();
        Self::start_part("all", namesrv, broker_conf)
    }

    /// Another release, see [`Oracle::start`].
    pub fn start_version(version: &'static str, broker_conf: &str) -> Option<Self> {
        let [namesrv] = free_ports();
        Self::start_one(version, "all", namesrv, broker_conf)
    }

    /// Starts only the `namesrv` at this address, or only the `broker` that registers there; see [`Oracle::start`].
    pub fn start_part(part: &str, namesrv: SocketAddr, broker_conf: &str) -> Option<Self> {
        Self::start_one("5.5.0", part, namesrv, broker_conf)
    }

    fn start_one(version: &'static str, part: &str, namesrv: SocketAddr, broker_conf: &str) -> Option<Self> {
        if !is_installed(version) {
            let message = format!(
                "skipped: a real RocketMQ, install with VERSION={version} scripts/rocketmq.sh install"
            );
            assert!(std::env::var_os("CI").is_none(), "{message}");
            eprintln!("{message}");
            return None;
        }
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{}-{number}", std::process::id());
        let is_store_kept = broker_conf.contains("storePathRootDir");
        let oracle = Self { name, version, namesrv, broker: broker_address(), is_store_kept };
        let status = oracle.script("up", part, broker_conf);
        assert!(status, "scripts/rocketmq.sh up failed");
        // The broker says that it started before it is registered.
        let pattern = [("topic".to_owned(), "TBW102".to_owned())];
        eventually("a registered broker", || {
            let reply = Connection::open(oracle.namesrv).ask(Serialize::Json, ROUTE, &pattern, b"");
            reply.is_ok_and(|reply| reply.is_some_and(|reply| reply.code == 0))
        });
        Some(oracle)
    }

    /// The broker's process.
    pub fn broker_pid(&self) -> u32 {
        let pid = home().unwrap().join(format!("run-rocketmq-{}/broker.pid", self.name));
        std::fs::read_to_string(pid).unwrap().trim().parse().unwrap()
    }

    /// `kill -9` of the broker.
    pub fn kill_broker(&self) {
        let pid = self.broker_pid().to_string();
        assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
        eventually("the broker's end", || {
            !Command::new("kill").args(["-0", &pid]).stderr(Stdio::null()).status().unwrap().success()
        });
    }

    /// Stops it in order, which takes a while, and deletes its data.
    pub fn stop(self) {
        assert!(self.script("down", "all", ""), "scripts/rocketmq.sh down failed");
    }

    fn script(&self, action: &str, part: &str, broker_conf: &str) -> bool {
        let status = Command::new(script())
            .arg(action)
            .env("NAME", &self.name)
            // It runs for a short time only.
            .env("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
            .env("VERSION", self.version)
            .env("ONLY", part)
            .env("NS", self.namesrv.port().to_string())
            .env("BROKER", self.broker.port().to_string())
            .env("BROKER_CONF", format!("brokerName=broker-a\n{broker_conf}"))
            .stdout(Stdio::null())
            .status();
        status.unwrap().success()
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // An orderly stop takes some ten seconds.
        self.script(if self.is_store_kept { "down" } else { "kill" }, "all", "");
    }
}

fn script() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/rocketmq.sh")
}

fn is_installed(version: &str) -> bool {
    let java = Command::new("java").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    java.is_ok_and(|status| status.success())
        && home().is_some_and(|home| home.join(format!("rocketmq-{version}/ready")).exists())
}

/// A free port for the broker, which also takes the second port below and the next one.
fn broker_address() -> SocketAddr {
    for _ in 0..100 {
        let ports: [SocketAddr; 4] = free_ports();
        if ports[3].port() == ports[0].port() + 3 {
            return ports[2];
        }
    }
    panic!("no four free ports were found");
}
