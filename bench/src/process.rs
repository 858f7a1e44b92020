//! What another process has used, from `/proc`.

use crate::Error;
use std::{fs, time::Duration};

/// Clock ticks per second of `/proc/PID/stat`; Linux reports 100 to user space on every architecture.
const TICKS: f64 = 100.0;

/// What a process has used so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// CPU time of all its threads, finished ones too.
    pub(crate) cpu: Duration,
    /// Memory resident now, in bytes.
    pub(crate) resident: u64,
}

/// Reads the usage of `pid`, `None` for this process.
pub(crate) fn usage(pid: Option<u32>) -> Result<Usage, Error> {
    let pid = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        fs::read_to_string(&path).map_err(|error| Error::of(&path, error))
    };
    let (stat, status) = (read("stat")?, read("status")?);
    let cpu = cpu_of_stat(&stat).ok_or_else(|| Error::new(format!("/proc/{pid}/stat is not understood")))?;
    Ok(Usage { cpu, resident: resident_of_status(&status).unwrap_or(0) })
}

fn cpu_of_stat(stat: &str) -> Option<Duration> {
    // The command's name, in parentheses, may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks: f64 = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
    Some(Duration::from_secs_f64(ticks / TICKS))
}

fn resident_of_status(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Share of the last ten seconds in which some task waited for a processor, in percent: above 10 a run is noisy.
pub(crate) fn cpu_pressure() -> Option<f64> {
    let pressure = fs::read_to_string("/proc/pressure/cpu").ok()?;
    let line = pressure.lines().find(|line| line.starts_with("some"))?;
    line.split_whitespace().find_map(|field| field.strip_prefix("avg10="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read() {
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 9 0 1";
        assert_eq!(cpu_of_stat(stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu_of_stat("42 (x"), None);
        assert_eq!(resident_of_status("Name: x\nVmRSS:\t  2048 kB\n"), Some(2 * 1024 * 1024));
        assert!(usage(None).unwrap().resident > 0);
    }
}
