//! A real `halley` process on free loopback ports, an HTTP sink, and the official clients.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "shared by several test binaries; tests start processes"
)]

pub mod client;
pub mod consumer;
pub mod disk;
pub mod fastjson;
pub mod fault;
pub mod history;
pub mod load;
pub mod mqadmin;
pub mod observed;
pub mod oracle;
pub mod remoting;
pub mod run;
pub mod subject;

use serde_json::Value;
use std::{
    collections::VecDeque,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Everything in these tests comes to pass within this time, or never will.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `what` holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come to pass");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A server process; it is killed when dropped.
pub struct Server {
    child: Child,
    /// Beside the environment of the tests.
    environment: Vec<(String, String)>,
    pub dir: tempfile::TempDir,
    pub ingress: SocketAddr,
    pub namesrv: SocketAddr,
    pub broker: SocketAddr,
    pub admin: SocketAddr,
}

/// Tests say nothing about the disk of the machine that runs them, and work on a nearly full one too.
fn whatever_the_disk(config: &str) -> &'static str {
    if config.contains("retention:") {
        ""
    } else {
        "  retention: {disk: {clean: 100%, forced: 100%, refuse: 100%}}\n"
    }
}

impl Server {
    /// Starts a server with these buses, targets and rules.
    pub fn start(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        Self::start_with(dir, &data, "os", config, Vec::new())
    }

    /// Starts a server with a durability policy.
    pub fn start_durable(durability: &str, config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        Self::start_with(dir, &data, durability, config, Vec::new())
    }

    /// Starts a server that stores in a folder of the caller's.
    pub fn start_in(data: &std::path::Path, config: &str) -> Self {
        Self::start_with(tempfile::tempdir().unwrap(), data, "os", config, Vec::new())
    }

    /// Starts a server that stores in a folder of the caller's, with a durability policy and an environment.
    pub fn start_at(
        data: &std::path::Path,
        durability: &str,
        config: &str,
        environment: Vec<(String, String)>,
    ) -> Self {
        Self::start_with(tempfile::tempdir().unwrap(), data, durability, config, environment)
    }

    /// Starts a server whose `server` section has these lines beside `data` and `admin`; in them `NAMESRV`, `BROKER` and
    /// `INGRESS` stand for free addresses.
    pub fn start_as(section: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [ingress, namesrv, broker, admin] = free_ports();
        let section = section
            .replace("NAMESRV", &namesrv.to_string())
            .replace("BROKER", &broker.to_string())
            .replace("INGRESS", &ingress.to_string());
        let data = dir.path().join("data");
        let retention = if section.contains("broker: false") { "" } else { whatever_the_disk(&section) };
        let config = format!(
            "server:\n  data: {}\n  admin: {{listen: \"{admin}\"}}\n{retention}{section}\n",
            data.display()
        );
        fs::write(dir.path().join("halley.yaml"), config).unwrap();
        let child = spawn(&dir, &[]);
        let server = Self { child, environment: Vec::new(), dir, ingress, namesrv, broker, admin };
        server.wait_ready();
        server
    }

    fn start_with(
        dir: tempfile::TempDir,
        data: &std::path::Path,
        durability: &str,
        config: &str,
        environment: Vec<(String, String)>,
    ) -> Self {
        let [ingress, namesrv, broker, admin] = free_ports();
        let server = format!(
            "server:\n  data: {}\n  durability: {durability}\n  namesrv: {{listen: \"{namesrv}\"}}\n  broker: {{listen: \"{broker}\"}}\n  \
             ingress: {{listen: \"{ingress}\"}}\n  admin: {{listen: \"{admin}\"}}\n{}",
            data.display(),
            whatever_the_disk(config)
        );
        fs::write(dir.path().join("halley.yaml"), format!("{server}{config}")).unwrap();
        let child = spawn(&dir, &environment);
        let server = Self { child, environment, dir, ingress, namesrv, broker, admin };
        server.wait_ready();
        server
    }

    /// Starts it again after it ended.
    pub fn restart(&mut self) {
        self.child = spawn(&self.dir, &self.environment);
        self.wait_ready();
    }

    /// Whether it has ended by itself, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.observe();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The same for one that may not answer any more.
    pub fn kill_unasked(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(&mut self) -> ExitStatus {
        self.observe();
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap()
    }

    /// Waits for it to end by itself.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Keeps what it was asked.
    fn observe(&self) {
        if let Some(metrics) = try_http(self.admin, "GET", "/metrics", &[], b"") {
            observed::requests(&metrics.text());
        }
    }

    fn wait_ready(&self) {
        let log = self.dir.path().join("log");
        eventually(&format!("a ready server, see {}", log.display()), || {
            TcpStream::connect(self.admin).is_ok()
                && try_http(self.admin, "GET", "/readyz", &[], b"").is_some_and(|answer| answer.status == 200)
        });
    }

    /// Posts to the ingress.
    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        http(self.ingress, "POST", path, headers, body)
    }

    /// Posts a small event with this id and type.
    pub fn post_event(&self, path: &str, id: &str, kind: &str) -> Answer {
        self.try_post_event(path, id, kind).unwrap()
    }

    /// The same, `None` where the server does not answer.
    pub fn try_post_event(&self, path: &str, id: &str, kind: &str) -> Option<Answer> {
        let headers = [
            ("ce-specversion", "1.0"),
            ("ce-id", id),
            ("ce-source", "/test"),
            ("ce-type", kind),
            ("content-type", "text/plain"),
        ];
        try_http(self.ingress, "POST", path, &headers, id.as_bytes())
    }

    /// The sum of a metric over its labels.
    pub fn metric(&self, name: &str) -> f64 {
        let text = http(self.admin, "GET", "/metrics", &[], b"").text();
        let lines = text.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.observe();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

fn spawn(dir: &tempfile::TempDir, environment: &[(String, String)]) -> Child {
    let log = fs::File::options().create(true).append(true).open(dir.path().join("log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_halley"))
        .args(["serve", "--config"])
        .arg(dir.path().join("halley.yaml"))
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Ports that were free a moment ago. None is given twice, and none is of those from which the system takes one for a
/// connection, so that nobody takes it before the server that it is meant for.
pub fn free_ports<const N: usize>() -> [SocketAddr; N] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    std::array::from_fn(|_| {
        loop {
            let number =
                std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
            let port = 10_000 + (number % 22_000) as u16;
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
                return listener.local_addr().unwrap();
            }
        }
    })
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// One request on a connection of its own.
pub fn http(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    try_http(to, method, path, headers, body).unwrap()
}

/// One request, `None` where the server does not answer.
pub fn try_http(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Option<Answer> {
    let mut stream = TcpStream::connect(to).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("content-length: {}\r\n\r\n", body.len());
    stream.write_all(request.as_bytes()).ok()?;
    // A server that refuses early may not read the body.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head, body: answer[end + 4..].to_vec() })
}

/// A request that a sink received.
#[derive(Debug, Clone)]
pub struct Received {
    pub head: String,
    pub body: Vec<u8>,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<String> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

/// An HTTP target: records requests, and answers what it was told to, then 204.
#[derive(Clone)]
pub struct Sink {
    pub address: SocketAddr,
    state: Arc<Mutex<SinkState>>,
}

#[derive(Default)]
struct SinkState {
    received: Vec<Received>,
    answers: VecDeque<String>,
    always: Option<String>,
}

impl Sink {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sink = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let serving = sink.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sink = serving.clone();
                thread::spawn(move || sink.serve(stream));
            }
        });
        sink
    }

    /// The next requests are answered so, each a status with optional headers: `503\r\nRetry-After: 1`.
    pub fn answer_next(&self, answers: &[&str]) {
        self.state.lock().unwrap().answers.extend(answers.iter().map(|answer| (*answer).to_owned()));
    }

    /// Requests without another answer are answered so.
    pub fn answer_always(&self, answer: Option<&str>) {
        self.state.lock().unwrap().always = answer.map(str::to_owned);
    }

    pub fn received(&self) -> Vec<Received> {
        self.state.lock().unwrap().received.clone()
    }

    /// Waits for this many requests.
    pub fn wait(&self, count: usize) -> Vec<Received> {
        eventually(&format!("{count} requests at the sink"), || self.received().len() >= count);
        self.received()
    }

    /// The ids of received events, in order.
    pub fn ids(&self) -> Vec<String> {
        self.received().iter().filter_map(|request| request.header("ce-id")).collect()
    }

    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut stream = stream;
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head).ok()? == 0 {
                    return None;
                }
            }
            let mut received = Received { head, body: Vec::new() };
            let length =
                received.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            received.body = vec![0; length];
            reader.read_exact(&mut received.body).ok()?;
            let answer = {
                let mut state = self.state.lock().unwrap();
                state.received.push(received);
                let next = state.answers.pop_front().or_else(|| state.always.clone());
                next.unwrap_or_else(|| "204".to_owned())
            };
            let (status, headers) = answer.split_once("\r\n").unwrap_or((&answer, ""));
            let headers = if headers.is_empty() { String::new() } else { format!("{headers}\r\n") };
            write!(stream, "HTTP/1.1 {status} X\r\n{headers}content-length: 0\r\n\r\n").ok()?;
        }
    }
}

/// Where the scripts install what tests need.
pub fn home() -> Option<PathBuf> {
    let home = std::env::var_os("HALLEY_TEST_HOME").map(PathBuf::from);
    home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/halley-test")))
}

/// The folder of the official clients, or `None` with a line that says how to get them. In CI they must be there.
pub fn clients() -> Option<PathBuf> {
    let clients = home()?.join("clients");
    if clients.join("stamp").exists() {
        return Some(clients);
    }
    let message = "skipped: official clients, install with scripts/install-test-clients.sh";
    assert!(std::env::var_os("CI").is_none(), "{message}");
    eprintln!("{message}");
    None
}

/// A JVM for a short run of the program of this name in the folder of clients, which uses these jars: what
/// `scripts/install-test-clients.sh` made of it starts at half the CPU time. An archive that the JVM cannot use it ignores.
pub fn java(clients: &std::path::Path, program: &str, jars: &std::path::Path) -> Command {
    let file = |extension: &str| clients.join(format!("{program}.{extension}"));
    let mut java = Command::new("java");
    java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xlog:disable"]);
    java.arg(format!("-XX:SharedArchiveFile={}", file("jsa").display()));
    java.arg("-cp").arg(format!("{}:{}/*", file("jar").display(), jars.display()));
    java
}

/// A RocketMQ client program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rocketmq {
    Java5,
    Java4,
    Go,
}

impl Rocketmq {
    pub const ALL: [Self; 3] = [Self::Java5, Self::Java4, Self::Go];

    /// The program with its arguments; options are written `--name value`.
    pub fn command(self, clients: &std::path::Path, arguments: &[&str]) -> Command {
        let mut command = match self {
            Self::Java5 | Self::Java4 => {
                let version = if self == Self::Java5 { "5.5.0" } else { "4.9.8" };
                let mut java =
                    java(clients, &format!("java-{version}"), &clients.join(format!("rocketmq-{version}")));
                java.arg("Client");
                java
            }
            Self::Go => Command::new(clients.join("go-client")),
        };
        command.args(arguments).stderr(Stdio::null()).stdin(Stdio::null());
        command
    }

    /// Runs the program to its end; its lines of JSON. `Err` holds what it printed where it failed.
    pub fn run(self, clients: &std::path::Path, arguments: &[&str]) -> Result<Vec<Value>, String> {
        let output = self.command(clients, arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(text);
        }
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }
}
