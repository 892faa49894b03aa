#!/usr/bin/env python3
"""Takes the checks of the Rust code out, one at a time, and lists those that no test notices.

    python3 tests/breaks.py                          refusals in transfer, client, node, store and ledger: hours
    python3 tests/breaks.py --choices                these, and what only chooses
    python3 tests/breaks.py --crates store --near    one crate, by its own tests only: minutes
    python3 tests/breaks.py --only client/src/market the checks of some files

All breaks are compiled into one copy of the code (under target/breaks), each behind a number: one build serves all,
and `BREAK=7` in the environment takes number 7 out. A first run of every test tells which checks it reaches; a check
is taken out for the tests that reach it, quick and particular ones first. What a run found is kept beside the copy, and
the same command goes on from it for as long as the code is the same. After a change, what was noticed still counts for
the files that did not change; to begin anew, remove target/breaks.

A break is a refusal that never comes, one side of an `and` or `or` left out, a call named like a check that always
passes. With --choices it is also a loop or function that is never left early, a filter that lets everything through, a
function that always says yes or no: what such code decides is often checked once more elsewhere. Breaks are made from
the code, so a check that is added is broken as well. What does not compile without its check is left out and counted.
`unnoticed.txt` beside this file names the breaks that tests may leave unnoticed, under the reason; anything else that
goes unnoticed is a failure, and with --near so is a name there that is noticed by now or is gone. The last line says
the verdict.
"""

import argparse
import collections
import concurrent.futures
import hashlib
import json
import os
import pathlib
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# A crate by its own tests has a copy of its own: what a run of hours found stays.
WORK = ROOT / "target" / ("breaks-near" if "--near" in sys.argv else "breaks")
# A folder in memory is faster.
SCRATCH = pathlib.Path(os.environ.get("TMPDIR", WORK))
CRATES = ["transfer", "client", "node", "store", "ledger"]
# What a call is named that checks something.
CHECKING = re.compile(
    r"verify|check|ensure|valid|refuse|require|confirm|agree|matches|compare|proven|prove|enough|fits|allow|authori"
)
# What the last statement of a block begins with when it refuses, and when it leaves.
REFUSES = re.compile(r"\s*(return\s+)?(Some\()?Err\(")
LEAVES = re.compile(r"\s*(return\b|continue\b|break\b|Err\(|Some\(Err|None\b|false\b)")
OPEN, CLOSE = "([{", ")]}"

# Compiled into the copy beside the code.
SWITCH = r"""
use std::{env, fs::OpenOptions, io::Write, process, sync::{OnceLock, atomic::{AtomicBool, Ordering}}};

static OUT: OnceLock<usize> = OnceLock::new();
static HITS: OnceLock<Option<String>> = OnceLock::new();
static SEEN: [AtomicBool; 1 << 14] = [const { AtomicBool::new(false) }; 1 << 14];

pub fn off(number: usize) -> bool {
    if let Some(folder) = HITS.get_or_init(|| env::var("BREAK_HITS").ok())
        && !SEEN[number].swap(true, Ordering::Relaxed)
    {
        let path = format!("{folder}/{}", process::id());
        let file = OpenOptions::new().create(true).append(true).open(path);
        let _ = file.and_then(|mut file| file.write_all(format!("{number}\n").as_bytes()));
    }
    *OUT.get_or_init(|| env::var("BREAK").ok().and_then(|text| text.parse().ok()).unwrap_or(0)) == number
}
pub fn live(number: usize) -> bool { !off(number) }
pub trait OrPass { fn or_pass(self, number: usize) -> Self; }
impl<E> OrPass for Result<(), E> {
    fn or_pass(self, number: usize) -> Self { if off(number) { Ok(()) } else { self } }
}
impl OrPass for bool { fn or_pass(self, number: usize) -> Self { off(number) || self } }
"""


# The text of Rust, as far as it is needed.


def masked(text):
    """The text with comments, strings and characters blanked, of the same length."""
    out, at = list(text), 0
    raw, character = re.compile(r'b?r(#*)"'), re.compile(r"'(\\.[^']*|[^\\'])'")

    def blank(begin, end):
        for place in range(begin, min(end, len(out))):
            if out[place] != "\n":
                out[place] = " "

    while at < len(text):
        end = at + 1
        if text.startswith("//", at):
            end = text.find("\n", at)
            end = len(text) if end < 0 else end
            blank(at, end)
        elif text.startswith("/*", at):
            end = text.find("*/", at) + 2
            blank(at, end)
        elif (found := raw.match(text, at)) and not (at and (text[at - 1].isalnum() or text[at - 1] == "_")):
            close = '"' + found.group(1)
            end = text.find(close, found.end()) + len(close)
            blank(at, end)
        elif text[at] == '"':
            while text[end] != '"':
                end += 2 if text[end] == "\\" else 1
            blank(at + 1, end)
            end += 1
        elif text[at] == "'" and (found := character.match(text, at)):
            end = found.end()
            blank(at, end)
        at = end
    return "".join(out)


def closing(mask, at):
    """Where the bracket closes that opens at a place."""
    depth = 0
    for place in range(at, len(mask)):
        if mask[place] in OPEN:
            depth += 1
        elif mask[place] in CLOSE:
            depth -= 1
            if depth == 0:
                return place
    return -1


def block(mask, at):
    """Where the block opens that belongs to what stands at a place; -1 when there is none."""
    depth = 0
    for place in range(at, len(mask)):
        letter = mask[place]
        if letter == "{" and depth == 0:
            return place
        if letter in OPEN:
            depth += 1
        elif letter in CLOSE:
            depth -= 1
        if depth < 0 or (letter == ";" and depth == 0):
            return -1
    return -1


def parts(mask, word):
    """The sides of an operator that stands in no bracket."""
    found, depth, last, at = [], 0, 0, 0
    while at < len(mask):
        if mask[at] in OPEN:
            depth += 1
        elif mask[at] in CLOSE:
            depth -= 1
        elif depth == 0 and mask.startswith(word, at):
            found.append((last, at))
            at += len(word)
            last = at
            continue
        at += 1
    return [*found, (last, len(mask))]


def last_statement(mask):
    """Where the last statement of the inside of a block begins."""
    whole, depth, begin = mask.rstrip(), 0, 0
    for at, letter in enumerate(whole):
        if letter in OPEN:
            depth += 1
        elif letter in CLOSE:
            depth -= 1
        elif letter == ";" and depth == 0 and whole[at + 1:].strip():
            begin = at + 1
    return begin


def leaves(mask):
    """Whether the inside of a block leaves, and whether it does so by a refusal."""
    last = mask[last_statement(mask):]
    return bool(LEAVES.match(last)), bool(REFUSES.match(last))


# Breaks.


class File:
    """One file, and the breaks that are made of it."""

    def __init__(self, path, name, add):
        self.path, self.name, self.add = path, name, add
        self.text = path.read_text()
        self.mask = masked(self.text)
        self.edits, self.dead = [], []
        for found in re.finditer(r"#\[cfg\(test\)\]|macro_rules!|\bconst fn\b", self.mask):
            begin = block(self.mask, found.end())
            if begin >= 0:
                self.dead.append((found.start(), closing(self.mask, begin)))

    def places(self, pattern):
        for found in re.finditer(pattern, self.mask):
            if not any(begin <= found.start() <= end for begin, end in self.dead):
                yield found

    def number(self, words, begin, end, refuses):
        text = " ".join(self.text[begin:end].split())
        return self.add(f"{self.name}: {words} `{text[:90]}`", refuses)

    def condition(self, begin, end, never, where, refuses):
        """A condition that never holds, or always; of several, each by itself."""
        raw = self.mask[begin:end]
        if re.search(r"\blet\b", raw):
            if never and (number := self.number(f"{where} never", begin, end, refuses)):
                self.edits.append((begin, f" ::breaks::live({number}) &&"))
            return
        for one, other in parts(raw, "||" if never else "&&"):
            one, other = begin + one, begin + other
            if number := self.number(f"{where} {'never' if never else 'always'}", one, other, refuses):
                call = f"::breaks::live({number}) && (" if never else f"::breaks::off({number}) || ("
                self.edits += [(one, f" ({call}"), (other, ")) ")]

    def refusals(self):
        for found in self.places(r"\bif\b"):
            begin, arrow = block(self.mask, found.end()), self.mask.find("=>", found.end())
            if arrow >= 0 and (begin < 0 or arrow < begin):
                self.guard(found.end(), arrow)
            elif begin >= 0:
                end = closing(self.mask, begin)
                other = re.match(r"\s*else\s*\{", self.mask[end + 1:])
                left, refuses = leaves(self.mask[begin + 1:end])
                if left:
                    self.condition(found.end(), begin, True, "if", refuses)
                elif other:
                    place = end + other.end()
                    left, refuses = leaves(self.mask[place + 1:closing(self.mask, place)])
                    self.condition(found.end(), begin, not left, "if", refuses)

    def guard(self, begin, end):
        raw = self.mask[begin:end]
        if ";" in raw or raw.count("(") != raw.count(")"):
            return
        arm = self.mask[end + 2:end + 400]
        left = re.match(r"\s*\{?\s*(return\s+)?(Err|None|false|continue|break)", arm)
        refuses = re.match(r"\s*\{?\s*(return\s+)?(Some\()?Err\(", arm)
        self.condition(begin, end, bool(left) or " let " in raw, "guard", bool(refuses))

    def filters(self):
        for found in self.places(r"\.filter\(\s*\|[^|]*\|"):
            end = closing(self.mask, self.mask.find("(", found.start()))
            if not self.mask[found.end():end].strip().startswith("{"):
                refuses = self.mask[end + 1:].lstrip().startswith(".ok_or")
                self.condition(found.end(), end, False, "filter", refuses)

    def calls(self):
        for found in self.places(r"\b([a-z_0-9]+)\("):
            if not CHECKING.search(found.group(1)) or re.search(r"\bfn\s+$", self.mask[:found.start()][-8:]):
                continue
            end = closing(self.mask, found.end() - 1) + 1
            awaited = re.match(r"\s*\.await", self.mask[end:])
            place = end + (awaited.end() if awaited else 0)
            after = self.mask[place:place + 40].lstrip()
            if after.startswith(("?", ".map_err", ".is_err", ".is_ok", ";", ")", "}")):
                if number := self.number("passes", found.start(), end, True):
                    self.edits.append((place, f".or_pass({number})"))

    def answers(self):
        for found in self.places(r"\bfn\s+([a-z_0-9]+)"):
            begin = block(self.mask, found.end())
            if begin < 0 or not re.search(r"->\s*bool\s*$", self.mask[found.end():begin]):
                continue
            inside = self.mask[begin + 1:closing(self.mask, begin)].rstrip()
            one, other = begin + 1 + last_statement(inside), begin + 1 + len(inside)
            last = self.mask[one:other]
            if re.match(r"\s*(if|match|for|while|loop|return|let)\b", last) or "{" in last.split("(")[0]:
                continue
            for says, call in (("yes", "::breaks::off({}) || ("), ("no", "::breaks::live({}) && (")):
                if number := self.number(f"fn {found.group(1)} says {says}", one, other, False):
                    self.edits += [(one, " " + call.format(number)), (other, ")")]

    def write(self):
        for make in (self.refusals, self.filters, self.calls, self.answers):
            make()
        out, last = [], 0
        for place, text in sorted(self.edits, key=lambda edit: edit[0]):
            out += [self.text[last:place], text]
            last = place
        out.append(self.text[last:])
        lines = "".join(out).split("\n")
        if self.edits:
            head = next(at for at, line in enumerate(lines) if line.strip() and not line.startswith(("//!", "#![")))
            lines.insert(head, "#[allow(unused_imports)] use ::breaks::OrPass as _;")
        self.path.write_text("\n".join(lines))


# The copy.


def tracked():
    out = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True)
    return [name for name in out.split("\n") if name and (ROOT / name).is_file()]


def digest(crates, near):
    """What the results are results of."""
    hasher = hashlib.sha256(repr((crates, near)).encode())
    for name in sorted(tracked()):
        if name.endswith((".rs", ".toml", ".lock", "breaks.py")):
            hasher.update(name.encode() + b"\0" + (ROOT / name).read_bytes())
    return hasher.hexdigest()


def file_digest(name):
    return hashlib.sha256((ROOT / name).read_bytes()).hexdigest()


def make(crates, skip):
    """Writes the copy with all breaks but those that do not compile; says which there are, and which are refusals."""
    tree = WORK / "tree"
    # Files of an earlier state would be compiled as well.
    shutil.rmtree(tree, ignore_errors=True)
    for name in tracked():
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    (tree / "breaks/src").mkdir(parents=True, exist_ok=True)
    (tree / "breaks/src/lib.rs").write_text(SWITCH)
    package = '[package]\nname = "breaks"\nversion = "0.1.0"\nedition = "2024"\nlicense = "MIT"\n'
    (tree / "breaks/Cargo.toml").write_text(package)
    members = tree / "Cargo.toml"
    members.write_text(members.read_text().replace("members = [", 'members = ["breaks", ', 1))
    # What a test does with the environment must leave the switch in it.
    kept = '.env_clear().envs(std::env::vars().filter(|(name, _)| name.starts_with("BREAK")))'
    # The binary in the target folder is that of the last build, of whatever tree.
    ours = json.dumps(str(WORK / "symbolon"))
    for path in (tree / "cli/tests").rglob("*.rs"):
        text = path.read_text().replace(".env_clear()", kept)
        path.write_text(text.replace('env!("CARGO_BIN_EXE_symbolon")', ours))
    names, refusals, counts = {}, [], collections.Counter()

    def add(name, refuses):
        counts[name] += 1
        count = counts[name]
        name = name if count == 1 else f"{name} ({count})"
        number = sum(counts.values())
        if name in skip:
            return None
        names[number] = name
        if refuses:
            refusals.append(number)
        return number

    for crate in crates:
        manifest = tree / crate / "Cargo.toml"
        entry = '[dependencies]\nbreaks = { path = "../breaks" }\n'
        manifest.write_text(manifest.read_text().replace("[dependencies]\n", entry, 1))
        lints = manifest.read_text().replace("[lints]\nworkspace = true\n", "")
        manifest.write_text(lints)
        for path in sorted((tree / crate / "src").rglob("*.rs")):
            name = str(path.relative_to(tree))
            if path.name != "tests.rs" and "/tests/" not in name:
                File(path, name, add).write()
    return names, refusals


def cargo(*words, **options):
    # The same target folder: what is not ours is compiled already.
    environment = dict(os.environ, CARGO_TARGET_DIR=str(ROOT / "target"))
    return subprocess.run(["cargo", *words], cwd=WORK / "tree", env=environment, text=True, **options)


def build(crates, near):
    """Compiles the copy; breaks that do not compile are left out. Gives the breaks and the test programs."""
    selected = [word for crate in crates for word in ("-p", f"symbolon-{crate}")] if near else ["--workspace"]
    skip = set()
    while True:
        names, refusals = make(crates, skip)
        out = cargo("build", "--tests", "--offline", "--keep-going", "--message-format", "json", *selected,
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        rows = [json.loads(line) for line in out.stdout.split("\n") if line.startswith("{")]
        faults = [row["message"] for row in rows
                  if row["reason"] == "compiler-message" and row["message"]["level"] == "error"]
        bad = set()
        for span in (span for fault in faults for span in fault["spans"] if span["is_primary"]):
            path = WORK / "tree" / span["file_name"]
            if path.is_file():
                lines = path.read_text().split("\n")[span["line_start"] - 1:span["line_end"]]
                numbers = re.findall(r"(?:breaks::off|breaks::live|or_pass)\((\d+)\)", "\n".join(lines))
                bad |= {names[int(number)] for number in numbers if int(number) in names}
        if out.returncode == 0:
            if not near:
                shutil.copy2(ROOT / "target/debug/symbolon", WORK / "symbolon")
            programs = [(row["executable"], str(pathlib.Path(row["manifest_path"]).parent), row["target"]["name"])
                        for row in rows if row["reason"] == "compiler-artifact" and row["executable"]
                        and row["profile"]["test"]]
            return names, refusals, programs, len(skip)
        if not bad - skip:
            sys.exit("\n".join(fault["rendered"] for fault in faults[:3]) or out.stderr[-2000:])
        skip |= bad


# Tests.


def run(worker, program, tests, environment, seconds):
    """Whether tests pass; they and what they started are gone afterwards, with the first that fails."""
    executable, folder, _ = program
    scratch = SCRATCH / f"scratch{worker}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    scratch.chmod(0o1777)
    # One seed tells as much as three here: a check is reached by it or is not.
    environment = dict(os.environ, CARGO_MANIFEST_DIR=folder, TMPDIR=str(scratch), SYMBOLON_SEEDS="1", **environment)
    child = subprocess.Popen([executable, "--exact", *tests], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    late = threading.Timer(seconds, os.killpg, (child.pid, signal.SIGKILL))
    late.start()
    try:
        if any(line.startswith(b"test ") and line.rstrip().endswith(b"FAILED") for line in child.stdout):
            return False
        return child.wait() == 0
    finally:
        late.cancel()
        # Its own group, that of a child that was started here.
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.stdout.close()
        child.wait()


def tests_of(programs):
    for place, program in enumerate(programs):
        def listed(*more):
            words = [program[0], "--list", "--format", "terse", *more]
            return subprocess.check_output(words, cwd=program[1], text=True).split("\n")

        ignored = listed("--ignored")
        for line in listed():
            if line.endswith(": test") and line not in ignored:
                yield place, line[:-len(": test")]


def reached(worker, program, place, name):
    """How long a test takes, and which breaks it reaches."""
    hits = WORK / f"hits{worker}"
    shutil.rmtree(hits, ignore_errors=True)
    hits.mkdir()
    hits.chmod(0o777)
    began = time.monotonic()
    passes = run(worker, program, [name], {"BREAK_HITS": str(hits)}, 600)
    seconds = time.monotonic() - began
    numbers = sorted({int(line) for path in hits.iterdir() for line in path.read_text().split()})
    if not passes:
        print(f"{program[2]} {name} fails with nothing taken out: it tells nothing here", flush=True)
    return {"program": place, "name": name, "passes": passes, "seconds": seconds, "hits": numbers}


def notices(worker, number, programs, tests, budget):
    """The first program whose tests notice that a break is made; none, when all pass. Tests that are quick and reach
    few other breaks come first, for as long as the budget lasts."""
    groups, took = collections.defaultdict(list), collections.Counter()
    for test in sorted(tests, key=lambda test: test["seconds"] * len(test["hits"]) ** 0.5):
        if test["passes"] and number in test["hits"]:
            if groups and budget < took.total() + test["seconds"]:
                continue
            group = test["program"], test["seconds"] > 2
            groups[group].append(test["name"])
            took[group] += test["seconds"]
    for group in sorted(groups, key=lambda group: took[group]):
        program = programs[group[0]]
        if not run(worker, program, groups[group], {"BREAK": str(number)}, 60 + 5 * took[group]):
            return program[2]
    return None


def at_once(count, work, items):
    """The answers of a function of a worker's number and an item, as they come, with their items."""
    free = queue.SimpleQueue()
    for worker in range(count):
        free.put(worker)

    def one(item):
        worker = free.get()
        try:
            return item, work(worker, item)
        finally:
            free.put(worker)

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        begun = [pool.submit(one, item) for item in items]
        yield from (done.result() for done in concurrent.futures.as_completed(begun))


def allowed():
    lines = (ROOT / "tests" / "unnoticed.txt").read_text().split("\n")
    return {line for line in lines if line and not line.startswith("#")}


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--crates", default=",".join(CRATES), help="which (default: all five)")
    words.add_argument("--choices", action="store_true", help="what only chooses as well")
    words.add_argument("--near", action="store_true", help="only with the tests of these crates themselves")
    words.add_argument("--only", metavar="TEXT", action="append", help="only breaks whose name contains it")
    words.add_argument("--tests", metavar="TEXT", action="append",
                       help="only tests whose program::name contains it: quick, where it is known which they are")
    words.add_argument("--budget", type=float, default=float("inf"), metavar="SECONDS",
                       help="how long the tests for one break may take together (default: as long as they do)")
    words.add_argument("--workers", type=int, default=2, help="test programs at once (default: 2)")
    options = words.parse_args()
    crates = options.crates.split(",")
    state, kept = WORK / "state.json", {}
    WORK.mkdir(parents=True, exist_ok=True)
    now = digest(crates, options.near)
    if state.is_file():
        kept = json.loads(state.read_text())
    if kept.get("digest") != now:
        names, refusals, programs, uncompiled = build(crates, options.near)
        print(f"{len(names)} breaks compiled, {len(refusals)} of them refusals; {uncompiled} do not compile", flush=True)
        found = at_once(options.workers, lambda worker, test: reached(worker, programs[test[0]], *test),
                        list(tests_of(programs)))
        tests = [row for _, row in found]
        files = {name: file_digest(name) for name in {name.split(":")[0] for name in names.values()}}
        same = {name for name, digest in files.items() if kept.get("files", {}).get(name) == digest}
        by = {name: by for name, by in kept.get("by", {}).items()
              if by and name in names.values() and name.split(":")[0] in same}
        kept = {"digest": now, "names": names, "refusals": refusals, "programs": programs, "tests": tests,
                "files": files, "by": by}
        state.write_text(json.dumps(kept))
    names = {int(number): name for number, name in kept["names"].items()}
    chosen = {number: name for number, name in names.items()
              if (options.choices or number in kept["refusals"])
              and (not options.only or any(text in name for text in options.only))}
    # What a smaller budget left unnoticed is tried again.
    left = [number for number, name in sorted(chosen.items()) if kept["by"].get(name) is None]
    programs = kept["programs"]
    tests = [test for test in kept["tests"]
             if not options.tests or any(text in f"{programs[test['program']][2]}::{test['name']}" for text in options.tests)]

    def tried_by(worker, number):
        return notices(worker, number, programs, tests, options.budget)

    tried = at_once(options.workers, tried_by, left)
    for done, (number, by) in enumerate(tried, 1):
        kept["by"][names[number]] = by
        state.write_text(json.dumps(kept))
        if by is None and names[number] not in allowed():
            print(f"unnoticed: {names[number]}", flush=True)
        if done % 50 == 0:
            print(f"{done} of {len(left)}", flush=True)
    missed = [name for _, name in sorted(chosen.items()) if kept["by"][name] is None]
    stale = [name for name in sorted(allowed() - set(missed))
             if options.near and name.split("/")[0] in crates
             and (name in chosen.values() or name not in names.values())
             and (not options.only or any(text in name for text in options.only))]
    for name in stale:
        print(f"named in unnoticed.txt, and {'noticed' if name in names.values() else 'gone'}: {name}")
    new = [name for name in missed if name not in allowed()]
    print(f"{len(chosen)} checks taken out: {len(chosen) - len(missed)} noticed, {len(missed) - len(new)} need not be, "
          f"{len(new)} unnoticed, {len(stale)} names that are stale")
    print("held" if not new and not stale else "FAILED")
    sys.exit(bool(new or stale))


main()
