#!/usr/bin/env python3
"""Puts and gets one file with Tahoe-LAFS and with Symbolon, on this machine, one after the other.

Tahoe-LAFS is installed from PyPI into a temporary virtual environment (or taken from --tahoe): an introducer,
10 storage nodes and a client, 3-of-10 shares, everything on 127.0.0.1. Symbolon: a ledger and 8 nodes, scheme
4/8. Wall time is that of the client's request. CPU seconds are those of all processes of a system together.
Peaks are VmHWM, reset before each step. The script compares the returned bytes with the file's.

    python3 bench/tahoe.py --size 100MiB
    python3 bench/tahoe.py --size 1GiB --json
"""

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import time
import urllib.parse

import common

SHARES = (3, 7, 10)


def install(folder):
    """Makes a virtual environment with Tahoe-LAFS; gives its program."""
    home = folder.file("venv")
    quiet = {"check": True, "stdout": subprocess.DEVNULL}
    subprocess.run([sys.executable, "-m", "venv", home], **quiet)
    subprocess.run([os.path.join(home, "bin", "pip"), "install", "-q", "tahoe-lafs"], **quiet)
    return os.path.join(home, "bin", "tahoe")


class Grid:
    """An introducer, storage nodes and a client of Tahoe-LAFS."""

    def __init__(self, tahoe, folder):
        self.tahoe, self.folder, self.servers = tahoe, folder, []
        os.makedirs(folder)
        try:
            self.begin()
        except BaseException:
            self.__exit__()
            raise

    def make(self, verb, name, *options):
        home, port = os.path.join(self.folder, name), free_port()
        line = [self.tahoe, verb, *options]
        if verb != "create-client":  # which has no server
            line += [f"--port=tcp:{port}:interface=127.0.0.1", f"--location=tcp:127.0.0.1:{port}"]
        subprocess.run([*line, home], check=True, stdout=subprocess.DEVNULL)
        return home

    def serve(self, home):
        log = os.path.join(self.folder, os.path.basename(home) + ".log")
        command = [self.tahoe, "run", home]
        server = common.Server(command, log, ready_line=False)
        self.servers.append(server)
        return server

    def begin(self):
        introducer = self.make("create-introducer", "introducer")
        self.serve(introducer)
        furl = wait_for(lambda: read(os.path.join(introducer, "private", "introducer.furl")))
        nodes = []
        for number in range(SHARES[2]):
            node = self.make("create-node", f"node{number}", f"--introducer={furl}", "--webport=none")
            nodes.append(self.serve(node))
        self.nodes = nodes
        client = self.make(
            "create-client", "client", f"--introducer={furl}", "--webport=tcp:0:interface=127.0.0.1",
            f"--shares-needed={SHARES[0]}", f"--shares-happy={SHARES[1]}", f"--shares-total={SHARES[2]}",
        )
        self.client = self.serve(client)
        url = wait_for(lambda: read(os.path.join(client, "node.url")))
        self.address = urllib.parse.urlsplit(url.strip()).netloc
        wait_for(lambda: self.connected() >= SHARES[2])

    def connected(self):
        try:
            web = http.client.HTTPConnection(self.address, timeout=60)
            web.request("GET", "/?t=json")
            servers = json.loads(web.getresponse().read())["servers"]
            return sum(1 for server in servers if str(server["connection_status"]).lower().startswith("connected"))
        except OSError:
            return 0

    def put(self, path):
        web = http.client.HTTPConnection(self.address, timeout=7200)
        with open(path, "rb") as body:
            length = os.path.getsize(path)
            web.request("PUT", "/uri", body=body, headers={"Content-Length": str(length)})
            answer = web.getresponse()
            text = answer.read().decode()
        if answer.status not in (200, 201):
            raise RuntimeError(f"Tahoe-LAFS refused the put: {answer.status} {text[:200]}")
        return text.strip()

    def get(self, cap, path):
        web = http.client.HTTPConnection(self.address, timeout=7200)
        web.request("GET", "/uri/" + urllib.parse.quote(cap, safe=""))
        answer = web.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"Tahoe-LAFS refused the get: {answer.status}")
        with open(path, "wb") as out:
            while piece := answer.read(common.MIB):
                out.write(piece)

    def measure(self, step):
        for server in self.servers:
            common.forget_peak(server.pid)
        before = sum(server.cpu() for server in self.servers)
        own = time.process_time()
        began = time.monotonic()
        result = step()
        figures = {"seconds": time.monotonic() - began}
        # What this script spends on HTTP stands for the program a user would run.
        figures["cpu"] = sum(server.cpu() for server in self.servers) - before + time.process_time() - own
        figures["client_peak"] = common.peak_of(self.client.pid)
        figures["node_peak"] = max(common.peak_of(node.pid) for node in self.nodes)
        return result, figures

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in reversed(self.servers):
            server.child.stdin.close()
            server.child.terminate()
            try:
                server.child.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def read(path):
    try:
        with open(path) as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def wait_for(look, patience=180):
    until = time.monotonic() + patience
    while not (found := look()):
        if until < time.monotonic():
            raise RuntimeError("Tahoe-LAFS did not get ready")
        time.sleep(0.2)
    return found


def tahoe(options, folder, source, length):
    program = options.tahoe or install(folder)
    out = folder.file("tahoe.out")
    with Grid(program, folder.file("tahoe")) as grid:
        cap, put = grid.measure(lambda: grid.put(source))
        _, get = grid.measure(lambda: grid.get(cap, out))
    if not common.same(source, out):
        raise common.Failed("Tahoe-LAFS gave other bytes back")
    os.remove(out)
    return common.rate(put, length), common.rate(get, length)


def symbolon(options, folder, source, length):
    out = folder.file("symbolon.out")
    os.makedirs(folder.file("symbolon"))
    with common.Network(common.binary(options.symbolon), folder.file("symbolon"), 8) as network:
        put = network.measure("put", source, "file", "--for", "1h", "--yes")
        get = network.measure("get", "file", "-o", out)
    if not common.same(source, out):
        raise common.Failed("Symbolon gave other bytes back")
    os.remove(out)
    return common.rate(put, length), common.rate(get, length)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.arguments(parser)
    parser.add_argument("--size", type=common.size, default=common.GIB, help="bytes of the file (default 1GiB)")
    parser.add_argument("--tahoe", metavar="PATH", help="a tahoe that is installed already")
    options = parser.parse_args()
    common.files_limit()
    length = options.size
    load = common.load()
    with common.Folder(options.dir) as folder:
        source = folder.file("source")
        common.make(source, length, 1)
        ours = symbolon(options, folder, source, length)
        theirs = tahoe(options, folder, source, length)
    rows = [("step", "system", "seconds", "MB/s", "CPU s/GiB", "client peak", "node peak")]
    for step, pair in (("put", (theirs[0], ours[0])), ("get", (theirs[1], ours[1]))):
        for name, one in zip(("tahoe 3/10", "symbolon 4/8"), pair):
            rows.append((
                step, name, f"{one['seconds']:.2f}", f"{one['mb_per_s']:.1f}", f"{one['cpu_per_gib']:.1f}",
                common.show(one["client_peak"]), common.show(one["node_peak"]),
            ))
    print(f"{common.show(length)}, {os.cpu_count()} cores, load before: {load:.1f}, after: {common.load():.1f}")
    common.table(rows)
    ratios = {}
    for number, step in enumerate(("put", "get")):
        ratios[step] = {
            "throughput": ours[number]["mb_per_s"] / theirs[number]["mb_per_s"],
            "cpu": theirs[number]["cpu"] / ours[number]["cpu"],
        }
        print(
            f"{step}: {ratios[step]['throughput']:.1f}x the throughput of Tahoe-LAFS, "
            f"1/{ratios[step]['cpu']:.1f} of its CPU seconds"
        )
    if options.json:
        figures = {"length": length, "load": load, "tahoe": theirs, "symbolon": ours, "ratios": ratios}
        print(json.dumps(figures))
    return f"{common.show(length)} came back as stored from both"


if __name__ == "__main__":
    common.conclude(main)
