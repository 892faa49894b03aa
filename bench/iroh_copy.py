#!/usr/bin/env python3
"""Compares put and get of Symbolon with a plain copy by iroh: the cost of encryption, coding, eight nodes and a ledger.

The copy is `sendme` (iroh-blobs), if it is installed, or if `--install` builds it from crates.io into a folder of
its own (several minutes). Its endpoint uses no relay. Without `sendme` the floor is the example
`throughput` of the crate net: one plain stream over loopback between two endpoints of one process
(`cargo build --release -p symbolon-net --example throughput`).

    python3 bench/iroh_copy.py --size 1GiB --stream target/release/examples/throughput
    python3 bench/iroh_copy.py --size 1GiB --sendme ~/.cargo/bin/sendme
"""

import argparse
import json
import os
import re
import select
import shutil
import subprocess
import time

import common


def install(folder):
    """Builds sendme into the folder; gives its program."""
    root = folder.file("sendme")
    env = {**os.environ, "CARGO_TARGET_DIR": folder.file("sendme-target")}
    subprocess.run(["nice", "cargo", "install", "sendme", "--locked", "--root", root], check=True, env=env)
    return os.path.join(root, "bin", "sendme")


def copy(sendme, folder, source, length):
    """Sends and receives with sendme; the time from the receiver's start to its end."""
    home, work = folder.file("send"), folder.file("receive")
    os.makedirs(home)
    os.makedirs(work)
    # sendme hashes the whole file before it prints its ticket: that is its put.
    began = time.monotonic()
    sender = subprocess.Popen(
        [sendme, "send", "--relay", "disabled", "--ticket-type", "addresses", source],
        cwd=home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    try:
        ticket = ticket_of(sender)
        put = {"seconds": time.monotonic() - began, "cpu": common.cpu_of(sender.pid), "client_peak": common.peak_of(sender.pid)}
        before = common.cpu_of(sender.pid)
        done = common.run([sendme, "receive", "--relay", "disabled", ticket], cwd=work)
        if done.code != 0:
            raise common.Failed(f"sendme could not receive: {done.error.decode()[-400:]}")
        get = {
            "seconds": done.seconds, "cpu": done.cpu + common.cpu_of(sender.pid) - before,
            "client_peak": done.peak, "node_peak": common.peak_of(sender.pid),
        }
    finally:
        sender.kill()
        sender.wait()
    if not common.same(source, os.path.join(work, os.path.basename(source))):
        raise common.Failed("sendme gave other bytes back")
    shutil.rmtree(work)
    put["node_peak"] = put["client_peak"]
    return common.rate(put, length), common.rate(get, length)


def ticket_of(sender, patience=600):
    """Reads the output of sendme until it contains the ticket."""
    text, until = "", time.monotonic() + patience
    while time.monotonic() < until:
        ready, _, _ = select.select([sender.stdout], [], [], 1)
        if ready:
            piece = os.read(sender.stdout.fileno(), 1 << 16).decode(errors="replace")
            if not piece:
                break
            text += piece
            if found := re.search(r"receive (blob\w+)\s", text):
                return found[1]
    raise common.Failed(f"sendme gave no ticket: {text[-400:]}")


def stream(program, length):
    """The plain stream's time and processor time for that many bytes, from its rates."""
    mb_per_s, ns_per_byte = common.stream(program)
    figures = {"seconds": length / 1e6 / mb_per_s, "cpu": ns_per_byte * length / 1e9}
    return common.rate({**figures, "client_peak": 0, "node_peak": 0}, length)


def symbolon(program, folder, source, length, nodes):
    home, out = folder.file(f"network{nodes}"), folder.file("out")
    os.makedirs(home)
    with common.Network(program, home, nodes) as network:
        put = network.measure("put", source, "file", "--for", "1h", "--yes")
        get = network.measure("get", "file", "-o", out)
    if not common.same(source, out):
        raise common.Failed("Symbolon gave other bytes back")
    os.remove(out)
    shutil.rmtree(home)
    return common.rate(put, length), common.rate(get, length)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.arguments(parser)
    parser.add_argument("--size", type=common.size, default=common.GIB, help="bytes of the file (default 1GiB)")
    parser.add_argument("--sendme", metavar="PATH", help="a sendme that is installed")
    parser.add_argument("--install", action="store_true", help="build sendme from crates.io")
    parser.add_argument("--stream", metavar="PATH", help="the built example `throughput` of the crate net")
    options = parser.parse_args()
    common.files_limit()
    program, length, load = common.binary(options.symbolon), options.size, common.load()
    results = {}
    with common.Folder(options.dir) as folder:
        source = folder.file("source")
        common.make(source, length, 5)
        sendme = options.sendme or shutil.which("sendme") or (install(folder) if options.install else None)
        if sendme:
            results["sendme"] = copy(sendme, folder, source, length)
        if options.stream:
            one = stream(options.stream, length)
            results["plain stream"] = (one, one)
        if not results:
            raise common.Failed("nothing to compare with: give --sendme, --install or --stream")
        results["symbolon 1/1"] = symbolon(program, folder, source, length, 1)
        results["symbolon 4/8"] = symbolon(program, folder, source, length, 8)
    rows = [("what", "put s", "get s", "put MB/s", "get MB/s", "put CPU s/GiB", "get CPU s/GiB")]
    for what, (put, get) in results.items():
        rows.append((
            what, f"{put['seconds']:.2f}", f"{get['seconds']:.2f}", f"{put['mb_per_s']:.0f}", f"{get['mb_per_s']:.0f}",
            f"{put['cpu_per_gib']:.1f}", f"{get['cpu_per_gib']:.1f}",
        ))
    print(f"{common.show(length)}, {os.cpu_count()} cores, load before: {load:.1f}, after: {common.load():.1f}")
    common.table(rows)
    peer = next(iter(results))
    for what in ("symbolon 1/1", "symbolon 4/8"):
        whole = [sum(one["seconds"] for one in results[name]) for name in (what, peer)]
        work = [sum(one["cpu"] for one in results[name]) for name in (what, peer)]
        print(f"{what}: put and get take {whole[0] / whole[1]:.2f}x the time of {peer}, {work[0] / work[1]:.2f}x its CPU")
    if options.json:
        print(json.dumps({"length": length, "load": load, **results}))
    return f"{common.show(length)} came back as stored, beside {peer}"


if __name__ == "__main__":
    common.conclude(main)
