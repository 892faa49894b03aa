#!/usr/bin/env python3
"""Compares put and get with and without bad nodes among eight: one slowed, one late, one lying, two killed.

The slow node runs behind `link.py`, in a network namespace without another way out. The script first shows that the
link is slow: it stores a file on such a node alone and reads it. For the lying node, it flips one byte in each MiB
of the node's shards on disk. The get must still be right, and must name the node if it asked it. Only such gets
count. The killed nodes die by SIGKILL after the put, and stay dead.

    python3 bench/slow_node.py --size 64MiB
    python3 bench/slow_node.py --size 256MiB --rate 100kB --delay 0.5 --json
"""

import argparse
import json
import os
import socket
import statistics
import sys

import common

ROUNDS = 3
ROUNDS_MAX = 12
ALONE_BYTES = 1_000_000


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class LinkedNetwork(common.Network):
    """A network whose first node is behind a link."""

    def __init__(self, program, folder, nodes, rate, delay):
        self.rate, self.delay, self.linked = rate, delay, rate > 0 or delay > 0
        super().__init__(program, folder, nodes)

    def serve(self, line, log):
        if not (self.linked and log == "node0.log"):
            return super().serve(line, log)
        port = free_port()
        ledger = os.path.join(self.folder, "ledger", "listen")
        with open(ledger) as file:
            reach = file.read().strip().rsplit(":", 1)[1]
        link = os.path.join(os.path.dirname(os.path.abspath(__file__)), "link.py")
        command = [sys.executable, link, "--port", str(port), "--reach", reach]
        command += ["--rate", str(self.rate), "--delay", str(self.delay), "--", self.program]
        command += ["--home", self.home, "--json", *line, "--leashed", "--listen", f"127.0.0.1:{port}"]
        server = common.Server(command, os.path.join(self.folder, log), self.env)
        self.servers.append(server)
        return server


def rounds(network, folder, source, damage=None):
    """Puts and gets the file several times under new names; gives the median time and the named faults."""
    puts, gets, faults = [], [], []
    for number in range(ROUNDS if damage is None else ROUNDS_MAX):
        name, out = f"file{number}", folder.file("out")
        # The same file under another name is stored again, under another key.
        puts.append(network.measure("put", source, name, "--for", "1h", "--yes")["seconds"])
        if damage:
            damage()
        got = network.measure("get", name, "-o", out)
        gets.append(got["seconds"])
        faults.append(got["document"]["faults"])
        if damage and not faults[-1]:
            gets.pop()  # a get asks five of eight nodes: this one did not meet the bad one
        if not common.same(source, out):
            raise common.Failed("the bytes that came back are others")
        os.remove(out)
        if len(gets) == ROUNDS:
            break
    if not gets:
        raise common.Failed(f"the node that lies was not named in {len(faults)} gets")
    return {"put": statistics.median(puts), "get": statistics.median(gets), "faults": faults}


def lie(network):
    """Flips one byte in each MiB of every shard file of the first node."""
    for folder, _, names in os.walk(os.path.join(network.node_dir(0), "shards")):
        for name in names:
            with open(os.path.join(folder, name), "r+b") as file:
                length = os.fstat(file.fileno()).st_size
                for at in range(100, length, common.MIB):
                    file.seek(at)
                    byte = file.read(1)
                    file.seek(at)
                    file.write(bytes([byte[0] ^ 0xFF]))


def killed(network, folder, source):
    """Gets a file whose two nodes are gone, each time by a process that does not know it yet."""
    out, gets, faults = folder.file("out"), [], []
    put = network.measure("put", source, "file", "--for", "1h", "--yes")["seconds"]
    for server in network.nodes[:2]:
        server.kill()
    for _ in range(ROUNDS):
        got = network.measure("get", "file", "-o", out)
        gets.append(got["seconds"])
        faults.append(got["document"]["faults"])
        if not common.same(source, out):
            raise common.Failed("the bytes that came back are others")
        os.remove(out)
    return {"put": put, "get": statistics.median(gets), "faults": faults}


def with_network(program, folder, what, nodes, rate, delay, work):
    home = folder.file(what)
    os.makedirs(home)
    with LinkedNetwork(program, home, nodes, rate, delay) as network:
        return work(network)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.arguments(parser)
    parser.add_argument("--size", type=common.size, default=64 * common.MIB, help="bytes of the file (default 64MiB)")
    parser.add_argument("--rate", type=common.size, default=100_000, help="bytes per second of the slow node")
    parser.add_argument("--delay", type=float, default=0.5, help="seconds by which the other node is late")
    options = parser.parse_args()
    common.files_limit()
    program, load = common.binary(options.symbolon), common.load()
    results = {}
    with common.Folder(options.dir) as folder:
        small, source = folder.file("small"), folder.file("source")
        common.make(small, ALONE_BYTES, 3)
        common.make(source, options.size, 4)
        bad = {"slowed": (options.rate, 0.0), "delayed": (0, options.delay)}
        for what, (rate, delay) in {"healthy": (0, 0.0), **bad}.items():
            alone = with_network(
                program, folder, what + "-alone", 1, rate, delay, lambda network: rounds(network, folder, small)
            )
            many = with_network(
                program, folder, what, 8, rate, delay, lambda network: rounds(network, folder, source)
            )
            results[what] = {"alone": alone, "among": many}
        results["lying"] = {"among": with_network(
            program, folder, "lying", 8, 0, 0.0,
            lambda network: rounds(network, folder, source, lambda: lie(network)),
        )}
        results["two killed"] = {"among": with_network(
            program, folder, "killed", 8, 0, 0.0, lambda network: killed(network, folder, source)
        )}
    rows = [("of 8 nodes", "put s", "get s", "put ratio", "get ratio", "alone: put s", "get s of 1 MB", "faults named")]
    healthy = results["healthy"]["among"]
    for what, one in results.items():
        among, alone = one["among"], one.get("alone")
        ratios = {step: among[step] / healthy[step] for step in ("put", "get")}
        one["ratios"] = ratios
        rows.append((
            what, f"{among['put']:.2f}", f"{among['get']:.2f}", f"{ratios['put']:.2f}", f"{ratios['get']:.2f}",
            f"{alone['put']:.2f}" if alone else "-", f"{alone['get']:.2f}" if alone else "-",
            sum(len(faults) for faults in among["faults"]),
        ))
    print(f"{common.show(options.size)}, medians of {ROUNDS}, {os.cpu_count()} cores, load before: {load:.1f}")
    common.table(rows)
    if options.json:
        print(json.dumps({"length": options.size, "load": load, **results}))
    return "every get was right, and the node that lies was named"


if __name__ == "__main__":
    common.conclude(main)
