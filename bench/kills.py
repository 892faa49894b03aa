#!/usr/bin/env python3
"""Kills the client, a node or the ledger (kill -9) at random points of put and get, and repeats the command.

After every kill it checks three things: the bytes are the file's, the same command once more does nothing, and the
bill is exactly the file's price, plus at most what each command announced for the names index. At the end it
checks, from the nodes' own logs and disks:

- no node took in a shard a second time after accepting it;
- each segment has one deal, and all other deals are the names index's;
- all payments are for the files and for the index, and the index costs little beside them;
- once the nodes' grace is over, no disk holds a shard without a file, and the ledger counts no more room as taken
  than the files need.

The script prints the seed. The same seed picks the same points, though two runs of real processes always differ. A
put continues from the home in which it began: its journal is local, so another device cannot continue it.

    python3 bench/kills.py
    python3 bench/kills.py --points 20 --seed 7 --symbolon target/debug/symbolon
"""

import argparse
import json
import os
import random
import re
import sys
import time

import common
from common import Failed, need

PAY_WITHIN, GRACE = "60s", "4s"
NODES = 8
# A names index has so many runs at most.
INDEX_RUNS = 6
# A get of a small file is over before it has written anything worth keeping.
LARGER = 12


def has_bytes(path):
    try:
        return 0 < os.path.getsize(path)
    except FileNotFoundError:
        return False


def units(text):
    whole, _, part = text.partition(".")
    return int(whole + part.ljust(9, "0"))


class Kills:
    def __init__(self, network, folder, stream, length):
        self.network, self.folder, self.stream, self.length = network, folder, stream, length
        self.files = {}
        self.times = {}
        self.counts = {"put": 0, "get": 0, "client": 0, "node": 0, "ledger": 0}
        self.kept = self.interrupted = self.resumed = 0
        self.most_said, self.runs_paid = 0, 0
        self.start = self.balance()

    def balance(self):
        return units(self.until_ok("account", "balance")["balance"])

    def until_ok(self, *line):
        return self.network.until_ok(*line)

    def put_line(self, name):
        return ("put", self.folder.file(name), name, "--for", "2h", "--yes")

    def get_line(self, name):
        return ("get", name, "-o", self.folder.file("out"))

    def warm(self):
        """How long the commands take without kills: the put of a small file, the get of a large one."""
        for name, length in (("small", self.length), ("large", LARGER * self.length)):
            self.make(name, length)
            self.said(name)
            began = time.monotonic()
            stored = self.network.do(*self.put_line(name))
            self.times.setdefault("put", time.monotonic() - began)
            self.files[name] = units(stored["cost"])
        began = time.monotonic()
        self.network.do(*self.get_line("large"))
        self.times["get"] = time.monotonic() - began
        self.check_out("large")

    def make(self, name, length):
        common.make(self.folder.file(name), length, name)

    def check_out(self, name):
        out = self.folder.file("out")
        need(common.same(self.folder.file(name), out), f"{name} did not come back as it was")
        os.remove(out)

    def disturb(self, line, verb):
        """Starts a command and kills a process in the middle of it; says whether it was the client."""
        victim = self.stream.choice(("client", "client", "node", "ledger"))
        moment = self.times[verb] * self.stream.random()
        server = self.network.ledger if victim == "ledger" else self.stream.choice(self.network.nodes)
        self.counts[verb] += 1
        self.counts[victim] += 1
        self.interrupted += self.network.disturb(line, moment, None if victim == "client" else server)
        return victim, moment

    def said(self, name):
        """The most that the name may cost besides the file, as a put announces it."""
        said = units(self.until_ok(*self.put_line(name), "--dry-run")["cost"]["index"])
        self.most_said = max(self.most_said, said)
        return said

    def put(self, number):
        name = f"file{number}"
        self.make(name, self.length)
        said, before = self.said(name), self.balance()
        told = self.disturb(self.put_line(name), "put")
        said, self.network.tried = max(said, self.said(name)), 0
        stored = self.until_ok(*self.put_line(name))
        self.resumed += stored["outcome"] == "resumed"
        again = self.until_ok(*self.put_line(name))
        need(again["outcome"] == "already", f"{name} was stored again: {again['outcome']}")
        cost = {file["name"]: file["cost"] for file in self.until_ok("ls")["files"]}[name]
        self.files[name] = units(cost)
        paid = before - self.balance()
        index = paid - units(cost)
        # The command that was disturbed, and each one since.
        most = said * (1 + self.network.tried)
        need(index <= most, f"{name} cost {cost}, its name at most {most}, and {paid} units were paid")
        self.runs_paid += index > 0
        self.until_ok(*self.get_line(name))
        self.check_out(name)
        return told

    def get(self):
        name = "large"
        told = self.disturb(self.get_line(name), "get")
        if not os.path.exists(self.folder.file("out")):
            got = self.until_ok(*self.get_line(name))
            self.kept += got["kept"] > 0
        again = self.until_ok(*self.get_line(name))
        need(again["outcome"] == "already", f"{name} was fetched again: {again['outcome']}")
        self.check_out(name)
        return told

    def logs(self):
        """Deals that the nodes saw open, the shards that each node holds by its log, and the number of deleted shards;
        fails if a node took a shard twice."""
        deals, holds, swept = set(), [], 0
        for number in range(NODES):
            held = {}
            with open(self.network.node_dir(number) + ".log", errors="replace") as log:
                for line in log:
                    line = re.sub(r"\x1b\[[0-9;]*m", "", line)
                    found = re.search(r"(stored|shard deleted|deal opened) .*?deal=(\w+) index=(\d+)", line)
                    if not found:
                        continue
                    what, place = found[1], (found[2], found[3])
                    if what == "stored":
                        need(place not in held, f"node {number} took shard {place} in twice")
                        held[place] = True
                    elif what == "shard deleted":
                        held.pop(place, None)
                        swept += 1
                    else:
                        deals.add(found[2])
            holds.append(held)
        return deals, holds, swept

    def wanted(self):
        """Deals of all files and of the index, and the shards and bytes of files that each node must have."""
        deals, shards, room = set(), {}, {}
        index = set(self.until_ok("status")["index"]["deals"])
        for name in self.files:
            for segment in self.until_ok("stat", name)["segments"]:
                deals.add(segment["deal"])
                for shard in segment["shards"]:
                    shards[shard["node"]] = shards.get(shard["node"], 0) + 1
                    room[shard["node"]] = room.get(shard["node"], 0) + segment["shard_length"]
        return deals, index, shards, room

    def on_disk(self, number):
        top = os.path.join(self.network.node_dir(number))
        folders = [os.path.join(top, "shards"), os.path.join(top, "temporary")]
        paths = (os.path.join(path, name) for folder in folders for path, _, files in os.walk(folder) for name in files)
        # A node makes files before it needs them: those are empty. A file may go while it is looked at.
        return sum(1 for path in paths if has_bytes(path))

    def finish(self):
        deals, index, shards, room = self.wanted()
        opened, _, _ = self.logs()
        need(deals <= opened, f"{len(deals - opened)} segments have no deal")
        need(index <= opened, f"{len(index - opened)} deals of the index are not there")
        files, spent = sum(self.files.values()), self.start - self.balance()
        names = spent - files
        # Each run was said, and what was merged came back but for its fee and the epochs it served.
        need(0 <= names <= INDEX_RUNS * self.most_said, f"{spent} units spent, the files cost {files}")
        until = time.monotonic() + 60 + 4 + common.PATIENCE
        while self.orphans(shards, index):
            need(time.monotonic() < until, f"orphans stay: {self.orphans(shards, index)}")
            time.sleep(0.5)
        _, holds, swept = self.logs()
        for node in self.until_ok("node", "status")["nodes"]:
            free = room.get(node["node"], 0)
            of_index = sum(1 for held in holds for deal, _ in held if deal in index)
            need(free <= node["used"], f"node {node['node'][:8]}: {node['used']} bytes taken, {free} held")
            need(of_index or free == node["used"], f"node {node['node'][:8]}: {node['used']} bytes taken")
        return {"deals": len(deals), "shards": sum(shards.values()), "orphans_swept": swept,
                "index_deals": len(index), "index_units": names, "file_units": files, "index_said": self.most_said}

    def orphans(self, shards, index):
        """Files on each node's disk that no deal of a file or of the index names."""
        found = {}
        _, holds, _ = self.logs()
        for number, node in enumerate(self.network.nodes):
            of_index = sum(1 for deal, _ in holds[number] if deal in index)
            more = self.on_disk(number) - shards.get(node.ready["node"], 0) - of_index
            need(0 <= more, f"node {number} misses {-more} shards")
            if more:
                found[number] = more
        return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.arguments(parser)
    parser.add_argument("--points", type=int, default=100, help="how many kills (default 100)")
    parser.add_argument("--seed", type=int, help="which points (default: another one each time)")
    parser.add_argument("--size", type=common.size, default=5_000_001, help="bytes of each file")
    options = parser.parse_args()
    common.files_limit()
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    print(f"seed {seed}, {options.points} points", flush=True)
    stream, began = random.Random(seed), time.monotonic()
    waits = ["--pay-within", PAY_WITHIN, "--grace", GRACE]
    with common.Folder(options.dir) as folder:
        home = folder.file("network")
        os.makedirs(home)
        program = common.binary(options.symbolon)
        with common.Network(program, home, NODES, "2GiB", "5s", node_options=lambda _: waits) as network:
            kills = Kills(network, folder, stream, options.size)
            try:
                kills.warm()
                for number in range(options.points):
                    verb = stream.choice(("put", "get"))
                    victim, moment = kills.put(number) if verb == "put" else kills.get()
                    if sys.stdout.isatty() or not options.json:
                        print(f"{number + 1:4}  {verb}  {victim:6}  after {moment * 1000:.0f} ms: held", flush=True)
                end = kills.finish()
            except Failed as why:
                raise Failed(f"seed {seed}: {why}") from None
    took = time.monotonic() - began
    if options.json:
        print(json.dumps({"seed": seed, "points": options.points, "seconds": took, "resumed": kills.resumed,
                          "kept": kills.kept, "interrupted": kills.interrupted, **kills.counts, **end}))
    print(
        f"{kills.counts['put']} puts, {kills.counts['get']} gets; killed: {kills.counts['client']} clients, "
        f"{kills.counts['node']} nodes, {kills.counts['ledger']} ledgers, {kills.interrupted} in the middle; "
        f"{kills.resumed} puts resumed, {kills.kept} gets kept bytes; {end['deals']} deals, {end['shards']} shards, "
        f"{end['orphans_swept']} shards let go; the files cost {end['file_units']} units, their names "
        f"{end['index_units']}; {took:.0f} s"
    )
    return f"seed {seed}: the bill and the bytes at {options.points} points"


if __name__ == "__main__":
    common.conclude(main)
