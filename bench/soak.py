#!/usr/bin/env python3
"""Nodes are killed for good, restarted, wiped and stopped for a while, and the owner's client never runs.

Each node is a process. Files are stored once. Then, for some minutes, one thing after another happens to a node, and caretakers
repair what is lost. Some nodes are never touched. At the end every file is read and compared, the ledger's money is added up, all its
blocks are audited by `symbolon audit`, and no untouched node may have missed a proof.

    python3 bench/soak.py --nodes 24 --minutes 30
    python3 bench/soak.py --nodes 10 --scheme 2/5 --minutes 1 --epoch 2s --every 8
"""

import argparse
import json
import os
import random
import shutil
import signal
import time

import common
from common import need, show, size

# Of the nodes that may be touched, so many are away for good at most.
GONE = 0.25


class Soak:
    def __init__(self, network, untouched, dice):
        self.network, self.dice = network, dice
        numbers = list(range(len(network.nodes)))
        dice.shuffle(numbers)
        self.untouched, self.others = numbers[:untouched], numbers[untouched:]
        self.gone, self.done = [], []
        self.back = []  # (when, number, how it comes back)

    def away(self):
        return {number for _, number, _ in self.back} | set(self.gone)

    def strike(self, pause):
        """Something happens to a node that is there."""
        here = [number for number in self.others if number not in self.away()]
        if not here or len(self.back) >= 2:
            return
        number = self.dice.choice(here)
        node = self.network.nodes[number]
        what = self.dice.choice(["kill", "restart", "wipe", "stop"])
        if what == "kill" and len(self.gone) + 1 > GONE * len(self.others):
            what = "restart"
        back = time.monotonic() + pause * self.dice.uniform(0.2, 1.5)
        if what == "stop":
            os.kill(node.pid, signal.SIGSTOP)
        else:
            node.kill()
        if what == "wipe":
            shutil.rmtree(os.path.join(self.network.node_dir(number), "shards"), ignore_errors=True)
        if what == "kill":
            self.gone.append(number)
        else:
            self.back.append((back, number, what))
        self.done.append(what)
        print(f"{time.strftime('%H:%M:%S')} node {number}: {what}", flush=True)

    def return_due(self, all_of_them=False):
        now = time.monotonic()
        for entry in [entry for entry in self.back if all_of_them or entry[0] <= now]:
            self.back.remove(entry)
            _, number, what = entry
            node = self.network.nodes[number]
            if what == "stop":
                os.kill(node.pid, signal.SIGCONT)
                continue
            if what == "wipe" and "--accept-loss" not in node.command:
                node.command = node.command + ["--accept-loss"]
            node.start()


def audited(network, blocks, until_ok):
    """The blocks so far, kept and audited. A ledger forgets blocks, so this runs now and then."""
    done = network.run("audit", "--export", blocks)
    need(done.code == 0 or not until_ok, f"the audit says: {done.out.decode()}")
    return json.loads(done.out) if done.code == 0 else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.arguments(parser)
    parser.add_argument("--nodes", type=int, default=24, help="how many nodes (default 24)")
    parser.add_argument("--untouched", type=int, help="how many of them nothing happens to (default a third)")
    parser.add_argument("--scheme", default="4/10", help="REQUIRED/TOTAL (default 4/10)")
    parser.add_argument("--files", type=int, default=6, help="how many files (default 6)")
    parser.add_argument("--size", default="2MiB", help="of each file (default 2MiB)")
    parser.add_argument("--epoch", default="10s", help="length of an epoch (default 10s)")
    parser.add_argument("--minutes", type=float, default=30, help="how long (default 30)")
    parser.add_argument("--every", type=float, default=30, help="seconds between two things that happen (default 30)")
    parser.add_argument("--dead-after", type=int, default=4, help="epochs missed until a node is dead (default 4)")
    parser.add_argument("--most-missed", type=int, default=0, metavar="PROOFS",
                        help="how many proofs nodes that nothing happens to may miss (default 0)")
    parser.add_argument("--seed", type=int, default=1, help="of what happens (default 1)")
    options = parser.parse_args()
    dice, load = random.Random(options.seed), common.load()
    untouched = options.nodes // 3 if options.untouched is None else options.untouched
    common.files_limit()
    with common.Folder(options.dir) as folder:
        network = common.Network(
            common.binary(options.symbolon), folder.path, options.nodes, epoch=options.epoch,
            node_options=lambda _: ["--caretaker"], ledger_options=["--dead-after", str(options.dead_after)])
        with network:
            sources = {}
            for number in range(options.files):
                source = folder.file(f"source{number}")
                common.make(source, size(options.size), number)
                network.do("put", source, f"file{number}", "--scheme", options.scheme, "--accept-risk", "--for", "1d", "--yes")
                sources[f"file{number}"] = source
            blocks = folder.file("blocks")
            soak = Soak(network, untouched, dice)
            end = time.monotonic() + options.minutes * 60
            strike, audit = time.monotonic() + options.every, time.monotonic() + 60
            while time.monotonic() < end:
                time.sleep(0.5)
                soak.return_due()
                if strike <= time.monotonic():
                    soak.strike(options.every)
                    strike = time.monotonic() + options.every
                if audit <= time.monotonic():
                    audited(network, blocks, True)
                    audit = time.monotonic() + 60
            soak.return_due(all_of_them=True)
            # Repairs under way may end: as long as a node needs to be dead, to be claimed for, and to be proven.
            time.sleep(size_of_epoch(options.epoch) * (options.dead_after + 6))
            report = audited(network, blocks, True)
            for name, source in sources.items():
                copy = folder.file("copy")
                network.do("get", name, "-o", copy, "--replace")
                need(common.same(source, copy), f"{name} is not what was put")
            status = network.do("ledger", "status")
            need(status["money"]["adds_up"], "the ledger's money does not add up")
            rows = {row["node"]: row for row in network.do("node", "status")["nodes"]}
            lost = 0
            for name in sources:
                for segment in network.do("stat", name)["segments"]:
                    lost += sum(shard["health"] == "lost" for shard in segment["shards"])
            still = [rows[network.nodes[number].ready["node"]] for number in soak.untouched]
            missed = sum(row["missed"] for row in still)
            need(missed <= options.most_missed, f"nodes that nothing happened to have missed {missed} proofs")
    counts = {what: soak.done.count(what) for what in sorted(set(soak.done))}
    words = ", ".join(f"{count} {what}" for what, count in counts.items())
    return (f"{len(sources)} files of {show(size(options.size))} read after {words}; {report['blocks']} blocks audited, "
            f"{report['proven']} epochs proven and {report['missed']} missed, {report['leaves']} leaves opened; "
            f"{lost} shards without a node; load {load:.1f} before")


def size_of_epoch(text):
    return float(text.rstrip("s"))


if __name__ == "__main__":
    common.conclude(main)
