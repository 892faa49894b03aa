"""Code that the scripts of this folder share: a network of real processes on loopback, the cost of each process,
files of reproducible bytes, and tables. It needs only Python's standard library.

Every process that this module starts is a child of the script and ends with it. Each server holds a pipe that
closes when the script ends, however it ends. The module signals only these children.
"""

import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

MIB = 1 << 20
GIB = 1 << 30
# Seconds that a command may take when processes are killed, and its codes while one of them is away.
PATIENCE = 180
AWAY = (6, 7)
PAGE_TICKS = os.sysconf("SC_CLK_TCK")
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": MIB, "GiB": GIB, "kB": 1000, "MB": 10**6, "GB": 10**9}


def size(text):
    """A size as users type it: 4096, 100MiB, 1GiB."""
    for unit in sorted(UNITS, key=len, reverse=True):
        if text.endswith(unit):
            return int(float(text[: -len(unit)]) * UNITS[unit])
    return int(text)


def show(count):
    """Bytes in a readable form."""
    for unit in ("GiB", "MiB", "KiB"):
        if count >= UNITS[unit]:
            return f"{count / UNITS[unit]:.4g} {unit}"
    return f"{count} B"


def binary(path):
    """The program to measure."""
    if path is None:
        here = os.path.dirname(os.path.abspath(__file__))
        path = os.path.join(here, "..", "target", "release", "symbolon")
    if not os.access(path, os.X_OK):
        raise Failed(f"{path} is not there: cargo build --release, or name it with --symbolon")
    return os.path.abspath(path)


class Failed(Exception):
    """A condition that must hold does not hold."""


def need(holds, words):
    if not holds:
        raise Failed(words)


def conclude(main):
    """Runs a script. Its last line is the verdict, and its exit code says the same: 0 if everything held, 1 if not.
    `main` returns the text of what held."""
    try:
        held, words = True, main()
    except Failed as why:
        held, words = False, why
    except Exception as error:
        traceback.print_exc()
        held, words = False, f"{type(error).__name__}: {error}"
    sys.stderr.flush()
    print(f"{'held' if held else 'FAILED'}: {words}", flush=True)
    sys.exit(0 if held else 1)


def arguments(parser):
    """Options all scripts have."""
    parser.add_argument("--symbolon", metavar="PATH", help="the program (default: target/release/symbolon)")
    parser.add_argument("--dir", metavar="DIR", help="where to make the temporary folder (needs the room)")
    parser.add_argument("--json", action="store_true", help="print one JSON document as well")
    return parser


class Folder:
    """A temporary folder that is removed when the script ends."""

    def __init__(self, parent=None):
        self.path = tempfile.mkdtemp(prefix="symbolon-bench-", dir=parent)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)

    def file(self, *names):
        return os.path.join(self.path, *names)


def make(path, length, seed):
    """Writes `length` bytes that follow from `seed` and look random to every compressor."""
    stream = random.Random(seed)
    with open(path, "wb") as out:
        left = length
        while left:
            piece = stream.randbytes(min(left, 4 * MIB))
            out.write(piece)
            left -= len(piece)
        out.flush()
        os.fsync(out.fileno())


def same(one, other):
    """Whether two files have the same bytes."""
    if os.path.getsize(one) != os.path.getsize(other):
        return False
    with open(one, "rb") as first, open(other, "rb") as second:
        while True:
            piece = first.read(4 * MIB)
            if piece != second.read(4 * MIB):
                return False
            if not piece:
                return True


def cpu_of(pid):
    """CPU seconds of a process and of its children that have ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return 0.0
    return sum(int(ticks) for ticks in fields[11:15]) / PAGE_TICKS


def peak_of(pid):
    """The most memory a process has had, in bytes."""
    try:
        with open(f"/proc/{pid}/status") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except FileNotFoundError:
        pass
    return 0


def forget_peak(pid):
    """Resets the peak, so that each step has its own."""
    try:
        with open(f"/proc/{pid}/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass


def load():
    """How busy the machine is: the mean of runnable processes over the last minute."""
    return os.getloadavg()[0]


class Server:
    """A process that serves until the script ends."""

    def __init__(self, command, log, env=None, ready_line=True):
        self.command, self.log, self.env = command, log, env
        self.spent = 0.0
        self.start(ready_line)

    def start(self, ready_line=True):
        with open(self.log, "ab") as log:
            out = subprocess.PIPE if ready_line else log
            self.child = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=out, stderr=log, env=self.env
            )
        self.ready = None
        if ready_line:
            line = self.child.stdout.readline()
            if not line.strip():
                raise RuntimeError(f"{' '.join(self.command[:4])} did not start: see {self.log}")
            self.ready = json.loads(line)

    @property
    def pid(self):
        return self.child.pid

    def cpu(self):
        return self.spent + cpu_of(self.pid)

    def kill(self):
        """Kills the process at once, as a power cut would."""
        self.spent += cpu_of(self.pid)
        self.child.kill()
        self.child.wait()

    def stop(self):
        if self.child.poll() is None:
            self.child.stdin.close()
            try:
                self.child.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


class Done:
    """The result of a command and its cost."""

    def __init__(self, code, out, error, seconds, usage):
        self.code, self.out, self.error, self.seconds = code, out, error, seconds
        self.cpu = usage.ru_utime + usage.ru_stime
        self.peak = usage.ru_maxrss * 1024

    def document(self):
        if self.code != 0:
            raise RuntimeError(f"a command ended with {self.code}: {self.out.decode()}{self.error.decode()}")
        return json.loads(self.out) if self.out.strip() else {}


def run(command, env=None, cwd=None, read=True):
    """Runs a command to its end and measures it. With `read` unset, what it prints stays out of this process: the
    system counts the peak of this process as a part of the peak of every later command."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        began = time.monotonic()
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=error, env=env, cwd=cwd
        )
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        error.seek(0)
        printed = out.read() if read or child.returncode != 0 else b""
        return Done(child.returncode, printed, error.read(), seconds, usage)


class Network:
    """A ledger, nodes and one owner with money, each a process of its own, all on loopback."""

    def __init__(self, program, folder, nodes, capacity="64GiB", epoch="10s", env=None, node_options=None,
                 ledger_options=(), validators=1, keep_blocks=None):
        self.program, self.folder = program, folder
        self.home = os.path.join(folder, "home")
        self.env = {key: value for key, value in os.environ.items() if not key.startswith("SYMBOLON_")}
        self.env["SYMBOLON_LOG"] = "info"
        self.env.update(env or {})
        self.servers = []
        self.nodes = []
        # How often `until_ok` has run a command.
        self.tried = 0
        try:
            self.keep_blocks = ["--keep-blocks", str(keep_blocks)] if keep_blocks else []
            self.ledgers = self.begin_ledger(validators, ["--epoch", epoch, *ledger_options])
            self.ledger = self.ledgers[0]
            self.ticket = self.ledger.ready["ticket"]
            for number in range(nodes):
                more = node_options(number) if node_options else []
                line = ["node", "run", "--ledger", self.ticket, "--capacity", capacity]
                line += ["--price", "0.000001/epoch", "--dir", self.node_dir(number)] + more
                self.nodes.append(self.serve(line, f"node{number}.log"))
            self.do("init", "--as", "owner", "--no-passphrase", "--ledger", self.ticket)
            self.do("account", "faucet")
        except BaseException:
            self.__exit__()
            raise

    def begin_ledger(self, validators, options):
        """Starts a ledger of so many validators, each a process of its own."""
        folder = os.path.join(self.folder, "ledger")
        if validators == 1:
            return [self.serve(["ledger", "run", "--dir", folder, *options, *self.keep_blocks], "ledger.log")]
        found = [self.program, "--home", self.home, "--json", "ledger", "found", "--dir", folder]
        run(found + self.found_options(validators) + options, self.env).document()
        line = ["ledger", "run", *self.keep_blocks, "--dir"]
        return [
            self.serve(line + [os.path.join(folder, str(number + 1))], f"ledger{number + 1}.log")
            for number in range(validators)
        ]

    def found_options(self, validators):
        return ["--validators", str(validators)]

    def node_dir(self, number):
        return os.path.join(self.folder, f"node{number}")

    def serve(self, line, log):
        return self.serve_by([], line, log)

    def serve_by(self, runner, line, log):
        """Starts a server by a command that runs others, or by none."""
        command = runner + [self.program, "--home", self.home, "--json"] + line + ["--leashed"]
        server = Server(command, os.path.join(self.folder, log), self.env)
        self.servers.append(server)
        return server

    def command(self, *line):
        named = [] if "--as" in line else ["--as", "owner"]
        return [self.program, "--home", self.home, "--json", *line, *named]

    def run(self, *line):
        return run(self.command(*line), self.env)

    def do(self, *line):
        return self.run(*line).document()

    def until_ok(self, *line):
        """Runs a command again while it fails only because a killed process is still coming back."""
        until = time.monotonic() + PATIENCE
        while True:
            done = self.run(*line)
            self.tried += 1
            if done.code not in AWAY or until < time.monotonic():
                return done.document()

    def disturb(self, line, moment, server):
        """Starts a command, and after a moment kills a server and starts it again; without a server, kills the
        command. Says whether it was in the middle of it."""
        child = subprocess.Popen(
            self.command(*line), env=self.env,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        interrupted = False
        try:
            child.wait(moment)
        except subprocess.TimeoutExpired:
            interrupted = True
        if server is None:
            child.kill()
        else:
            server.kill()
            server.start()
        try:
            child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            raise Failed(f"{line[0]} hangs after a kill") from None
        return interrupted

    def forget_peaks(self):
        for server in self.servers:
            forget_peak(server.pid)

    def measure(self, *line):
        """Runs a client command; measures what it and its servers used."""
        self.forget_peaks()
        before = [server.cpu() for server in self.servers]
        done = self.run(*line)
        document = done.document()
        used = [server.cpu() - cpu for server, cpu in zip(self.servers, before)]
        return {
            "seconds": done.seconds,
            "client_cpu": done.cpu,
            "server_cpu": sum(used),
            "cpu": done.cpu + sum(used),
            "client_peak": done.peak,
            "node_peak": max((peak_of(node.pid) for node in self.nodes), default=0),
            "ledger_peak": peak_of(self.ledger.pid),
            "document": document,
        }

    def first_byte(self, *line):
        """Seconds until a command that writes a file to its output has written the first byte of it."""
        command = [word for word in self.command(*line) if word != "--json"]
        began = time.monotonic()
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=self.env
        )
        first = child.stdout.read(1)
        seconds = time.monotonic() - began
        rest = child.stdout.read()
        if child.wait() != 0:
            raise Failed(f"{' '.join(line)}: code {child.returncode}")
        return seconds, first + rest

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in reversed(self.servers):
            server.stop()


def rate(figures, length):
    """MB of user data per second, and CPU seconds per GiB of it."""
    figures["mb_per_s"] = length / 1e6 / figures["seconds"]
    figures["cpu_per_gib"] = figures["cpu"] * GIB / length if length else 0.0
    return figures


def table(rows):
    """Prints rows of texts in columns."""
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [str(cell).ljust(width) for cell, width in zip(row, widths)]
        print("  ".join(cells).rstrip())


def stream(program):
    """One plain stream over loopback, from the example `throughput` of the crate net: MB/s, and ns of
    processor time per byte, both ends together."""
    done = run([program])
    found = re.search(
        r"aes: +([0-9.]+) MB/s, +([0-9.]+) ns of processor time per byte", done.out.decode()
    )
    if done.code != 0 or not found:
        raise Failed(f"{program} did not say how fast it was: {done.out.decode()}{done.error.decode()}")
    return float(found[1]), float(found[2])


def sync_disk(path, length):
    """MB/s of a plain sequential write with fsync, the disk's floor."""
    block = random.Random(1).randbytes(4 * MIB)
    began = time.monotonic()
    with open(path, "wb", buffering=0) as out:
        left = length
        while left > 0:
            left -= out.write(block[: min(left, len(block))])
        os.fsync(out.fileno())
    seconds = time.monotonic() - began
    os.remove(path)
    return length / 1e6 / seconds


def files_limit():
    """Raises the limit of open files: a network has many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft
