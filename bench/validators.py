#!/usr/bin/env python3
"""A ledger of several validators, each a process of its own, that are killed (kill -9) while files are stored, proven,
sold and read.

Each turn kills one validator, some turns all of them, and a turn wipes one's ledger: it must come back from the others.
Commands go on meanwhile, and each must succeed while more than two thirds work. At the end the ledger's money adds up.

    python3 bench/validators.py
    python3 bench/validators.py --turns 6 --symbolon target/debug/symbolon
    python3 bench/validators.py --minutes 30 --nodes 8
"""

import argparse
import os
import random
import time

import common
from common import Failed, need

VALIDATORS = 4
SIZE = 300_000


class Validators:
    def __init__(self, network, folder, stream):
        self.network, self.folder, self.stream = network, folder, stream
        self.files = 0
        self.slowest = 0.0
        self.kills = {"one": 0, "all": 0, "wiped": 0, "client": 0}

    def work(self):
        """Stores a file, reads it, sells it, buys it."""
        self.files += 1
        name, source = f"file{self.files}", self.folder.file(f"file{self.files}")
        common.make(source, SIZE, self.files)
        ok = self.network.until_ok
        for out in ("read", "bought"):
            if os.path.exists(self.folder.file(out)):
                os.remove(self.folder.file(out))
        for line in (
            ("put", source, name, "--for", "2h", "--yes"),
            ("get", name, "-o", self.folder.file("read")),
        ):
            began = time.monotonic()
            ok(*line)
            self.slowest = max(self.slowest, time.monotonic() - began)
        need(common.same(source, self.folder.file("read")), f"{name} has other bytes")
        began = time.monotonic()
        listing = ok("sell", name, "--price", "1", "--window", "1h", "--yes")["listing"]
        ok("buy", listing, "-o", self.folder.file("bought"), "--yes", "--as", "buyer")
        self.slowest = max(self.slowest, time.monotonic() - began)
        need(common.same(source, self.folder.file("bought")), f"{name} was bought with other bytes")

    def turn(self, number):
        kind = ("one", "one", "all", "one", "wiped")[number % 5]
        self.kills[kind] += 1
        servers = self.network.ledgers
        if kind == "all":
            for server in servers:
                server.kill()
            for server in servers:
                server.start()
            self.work()
            return kind
        server = servers[number % len(servers)]
        server.kill()
        self.work()
        if kind == "wiped":
            # Its log and guard stay: they say what its key has signed.
            os.remove(os.path.join(self.dir(server), "ledger.redb"))
        server.start()
        self.work()
        return kind

    def dir(self, server):
        return server.command[server.command.index("--dir") + 1]

    def conclude(self):
        """The money adds up."""
        status = self.network.do("ledger", "status")
        need(status["money"]["adds_up"], f"the money does not add up: {status['money']}")
        files = (os.path.join(self.dir(server), "ledger.redb") for server in self.network.ledgers)
        return status["height"], [os.path.getsize(file) for file in files]


def measure(arguments):
    seed = arguments.seed if arguments.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}")
    with common.Folder(arguments.dir) as folder:
        network = common.Network(
            common.binary(arguments.symbolon), folder.path, arguments.nodes, validators=VALIDATORS, epoch=arguments.epoch,
        )
        with network:
            network.do("init", "--as", "buyer", "--no-passphrase", "--ledger", network.ticket)
            network.do("account", "faucet", "--as", "buyer")
            check = Validators(network, folder, random.Random(seed))
            check.work()
            calm = check.slowest
            began, number = time.monotonic(), 0
            while number < arguments.turns or time.monotonic() - began < 60 * arguments.minutes:
                kind = check.turn(number)
                number += 1
                print(f"turn {number}: {kind}; {check.files} files, {time.monotonic() - began:.0f} s", flush=True)
                if arguments.minutes:
                    time.sleep(max(0.0, 60 * number - (time.monotonic() - began)))
            peaks = [common.peak_of(server.pid) for server in network.ledgers]
            height, sizes = check.conclude()
    kills = ", ".join(f"{count} {kind}" for kind, count in check.kills.items() if count)
    print(f"{kills}; {check.files} files stored, read, sold and bought, {height} blocks, {number} turns")
    print(f"slowest command {check.slowest:.2f} s, {calm:.2f} s before the first kill")
    print(f"a validator: at most {common.show(max(peaks))} of memory, {common.show(max(sizes))} on disk")
    return f"seed {seed}: the ledger went on at {number} turns"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.arguments(parser)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=0, help="a turn a minute, for so long")
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--epoch", default="10s")
    parser.add_argument("--seed", type=int)
    return measure(parser.parse_args())


if __name__ == "__main__":
    common.conclude(main)
