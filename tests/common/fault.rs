//! Faults below a process: `strace` makes its system calls fail or wait.

use super::eventually;
use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

/// The calls that write to files at a place: to the log, its indexes and snapshots.
pub const WRITES: &str = "pwrite64,pwritev,pwritev2";

/// The calls that sync.
pub const SYNCS: &str = "fdatasync";

/// A tool or a right is not there: says so, and fails where it must be there. For use as `None` of what needs it.
pub fn missing<T>(what: &str) -> Option<T> {
    let message = format!("skipped: {what}");
    assert!(std::env::var_os("CI").is_none(), "{message}");
    eprintln!("{message}");
    None
}

/// Whether the program ran and was content; what it says is shown where it was not.
pub fn run(program: &str, arguments: &[&str]) -> bool {
    let Ok(output) = Command::new(program).args(arguments).stdin(Stdio::null()).output() else {
        return false;
    };
    if !output.status.success() {
        eprintln!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}

/// Injects a fault into the calls of a process until it is dropped; the calls go on as before then.
pub struct Fault(Child);

impl Fault {
    /// `fault` as `strace` has it, such as `error=EIO:when=3`, counted per thread. `None` where there is no `strace`, which is
    /// said.
    pub fn inject(pid: u32, calls: &str, fault: &str) -> Option<Self> {
        let inject = format!("inject={calls}:{fault}");
        Self::attach(pid, calls, Path::new("/dev/null"), &["-e", &inject])
    }

    /// No fault: writes the calls into a file, each with its thread.
    pub fn watch(pid: u32, calls: &str, into: &Path) -> Option<Self> {
        Self::attach(pid, calls, into, &[])
    }

    fn attach(pid: u32, calls: &str, into: &Path, more: &[&str]) -> Option<Self> {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-q", "-e", &format!("trace={calls}"), "-o"]).arg(into);
        strace.args(more).args(["-p", &pid.to_string()]);
        let Ok(child) = strace.stderr(Stdio::null()).spawn() else {
            return missing("injected faults, install strace");
        };
        // Attached as soon as the process has a tracer.
        let status = format!("/proc/{pid}/status");
        eventually("strace to attach", || {
            let status = std::fs::read_to_string(&status).unwrap();
            status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
        });
        Some(Self(child))
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        // SIGTERM lets strace detach; SIGKILL would leave the process stopped.
        let _ = Command::new("kill").arg(self.0.id().to_string()).stderr(Stdio::null()).status();
        let _ = self.0.wait();
    }
}
