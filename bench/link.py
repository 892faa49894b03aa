#!/usr/bin/env python3
"""Runs a command in a network of its own whose only way out is a slow link.

The command lives in a fresh network namespace (`unshare`; without root if user namespaces are allowed). The
namespace has only a loopback interface, so no path avoids the link. Two halves of this program carry datagrams
between the two loopbacks, over a socket pair. A datagram that is sent here to `127.0.0.1:PORT` of the command
arrives there at the same address. A datagram that the command sends to one of the `--reach` ports arrives here.
So all peers keep their real addresses.

    python3 bench/link.py --port 21000 --reach 4150 --rate 100kB --delay 0.5 -- COMMAND...

The rate holds for each direction, with a queue of 64 KiB that drops datagrams without room. The delay applies to
the datagrams of the command, so a round trip takes that much longer.
"""

import argparse
import fcntl
import heapq
import os
import select
import socket
import struct
import subprocess
import sys
import time

import common

HEAD = struct.Struct("<BHH")
OUTSIDE, INSIDE = 1, 2
QUEUE_BYTES = 64 * 1024
BUFFER_BYTES = 8 << 20


def loopback_up():
    """Switches the namespace's loopback on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(one, 0x8913, request))[1]
        fcntl.ioctl(one, 0x8914, struct.pack("16sh14x", b"lo", flags | 1))


def bound(port=0):
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        one.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
    one.bind(("127.0.0.1", port))
    one.setblocking(False)
    return one


class Half:
    """One side of the link: the ports it answers at for the other side, and a socket for each far peer.

    A flow is (side of its caller, port that was called, port of the caller). The other side keeps a socket for
    it, which calls the real port and to which the answers come.
    """

    def __init__(self, pair, side, ports, shape):
        self.pair, self.side, self.shape = pair, side, shape
        self.poll = select.epoll()
        self.sockets = {}
        self.flows = {}
        self.doors = {}
        for port in ports:
            door = bound(port)
            self.doors[port] = door
            self.add(door, ("door", port))
        self.poll.register(pair.fileno(), select.EPOLLIN)
        pair.setblocking(False)

    def add(self, one, what):
        self.sockets[one.fileno()] = (one, what)
        self.poll.register(one.fileno(), select.EPOLLIN)

    def send(self, home, port, caller, data):
        self.shape.take(HEAD.pack(home, port, caller) + data)

    def pass_on(self, message):
        try:
            self.pair.send(message)
        except BlockingIOError:
            pass  # a full line loses datagrams

    def receive(self, message):
        home, port, caller = HEAD.unpack_from(message)
        data = message[HEAD.size :]
        try:
            if home == self.side:  # an answer to a program that called from here
                self.doors[port].sendto(data, ("127.0.0.1", caller))
                return
            flow = self.flows.get((port, caller))
            if flow is None:
                flow = bound()
                self.flows[(port, caller)] = flow
                self.add(flow, ("flow", port, caller))
            flow.sendto(data, ("127.0.0.1", port))
        except (BlockingIOError, ConnectionRefusedError, PermissionError):
            pass

    def run(self, ended):
        while not ended():
            for handle, _ in self.poll.poll(self.shape.wait(0.25)):
                if handle == self.pair.fileno():
                    if not self.drain_pair():
                        return
                    continue
                one, what = self.sockets[handle]
                self.drain(one, what)
            for message in self.shape.due():
                self.pass_on(message)

    def drain_pair(self):
        for _ in range(64):
            try:
                message = self.pair.recv(1 << 16)
            except BlockingIOError:
                return True
            except ConnectionResetError:
                return False
            if not message:
                return False
            self.receive(message)
        return True

    def drain(self, one, what):
        for _ in range(64):
            try:
                data, (_, caller) = one.recvfrom(1 << 16)
            except (BlockingIOError, ConnectionRefusedError):
                return
            if what[0] == "door":  # a program here calls the far side
                self.send(self.side, what[1], caller, data)
            else:  # a program here answers the far side
                self.send(OUTSIDE + INSIDE - self.side, what[1], what[2], data)


class Shape:
    """A line with this many bytes per second and this delay."""

    def __init__(self, rate, delay):
        self.rate, self.delay = rate, delay
        self.free_at = 0.0
        self.queue = []
        self.number = 0

    def take(self, message):
        now = time.monotonic()
        start = max(now, self.free_at)
        if self.rate:
            if (start - now) * self.rate > QUEUE_BYTES:
                return
            self.free_at = start + len(message) / self.rate
            start = self.free_at
        self.number += 1
        heapq.heappush(self.queue, (start + self.delay, self.number, message))

    def wait(self, most):
        if not self.queue:
            return most
        return max(0.0, min(most, self.queue[0][0] - time.monotonic()))

    def due(self):
        now = time.monotonic()
        while self.queue and self.queue[0][0] <= now:
            yield heapq.heappop(self.queue)[2]


def inside(options, command):
    """The half in the namespace: starts the command and carries until it ends or the other half does."""
    loopback_up()
    pair = socket.socket(fileno=options.inside)
    half = Half(pair, INSIDE, options.reach, Shape(options.rate, options.delay))
    child = subprocess.Popen(command)
    try:
        half.run(lambda: child.poll() is not None)
    finally:
        if child.poll() is None:
            child.terminate()
        child.wait()
    return child.returncode


def outside(options, command):
    """The half outside the namespace, for all other programs."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for one in (here, there):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    half = Half(here, OUTSIDE, [options.port], Shape(options.rate, 0.0))
    own = [sys.executable, os.path.abspath(__file__), "--port", str(options.port), "--inside", str(there.fileno())]
    own += ["--rate", str(options.rate), "--delay", str(options.delay)]
    own += [word for port in options.reach for word in ("--reach", str(port))]
    namespace = ["unshare", "--user", "--map-root-user", "--net"]
    child = subprocess.Popen([*namespace, *own, "--", *command], pass_fds=[there.fileno()])
    there.close()
    try:
        half.run(lambda: child.poll() is not None)
    finally:
        here.close()
        child.wait()
    return child.returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True, help="where the command answers")
    parser.add_argument("--reach", type=int, action="append", default=[], help="a port that the command may call")
    parser.add_argument("--rate", type=common.size, default=0, help="bytes per second, 0 for no limit")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds")
    parser.add_argument("--inside", type=int, help=argparse.SUPPRESS)
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- COMMAND...")
    options = parser.parse_args()
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    half = outside if options.inside is None else inside
    sys.exit(half(options, command))


if __name__ == "__main__":
    main()
