//! A broker that is put to the test on a disk: Halley, or RocketMQ 5.5.0 for comparison.

use super::{
    PATIENCE, Server,
    disk::Disk,
    eventually,
    fault::run,
    history::Verdict,
    load::{self, End, Load, Shape, Shared},
    oracle::Oracle,
    run::create_topic,
};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// Whose promises are looked at.
pub enum Subject {
    Halley(Server),
    Rocketmq {
        /// `None` while it is down.
        oracle: Option<Oracle>,
        conf: String,
    },
}

/// Files of the log are small, so that there are several on a small disk.
const SEGMENT: &str = "  segment: 16MiB\n";

impl Subject {
    /// Halley with a durability policy and further lines of its `server` section.
    pub fn halley(disk: &Disk, durability: &str, section: &str) -> Self {
        Self::halley_with(disk, durability, section, Vec::new())
    }

    /// The same, with an environment.
    pub fn halley_with(
        disk: &Disk,
        durability: &str,
        section: &str,
        environment: Vec<(String, String)>,
    ) -> Self {
        let section =
            if section.contains("segment:") { section.to_owned() } else { format!("{SEGMENT}{section}") };
        Self::Halley(Server::start_at(&disk.root().join("data"), durability, &section, environment))
    }

    /// RocketMQ that acknowledges after the sync, with its store on the disk, files of its log of 64 MiB, and further lines of
    /// its `broker.conf`. `None`, which is said, where it is not installed.
    pub fn rocketmq(disk: &Disk, conf: &str) -> Option<Self> {
        let store = disk.root().join("store");
        let conf = format!(
            "storePathRootDir={0}\nstorePathCommitLog={0}/commitlog\nflushDiskType=SYNC_FLUSH\n\
             mappedFileSizeCommitLog=67108864\n{conf}",
            store.display()
        );
        Some(Self::Rocketmq { oracle: Some(Oracle::start(&conf)?), conf })
    }

    /// Where it serves.
    pub fn broker(&self) -> SocketAddr {
        match self {
            Self::Halley(server) => server.broker,
            Self::Rocketmq { oracle, .. } => oracle.as_ref().unwrap().broker,
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        match self {
            Self::Halley(server) => server.pid(),
            Self::Rocketmq { oracle, .. } => oracle.as_ref().unwrap().broker_pid(),
        }
    }

    /// Makes the topic that is sent to.
    pub fn create(&self, shape: &Shape) {
        create_topic(self.broker(), &shape.topic, &shape.queues.to_string(), "6", "");
    }

    /// Whether its process has ended by itself.
    pub fn ended(&mut self) -> bool {
        match self {
            Self::Halley(server) => server.ended().is_some(),
            Self::Rocketmq { .. } => !Path::new(&format!("/proc/{}", self.pid())).exists(),
        }
    }

    /// Whether it ends by itself in this time.
    pub fn ends_within(&mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while !self.ended() && Instant::now() < end {
            thread::sleep(Duration::from_millis(20));
        }
        self.ended()
    }

    /// Cuts the power of the process and of its disk at one moment; then mounts the disk again.
    ///
    /// The process is stopped first, so that it can tell nobody what it does not have: an fdatasync that is under way while ext4
    /// or XFS are being shut down may return without an error and be wrong (Linux 6.18; on ext4 a bare loop of pwrite and
    /// fdatasync shows it in one of twenty cuts). Where the power is really cut, nobody is left to be told.
    pub fn cut_power(&mut self, disk: &Disk) {
        let pid = self.pid();
        assert!(run("kill", &["-STOP", &pid.to_string()]));
        eventually("a process that stands still", || is_stopped(pid));
        disk.cut_power();
        self.kill();
        disk.remount();
    }

    /// `kill -9`, unless it has ended already.
    pub fn kill(&mut self) {
        match self {
            Self::Halley(server) => server.kill_unasked(),
            Self::Rocketmq { .. } => {
                let ended = self.ended();
                let Self::Rocketmq { oracle, .. } = self else { return };
                if let Some(oracle) = oracle.take()
                    && !ended
                {
                    oracle.kill_broker();
                }
            }
        }
    }

    /// Starts it again.
    pub fn restart(&mut self) {
        match self {
            Self::Halley(server) => server.restart(),
            Self::Rocketmq { oracle, conf } => *oracle = Oracle::start(conf),
        }
    }

    /// The file that its log is written to now.
    pub fn log_file(&self, disk: &Disk) -> PathBuf {
        let (folder, extension) = match self {
            Self::Halley(_) => ("data/log", Some("seg")),
            Self::Rocketmq { .. } => ("store/commitlog", None),
        };
        let entries = std::fs::read_dir(disk.root().join(folder)).unwrap();
        let files = entries.map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().and_then(|of| of.to_str()) == extension).min().unwrap()
    }
}

/// Whether no thread of a process runs any more. One that waits in the kernel for its disk stops when it returns from there.
fn is_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The name before the state may hold anything.
        let state = stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
        matches!(state, None | Some('T' | 't' | 'D'))
    })
}

/// A subject under a load, and the history of both.
pub struct Trial {
    pub subject: Subject,
    pub shape: Shape,
    pub history: Shared,
}

impl Trial {
    /// The topic is made.
    pub fn new(subject: Subject, shape: Shape) -> Self {
        subject.create(&shape);
        Self { subject, shape, history: Shared::default() }
    }

    /// Starts the load, and waits until so many more sends are acknowledged.
    pub fn load(&self, acknowledged: usize) -> Load {
        let load = Load::start(self.subject.broker(), &self.shape, &self.history);
        self.wait_for(acknowledged);
        load
    }

    /// Waits until so many more sends are acknowledged.
    pub fn wait_for(&self, acknowledged: usize) {
        let enough = self.acknowledged() + acknowledged;
        eventually("acknowledged sends", || self.acknowledged() >= enough);
    }

    pub fn acknowledged(&self) -> usize {
        self.history.lock().unwrap().acknowledged()
    }

    pub fn refused(&self) -> usize {
        self.history.lock().unwrap().refused()
    }

    /// What the history comes to with what is there now.
    pub fn verdict(&self, end: End) -> Verdict {
        self.try_verdict(end).unwrap_or_else(|problem| panic!("within {PATIENCE:?}: {problem}"))
    }

    /// The same; `Err` where the broker does not serve.
    pub fn try_verdict(&self, end: End) -> Result<Verdict, String> {
        let contents = load::contents(self.subject.broker(), &self.shape, &self.history, end)?;
        Ok(self.history.lock().unwrap().check(&contents))
    }

    /// The medium of the log's file fails behind its first 20 MiB, for 400 sends of 100 KiB; then the process is killed, the
    /// medium mended, and the process started again. The disk is made [`Disk::with_every_block`], files of the log have 64 MiB.
    /// Whether the process had ended by itself.
    pub fn lose_medium(&mut self, disk: &Disk) -> bool {
        let broker = self.subject.broker();
        let shape = Shape { bytes: 100 << 10, producers: 4, window: 1, sends: 400, ..self.shape.clone() };
        Load::start(broker, &Shape { sends: 4, ..shape.clone() }, &self.history).wait();
        let file = self.subject.log_file(disk);
        // RocketMQ reserves no space. A file must have its blocks for the medium of some to fail.
        assert!(run("fallocate", &["-l", "67108864", file.to_str().unwrap()]));
        assert!(run("sync", &["-f", file.to_str().unwrap()]));
        disk.lose_behind(&file, 20 << 20);
        Load::start(broker, &shape, &self.history).wait();
        let ended = self.subject.ends_within(Duration::from_secs(5));
        self.subject.kill();
        disk.mend();
        self.subject.restart();
        ended
    }
}
