#!/usr/bin/env python3
"""Counts the instructions that one message costs on each hot path (bench/examples/hot_paths.rs), under callgrind: repeatable on any
machine, however busy. Compares them with bench/instructions.json.

    scripts/instructions.py            print them
    scripts/instructions.py --check    fail where a path costs more than 5 % more than it did
    scripts/instructions.py --write    take them as the measure from now on
"""
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MEASURE = ROOT / "bench/instructions.json"
PATHS = ["decode-binary", "decode-json", "append", "pull", "filter"]
FEW, MANY = 3200, 9600
ALLOWED = 1.05


def collected(program, path, count):
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, path, str(count)]
    run = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode != 0 or not found:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{run.stderr}")
    return int(found.group(1))


def environment():
    """What else decides how many instructions there are: the compiler, and what libraries find in the processor."""
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    flags = re.search(r"^flags\s*:(.*)", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    features = sorted({"avx2", "bmi2", "erms", "fsrm"} & set(flags.group(1).split() if flags else []))
    return {"rustc": rustc, "processor": " ".join(features)}


def main():
    how = sys.argv[1] if len(sys.argv) > 1 else None
    if how not in (None, "--check", "--write"):
        sys.exit(__doc__)
    subprocess.run(
        ["cargo", "build", "-q", "--release", "--locked", "-p", "halley-bench", "--example", "hot_paths"], cwd=ROOT, check=True
    )
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    program = target / "release/examples/hot_paths"
    # What starting costs is in both counts, and goes away with the difference.
    per_message = {
        path: round((collected(program, path, MANY) - collected(program, path, FEW)) / (MANY - FEW)) for path in PATHS
    }
    here = environment()
    if how == "--write":
        MEASURE.write_text(json.dumps({"environment": here, "instructions": per_message}, indent=2) + "\n")
    kept = json.loads(MEASURE.read_text())
    measure, there = kept["instructions"], kept["environment"]
    comparable = here == there
    if not comparable:
        print(f"not comparable: measured with {there}, and this is {here}; take it as the measure with --write")
    worse = []
    for path, count in per_message.items():
        ratio = count / measure[path]
        print(f"{path:14} {count:6} instructions per message, {measure[path]} before ({ratio - 1:+.1%})")
        if ratio > ALLOWED:
            worse.append(path)
    if how == "--check" and comparable and worse:
        sys.exit(f"{', '.join(worse)}: more than {ALLOWED - 1:.0%} worse; look with a profiler, or say why with --write")


main()
