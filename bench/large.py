#!/usr/bin/env python3
"""Puts and gets large files: throughput, peak memory and CPU of the client and of every node.

A ledger and 8 nodes run as processes of their own on loopback and on this machine's cores. The same run measures
the floor of the disk (a plain sequential write with fsync). With the example, it also measures the floor of one
plain stream over loopback (`cargo build --release -p symbolon-net --example throughput`).

    python3 bench/large.py 1GiB
    python3 bench/large.py 1GiB 10GiB --stream target/release/examples/throughput --json
"""

import argparse
import json
import os

import common


def measure(program, folder, run, length, nodes):
    source, out = folder.file("source"), folder.file("out")
    common.make(source, length, length)
    home = folder.file(f"network{run}")
    os.makedirs(home)
    with common.Network(program, home, nodes) as network:
        put = network.measure("put", source, "file", "--for", "1h", "--yes")
        get = network.measure("get", "file", "-o", out)
        if not common.same(source, out):
            raise common.Failed("the bytes that came back are others")
        os.remove(out)
        network.do("rm", "file", "--yes")
    os.remove(source)
    return common.rate(put, length), common.rate(get, length)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.arguments(parser)
    parser.add_argument("sizes", nargs="+", type=common.size, metavar="SIZE", help="for example 1GiB")
    parser.add_argument("--nodes", type=int, default=8, help="storage nodes (default 8)")
    parser.add_argument("--stream", metavar="PATH", help="the built example `throughput` of the crate net")
    options = parser.parse_args()
    common.files_limit()
    program, document = common.binary(options.symbolon), {"nodes": options.nodes, "sizes": []}
    rows = [("size", "step", "seconds", "MB/s", "CPU s/GiB", "of it client", "client peak", "largest node peak")]
    with common.Folder(options.dir) as folder:
        document["disk_mb_per_s"] = common.sync_disk(folder.file("floor"), min(common.GIB, 4 * max(options.sizes)))
        if options.stream:
            document["stream_mb_per_s"], document["stream_ns_per_byte"] = common.stream(options.stream)
        for run, length in enumerate(options.sizes):
            load = common.load()
            put, get = measure(program, folder, run, length, options.nodes)
            document["sizes"].append({"length": length, "load": load, "put": put, "get": get})
            for step, one in (("put", put), ("get", get)):
                rows.append((
                    common.show(length), step, f"{one['seconds']:.2f}", f"{one['mb_per_s']:.1f}",
                    f"{one['cpu_per_gib']:.1f}", f"{one['client_cpu'] * common.GIB / length:.1f}",
                    common.show(one["client_peak"]), common.show(one["node_peak"]),
                ))
    common.table(rows)
    disk = document["disk_mb_per_s"]
    print(f"floor: disk {disk:.0f} MB/s written and synced; with scheme 4/8 every byte is written twice")
    if options.stream:
        print(f"floor: one plain stream over loopback {document['stream_mb_per_s']:.0f} MB/s, "
              f"{document['stream_ns_per_byte']:.2f} ns of processor time per byte")
    print(f"{os.cpu_count()} cores; load before each size: {[round(one['load'], 1) for one in document['sizes']]}")
    if options.json:
        print(json.dumps(document))
    return f"{', '.join(map(common.show, options.sizes))} came back as stored"


if __name__ == "__main__":
    common.conclude(main)
