#!/usr/bin/env python3
"""Measures the cost of one command beside many names: time, processor time and memory of a put, rm, get, stat,
status, mv and ls, at one number of names after the other, and the bytes of the local index.

The names are real: folders of tiny files, which the program itself stores in packs. The script reaches each number
from the one before, so a million names take a million files and no more.

    python3 bench/names.py --names 1000 --names 10000 --names 100000
    python3 bench/names.py --names 1000 --names 1000000 --rounds 1 --source /dev/shm
    python3 bench/names.py --names 100 --names 3000 --most put=2 --most-bytes 700
"""

import argparse
import json
import os
import shutil

import common

PER_FOLDER = 1000
FILE_BYTES = 2000
STEPS = ("put", "put again", "stat", "get", "status", "mv", "mv folder", "rm", "ls", "ls -r", "ls -r --json")


def build(top, first, last):
    """Makes files of a few bytes that all differ, a thousand in each folder."""
    for number in range(first, last):
        folder = os.path.join(top, f"{number // PER_FOLDER:05}")
        if number == first or number % PER_FOLDER == 0:
            os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f"{number:08}"), "w") as out:
            out.write(f"{number}")


def one(network, *line, text=False):
    """Runs a command: seconds, processor seconds, peak."""
    command = network.command(*line)
    if text:
        command.remove("--json")
    listing = line[:2] == ("ls", "-r")
    done = common.run(command, network.env, read=not listing)
    if done.code != 0:
        raise common.Failed(f"{' '.join(line)} ended with {done.code}: {done.error.decode()}{done.out.decode()}")
    document = json.loads(done.out) if not text and not listing else {}
    return {"seconds": done.seconds, "cpu": done.cpu, "peak": done.peak, "document": document}


def least(runs):
    """The least of several runs: the machine causes any excess."""
    return {key: min(run[key] for run in runs) for key in ("seconds", "cpu", "peak")}


def index_bytes(network):
    """Bytes on the disk of the owner's local index, the length of its file, and files beside it that are no longer
    needed. The database makes its file twice as long when it grows, and the file system stores only what is written."""
    disk, length, left = 0, 0, 0
    for folder, _, names in os.walk(os.path.join(network.home, "identities", "owner")):
        for name in names:
            if name.endswith(".redb"):
                about = os.stat(os.path.join(folder, name))
                disk += about.st_blocks * 512
                length += about.st_size
            elif os.path.basename(folder) in ("locks", "leaves"):
                left += 1
    return disk, length, left


def step(network, folder, name, rounds):
    """All steps at one number of names."""
    runs = {}

    def measure(step, *line, **more):
        runs.setdefault(step, []).append(one(network, *line, **more))
        return runs[step][-1]["document"]

    status = {}
    for number in range(rounds):
        source, out = folder.file("one"), folder.file("out")
        common.make(source, FILE_BYTES, number)
        single = f"single/{name}-{number}"
        measure("put", "put", source, single, "--for", "1h", "--yes")
        again = measure("put again", "put", source, single, "--for", "1h", "--yes")
        common.need(again["outcome"] == "already", "the second put stored something")
        measure("stat", "stat", single)
        measure("get", "get", single, "-o", out, "--replace")
        common.need(common.same(source, out), f"{single} did not come back as it was")
        status = measure("status", "status")
        measure("mv", "mv", single, f"{single}-moved")
        moved = measure("mv folder", "mv", "tree/00000", f"other-{name}-{number}")
        one(network, "mv", f"other-{name}-{number}", "tree/00000")
        common.need(moved["names"] > 1, "the folder that was moved has no names")
        measure("rm", "rm", f"{single}-moved", "--yes")
        measure("ls", "ls")
        measure("ls -r", "ls", "-r", text=True)
        measure("ls -r --json", "ls", "-r")
    return {step: least(found) for step, found in runs.items()}, status["files"]["count"]


def growths(found, kind):
    """The growth of each step from the least to the greatest number of names."""
    numbers = sorted(found)
    first, last = found[numbers[0]]["steps"], found[numbers[-1]]["steps"]
    return {name: last[name][kind] / max(first[name][kind], 0.001) for name in STEPS}


def show(found):
    rows = [("names", *STEPS, "index")]
    for number, there in found.items():
        cells = [f"{there['steps'][name]['seconds'] * 1000:.0f} ms {there['steps'][name]['peak'] >> 20} MiB" for name in STEPS]
        rows.append((number, *cells, f"{there['index_bytes'] / number:.0f} B/name"))
    for kind in ("seconds", "cpu", "peak"):
        rows.append((f"growth, {kind}", *(f"{growth:.2f}" for growth in growths(found, kind).values()), ""))
    # A step a line: there are more of them than numbers of names.
    common.table([tuple(column) for column in zip(*rows)])


def most(text):
    name, bound = text.split("=")
    if name not in STEPS:
        raise argparse.ArgumentTypeError(f"{name} is no step")
    return name, float(bound)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.arguments(parser)
    parser.add_argument("--names", type=int, action="append", help="measure at so many names (default 1000, 10000, 100000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each step is run; the least counts (default 3)")
    parser.add_argument("--source", metavar="DIR", help="where to make the files that are put: removing a million of them "
                                                        "takes some disks half an hour, and memory a few seconds")
    parser.add_argument("--most", type=most, action="append", default=[], metavar="STEP=GROWTH",
                        help="fail when a step's processor time grows by more than that factor")
    parser.add_argument("--most-bytes", type=float, metavar="BYTES", help="fail when the index has more bytes per name")
    parser.add_argument("--most-left", type=int, metavar="FILES", help="fail when more lock and leaf files are left")
    options = parser.parse_args()
    common.files_limit()
    load, found, before = common.load(), {}, 0
    numbers = sorted(options.names or [1000, 10_000, 100_000])
    with common.Folder(options.dir) as folder, common.Folder(options.source or options.dir) as files:
        source, home = files.file("tree"), folder.file("network")
        os.makedirs(home)
        with common.Network(common.binary(options.symbolon), home, 3, epoch="60s") as network:
            for number in numbers:
                build(source, before, number)
                filled = network.measure("put", source, "tree", "--for", "1h", "--yes")
                size, _, _ = index_bytes(network)
                again = network.measure("put", source, "tree", "--for", "1h", "--yes")
                common.need(again["document"]["files"] == 0, "the second put of the folder stored something")
                shutil.rmtree(source)
                steps, count = step(network, folder, str(number), options.rounds)
                # While a status is taken the single file is there too.
                common.need(count == number + 1, f"{count} files of {number + 1} are there")
                later, length, left = index_bytes(network)
                fill, again = ({key: put[key] for key in ("seconds", "client_cpu", "client_peak")}
                               for put in (filled, again))
                found[number] = {"steps": steps, "fill": fill, "again": again, "index_bytes": size,
                                 "later_bytes": later, "length": length, "left": left}
                before = number
    print(f"{os.cpu_count()} cores, load before: {load:.1f}; the least of {options.rounds}")
    show(found)
    for number, there in found.items():
        fill, again = there["fill"], there["again"]
        print(f"put of the folder that makes {number}: {fill['seconds']:.1f} s, {fill['client_peak'] >> 20} MiB; "
              f"the same again: {again['seconds']:.1f} s, {again['client_peak'] >> 20} MiB; after the steps "
              f"{there['later_bytes'] / number:.0f} bytes of index on the disk per name, in a file of "
              f"{there['length'] / number:.0f}; {there['left']} lock and leaf files")
    if options.json:
        print(json.dumps({"names": found, "load": load}))
    grown = growths(found, "cpu")
    for name, bound in options.most:
        common.need(grown[name] <= bound, f"{name} takes {grown[name]:.2f} times as long at {numbers[-1]} names as at "
                                          f"{numbers[0]}: more than {bound}")
    last = found[numbers[-1]]
    if options.most_bytes is not None:
        each = last["index_bytes"] / numbers[-1]
        common.need(each <= options.most_bytes, f"{each:.0f} bytes of index per name: more than {options.most_bytes}")
    if options.most_left is not None:
        common.need(last["left"] <= options.most_left, f"{last['left']} lock and leaf files are left")
    return f"put {grown['put']:.2f}, rm {grown['rm']:.2f} times as much processor time at {numbers[-1]} names as at {numbers[0]}"


if __name__ == "__main__":
    common.conclude(main)
