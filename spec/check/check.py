"""Runs every vector of spec/vectors against the rules of the pages, as this checker implements them.

    python3 spec/check/check.py [FILE...]

It reads only `spec/`, and was written from the pages. A vector that it cannot run is a failure. Its last line is
the verdict, and it ends with 1 if a vector failed.
"""

import functools
import importlib
import json
import pathlib
import sys
import time

sys.dont_write_bytecode = True

from primitives import No  # noqa: E402

VECTORS = pathlib.Path(__file__).resolve().parent.parent / "vectors"
MODULES = ["consensus", "content", "custody", "dispute", "grant", "identity", "ledger", "names", "proof", "wire", "wycheproof"]


@functools.cache
def cases(name):
    loaded = json.loads((VECTORS / name).read_text())
    return loaded["cases"] if isinstance(loaded, dict) else loaded


def outcome(run, case):
    """The outcome of a case: `ok`, the name of a refusal, or the error in the checker."""
    try:
        return run(case)
    except No as no:
        return no.name
    except Exception as error:  # noqa: BLE001 - any error is a failed vector
        return f"{type(error).__name__}: {error}"


def failures(name, run):
    """For one file: the number of cases, and the cases with another outcome than they state."""
    all_cases = cases(name)
    if isinstance(run, type):
        # A file whose cases follow one another.
        run = run()
    failed = []
    for case in all_cases:
        found = outcome(run, case)
        if found != case.get("outcome", "ok"):
            failed.append((case.get("name", case.get("tcId")), case.get("outcome", "ok"), found))
    return len(all_cases), failed


def disagrees(name, run):
    """Whether any case of a file has another outcome than it states; stops at the first."""
    run = run() if isinstance(run, type) else run
    return any(outcome(run, case) != case.get("outcome", "ok") for case in cases(name))


def runners():
    """The function that runs each existing file."""
    out = {}
    for module in MODULES:
        out |= importlib.import_module(module).VECTORS
    return {name: run for name, run in out.items() if (VECTORS / name).exists()}


def main(only):
    known = runners()
    there = sorted(str(path.relative_to(VECTORS)) for path in VECTORS.glob("*/*.json"))
    passed = failed = 0
    for name in there:
        if only and not any(part in name for part in only):
            continue
        begun = time.monotonic()
        if name not in known:
            print(f"{name}: nothing here runs it")
            failed += 1
            continue
        count, wrong = failures(name, known[name])
        for case, expected, found in wrong[:10]:
            print(f"{name}: {case}: {found} instead of {expected}")
        passed, failed = passed + count - len(wrong), failed + len(wrong)
        print(f"{name}: {count - len(wrong)} of {count} ({time.monotonic() - begun:.1f} s)")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
