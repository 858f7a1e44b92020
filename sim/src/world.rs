//! The world of one seed: what happens, one thing after another.

use crate::{
    Bug, Report,
    checker::{Check, Violation, ensure, violated},
    faults::{Fault, Happened},
    message,
    node::{Node, StartError},
    random::Random,
    scene::{Event, Inside, Request, Scene},
    target::Target,
};
use halley_delivery::Verdict;
use halley_model::Millis;
use halley_store::disk::{Crash, SimDisk};

const START: Millis = 1_700_000_000_000;

/// How long after the last fault everything must have come to its end.
const HEALING_MAX: Millis = 900_000;

/// Most things that happen in one run. More is a loop that makes no progress.
const EVENTS_MAX: u64 = 300_000;

/// No new events are sent beyond so many.
const SENDS_MAX: u64 = 500;

/// See the module's documentation.
pub(crate) struct World {
    scene: Scene,
    disk: SimDisk,
    node: Option<Node>,
    targets: Vec<Target>,
    /// What producers draw from, so that the load does not depend on the faults.
    producers: Random,
    /// The fault that is planned for a call of the disk, and how many had happened before.
    planned: Option<(Fault, u64)>,
    /// Recovery is to be interrupted at this call.
    interrupt_start: Option<u64>,
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>, keep: bool) -> Self {
        let mut scene = Scene::new(seed, START, bug, keep);
        let disk = SimDisk::new(scene.random.next());
        let producers = scene.random.fork();
        let targets = (0..scene.plan.targets.len()).map(|_| Target::draw(&mut scene)).collect();
        Self { scene, disk, node: None, targets, producers, planned: None, interrupt_start: None }
    }

    /// Lives from trouble to peace; a run on a device that lies may end where that is noticed.
    pub(crate) fn run(&mut self) -> Result<(), Violation> {
        match self.live() {
            Err(violation) if self.scene.lie_noticed => {
                self.scene.trace.note(self.scene.now, format_args!("noticed: {violation}"));
                self.scene.coverage.count(Happened::LieNoticed);
                Ok(())
            }
            done => done,
        }
    }

    /// Trouble first; then everything is healed and must come to its end; then everything is read once more.
    fn live(&mut self) -> Result<(), Violation> {
        let plan = self.scene.plan.to_string();
        self.scene.trace.note(START, format_args!("{plan}"));
        self.schedule();
        let (mut events, end) = (0, START + self.scene.plan.chaos);
        while self.scene.now < end {
            self.next(&mut events)?;
        }
        self.heal()?;
        self.settle(&mut events)?;
        // Once more from the disk. Under `os` the power may take the last letters and commits: they are made up for.
        let crash = if self.scene.random.percent(50) { Crash::Kill } else { Crash::PowerCut };
        self.crash(crash);
        self.start()?;
        self.settle(&mut events)?;
        self.scene.pops.at_the_end(&self.scene.log)?;
        self.scene.retries.at_the_end(&self.scene)?;
        self.scene.waiting.at_the_end()?;
        self.scene.delivery.at_the_end()
    }

    /// Lets things happen until nothing is unfinished.
    fn settle(&mut self, events: &mut u64) -> Result<(), Violation> {
        let deadline = self.scene.now + HEALING_MAX;
        while !self.node.as_ref().is_some_and(|node| node.is_quiet(&self.scene)) {
            ensure(self.scene.now < deadline, Check::Liveness, || {
                format!("{HEALING_MAX} ms after the last fault something is still unfinished")
            })?;
            self.next(events)?;
        }
        self.scene.trace.note(self.scene.now, format_args!("everything is quiet"));
        Ok(())
    }

    /// What is to be told of the run.
    pub(crate) fn into_report(mut self, seed: u64, result: Result<(), Violation>) -> Report {
        self.scene.trace.mix(self.disk.trace_hash());
        Report {
            seed,
            result,
            hash: self.scene.trace.hash(),
            coverage: self.scene.coverage,
            lines: self.scene.trace.into_lines(),
        }
    }

    fn schedule(&mut self) {
        let scene = &mut self.scene;
        scene.after(0, Event::Start);
        for producer in 0..scene.plan.producers {
            scene.after(1, Event::Send(producer));
        }
        let faults = scene.plan.faults;
        for fault in Fault::TIMED.into_iter().filter(|fault| faults.has(*fault)) {
            for _ in 0..scene.random.between(1, scene.plan.strikes_max) {
                let at = scene.random.millis(50, scene.plan.chaos);
                scene.after(at, Event::Strike(fault));
            }
        }
    }

    fn next(&mut self, events: &mut u64) -> Result<(), Violation> {
        let Some(event) = self.scene.next() else {
            return violated(Check::Liveness, "nothing is left to happen".to_owned());
        };
        *events += 1;
        ensure(*events < EVENTS_MAX, Check::Liveness, || {
            format!("{EVENTS_MAX} things happened, without an end")
        })?;
        match event {
            Event::Send(producer) => self.send(producer)?,
            Event::Recall { number, at } => {
                if let Some(node) = self.node.as_mut().filter(|node| !node.is_stopping) {
                    node.recall(&mut self.scene, number, at)?;
                }
            }
            Event::End { number, offset } => {
                if let Some(node) = self.node.as_mut().filter(|node| !node.is_stopping) {
                    node.end_transaction(&mut self.scene, number, offset)?;
                }
            }
            Event::Start => self.start()?,
            Event::Strike(fault) => self.strike(fault)?,
            Event::Room => self.disk.set_capacity(None),
            Event::Arrive(request) => self.arrive(request),
            Event::Inside(life, event) if life == self.scene.life => self.inside(event)?,
            Event::Inside(..) => {}
        }
        self.look_at_disk();
        if self.node.as_ref().is_some_and(|node| node.is_stopping && node.is_idle()) {
            self.stopped()?;
        }
        Ok(())
    }

    fn inside(&mut self, event: Inside) -> Result<(), Violation> {
        let Some(node) = &mut self.node else { return Ok(()) };
        let scene = &mut self.scene;
        match event {
            Inside::WriteLog => node.write_log(scene),
            Inside::Flush => node.flush(scene),
            Inside::LogOffsets => {
                scene.inside(scene.plan.state_gap, Inside::LogOffsets);
                node.log_offsets(scene)
            }
            Inside::Snapshot => {
                node.snapshot(scene);
                Ok(())
            }
            Inside::KeepTime => node.keep_time(scene),
            Inside::Read => {
                scene.inside(scene.plan.read_gap, Inside::Read);
                node.read(scene)
            }
            Inside::Pop => {
                scene.inside(scene.plan.pop_gap.unwrap_or(1_000), Inside::Pop);
                node.pop(scene)
            }
            Inside::Fail => {
                scene.inside(scene.plan.read_gap, Inside::Fail);
                node.fail(scene)
            }
            Inside::Retain => node.retain(scene),
            Inside::PopAck { place, offset, popped, change } => {
                node.pop_ack(scene, place, offset, popped, change);
                Ok(())
            }
            Inside::Wake { target, due } => node.wake(scene, target, due),
            Inside::Fetch { stream } => node.fetch(scene, stream),
            Inside::FetchTimeout { stream, from } => node.fetch_timeout(scene, stream, from),
            Inside::Answer { stream, offset, verdict } => node.answer(scene, stream, offset, verdict),
            Inside::LetterRefused { stream, offset } => node.letter_written(scene, stream, offset, false),
            Inside::StopNow => {
                node.stop_machines(scene)?;
                self.stopped()
            }
            Inside::Exit => {
                self.exit();
                Ok(())
            }
        }
    }

    fn send(&mut self, producer: usize) -> Result<(), Violation> {
        let scene = &mut self.scene;
        if scene.healed || scene.poison.len() as u64 >= SENDS_MAX {
            return Ok(());
        }
        let gap = self.producers.millis(1, scene.plan.send_gap_max);
        scene.after(gap, Event::Send(producer));
        if scene.plan.waiting_percent > 0 && self.producers.percent(scene.plan.waiting_percent) {
            return self.send_waiting();
        }
        let count = self.producers.between(1, scene.plan.group_max);
        self.send_group(count).map(drop)
    }

    /// Sends a message that waits, and plans to take some of them back.
    fn send_waiting(&mut self) -> Result<(), Violation> {
        let scene = &mut self.scene;
        let number = scene.poison.len() as u64;
        let waiting = message::Waiting::draw(number, scene.now, &scene.plan, &mut self.producers);
        scene.poison.push(waiting.event.poison);
        let recall = self.producers.percent(30).then(|| self.producers.millis(0, 1_500));
        let Some(node) = self.node.as_mut().filter(|node| !node.is_stopping) else { return Ok(()) };
        if node.send_waiting(scene, &waiting)?
            && let (message::Kind::Delayed { at }, Some(wait)) = (waiting.kind, recall)
        {
            scene.after(wait, Event::Recall { number, at });
        }
        Ok(())
    }

    /// Sends a group; whether the log took it.
    fn send_group(&mut self, count: u64) -> Result<bool, Violation> {
        let mut events = Vec::new();
        for _ in 0..count {
            let number = self.scene.poison.len() as u64;
            let event = message::Event::draw(number, &self.scene.plan, &mut self.producers);
            self.scene.poison.push(event.poison);
            events.push(event);
        }
        match self.node.as_mut().filter(|node| !node.is_stopping) {
            Some(node) => node.send(&mut self.scene, &events),
            None => Ok(false),
        }
    }

    fn arrive(&mut self, request: Request) {
        let scene = &mut self.scene;
        let Request { life, stream, target, offset, number, poison, sent } = request;
        let done = self.targets[target].receive(scene, poison);
        scene.trace.note(scene.now, format_args!("target {target} gets event {number}: {}", done.accepted));
        if done.accepted {
            scene.coverage.count(Happened::Accepted);
            if scene.delivery.accepted(stream, number) {
                scene.coverage.count(Happened::AcceptedAgain);
            }
        }
        let plan = &scene.plan.targets[target];
        let (latency, timeout) = (plan.latency_max, sent + plan.timeout - scene.now);
        let latency = scene.random.millis(0, latency);
        let (wait, verdict) = match done.answer {
            Some(verdict) if latency <= timeout => (latency, verdict),
            _ => (timeout, Verdict::Retry { reason: "no answer".to_owned(), retry_after: None }),
        };
        scene.after(wait, Event::Inside(life, Inside::Answer { stream, offset, verdict }));
    }

    fn strike(&mut self, fault: Fault) -> Result<(), Violation> {
        if !self.scene.has(fault) {
            return Ok(());
        }
        let Some(node) = &mut self.node else { return Ok(()) };
        let scene = &mut self.scene;
        scene.trace.note(scene.now, format_args!("{fault:?}"));
        let happened = self.disk.faults_happened();
        match fault {
            Fault::Kill | Fault::PowerCut => {
                scene.coverage.strike(fault);
                let crash = if fault == Fault::Kill { Crash::Kill } else { Crash::PowerCut };
                self.crash_and_restart(crash);
            }
            Fault::SwitchOff
            | Fault::FailedSync
            | Fault::FailedWrite
            | Fault::LyingSync
            | Fault::LostWrite
            | Fault::MisdirectedWrite
                if scene.disk_is_off => {}
            // One at a time, so that it is known which one struck.
            Fault::SwitchOff => {
                self.disk.heal();
                self.disk.switch_off_after(scene.random.between(1, 40));
                self.planned = Some((fault, happened));
            }
            Fault::FailedSync => {
                self.disk.heal();
                self.disk.fail_sync(scene.random.between(1, 8));
                self.planned = Some((fault, happened));
            }
            Fault::FailedWrite => {
                self.disk.heal();
                self.disk.fail_write(scene.random.between(1, 4));
                self.planned = Some((fault, happened));
            }
            Fault::LyingSync | Fault::LostWrite | Fault::MisdirectedWrite => {
                self.disk.heal();
                let nth = scene.random.between(1, 6);
                match fault {
                    Fault::LyingSync => self.disk.lie_on_sync(nth),
                    Fault::LostWrite => self.disk.lose_write(nth),
                    _ => self.disk.misdirect_write(nth),
                }
                self.planned = Some((fault, happened));
            }
            Fault::SlowDisk => {
                scene.coverage.strike(fault);
                scene.slow_until = scene.now + scene.random.millis(500, 6_000);
            }
            Fault::FullDisk => {
                let room = scene.random.between(0, scene.plan.segment_bytes * 2);
                self.disk.set_capacity(Some(self.disk.used() + room));
                let lasts = scene.random.millis(500, 6_000);
                scene.after(lasts, Event::Room);
            }
            Fault::CrashWhileOpening => {
                self.interrupt_start = Some(scene.random.between(1, 40));
                self.crash_and_restart(Crash::Kill);
            }
            Fault::Restart => {
                if !node.is_stopping && !node.is_poisoned {
                    node.stop(scene)?;
                }
            }
            Fault::CacheRot => {
                self.crash_and_restart(Crash::Kill);
                self.rot();
            }
            Fault::FailedFetches
            | Fault::Errors
            | Fault::Throttling
            | Fault::Rejections
            | Fault::Silence
            | Fault::Outage => {}
        }
        Ok(())
    }

    /// Flips a bit in a file that is only a cache.
    fn rot(&mut self) {
        let paths = self.disk.paths();
        let caches: Vec<_> =
            paths.iter().filter(|path| path.ends_with(".idx") || path.ends_with(".snap")).collect();
        if caches.is_empty() {
            return;
        }
        let path = self.scene.random.pick(&caches);
        let length = self.disk.contents(path).map_or(0, |bytes| bytes.len() as u64);
        let at = self.scene.random.between(0, length.saturating_sub(1));
        let bit = self.scene.random.between(0, 7) as u8;
        if self.disk.flip_bit(path, at, bit) {
            self.scene.coverage.strike(Fault::CacheRot);
            self.scene.trace.note(self.scene.now, format_args!("bit {bit} of byte {at} of {path} flips"));
        }
    }

    /// Notices that a planned fault of the disk happened.
    fn look_at_disk(&mut self) {
        let Some((fault, before)) = self.planned else { return };
        if self.disk.faults_happened() == before {
            return;
        }
        self.planned = None;
        self.scene.coverage.strike(fault);
        self.scene.trace.note(self.scene.now, format_args!("{fault:?} strikes"));
        self.scene.log.device_lied |= Fault::LIES.contains(&fault);
        if fault == Fault::SwitchOff {
            self.scene.disk_is_off = true;
            self.scene.soon(30, Inside::Exit);
        }
    }

    /// The process ends by itself, or with its machine.
    fn exit(&mut self) {
        let with_power = self.scene.has(Fault::PowerCut) && self.scene.random.percent(50);
        if with_power {
            self.scene.coverage.strike(Fault::PowerCut);
        }
        self.crash_and_restart(if with_power { Crash::PowerCut } else { Crash::Kill });
    }

    /// An orderly stop has come to its end.
    fn stopped(&mut self) -> Result<(), Violation> {
        let Some(node) = &mut self.node else { return Ok(()) };
        let scene = &mut self.scene;
        node.log_offsets(scene)?;
        node.write_log(scene)?;
        let is_poisoned = node.is_poisoned;
        self.look_at_disk();
        if is_poisoned || self.scene.disk_is_off {
            return Ok(());
        }
        self.disk.heal();
        let scene = &mut self.scene;
        scene.coverage.strike(Fault::Restart);
        scene.trace.note(scene.now, format_args!("stopped in order"));
        self.end_life();
        self.scene.log.crashed(Crash::Kill);
        let down = self.scene.random.millis(1, 500);
        self.scene.after(down, Event::Start);
        Ok(())
    }

    fn crash_and_restart(&mut self, crash: Crash) {
        self.crash(crash);
        let scene = &mut self.scene;
        let down = scene.random.millis(1, 800);
        scene.after(down, Event::Start);
        // Troubles come in crowds.
        let kinds = [Fault::Kill, Fault::PowerCut];
        let kinds: Vec<_> = kinds.into_iter().filter(|kind| scene.has(*kind)).collect();
        if !kinds.is_empty() && scene.random.percent(scene.plan.crash_again_percent) {
            let wait = down + scene.random.millis(1, 150);
            let kind = scene.random.pick(&kinds);
            scene.after(wait, Event::Strike(kind));
        }
    }

    fn crash(&mut self, crash: Crash) {
        self.end_life();
        self.disk.heal();
        self.disk.crash(crash);
        self.scene.disk_is_off = false;
        self.scene.log.crashed(crash);
        self.scene.trace.note(self.scene.now, format_args!("{crash:?}"));
    }

    fn end_life(&mut self) {
        self.node = None;
        self.planned = None;
        self.scene.life += 1;
        self.scene.delivery.crashed();
    }

    fn start(&mut self) -> Result<(), Violation> {
        if self.node.is_some() {
            return Ok(());
        }
        let happened = self.disk.faults_happened();
        let interrupted = self.interrupt_start.take();
        if let Some(operations) = interrupted {
            self.disk.switch_off_after(operations);
        }
        self.scene.life += 1;
        match Node::start(&mut self.scene, &self.disk) {
            Ok(node) => self.node = Some(node),
            Err(StartError::Violation(violation)) => return Err(violation),
            Err(StartError::Disk(error)) => {
                self.scene.trace.note(self.scene.now, format_args!("cannot start: {error}"));
                let struck = self.disk.faults_happened() > happened;
                if struck {
                    self.scene.coverage.strike(Fault::CrashWhileOpening);
                }
                let log_is_empty = self.scene.log.entries().next().is_none();
                ensure(struck || log_is_empty, Check::Liveness, || {
                    format!("the store does not open: {error}")
                })?;
                self.exit();
            }
        }
        Ok(())
    }

    /// All faults end, and one last group is sent to every queue: it must get through like all others.
    fn heal(&mut self) -> Result<(), Violation> {
        self.scene.healed = true;
        self.disk.heal();
        self.disk.set_capacity(None);
        self.scene.trace.note(self.scene.now, format_args!("all faults end"));
        self.interrupt_start = None;
        self.planned = None;
        if self.scene.disk_is_off
            || self.node.as_ref().is_none_or(|node| node.is_poisoned || node.is_stopping)
        {
            self.crash(Crash::Kill);
        }
        self.start()?;
        // A full disk is asked for room again within a second, so that not even the last group may be refused for ever.
        let deadline = self.scene.now + 5_000;
        let mut events = 0;
        while !self.send_group(self.scene.plan.queues.into())? {
            ensure(self.scene.now < deadline, Check::Liveness, || {
                "a healed store refuses events".to_owned()
            })?;
            self.next(&mut events)?;
        }
        Ok(())
    }
}
