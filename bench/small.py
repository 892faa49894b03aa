#!/usr/bin/env python3
"""Runs every checking script of this folder on small inputs, as CI does after the tests.

It leaves out a script that needs another program besides Symbolon, by name and with the reason. A script in
neither list makes it fail, so that no script breaks unnoticed.

    python3 bench/small.py --symbolon target/debug/symbolon
    python3 bench/small.py --only kills.py
"""

import argparse
import os
import subprocess
import sys
import time

import common
import distance

HERE = os.path.dirname(os.path.abspath(__file__))
SMALL = [
    # Twice what each waits for on an idle machine: more is a question too many, less is the machine.
    ("buy.py", ["--rounds", "2", "--killed", "2"]),
    ("distance.py", ["--rtt", "100", "--steps", "--rounds", "1", "--nodes", "5"]
     + ["--most", "put=18", "--most", "buy=24", "--most", "get=8", "--most", "ls=5"]),
    ("distance.py", ["--rtt", "100", "--deals", "30", "--epochs", "2"]),
    ("durability.py", ["--years", "4000"]),
    ("folder.py", ["--files", "300", "--bytes", "1KiB"]),
    # Blocks of 48 epochs fill the file first. Then its size swings by half a MiB, which is 100 MB an hour here. Without
    # their removal it grows by 500 MB an hour.
    ("idle.py", ["--files", "20", "--epoch", "1s", "--settle", "60", "--minutes", "0.3"]
     + ["--most-kept", "250MB", "--most-written", "10GB"]),
    ("kills.py", ["--points", "20", "--size", "200kB", "--seed", "11"]),
    ("large.py", ["3MiB"]),
    ("names.py", ["--names", "100", "--names", "6000", "--rounds", "2", "--most-bytes", "700", "--most-left", "2"]
     + [more for step in ("put", "put again", "stat", "get", "status", "mv", "rm")
        for more in ("--most", f"{step}=2")]),
    ("nodes.py", ["--nodes", "100", "--nodes", "200", "--rounds", "3", "--most", "2"]),
    ("repair.py", ["--size", "3MiB", "--nodes", "6", "--scheme", "2/4", "--epoch", "2s"]),
    ("soak.py", ["--nodes", "10", "--scheme", "2/5", "--files", "2", "--size", "100kB", "--minutes", "0.7"]
     + ["--epoch", "2s", "--every", "8", "--dead-after", "3", "--most-missed", "3"]),
    ("sales.py", ["--points", "10", "--seed", "5"]),
    ("validators.py", ["--turns", "8", "--nodes", "5", "--hosts", "--seed", "4", "--epoch", "4s", "--keep-blocks", "2"]),
    ("slow_node.py", ["--size", "1MiB", "--rate", "2MB", "--delay", "0.05"]),
]
ELSEWHERE = {
    "iroh_copy.py": "needs sendme",
    "tahoe.py": "installs Tahoe-LAFS",
}


def scripts():
    """The scripts that give a verdict, without this one."""
    for name in sorted(os.listdir(HERE)):
        if name.endswith(".py") and name != os.path.basename(__file__):
            with open(os.path.join(HERE, name)) as file:
                if "conclude(main)\n" in file.read():
                    yield name


def namespaces():
    """Whether this machine can run processes behind a slow link."""
    try:
        return common.run(["unshare", "--user", "--map-root-user", "--net", "true"]).code == 0
    except FileNotFoundError:
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbolon", metavar="PATH", help="the program (default: target/release/symbolon)")
    parser.add_argument("--only", metavar="SCRIPT", action="append", help="only this one")
    options = parser.parse_args()
    program = common.binary(options.symbolon)
    known = {name for name, _ in SMALL} | set(ELSEWHERE)
    unknown = [name for name in scripts() if name not in known]
    common.need(not unknown, f"{', '.join(unknown)}: in no list of small.py")
    ran = 0
    for name, line in SMALL:
        if options.only and name not in options.only:
            continue
        if name == "slow_node.py" and not namespaces():
            print(f"{name}: left out, no network namespaces here", flush=True)
            continue
        if (name == "distance.py" or "--hosts" in line) and (why := distance.hindrance()):
            print(f"{name}: left out, {why}", flush=True)
            continue
        began = time.monotonic()
        done = common.run([sys.executable, os.path.join(HERE, name), *line, "--symbolon", program])
        words = done.out.decode().strip().splitlines()[-1:] or ["it said nothing"]
        print(f"{name} {' '.join(line)}: {words[0]} ({time.monotonic() - began:.0f} s)", flush=True)
        if done.code != 0:
            sys.stderr.write(done.out.decode() + done.error.decode())
            raise common.Failed(f"{name} ended with {done.code}")
        common.need(words[0].startswith("held: "), f"{name} gave no verdict")
        ran += 1
    return f"{ran} runs"


if __name__ == "__main__":
    common.conclude(main)
