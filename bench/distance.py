#!/usr/bin/env python3
"""Measures the cost of distance. All clients are in one network namespace, the ledger and all nodes in another.
Between them is a line with a stated round trip, loss and rate.

This kernel has no netem. So `bench/delay` holds each packet of both sides in a netfilter queue for half a round
trip and drops some. `tc tbf` limits the rate. The script checks the round trip with `ping` before it measures.

    python3 bench/distance.py --rtt 100 --steps                 # the round trips that each command waits for
    python3 bench/distance.py --rtt 20 --loss 0.1 --size 64MiB  # MB/s, beside TCP on the same line
    python3 bench/distance.py --rtt 100 --size 64MiB --congestion cubic --congestion bbr3 --rounds 3
    python3 bench/distance.py --rtt 100 --deals 3000 --epochs 12  # the proofs of two nodes, one of them far away

The number of round trips is (time at this round trip - time without the line's delay) / round trip, both in one
run. It bounds the round trips that a command waits for one after the other. `--most put=10` fails above a bound.

With `--deals` a ledger of 10 s epochs and one node are on the far side, and another node is on the near side. The
script fills both with the same shards over a line without delay. Then it adds the delay. Each epoch that a node
does not prove makes the script fail.

Needs root, and `ip`, `iptables`, `tc` and `ping` (Debian: iproute2, iptables, iputils-ping).
"""

import argparse
import concurrent.futures
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

import common

HERE = os.path.dirname(os.path.abspath(__file__))
NEAR, FAR = "10.203.0.1", "10.203.0.2"
PORT = 20_000
SMALL_BYTES = 2_000
EPOCH_SECONDS = 10
HEADS_BYTES = 64 * common.MIB
TCP = """
import socket, sys, time
side, host, length, control = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
def open_socket():
    one = socket.socket()
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, control.encode())
    return one
if side == "far":
    door = open_socket()
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    door.bind((host, 19999)); door.listen()
    print("ready", flush=True)
    for _ in range(2):
        peer, _ = door.accept()
        if peer.recv(1) == b"p":
            left = length
            while left: left -= len(peer.recv(1 << 20))
            peer.sendall(b"!")
        else:
            peer.sendall(bytes(length))
            peer.recv(1)
        peer.close()
else:
    for what in (b"p", b"g"):
        began = time.monotonic()
        peer = open_socket(); peer.connect((host, 19999)); peer.sendall(what)
        if what == b"p":
            peer.sendall(bytes(length)); peer.recv(1)
        else:
            left = length
            while left: left -= len(peer.recv(1 << 20))
        print(time.monotonic() - began, flush=True)
        peer.close()
"""


def sh(*line):
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(line)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Line:
    """Two namespaces and the line between them."""

    def __init__(self, tool, rtt_ms, loss, rate):
        self.near, self.far = f"symnear{os.getpid()}", f"symfar{os.getpid()}"
        self.holders, self.made = [], []
        self.tool, self.rtt_ms, self.loss, self.rate = tool, rtt_ms, loss, rate

    def __enter__(self):
        try:
            for name in (self.near, self.far):
                sh("ip", "netns", "add", name)
                self.made.append(name)
                sh("ip", "-n", name, "link", "set", "lo", "up")
            sh("ip", "link", "add", "line", "netns", self.near, "type", "veth",
               "peer", "name", "line", "netns", self.far)
            for name, address in ((self.near, NEAR), (self.far, FAR)):
                sh("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "line")
                sh("ip", "-n", name, "link", "set", "line", "up")
                if self.rate:
                    burst = max(self.rate // 100, 16_000)
                    sh("ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", "line", "root", "tbf", "rate",
                       f"{self.rate * 8}bit", "burst", str(burst), "latency", "50ms")
                if self.rtt_ms or self.loss:
                    self.hold(name)
            self.check()
        except BaseException:
            self.__exit__()
            raise
        return self

    def hold(self, name):
        """Packets wait for half a round trip on the side where they arrive. If they waited where they leave, the
        sender would count them as unsent, and would send less than the line carries."""
        number = str(len(self.holders) + 1)
        # What the kernel tells this program waits in a socket; what does not fit there would be lost unasked.
        before = sh("sysctl", "-n", "net.core.rmem_default").strip()
        sh("sysctl", "-q", "-w", f"net.core.rmem_default={HEADS_BYTES}")
        command = [*self.inside(name), self.tool, number, str(self.rtt_ms / 2), str(self.loss), number]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.holders.append(holder)
        ready = holder.stdout.readline().strip()
        sh("sysctl", "-q", "-w", f"net.core.rmem_default={before}")
        if ready != b"ready":
            raise RuntimeError(f"{self.tool} did not start")
        sh(*self.inside(name), "iptables", "-A", "INPUT", "-i", "line", "-j", "NFQUEUE", "--queue-num", number)

    def lengthen(self, rtt_ms):
        """Adds this delay to a line without one."""
        self.rtt_ms = rtt_ms
        for name in (self.near, self.far):
            self.hold(name)
        self.check()

    def received(self):
        """Bytes that reached the near side since the line exists."""
        text = sh("ip", "-n", self.near, "-s", "-j", "link", "show", "dev", "line")
        return json.loads(text)[0]["stats64"]["rx"]["bytes"]

    def check(self):
        """Checks that the line has the stated delay; otherwise nothing is measured."""
        words = sh(*self.inside(self.near), "ping", "-U", "-c", "5", "-i", "0.2", "-W", "5", FAR)
        least = float(words.rsplit("= ", 1)[1].split("/")[0])
        if not self.rtt_ms <= least <= self.rtt_ms * 1.1 + 3:
            raise RuntimeError(f"the round trip is {least} ms, not {self.rtt_ms}")
        self.measured_ms = least

    @staticmethod
    def inside(name):
        return ["ip", "netns", "exec", name]

    def __exit__(self, *_):
        for holder in self.holders:
            holder.stdin.close()
            holder.wait()
        for name in self.made:
            sh("ip", "netns", "del", name)


class FarNetwork(common.Network):
    """A ledger and nodes on the far side; their users are on the near side."""

    def __init__(self, line, program, folder, nodes, epoch, env):
        self.line, self.port, self.user = line, PORT, line.near
        super().__init__(program, folder, nodes, epoch=epoch, env=env)

    def side(self, _log):
        """The side of a server, and its address."""
        return self.line.far, FAR

    def serve(self, line, log):
        self.port += 1
        name, address = self.side(log)
        own = [self.program, "--home", self.home, "--json", *line, "--leashed", "--listen", f"{address}:{self.port}"]
        command = [*self.line.inside(name), *own]
        server = common.Server(command, os.path.join(self.folder, log), self.env)
        self.servers.append(server)
        return server

    def command(self, *line):
        return [*self.line.inside(self.user), *super().command(*line)]

    def seconds(self, *line):
        done = self.run(*line)
        return done.seconds, done.document()


class SplitNetwork(FarNetwork):
    """A ledger, a node and their user on the far side, and a node on the near side."""

    def __init__(self, line, program, folder):
        super().__init__(line, program, folder, 2, f"{EPOCH_SECONDS}s", {})
        self.user = line.far

    def side(self, log):
        return (self.line.near, NEAR) if log == "node1.log" else super().side(log)

    def fill(self, deals, writers=6):
        """Makes this many deals, of many lengths, with a shard on each node; several users work at the same time."""
        people = [f"writer{number}" for number in range(min(writers, deals))]
        for who in people:
            self.do("init", "--as", who, "--no-passphrase", "--ledger", self.ticket)
            self.do("account", "faucet", "--as", who)

        def write(part):
            who = people[part]
            path = os.path.join(self.folder, who)
            for number in range(part, deals, len(people)):
                common.make(path, 500 + number * 7919 % 60_000, number)
                self.do("put", path, f"file{number}", "--scheme", "1/2", "--accept-risk", "--for", "6h", "--yes",
                        "--as", who)

        with concurrent.futures.ThreadPoolExecutor(len(people)) as pool:
            for _ in pool.map(write, range(len(people))):
                pass

    def epoch(self):
        return self.do("ledger", "status")["epoch"]

    def next_epoch(self):
        """Asks rarely, because asking also costs the ledger time."""
        now = self.epoch()
        time.sleep(0.8 * EPOCH_SECONDS)
        while self.epoch() == now:
            time.sleep(0.2)

    def figures(self):
        """The ledger's rows of both nodes, in the order of their start."""
        rows = {row["node"]: row for row in self.do("node", "status")["nodes"]}
        return [rows[node.ready["node"]] for node in self.nodes]


def network(line, options, folder, congestion):
    # With so long an epoch nothing of what is measured falls into a boundary.
    env = {"SYMBOLON_CONGESTION": congestion} if congestion else {}
    os.makedirs(folder)
    return FarNetwork(line, options.program, folder, options.nodes, "1h", env)


def steps(line, options, folder):
    """Seconds of each command on small files; each command is a process of its own, as for a user."""
    small, out = os.path.join(folder, "small"), os.path.join(folder, "out")
    times = {}

    def take(what, done):
        times.setdefault(what, []).append(done[0])
        return done[1]

    with network(line, options, os.path.join(folder, "net"), None) as far:
        for buyer in ("buyer", "other"):
            far.do("init", "--as", buyer, "--no-passphrase", "--ledger", far.ticket)
            far.do("account", "faucet", "--as", buyer)
        for number in range(options.rounds):
            name = f"file{number}"
            common.make(small, SMALL_BYTES, number)
            take("put", far.seconds("put", small, name, "--for", "40h", "--yes"))
            take("get", far.seconds("get", name, "-o", out))
            os.remove(out)
            take("range", far.seconds("get", name, "--range", "0-99", "-o", out))
            os.remove(out)
            take("ls", far.seconds("ls"))
            sold = far.do("sell", name, "--price", "1", "--title", name, "--window", "1h", "--yes")
            listing = sold["listing"]
            take("buy", far.seconds("buy", listing, "-o", out, "--yes", "--as", "buyer"))
            if not common.same(small, out):
                raise common.Failed("the bytes that came back are others")
            line = ("buy", listing, "-o", "-", "--yes", "--as", "other")
            with open(small, "rb") as source:
                if take("buy, first byte", far.first_byte(*line)) != source.read():
                    raise common.Failed("the bytes that came back are others")
            os.remove(out)
    return {what: statistics.median(some) for what, some in times.items()}


def bulk(line, options, folder, congestion):
    """MB/s of one file, put and get."""
    source, out = os.path.join(folder, "source"), os.path.join(folder, "out")
    common.make(source, options.size, 4)
    puts, gets = [], []
    with network(line, options, os.path.join(folder, "net"), congestion) as far:
        for number in range(options.rounds):
            name = f"file{number}"
            puts.append(far.seconds("put", source, name, "--for", "2h", "--yes")[0])
            gets.append(far.seconds("get", name, "-o", out)[0])
            if not common.same(source, out):
                raise common.Failed("the bytes that came back are others")
            os.remove(out)
    return {"put": puts, "get": gets}


def prove(options, tool, folder):
    """The proofs of a node beside the ledger and of a distant node, with the same shards."""
    at = os.path.join(folder, "net")
    os.makedirs(at)
    with Line(tool, 0, 0.0, options.rate) as line, SplitNetwork(line, options.program, at) as net:
        began = time.monotonic()
        net.fill(options.deals)
        filled = time.monotonic() - began
        # What is stored in one epoch is proven from the next one on.
        net.next_epoch()
        net.next_epoch()
        line.lengthen(options.rtt)
        net.next_epoch()
        before, bytes_before, cpu = net.figures(), line.received(), net.ledger.cpu()
        for _ in range(options.epochs):
            net.next_epoch()
        after, received, cpu = net.figures(), line.received() - bytes_before, net.ledger.cpu() - cpu
    rows = [("node", "round trip ms", "shards", "proven", "missed", "kB to it an epoch")]
    results = {"filled_s": filled, "ledger_cpu_per_epoch": cpu / options.epochs, "nodes": []}
    for then, now, rtt in zip(before, after, (0, options.rtt)):
        proven, missed = (now[what] - then[what] for what in ("proven", "missed"))
        carried = f"{received / 1e3 / options.epochs:.1f}" if rtt else ""
        rows.append((now["node"][:8], f"{rtt:g}", now["shards"], proven, missed, carried))
        results["nodes"].append({"rtt_ms": rtt, "shards": now["shards"], "proven": proven, "missed": missed})
    print(f"{options.deals} deals stored in {filled:.0f} s; ledger {cpu / options.epochs:.2f} s of processor an epoch")
    results["kb_per_epoch"] = received / 1e3 / options.epochs
    for one in results["nodes"]:
        common.need(options.deals <= one["shards"], f"a node holds {one['shards']} shards")
        # The proof of the epoch that had just begun may have been there at the first look, and not at the last.
        one["failed"] = one["missed"] > 0 or one["proven"] < options.epochs - 1
    return results, rows


def tcp(line, options, control):
    """One plain TCP connection over the same line, in both directions."""
    puts, gets = [], []
    for _ in range(options.rounds):
        words = [sys.executable, "-c", TCP]
        far = subprocess.Popen(
            [*line.inside(line.far), *words, "far", FAR, str(options.size), control], stdout=subprocess.PIPE
        )
        far.stdout.readline()
        times = sh(*line.inside(line.near), *words, "near", FAR, str(options.size), control).split()
        far.wait()
        puts.append(float(times[0]))
        gets.append(float(times[1]))
    return {"put": puts, "get": gets}


def delay_tool(path):
    """The program that holds packets: named, or built here."""
    if path:
        return os.path.abspath(path)
    manifest = os.path.join(HERE, "delay", "Cargo.toml")
    target = os.path.join(os.path.dirname(HERE), "target", "delay")
    subprocess.run(
        ["cargo", "build", "-q", "--release", "--locked", "--manifest-path", manifest, "--target-dir", target],
        check=True,
    )
    return os.path.join(target, "release", "delay")


def hindrance():
    """The reason why no line can be made here, or None."""
    try:
        with Line(delay_tool(None), 1.0, 0.0, 0):
            return None
    except (OSError, RuntimeError, subprocess.CalledProcessError) as why:
        return str(why)


def count_trips(options, tool, folder):
    """Times without and with the delay, and their difference in round trips."""
    times = {}
    for what, rtt in (("near", 0), ("far", options.rtt)):
        at = os.path.join(folder, what)
        os.makedirs(at)
        with Line(tool, rtt, 0.0, options.rate) as line:
            times[what] = steps(line, options, at)
    trips = {
        what: (times["far"][what] - times["near"][what]) * 1000 / options.rtt for what in times["near"]
    }
    rows = [("command", "s without delay", f"s at {options.rtt:g} ms", "round trips", "at most")]
    most = dict(options.most)
    late = [what for what, limit in most.items() if trips[what] > limit]
    for what, count in trips.items():
        near, far = times["near"][what], times["far"][what]
        rows.append((what, f"{near:.2f}", f"{far:.2f}", f"{count:.1f}", f"{most[what]:g}" if what in most else ""))
    return {"seconds": times, "trips": trips, "late": late}, rows


def compare(options, tool, folder):
    """Bulk with each congestion control and TCP beside it, all over one line."""
    results, rows = {}, [("over the line", "put MB/s", "get MB/s", "of each round")]
    with Line(tool, options.rtt, options.loss, options.rate) as line:
        for control in options.congestion or ["bbr3"]:
            at = os.path.join(folder, control)
            os.makedirs(at)
            results[f"symbolon, {control}"] = bulk(line, options, at, control)
            shutil.rmtree(at)
        for control in sh("sysctl", "-n", "net.ipv4.tcp_available_congestion_control").split():
            if control in ("cubic", "bbr"):
                results[f"TCP, {control}"] = tcp(line, options, control)
        for what, times in results.items():
            speeds = {step: [options.size / 1e6 / each for each in some] for step, some in times.items()}
            each = ", ".join(f"{put:.1f}/{get:.1f}" for put, get in zip(speeds["put"], speeds["get"]))
            middle = [f"{statistics.median(speeds[step]):.2f}" for step in ("put", "get")]
            rows.append((what, *middle, each))
    return results, rows


def limit(text):
    what, _, count = text.partition("=")
    return what, float(count)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.arguments(parser)
    parser.add_argument("--rtt", type=float, default=100.0, help="round trip in milliseconds (default 100)")
    parser.add_argument("--loss", type=float, default=0.0, help="packets lost in each direction, in percent")
    parser.add_argument("--rate", type=common.size, default=0, help="bytes per second of each direction (default none)")
    parser.add_argument("--size", type=common.size, default=64 * common.MIB, help="bytes of the file (default 64MiB)")
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3, help="the medians are of so many (default 3)")
    parser.add_argument("--steps", action="store_true", help="count round trips of small commands instead")
    parser.add_argument("--deals", type=int, default=0, help="let two nodes prove so many deals instead")
    parser.add_argument("--epochs", type=int, default=12, help=f"of {EPOCH_SECONDS} s to look at (default 12)")
    parser.add_argument("--most", type=limit, action="append", default=[], metavar="COMMAND=COUNT")
    parser.add_argument("--congestion", action="append", help="bbr3, cubic; may be given several times")
    parser.add_argument("--delay", help="the program of bench/delay, if it is built already")
    options = parser.parse_args()
    options.program = common.binary(options.symbolon)
    tool, load = delay_tool(options.delay), common.load()
    with common.Folder(options.dir) as folder:
        work = prove if options.deals else count_trips if options.steps else compare
        results, rows = work(options, tool, folder.path)
    print(f"round trip {options.rtt:g} ms, loss {options.loss:g} %, load {load:.1f}")
    common.table(rows)
    if options.json:
        print(json.dumps({"load": load, "rtt_ms": options.rtt, "loss": options.loss, "results": results}))
    late = results.get("late", [])
    common.need(not late, f"too many round trips one after the other in {', '.join(late)}")
    if options.deals:
        failed = [one for one in results["nodes"] if one["failed"]]
        common.need(not failed, f"not every epoch was proven: {failed}")
        what = f"{options.deals} deals in each of {options.epochs} epochs"
        return f"both nodes proved {what}, one of them over {options.rtt:g} ms"
    return f"every byte came back as it was over {options.rtt:g} ms"


if __name__ == "__main__":
    common.conclude(main)
