#!/usr/bin/env python3
"""Measures how long a buyer waits: from `symbolon buy` to the first byte of the plain file, with the key among five
custodians of which three are needed. The ledger, the nodes and each command are processes of their own on loopback.
No process of the seller runs.

    python3 bench/buy.py                       # beside its floor, in one run
    python3 bench/buy.py --killed 2            # with as many custodians gone as the key can do without
    python3 bench/buy.py --most 0.15           # fails above this many seconds over the floor

The floor is `account send`: a process that starts, sends one transaction and waits for its block. What a purchase
takes beyond that is its checks, the release of the key and the first cell.
"""

import argparse
import statistics

import common

NODES, CUSTODIANS, REQUIRED = 8, 5, 3
FILE_BYTES = 300_000


def measure(options, folder):
    source = folder.file("source")
    common.make(source, FILE_BYTES, 1)
    with open(source, "rb") as file:
        plain = file.read()
    times = {"account send": [], "buy, first byte": []}
    with common.Network(options.program, folder.path, NODES, capacity="1GiB", epoch="1h") as net:
        for who in ("buyer", "other"):
            net.do("init", "--as", who, "--no-passphrase", "--ledger", net.ticket)
        net.do("account", "faucet", "--as", "buyer")
        net.do("account", "faucet", "--as", "other")
        vault = net.do("vault", "create", "--yes")["vault"]
        keep = vault["custodians"]
        common.need(len(keep) == CUSTODIANS and vault["threshold"] == REQUIRED, f"another vault: {vault}")
        listings = []
        for number in range(options.rounds + 1):
            name = f"file{number}"
            net.do("put", source, name, "--for", "40h", "--yes")
            listings.append(net.do("sell", name, "--price", "1", "--window", "1h", "--yes")["listing"])
        gone = {one["node"] for one in keep[: options.killed]}
        for node in net.nodes:
            if node.ready["node"] in gone:
                node.kill()
        # The first purchase of a device asks for more than the others: it has met no node.
        for number, listing in enumerate(listings):
            seconds, got = net.first_byte("buy", listing, "-o", "-", "--yes", "--as", "buyer")
            common.need(got == plain, "the bytes that came back are others")
            sent = net.run("account", "send", "other", "0.001", "--yes", "--as", "buyer")
            sent.document()
            if number > 0:
                times["buy, first byte"].append(seconds)
                times["account send"].append(sent.seconds)
            else:
                first = seconds
    return times, first


def main():
    parser = common.arguments(argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter))
    parser.add_argument("--rounds", type=int, default=9, help="purchases that are counted")
    parser.add_argument("--killed", type=int, default=0, help="custodians that are killed before")
    parser.add_argument("--most", type=float, help="the most seconds over the floor")
    options = parser.parse_args()
    options.program = common.binary(options.symbolon)
    with common.Folder(options.dir) as folder:
        times, first = measure(options, folder)
    rows = [("", "median ms", "least ms", "most ms")]
    for what, some in times.items():
        figures = (statistics.median(some), min(some), max(some))
        rows.append((what, *(f"{1000 * seconds:.0f}" for seconds in figures)))
    common.table(rows)
    bought, sent = (statistics.median(times[what]) for what in ("buy, first byte", "account send"))
    over = bought - sent
    print(f"the first purchase of the device: {1000 * first:.0f} ms; load {common.load():.1f}")
    if options.most is not None:
        common.need(over <= options.most, f"{1000 * over:.0f} ms over one transaction")
    return f"first byte {1000 * over:.0f} ms after one transaction, {bought / sent:.2f} times it"


if __name__ == "__main__":
    common.conclude(main)
