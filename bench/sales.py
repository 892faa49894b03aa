#!/usr/bin/env python3
"""Kills the client, a node or the ledger (kill -9) at random points of sell and buy, and repeats the command.

After every kill it checks that the file is listed once and fully (its deals shown, its preview there), or bought once:
one order at the listed price, the bytes are the file's, the seller is paid, and the same command once more does
nothing. At the end the ledger's money adds up.

The script prints the seed. The same seed picks the same points, though two runs of real processes always differ.

    python3 bench/sales.py
    python3 bench/sales.py --points 8 --seed 7 --symbolon target/debug/symbolon
"""

import argparse
import os
import random
import time

import common
from common import Failed, need

NODES = 6
SIZE = 200_000


class Sales:
    def __init__(self, network, folder, stream):
        self.network, self.folder, self.stream = network, folder, stream
        self.times, self.unsold = {}, []
        self.counts = {"sell": 0, "buy": 0, "client": 0, "node": 0, "ledger": 0}
        self.interrupted = self.resumed = 0

    def ok(self, *line):
        return self.network.until_ok(*line)

    def name(self, number):
        return f"file{number}"

    def out(self):
        return self.folder.file("out")

    def sell_line(self, number):
        return ("sell", self.name(number), "--price", "1", "--window", "1h", "--yes")

    def buy_line(self, listing):
        return ("buy", listing, "-o", self.out(), "--yes", "--as", "buyer")

    def store(self, number):
        source = self.folder.file(self.name(number))
        common.make(source, SIZE, number)
        self.ok("put", source, self.name(number), "--for", "40h", "--yes")

    def warm(self):
        """How long the commands take without kills."""
        self.store(0)
        began = time.monotonic()
        listing = self.network.do(*self.sell_line(0))["listing"]
        self.times["sell"] = time.monotonic() - began
        began = time.monotonic()
        self.network.do(*self.buy_line(listing))
        self.times["buy"] = time.monotonic() - began
        self.bought(0, listing)

    def disturb(self, line, verb):
        victim = self.stream.choice(("client", "client", "node", "ledger"))
        server = self.network.ledger if victim == "ledger" else self.stream.choice(self.network.nodes)
        moment = self.times[verb] * self.stream.random()
        self.counts[verb] += 1
        self.counts[victim] += 1
        self.interrupted += self.network.disturb(line, moment, None if victim == "client" else server)
        return victim, moment

    def sell(self, number):
        self.store(number)
        told = self.disturb(self.sell_line(number), "sell")
        listing = self.ok(*self.sell_line(number))["listing"]
        again = self.ok(*self.sell_line(number))
        need((again["outcome"], again["listing"]) == ("already", listing), f"{number} was listed again: {again}")
        titled = [one for one in self.ok("market", "list", "--ended")["listings"] if one["title"] == self.name(number)]
        need(len(titled) == 1, f"file {number} is listed {len(titled)} times")
        need(titled[0]["previewed"] and titled[0]["covered_until_ms"], f"not all of the listing is there: {titled[0]}")
        self.unsold.append((number, listing))
        return told

    def buy(self):
        number, listing = self.unsold.pop(0)
        told = self.disturb(self.buy_line(listing), "buy")
        if not os.path.exists(self.out()):
            self.resumed += self.ok(*self.buy_line(listing))["outcome"] != "bought"
        self.bought(number, listing)
        return told

    def bought(self, number, listing):
        """Checks a purchase, and that buying it again changes nothing."""
        need(common.same(self.folder.file(self.name(number)), self.out()), f"file {number} did not come as it was")
        again = self.ok(*self.buy_line(listing))
        need(again["outcome"] == "already", f"{number} was bought again: {again['outcome']}")
        orders = [one for one in self.ok("orders", "--as", "buyer")["orders"] if one["listing"] == listing]
        paid = [(one["amount"], one["state"]) for one in orders]
        need(paid == [("1", "settled")], f"file {number} was paid so: {paid}")
        os.remove(self.out())

    def finish(self, sold):
        listings = self.ok("market", "list", "--ended")["listings"]
        need(sum(one["sold"] for one in listings) == sold, f"{sold} were bought, the listings say {listings}")
        need(self.ok("ledger", "status")["money"]["adds_up"], "the ledger's money does not add up")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.arguments(parser)
    parser.add_argument("--points", type=int, default=60, help="how many kills (default 60)")
    parser.add_argument("--seed", type=int, help="which points (default: another one each time)")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    print(f"seed {seed}, {options.points} points", flush=True)
    stream, began = random.Random(seed), time.monotonic()
    program = common.binary(options.symbolon)
    with common.Folder(options.dir) as folder:
        home = folder.file("network")
        os.makedirs(home)
        with common.Network(program, home, NODES, "2GiB", "1h") as network:
            network.do("init", "--as", "buyer", "--no-passphrase", "--ledger", network.ticket)
            network.do("account", "faucet", "--as", "buyer")
            sales, bought = Sales(network, folder, stream), 1
            try:
                sales.warm()
                for number in range(options.points):
                    # One sale at least is waiting for its buyer.
                    verb = stream.choice(("sell", "buy")) if sales.unsold else "sell"
                    victim, moment = sales.sell(number + 1) if verb == "sell" else sales.buy()
                    bought += verb == "buy"
                    print(f"{number + 1:4}  {verb}  {victim:6}  after {moment * 1000:.0f} ms: held", flush=True)
                sales.finish(bought)
            except Failed as why:
                raise Failed(f"seed {seed}: {why}") from None
    counts = ", ".join(f"{count} {what}" for what, count in sales.counts.items())
    print(f"{counts}; {sales.interrupted} in the middle, {sales.resumed} purchases went on; "
          f"{time.monotonic() - began:.0f} s")
    return f"seed {seed}: every sale once at {options.points} points"


if __name__ == "__main__":
    common.conclude(main)
