#!/usr/bin/env python3
"""How likely a segment is lost in a year: each scheme of spec/content.md, by a formula and by playing it.

Nodes leave for good at random, all alike and independent of each other. A shard whose node has left is back on another
node some time later: after `dead_after_epochs` epochs, the look of a caretaker or owner, and the copying. The segment
is lost when fewer than `required` shards are left.

The formula: a shard is away a share T / (L + T) of the time, where L is a node's mean life and T the time to repair.
The segment is lost in the moment in which one more shard goes while exactly `required` are there:

    losses a year = (year / L) * required * P(exactly total - required of total shards are away)

Where that is often enough, the same is played with dice. The formula must not promise more than the dice. It may say up to
three losses for one: where many shards are away at once, losses come close together, and it counts each. What neither of them has: nodes that
leave together (one operator, one building, one update), and errors in software. Those decide in practice, which is why
placement keeps operators and networks apart.

    python3 bench/durability.py
    python3 bench/durability.py --years 200000 --seed 7
"""

import argparse
import heapq
import json
import math
import os
import random
import re

import common

HOURS = 24 * 365
LIVES = [("30 d", 30 * 24), ("90 d", 90 * 24), ("1 y", HOURS), ("3 y", 3 * HOURS)]
REPAIRS = [("12 h", 12), ("3 d", 72), ("14 d", 336)]
SPEC = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "spec", "content.md")


def schemes():
    """The schemes of the specification's table, without those that cannot lose a node."""
    with open(SPEC) as page:
        found = re.findall(r"^\| ([0-9]+(?:-[0-9]+| and more)?) \| ([0-9]+)/([0-9]+) \|", page.read(), re.MULTILINE)
    common.need(found, "spec/content.md has no table of schemes")
    return [(nodes, int(required), int(total)) for nodes, required, total in found if required != total]


def formula(required, total, life, repair):
    """Losses a year."""
    away = repair / (life + repair)
    spare = total - required
    exactly = math.comb(total, spare) * away**spare * (1 - away)**required
    return HOURS / life * required * exactly


def play(required, total, life, repair, years, dice):
    """How often a segment is lost in so many years. After a loss a new one begins, whole."""
    lost, now, end, away = 0, 0.0, years * HOURS, []
    while True:
        here = total - len(away)
        leaves = now + dice.expovariate(here / life)
        if away and away[0] <= leaves:
            # Lives have no memory: the next departure is drawn anew.
            now = heapq.heappop(away)
        else:
            now = leaves
            if end < now:
                return lost
            heapq.heappush(away, now + repair)
            if total - len(away) < required:
                lost, away = lost + 1, []
        if end < now:
            return lost


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.arguments(parser)
    parser.add_argument("--years", type=int, default=20_000, help="years that are played of each case (default 20000)")
    parser.add_argument("--seed", type=int, default=1, help="of the dice (default 1)")
    options = parser.parse_args()
    dice, rows, ratios = random.Random(options.seed), [], []
    for nodes, required, total in schemes():
        for name, life in LIVES:
            cells = []
            for _, repair in REPAIRS:
                rate = formula(required, total, life, repair)
                expected = rate * options.years
                cell = f"{rate:.0e}"
                # Where losses follow each other, a loss is no longer rare, and the formula counts too many.
                if 20 <= expected and rate < 0.05:
                    played = play(required, total, life, repair, options.years, dice)
                    ratios.append(played / expected)
                    cell += f" ({played / options.years:.0e})"
                    slack = 5 * math.sqrt(expected)
                    common.need(expected / 3 - slack <= played <= expected + slack,
                                f"{required}/{total}, life {name}: {played} losses, not about {expected:.0f}")
                cells.append(cell)
            rows.append((f"{required}/{total}", f"{total / required:.2f}", nodes, name, *cells))
    common.table([("scheme", "bytes", "nodes", "a node's life", *(f"repaired in {name}" for name, _ in REPAIRS))] + rows)
    print("losses of a segment a year; in brackets as played")
    if options.json:
        print(json.dumps({"years": options.years, "rows": rows}))
    common.need(ratios, "nothing was played")
    return (f"{len(ratios)} cases were played for {options.years} years each: {min(ratios):.2f} to {max(ratios):.2f} losses"
            " for each that the formula says")


if __name__ == "__main__":
    common.conclude(main)
