#!/usr/bin/env python3
"""Leaves `symbolon up` alone and measures how much its files grow and how much it writes.

It stores small files, waits until the names index is on the network, and then only looks: at the bytes of every
kind of file on the disk, and at what the kernel counts as written by the process. Both are given for the time
measured and scaled to an hour. With --trace it counts the writes and syncs of each file too (needs strace).

    python3 bench/idle.py --minutes 20
    python3 bench/idle.py --epoch 10s --settle 600 --minutes 5 --trace 60
"""

import argparse
import collections
import json
import os
import re
import shutil
import subprocess
import time

import common
from common import need, show, size

KINDS = [
    ("ledger", r"ledger/ledger\.redb"),
    ("nodes' indexes", r"nodes/\d+/index\.redb"),
    ("shards", r"nodes/\d+/(shards|temporary)/"),
    ("identity", r"identities/"),
    ("other", r""),
]


def kind_of(path):
    return next(name for name, pattern in KINDS if re.search(pattern, path))


def kept(home):
    """Bytes on the disk by kind of file."""
    sums = collections.Counter()
    for folder, _, names in os.walk(home):
        for name in names:
            path = os.path.join(folder, name)
            try:
                sums[kind_of(os.path.relpath(path, home))] += os.stat(path).st_blocks * 512
            except FileNotFoundError:
                pass
    return sums


def written(pid):
    """Bytes that a process has caused to be written to a disk."""
    with open(f"/proc/{pid}/io") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("write_bytes"))


def trace(pid, home, seconds):
    """Bytes, writes and syncs by kind of file, for a while."""
    log = os.path.join(home, "..", "strace.txt")
    calls = "trace=pwrite64,write,fsync,fdatasync"
    command = ["strace", "-f", "-y", "-e", calls, "-o", log, "-p", str(pid)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as tracer:
        time.sleep(seconds)
        tracer.terminate()
    sums = collections.defaultdict(lambda: [0, 0, 0])
    with open(log) as file:
        for line in file:
            found = re.match(r"\d+ +(\w+)\(\d+<" + re.escape(home) + r"/([^>]*)>.*= (\d+)$", line)
            if found:
                sum = sums[kind_of(found[2])]
                is_sync = found[1] in ("fsync", "fdatasync")
                sum[0] += 0 if is_sync else int(found[3])
                sum[1] += not is_sync
                sum[2] += is_sync
    return {kind: {"bytes": sum[0], "writes": sum[1], "syncs": sum[2]} for kind, sum in sums.items()}


def up(options, program, folder):
    home = folder.file("home")
    line = [program, "up", "--json", "--home", home, "--nodes", str(options.nodes)]
    line += ["--epoch", options.epoch] if options.epoch else []
    env = {key: value for key, value in os.environ.items() if not key.startswith("SYMBOLON_")}
    return home, common.Server(line, folder.file("log"), env), env


def measure(options, program, folder):
    home, server, env = up(options, program, folder)
    try:
        command = [program, "--home", home, "--json"]
        source = folder.file("files")
        os.mkdir(source)
        for number in range(options.files):
            common.make(os.path.join(source, f"{number}.txt"), size(options.bytes), number)
        common.run(command + ["put", source, "files", "--yes"], env).document()
        time.sleep(options.settle)
        status = lambda: common.run(command + ["status"], env).document()["network"]
        before, began = status(), time.monotonic()
        files, bytes = kept(home), written(server.pid)
        traced = trace(server.pid, home, options.trace) if options.trace else None
        time.sleep(max(0, options.minutes * 60 - options.trace))
        grown, wrote = kept(home), written(server.pid) - bytes
        seconds, after = time.monotonic() - began, status()
        need(after["height"] < before["height"] + 10_000, "the network was not idle")
        return {
            "seconds": seconds,
            "epoch_ms": server.ready["epoch_ms"],
            "epochs": after["epoch"] - before["epoch"],
            "blocks": after["height"] - before["height"],
            "kept": {name: [files[name], grown[name]] for name, _ in KINDS},
            "wrote": wrote,
            "traced": traced,
        }
    finally:
        server.kill()


def tell(result):
    hour = 3600 / result["seconds"]
    rows = [("files", "before", "after", "an hour")]
    for name, (before, after) in result["kept"].items():
        rows.append((name, show(before), show(after), show(round((after - before) * hour))))
    common.table(rows)
    minutes = result["seconds"] / 60
    print(f"{result['blocks']} blocks and {result['epochs']} epochs of {result['epoch_ms']} ms in {minutes:.1f} minutes")
    if result["traced"]:
        common.table([("file", "bytes", "writes", "syncs")] + [
            (kind, show(sum["bytes"]), sum["writes"], sum["syncs"]) for kind, sum in result["traced"].items()
        ])


def main():
    parser = common.arguments(argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter))
    parser.add_argument("--files", type=int, default=300, help="small files to store (default: 300)")
    parser.add_argument("--bytes", default="10KiB", help="size of each file (default: 10KiB)")
    parser.add_argument("--nodes", type=int, default=8, help="storage nodes (default: 8)")
    parser.add_argument("--epoch", help="length of an epoch (default: that of `up`)")
    parser.add_argument("--settle", type=float, default=30, help="seconds before the measurement (default: 30)")
    parser.add_argument("--minutes", type=float, default=20, help="length of the measurement (default: 20)")
    parser.add_argument("--trace", type=float, default=0, metavar="SECONDS", help="trace the writes for so long")
    parser.add_argument("--most-kept", default="2MB", metavar="SIZE", help="most growth an hour (default: 2MB)")
    parser.add_argument("--most-written", default="20MB", metavar="SIZE", help="most writes an hour (default: 20MB)")
    options = parser.parse_args()
    program = common.binary(options.symbolon)
    need(not options.trace or shutil.which("strace"), "--trace needs strace")
    with common.Folder(options.dir) as folder:
        result = measure(options, program, folder)
    tell(result)
    if options.json:
        print(json.dumps(result))
    hour = 3600 / result["seconds"]
    grew = sum(after - before for before, after in result["kept"].values()) * hour
    wrote = result["wrote"] * hour
    words = f"{show(round(grew))} kept and {show(round(wrote))} written an hour"
    need(grew <= size(options.most_kept), f"{words}: at most {options.most_kept} may be kept")
    need(wrote <= size(options.most_written), f"{words}: at most {options.most_written} may be written")
    return words


if __name__ == "__main__":
    common.conclude(main)
