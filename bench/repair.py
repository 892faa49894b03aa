#!/usr/bin/env python3
"""Kills a node and measures how the owner's `keep` gives its shards to another one.

Every node but a few keeps a shard of each segment. The file is read and written once, as the floor: a repair reads as
many shards as a read, and writes what was lost. Then a node is killed for good. When the ledger has taken its shards,
`symbolon keep --once` computes them from the others. The script checks that they have a node again, that the killed node
is not among the keepers, and that the file still reads when as many more nodes are dead as the scheme allows.

    python3 bench/repair.py --size 1GiB --nodes 22 --scheme 8/20
    python3 bench/repair.py --size 20MiB --nodes 6 --scheme 2/4 --epoch 2s
"""

import argparse
import json
import time

import common
from common import MIB, need, show, size


def dead(network, number):
    """Waits until the ledger has taken a node's shards."""
    node = network.nodes[number].ready["node"]
    end = time.monotonic() + 300
    while time.monotonic() < end:
        for row in network.do("node", "status")["nodes"]:
            if row["node"] == node and row["dead"] and row["used"] == 0:
                return node
        time.sleep(1)
    raise common.Failed(f"the ledger has not taken the shards of {node}")


def keepers(network):
    segments = network.do("stat", "file")["segments"]
    return [[(shard["node"], shard["health"]) for shard in segment["shards"]] for segment in segments]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.arguments(parser)
    parser.add_argument("--size", default="1GiB", help="of the file (default 1GiB)")
    parser.add_argument("--nodes", type=int, default=22, help="how many nodes (default 22)")
    parser.add_argument("--scheme", default="8/20", help="REQUIRED/TOTAL (default 8/20)")
    parser.add_argument("--epoch", default="5s", help="length of an epoch (default 5s)")
    parser.add_argument("--most-memory", help="fail if the owner's process takes more")
    options = parser.parse_args()
    length, load = size(options.size), common.load()
    required, total = map(int, options.scheme.split("/"))
    common.files_limit()
    with common.Folder(options.dir) as folder:
        source, copy = folder.file("file"), folder.file("copy")
        common.make(source, length, 1)
        network = common.Network(common.binary(options.symbolon), folder.path, options.nodes, epoch=options.epoch,
                                 ledger_options=["--dead-after", "2"])
        with network:
            put = common.rate(network.measure("put", source, "--scheme", options.scheme, "--accept-risk", "--for", "1d", "--yes"), length)
            get = common.rate(network.measure("get", "file", "-o", copy), length)
            need(common.same(source, copy), "what was read is not what was put")
            before = keepers(network)
            victim = next(number for number, node in enumerate(network.nodes)
                          if any(node.ready["node"] == one for one, _ in before[0]))
            network.nodes[victim].kill()
            node = dead(network, victim)
            lost = sum(one == node for segment in before for one, _ in segment)
            kept = common.rate(network.measure("keep", "--once", "--yes"), length)
            need(kept["document"]["repaired"] == lost, f"of {lost} lost shards: {kept['document']}")
            after = keepers(network)
            need(all(one != node for segment in after for one, _ in segment), "the killed node still counts as a keeper")
            # As many more nodes as may go: those that were there before.
            others = [number for number in range(options.nodes) if number != victim]
            for number in others[:total - required - (options.nodes - total)]:
                network.nodes[number].kill()
            network.do("get", "file", "-o", copy, "--replace")
            need(common.same(source, copy), "after the repair the file reads otherwise")
    common.table([("", "seconds", "MB/s of the file", "processor time for a GiB", "memory of the owner")] + [
        (name, f"{one['seconds']:.2f}", f"{one['mb_per_s']:.1f}", f"{one['cpu_per_gib']:.1f} s", show(one["client_peak"]))
        for name, one in (("put", put), ("get", get), (f"repair of {lost} lost shards", kept))
    ])
    if options.json:
        print(json.dumps({"load": load, "put": put, "get": get, "repair": kept}))
    share = kept["mb_per_s"] / get["mb_per_s"]
    most = size(options.most_memory) if options.most_memory else None
    need(most is None or kept["client_peak"] <= most, f"a repair takes {show(kept['client_peak'])} of memory")
    return f"a repair reads at {share:.2f} of the speed of a get, with {show(kept['client_peak'])}; load {load:.1f} before"


if __name__ == "__main__":
    common.conclude(main)
