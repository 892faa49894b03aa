#!/usr/bin/env python3
"""Measures the cost of a put beside many nodes: seconds, and the client's processor time, of puts of a small file.
The first put is of a machine that has met no node; the others come after it.

All nodes are one process, `symbolon up`, and all puts have one scheme. Every node follows each block on the same
cores, so the seconds grow with the nodes in any case. The client's own processor time shows the client's cost.

    python3 bench/nodes.py --nodes 8 --nodes 100 --nodes 1000
    python3 bench/nodes.py --nodes 8 --nodes 40 --rounds 3 --most 3
"""

import argparse
import json
import os
import statistics

import common

SCHEME = "4/8"
FILE_BYTES = 2000


def measure(program, home, nodes, rounds, source):
    """Seconds of the first put and of each one after it."""
    line = [program, "--home", home, "--json"]
    env = {key: value for key, value in os.environ.items() if not key.startswith("SYMBOLON_")}
    up = common.Server([*line, "up", "--nodes", str(nodes), "--epoch", "1h"], f"{home}.log", env)
    try:
        common.need(up.ready.get("event") == "ready", f"{nodes} nodes did not come up: {up.ready}")
        # Nothing is remembered of nodes that were met while the network was made.
        seconds, cpu = [], []
        for number in range(rounds + 1):
            common.make(source, FILE_BYTES, number)
            done = common.run([*line, "put", source, f"file{number}", "--for", "1h", "--yes", "--scheme", SCHEME], env)
            common.need(done.document()["outcome"] == "stored", f"put {number} stored nothing")
            seconds.append(done.seconds)
            cpu.append(done.cpu)
        return {"first": seconds[0], "next": statistics.median(seconds[1:]), "first_cpu": cpu[0],
                "next_cpu": statistics.median(cpu[1:]), "memory": common.peak_of(up.pid)}
    finally:
        up.child.terminate()
        up.child.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.arguments(parser)
    parser.add_argument("--nodes", type=int, action="append", help="measure with so many (default 8, 100, 1000)")
    parser.add_argument("--rounds", type=int, default=10, help="puts after the first; their median counts (default 10)")
    parser.add_argument("--most", type=float, metavar="GROWTH", help="fail when a later put's processor time grows by more than that factor")
    options = parser.parse_args()
    common.files_limit()
    load, found = common.load(), {}
    with common.Folder(options.dir) as folder:
        for nodes in sorted(options.nodes or [8, 100, 1000]):
            home, source = folder.file(f"home{nodes}"), folder.file("source")
            found[nodes] = measure(common.binary(options.symbolon), home, nodes, options.rounds, source)
    common.table([("nodes", "first put", "its processor time", "later puts", "processor time", "memory of all nodes")] + [
        (nodes, f"{one['first']:.3f} s", f"{one['first_cpu']:.3f} s", f"{one['next']:.3f} s",
         f"{one['next_cpu']:.3f} s", common.show(one["memory"]))
        for nodes, one in found.items()
    ])
    if options.json:
        print(json.dumps({"load": load, "nodes": found}))
    least, most = min(found), max(found)
    growth = found[most]["next_cpu"] / found[least]["next_cpu"]
    words = f"a put with {most} nodes takes {growth:.2f} times the client's processor time with {least}"
    common.need(not options.most or growth <= options.most, words)
    return f"{words}; load {load:.1f} before"


if __name__ == "__main__":
    common.conclude(main)
