//! Runs the committed seeds of every target, then mutations of them for a given time, on the stable toolchain.
//!
//! The same `--seed` tries the same inputs in the same order. A failing input is kept in `artifacts/<target>/`. A process that
//! is killed (stack overflow, out of memory) leaves nothing behind: run it again with `--trace`, which writes each input
//! before trying it.

#![allow(clippy::disallowed_methods, reason = "a runner has files, a clock and a watchdog")]
#![forbid(unsafe_code)]

use halley_fuzz::{
    TARGETS, Target,
    mutate::{INPUT_BYTES_MAX, Random, mutate},
};
use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    panic::catch_unwind,
    path::{Path, PathBuf},
    process::{self, ExitCode},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

const USAGE: &str = "usage: replay [--seconds N] [--target NAME] [--seed N] [--trace] [FILE...]
       replay --write-seeds
Without FILE: all committed seeds, then mutations for N seconds over all targets (default 10).
With FILE: only these inputs, for --target.";

/// An input that runs longer than this is a finding.
const INPUT_TIME_MAX: Duration = Duration::from_secs(10);

/// Findings per target after which it is left.
const FINDINGS_MAX: usize = 5;

struct Options {
    seconds: u64,
    target: Option<String>,
    seed: u64,
    trace: bool,
    write_seeds: bool,
    files: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let options = match parse(env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("replay: {problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("replay: {error}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options =
        Options { seconds: 10, target: None, seed: 1, trace: false, write_seeds: false, files: Vec::new() };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--seconds" => {
                options.seconds = value()?.parse().map_err(|error| format!("--seconds: {error}"))?
            }
            "--seed" => options.seed = value()?.parse().map_err(|error| format!("--seed: {error}"))?,
            "--target" => options.target = Some(value()?),
            "--trace" => options.trace = true,
            "--write-seeds" => options.write_seeds = true,
            _ if argument.starts_with('-') => return Err(format!("unknown option {argument}")),
            _ => options.files.push(argument.into()),
        }
    }
    if !options.files.is_empty() && options.target.is_none() {
        return Err("a FILE needs --target".to_owned());
    }
    Ok(options)
}

fn run(options: &Options) -> io::Result<bool> {
    if options.write_seeds {
        return write_seeds().map(|()| true);
    }
    let targets: Vec<&Target> = match &options.target {
        None => TARGETS.iter().collect(),
        Some(name) => vec![
            halley_fuzz::target(name)
                .ok_or_else(|| io::Error::other(format!("no target is named {name}")))?,
        ],
    };
    let current = Arc::new(Current::default());
    Current::watch(Arc::clone(&current));
    let share = Duration::from_secs(options.seconds) / u32::try_from(targets.len()).unwrap_or(1).max(1);
    let (mut inputs, mut findings) = (0, 0);
    for target in targets {
        let mut runner = Runner { target, current: &current, trace: options.trace, inputs: 0, findings: 0 };
        if options.files.is_empty() {
            let seeds = seeds_of(target)?;
            runner.seeds(&seeds)?;
            runner.mutations(&seeds, share, options.seed)?;
        } else {
            for file in &options.files {
                runner.input(&fs::read(file)?)?;
            }
        }
        println!("{:<24} {:>10} inputs, {} failed", target.name, runner.inputs, runner.findings);
        inputs += runner.inputs;
        findings += runner.findings;
    }
    println!("fuzz replay: {inputs} inputs, {findings} failed");
    Ok(findings == 0)
}

/// Runs inputs of one target.
struct Runner<'t> {
    target: &'t Target,
    current: &'t Current,
    trace: bool,
    inputs: u64,
    findings: usize,
}

impl Runner<'_> {
    fn seeds(&mut self, seeds: &[Vec<u8>]) -> io::Result<()> {
        self.input(b"")?;
        for seed in seeds {
            self.input(seed)?;
        }
        Ok(())
    }

    fn mutations(&mut self, seeds: &[Vec<u8>], time: Duration, seed: u64) -> io::Result<()> {
        let started = Instant::now();
        let mut random = Random::new(seed);
        let mut last = Vec::new();
        while started.elapsed() < time && self.findings < FINDINGS_MAX {
            // A clock read costs more than a short input.
            for _ in 0..64 {
                let mut input = match random.below(4) {
                    0 => last,
                    _ => seeds[random.below(seeds.len())].clone(),
                };
                let other = &seeds[random.below(seeds.len())];
                mutate(&mut random, &mut input, other, self.target.words);
                self.input(&input)?;
                last = input;
            }
        }
        Ok(())
    }

    fn input(&mut self, input: &[u8]) -> io::Result<()> {
        if self.trace {
            keep(self.target, "last", input)?;
        }
        self.inputs += 1;
        self.current.begin(self.target, input);
        let result = catch_unwind(|| (self.target.run)(input));
        self.current.end();
        if result.is_err() {
            self.findings += 1;
            let path = keep(self.target, &format!("panic-{:016x}", hash(input)), input)?;
            eprintln!("{}: the input is kept in {}", self.target.name, path.display());
        }
        Ok(())
    }
}

/// The input being tried, seen by the thread that notices when one takes too long.
#[derive(Default)]
struct Current(Mutex<Option<Running>>);

struct Running {
    since: Instant,
    target: &'static str,
    input: Vec<u8>,
}

impl Current {
    fn begin(&self, target: &Target, input: &[u8]) {
        let running = Running { since: Instant::now(), target: target.name, input: input.to_vec() };
        *self.0.lock().expect("nothing panics under this lock") = Some(running);
    }

    fn end(&self) {
        *self.0.lock().expect("nothing panics under this lock") = None;
    }

    fn watch(current: Arc<Current>) {
        thread::spawn(move || {
            loop {
                thread::sleep(Duration::from_millis(500));
                let running = current.0.lock().expect("nothing panics under this lock");
                let Some(running) =
                    running.as_ref().filter(|running| running.since.elapsed() > INPUT_TIME_MAX)
                else {
                    continue;
                };
                let target = halley_fuzz::target(running.target).expect("it runs");
                let kept = keep(target, &format!("slow-{:016x}", hash(&running.input)), &running.input);
                eprintln!(
                    "{}: an input runs for more than {INPUT_TIME_MAX:?}, kept: {kept:?}",
                    running.target
                );
                process::exit(1);
            }
        });
    }
}

/// The committed seeds and what libFuzzer found on this machine, in a stable order.
fn seeds_of(target: &Target) -> io::Result<Vec<Vec<u8>>> {
    let entry = root().join("fuzz_targets").join(target.name).with_extension("rs");
    if !entry.exists() {
        return Err(io::Error::other(format!("{} is missing", entry.display())));
    }
    let mut paths = files(&root().join("seeds").join(target.name))?;
    if paths.is_empty() {
        return Err(io::Error::other(format!(
            "seeds/{} has no files: run replay --write-seeds",
            target.name
        )));
    }
    paths.extend(files(&root().join("corpus").join(target.name))?);
    let mut seeds = Vec::new();
    for path in paths {
        let bytes = fs::read(path)?;
        if bytes.len() <= INPUT_BYTES_MAX {
            seeds.push(bytes);
        }
    }
    Ok(seeds)
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}

fn write_seeds() -> io::Result<()> {
    for target in TARGETS {
        let folder = root().join("seeds").join(target.name);
        fs::create_dir_all(&folder)?;
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            fs::write(folder.join(format!("seed-{number:02}")), seed)?;
        }
    }
    Ok(())
}

fn keep(target: &Target, name: &str, input: &[u8]) -> io::Result<PathBuf> {
    let folder = root().join("artifacts").join(target.name);
    fs::create_dir_all(&folder)?;
    let path = folder.join(name);
    fs::write(&path, input)?;
    Ok(path)
}

fn hash(input: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    hasher.finish()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
