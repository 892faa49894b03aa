#!/usr/bin/env python3
"""Puts and gets a folder of many small files: files per second, deals on the ledger, and the trees compared.

    python3 bench/folder.py --files 100000 --bytes 4KiB
"""

import argparse
import json
import os
import random

import common

PER_FOLDER = 1000


def build(top, files, length):
    """Makes files that all differ, a thousand in each folder."""
    stream = random.Random(files * length + 1)
    for number in range(files):
        folder = os.path.join(top, f"{number // PER_FOLDER:04}")
        if number % PER_FOLDER == 0:
            os.makedirs(folder)
        with open(os.path.join(folder, f"{number:08}"), "wb") as out:
            out.write(stream.randbytes(length))


def differs(one, other):
    """The first path that differs between two trees."""
    seen = set()
    for folder, _, names in os.walk(one):
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), one)
            seen.add(path)
            there = os.path.join(other, path)
            if not os.path.isfile(there) or not common.same(os.path.join(one, path), there):
                return path
    for folder, _, names in os.walk(other):
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), other)
            if path not in seen:
                return path
    return None


def deals(network):
    """Deals that the nodes saw open, each counted once."""
    found = set()
    for number in range(len(network.nodes)):
        with open(os.path.join(network.folder, f"node{number}.log"), errors="replace") as log:
            for line in log:
                if "deal opened" in line and "deal=" in line:
                    found.add(line.split("deal=", 1)[1].split()[0])
    return len(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.arguments(parser)
    parser.add_argument("--files", type=int, default=100_000, help="how many (default 100000)")
    parser.add_argument("--bytes", type=common.size, default=4096, help="bytes of each (default 4KiB)")
    options = parser.parse_args()
    common.files_limit()
    length, load = options.files * options.bytes, common.load()
    with common.Folder(options.dir) as folder:
        source, out, home = folder.file("tree"), folder.file("out"), folder.file("network")
        build(source, options.files, options.bytes)
        os.makedirs(home)
        with common.Network(common.binary(options.symbolon), home, 8) as network:
            put = network.measure("put", source, "tree", "--for", "1h", "--yes")
            again = network.measure("put", source, "tree", "--for", "1h", "--yes")
            get = network.measure("get", "tree", "-o", out)
            opened = deals(network)
        path = differs(source, out)
        if path is not None:
            raise common.Failed(f"{path} did not come back as it was")
    rows = [("step", "seconds", "files/s", "MB/s", "CPU s", "client peak", "node peak")]
    for name, one in (("put", put), ("put again", again), ("get", get)):
        common.rate(one, length)
        one["files_per_s"] = options.files / one["seconds"]
        rows.append((
            name, f"{one['seconds']:.2f}", f"{one['files_per_s']:.0f}", f"{one['mb_per_s']:.1f}",
            f"{one['cpu']:.1f}", common.show(one["client_peak"]), common.show(one["node_peak"]),
        ))
    print(f"{options.files} files of {common.show(options.bytes)}, {os.cpu_count()} cores, load before: {load:.1f}")
    common.table(rows)
    print(f"deals on the ledger: {opened}")
    if options.json:
        print(json.dumps({"files": options.files, "bytes": options.bytes, "deals": opened,
                          "put": put, "again": again, "get": get, "load": load}))
    common.need(again["document"]["outcome"] == "already", "the second put stored something")
    return f"{options.files} files came back as they were, and the second put moved nothing"


if __name__ == "__main__":
    common.conclude(main)
