#!/usr/bin/env python3
"""Writes the generated part of docs/compat.md: which requests which clients made of Halley in the tests, and where its
answers differ from those of a real RocketMQ.

  scripts/compat.py          after `cargo test` and scripts/rocketmq-test.sh: writes what they saw
  scripts/compat.py --check  fails where the page is another one; a few requests depend on timing, and may be missing
  scripts/compat.py --forget before them: forgets what earlier runs saw

The tests leave what they saw in CARGO_TARGET_DIR (target) /tmp/compat.
"""
import json
import os
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/compat.md"
CODES = ROOT / "broker-core/wire/src/code.rs"
SEEN = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "tmp/compat"
BEGIN = "<!-- from here on written by scripts/compat.py -->"

# Language and version of a request's header: the version is an ordinal of RocketMQ's MQVersion.
CLIENTS = {("JAVA", "513"): "Java 5.5.0", ("JAVA", "409"): "Java 4.9.8", ("GO", "317"): "Go 2.1.2"}
# Of so many requests the page may claim a client that a run did not see.
UNSEEN_MAX = 5
ROLES = {"BrokerCode": "broker", "NamesrvCode": "name_server"}


def codes():
    """Role, number, name and meaning of each request code that Halley serves."""
    role, meaning = None, []
    for line in CODES.read_text().splitlines():
        if opened := re.match(r"    (\w+Code) \{", line):
            role, meaning = ROLES.get(opened[1]), []
        elif comment := re.match(r"        /// (.*)", line):
            meaning.append(comment[1])
        elif code := re.match(r"        (\w+) = ([\d_]+),", line):
            if role:
                text = " ".join(meaning).split(". ")[0].rstrip(".")
                yield role, int(code[2].replace("_", "")), code[1], text
            meaning = []


def seen():
    """What the tests saw: (role, code) by client, what was compared, and the differences."""
    asked, compared, differences = set(), set(), []
    files = sorted(SEEN.glob("*.jsonl"))
    if not files:
        sys.exit(f"compat.py: no test left anything in {SEEN}; run cargo test first")
    for file in files:
        for line in file.read_text().splitlines():
            entry = json.loads(line)
            if "requests" in entry:
                labels = dict(re.findall(r'(\w+)="([^"]*)"', entry["requests"]))
                client = CLIENTS.get((labels["language"], labels["version"]))
                if client and labels["code"] != "-1":
                    asked.add((labels["role"], int(labels["code"]), client))
            elif "compared" in entry:
                compared.add((entry["compared"]["role"], entry["compared"]["code"]))
            elif entry["difference"] not in differences:
                differences.append(entry["difference"])
    return asked, compared, differences


def cell(text):
    return text.replace("|", "\\|").replace("\n", " ")


def page(asked, compared, differences):
    lines = ["", "## Requests", ""]
    lines += [f"✓: {', '.join(CLIENTS.values())} made the request in the tests; `mqadmin`, brokers and RocketMQ's own integration",
              "tests count as Java 5.5.0. *Compared*: the same requests were made of a real RocketMQ 5.5.0; ≠ stands where answers differ",
              "somewhere, as the next table says.", ""]
    for role, title in (("broker", "Broker"), ("name_server", "Name server")):
        lines += [f"| {title} | | {' | '.join(CLIENTS.values())} | compared |", "| --- | --- |" + " --- |" * (len(CLIENTS) + 1)]
        for of, code, name, meaning in sorted(codes()):
            if of != role:
                continue
            marks = ["✓" if (role, code, client) in asked else "" for client in CLIENTS.values()]
            differs = any([role, code] in difference["codes"] for difference in differences)
            marks.append("" if (role, code) not in compared else "≠" if differs else "=")
            lines.append(f"| {code} {name} | {cell(meaning)} | {' | '.join(marks)} |")
        lines.append("")
    for stays, title in ((True, "Differences that stay"), (False, "Differences that are to go")):
        lines += [f"## {title}", "",
                  "Where a script of `tests/rocketmq/differential` and its case are followed by fields, only these differ.", "",
                  "| requests | where | why |", "| --- | --- | --- |"]
        for difference in differences:
            if difference["stays"] == stays:
                numbers = ", ".join(sorted({str(code) for _, code in difference["codes"]}, key=int))
                lines.append(f"| {numbers} | {cell(difference['where'])} | {cell(difference['why'])} |")
        lines.append("")
    return "\n".join(lines)


def main():
    argument = sys.argv[1] if len(sys.argv) > 1 else None
    if argument == "--forget":
        shutil.rmtree(SEEN, ignore_errors=True)
        return
    if argument not in (None, "--check"):
        sys.exit(__doc__)
    prose, _, committed = PAGE.read_text().partition(BEGIN)
    written = page(*seen())
    if argument is None:
        PAGE.write_text(prose.rstrip() + "\n\n" + BEGIN + "\n" + written)
        return
    was, now = rows(committed), rows(written)
    earlier = {row[0]: row for row in was}
    unseen = [row[0] for row in now if row[0] in earlier and not earns(row, earlier[row[0]])]
    wrong = [f"no longer  {' | '.join(row)}" for row in was if row[0] not in {row[0] for row in now}]
    wrong += [f"new        {' | '.join(row)}" for row in now if row[0] not in earlier]
    for row in unseen:
        print(f"not all that the page claims was seen this time: {row}")
    if wrong or len(unseen) > UNSEEN_MAX:
        sys.exit("docs/compat.md is not what the tests saw; run scripts/compat.py and look at what changed\n" + "\n".join(wrong))


def rows(text):
    """The rows of all tables: of a request its cells, of a difference where and why as one."""
    found = []
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith("| ---"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            found.append(cells if len(cells) > 3 else [" | ".join(cells[1:])])
    return found


def earns(seen, claimed):
    """Whether the tests saw all that a row claims; they may see more, since some requests depend on timing."""
    return len(seen) == len(claimed) and all(old in ("", new) for old, new in zip(claimed, seen))


main()
