#!/usr/bin/env python3
"""A ledger of four validators, each a process of its own, that are killed (kill -9), cut off and slowed while files are
stored, proven, sold and read.

Turns take turns: one validator is killed, all are killed, one loses its ledger's file and must get it from the others.
With `--hosts` each validator is in a network namespace of its own, and further turns cut one off, part two from two (then
nothing may be applied until they meet again), and put one 200 ms away. Commands go on meanwhile, and each must succeed while
more than two thirds work. At the end the ledger's money adds up, and no file is lost.

    python3 bench/validators.py
    python3 bench/validators.py --turns 5 --symbolon target/debug/symbolon
    python3 bench/validators.py --minutes 30 --nodes 8 --hosts

`--hosts` needs root, and `ip`, `iptables`, `tc` and `ping` (Debian: iproute2, iptables, iputils-ping).
"""

import argparse
import os
import random
import subprocess
import time

import common
import distance
from common import Failed, need

VALIDATORS = 4
SIZE = 300_000
NET, PORT = "10.204.0", 20_150
# A command that needs the ledger fails by itself after ten seconds; this is shorter.
PARTED_SECONDS = 6
AWAY_MS = 200


class Hosts:
    """A namespace for each validator, one for all others, and a switch between them."""

    def __init__(self, tool):
        self.tool, self.made, self.holders = tool, [], []
        self.names = [f"symhost{os.getpid()}-{number}" for number in range(VALIDATORS + 1)]
        self.hub = f"symhub{os.getpid()}"

    def __enter__(self):
        try:
            for name in (self.hub, *self.names):
                distance.sh("ip", "netns", "add", name)
                self.made.append(name)
                distance.sh("ip", "-n", name, "link", "set", "lo", "up")
            for bridge in ("whole", "other"):
                distance.sh("ip", "-n", self.hub, "link", "add", bridge, "type", "bridge")
                distance.sh("ip", "-n", self.hub, "link", "set", bridge, "up")
            for number, name in enumerate(self.names):
                port = f"port{number}"
                distance.sh("ip", "link", "add", "line", "netns", name, "type", "veth", "peer", "name", port, "netns", self.hub)
                distance.sh("ip", "-n", name, "addr", "add", f"{self.address(number)}/24", "dev", "line")
                distance.sh("ip", "-n", name, "link", "set", "line", "up")
                distance.sh("ip", "-n", self.hub, "link", "set", port, "master", "whole", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.bring_near()
        for name in self.made:
            distance.sh("ip", "netns", "del", name)

    @staticmethod
    def address(number):
        return f"{NET}.{number + 1}"

    def inside(self, number):
        return ["ip", "netns", "exec", self.names[number]]

    def part(self, numbers):
        """Puts these on a switch of their own."""
        for number in numbers:
            distance.sh("ip", "-n", self.hub, "link", "set", f"port{number}", "master", "other")

    def heal(self):
        for number in range(len(self.names)):
            distance.sh("ip", "-n", self.hub, "link", "set", f"port{number}", "master", "whole")

    def put_away(self, number):
        """Whatever reaches this one takes so long."""
        command = [*self.inside(number), self.tool, "1", str(AWAY_MS), "0", "1"]
        self.holders.append((number, subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)))
        need(self.holders[-1][1].stdout.readline().strip() == b"ready", f"{self.tool} did not start")
        distance.sh(*self.inside(number), "iptables", "-A", "INPUT", "-i", "line", "-j", "NFQUEUE", "--queue-num", "1")
        words = distance.sh(*self.inside(number), "ping", "-U", "-c", "3", "-i", "0.2", "-W", "5", self.address(0))
        least = float(words.rsplit("= ", 1)[1].split("/")[0])
        need(AWAY_MS <= least <= AWAY_MS * 1.2, f"the round trip is {least} ms, not {AWAY_MS}")

    def bring_near(self):
        for number, holder in self.holders:
            distance.sh(*self.inside(number), "iptables", "-F", "INPUT")
            holder.stdin.close()
            holder.wait()
        self.holders.clear()


class HostedNetwork(common.Network):
    """Each validator on a host of its own; nodes and users on another one."""

    def __init__(self, hosts, *arguments, **options):
        self.hosts, self.started = hosts, 0
        super().__init__(*arguments, **options)

    def found_options(self, validators):
        addresses = (f"{self.hosts.address(number + 1)}:{PORT}" for number in range(validators))
        return [word for address in addresses for word in ("--reached-at", address)]

    def serve(self, line, log):
        number = 0
        if line[0] == "ledger":
            self.started += 1
            number = self.started
        else:
            line = line + ["--listen", f"{self.hosts.address(0)}:{PORT + 1 + len(self.servers)}"]
        return self.serve_by(self.hosts.inside(number), line, log)

    def command(self, *line):
        return [*self.hosts.inside(0), *super().command(*line)]


class Validators:
    def __init__(self, network, hosts, folder, stream):
        self.network, self.hosts, self.folder, self.stream = network, hosts, folder, stream
        self.files = 0
        self.times = []
        self.kinds = ["kill", "kill", "kill all", "kill", "lose"]
        if hosts:
            self.kinds += ["cut", "part", "away"]
        self.done = dict.fromkeys(self.kinds, 0)

    def ok(self, *line):
        began = time.monotonic()
        document = self.network.until_ok(*line)
        self.times.append(time.monotonic() - began)
        return document

    def work(self):
        """Stores a file, reads it, sells it, buys it."""
        self.files += 1
        name, source = f"file{self.files}", self.folder.file(f"file{self.files}")
        out = [self.folder.file(f"{what}{self.files}") for what in ("read", "bought")]
        common.make(source, SIZE, self.files)
        self.ok("put", source, name, "--for", "2h", "--yes")
        self.ok("get", name, "-o", out[0])
        listing = self.ok("sell", name, "--price", "0.1", "--window", "1h", "--yes")["listing"]
        self.ok("buy", listing, "-o", out[1], "--yes", "--as", "buyer")
        for path in out:
            need(common.same(source, path), f"{path} has other bytes than {name}")
            os.remove(path)

    def turn(self, number):
        kind = self.kinds[number % len(self.kinds)]
        self.done[kind] += 1
        place = self.stream.randrange(VALIDATORS)
        server = self.network.ledgers[place]
        if kind == "kill all":
            for one in self.network.ledgers:
                one.kill()
            for one in self.network.ledgers:
                one.start()
        elif kind == "cut":
            self.hosts.part([place + 1])
            self.work()
            self.hosts.heal()
        elif kind == "part":
            self.part()
        elif kind == "away":
            self.hosts.put_away(place + 1)
            self.work()
            self.hosts.bring_near()
        else:
            server.kill()
            self.work()
            if kind == "lose":
                # Its log and guard stay: they say what its key has signed. If the others do not keep the first blocks any
                # more, it must fetch the state.
                os.remove(os.path.join(self.dir(server), "ledger.redb"))
            server.start()
        self.work()
        return kind

    def part(self):
        """Two of four validators, and all users, cannot apply anything."""
        self.hosts.part([1, 2])
        line = self.network.command("account", "faucet", "--as", f"late{self.files}")
        self.network.do("init", "--as", f"late{self.files}", "--no-passphrase", "--ledger", self.network.ticket)
        child = subprocess.Popen(
            line, env=self.network.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        try:
            child.wait(PARTED_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        need(child.poll() != 0, "two of four validators have applied a transaction")
        self.hosts.heal()
        child.wait(common.PATIENCE)

    @staticmethod
    def dir(server):
        return server.command[server.command.index("--dir") + 1]

    def conclude(self):
        """The money adds up, and the first file is still there."""
        status = self.ok("ledger", "status")
        need(status["money"]["adds_up"], f"the money does not add up: {status['money']}")
        self.ok("get", "file1", "-o", self.folder.file("last"))
        need(common.same(self.folder.file("file1"), self.folder.file("last")), "file1 has other bytes")
        files = (os.path.join(self.dir(server), "ledger.redb") for server in self.network.ledgers)
        return status["height"], [os.path.getsize(file) for file in files]


def measure(options, hosts):
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    with common.Folder(options.dir) as folder:
        home = folder.file("network")
        os.makedirs(home)
        more = {"validators": VALIDATORS, "epoch": options.epoch, "keep_blocks": options.keep_blocks}
        program = common.binary(options.symbolon)
        network = HostedNetwork(hosts, program, home, options.nodes, **more) if hosts else \
            common.Network(program, home, options.nodes, **more)
        with network:
            network.do("init", "--as", "buyer", "--no-passphrase", "--ledger", network.ticket)
            network.do("account", "faucet", "--as", "buyer")
            check = Validators(network, hosts, folder, random.Random(seed))
            check.work()
            calm = max(check.times)
            began, number = time.monotonic(), 0
            try:
                while number < options.turns or time.monotonic() - began < 60 * options.minutes:
                    kind = check.turn(number)
                    number += 1
                    took = time.monotonic() - began
                    print(f"{number:4}  {kind:8}  {check.files} files, {took:.0f} s: held", flush=True)
                    time.sleep(max(0.0, 60 * number - took) if options.minutes else 0.0)
                height, sizes = check.conclude()
            except Failed as why:
                raise Failed(f"seed {seed}: {why}") from None
            peak = max(common.peak_of(server.pid) for server in network.ledgers)
    counts = ", ".join(f"{count} {kind}" for kind, count in check.done.items() if count)
    print(f"{counts}; {check.files} files stored, read, sold and bought; {height} blocks; {network.tried - len(check.times)} "
          "commands had to be run again")
    print(f"slowest command {max(check.times):.2f} s; {calm:.2f} s before the first turn")
    print(f"a validator: at most {common.show(peak)} of memory, {common.show(max(sizes))} on disk")
    return f"seed {seed}: the ledger went on through {number} turns"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.arguments(parser)
    parser.add_argument("--turns", type=int, default=16)
    parser.add_argument("--minutes", type=float, default=0, help="a turn a minute, for so long")
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--epoch", default="10s")
    parser.add_argument("--keep-blocks", type=int, help="for how many epochs validators keep blocks")
    parser.add_argument("--hosts", action="store_true", help="each validator in a network namespace of its own")
    parser.add_argument("--seed", type=int, help="which validators (default: others each time)")
    options = parser.parse_args()
    if not options.hosts:
        return measure(options, None)
    why = distance.hindrance()
    need(why is None, f"--hosts does not work on this machine: {why}")
    with Hosts(distance.delay_tool(None)) as hosts:
        return measure(options, hosts)


if __name__ == "__main__":
    common.conclude(main)
