"""Breaks the checker's rules one at a time, and lists those breaks that no vector notices.

    python3 spec/check/mutate.py                every break (some minutes)
    python3 spec/check/mutate.py --sample 8     every eighth one
    python3 spec/check/mutate.py grant.verify   the breaks whose name contains the text

A break is one change to one rule: a refusal that never comes, a bound that is off by one, one of several
conditions left out, another domain for a hash, a constant increased by one, a field missing from a layout, an
effect left out. The script makes the breaks from the checker's source, so it also breaks every new rule.
`unnoticed.txt` beside this file names the breaks that may go unnoticed, each with the reason. Three things are a
failure: another break that goes unnoticed, a listed break that a vector notices, and a listed break that no
longer exists. The last line is the verdict.
"""

import ast
import copy
import importlib.abc
import importlib.util
import os
import pathlib
import signal
import sys
import time

sys.dont_write_bytecode = True

import check  # noqa: E402
import layouts  # noqa: E402
import primitives  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
# In an order in which each needs only those before it.
MODULES = ["codec", "identity", "content", "proof", "grant", "custody", "names", "layouts", "dispute", "wire", "ledger", "motion", "stake", "consensus",
           "wycheproof"]
# Of the primitives, what is a rule of the pages; the rest is other people's mathematics.
PRIMITIVE_RULES = {"signed", "small_order", "bech32m", "hpke_open"}
SECONDS_MAX = 60


# Breaks.


class Break:
    """One change: its name, and the function that makes it."""

    def __init__(self, module, function, words, change):
        self.module, self.function, self.change = module, function, change
        self.name = f"{module}.{function}: {words}"


def short(node):
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 90 else text[:87] + "..."


def swap(path, make):
    """A change of the node at a path of (field, index) from the tree's root."""
    def change(tree):
        tree = copy.deepcopy(tree)
        node = tree
        for field, index in path[:-1]:
            node = getattr(node, field) if index is None else getattr(node, field)[index]
        field, index = path[-1]
        if index is None:
            setattr(node, field, make(getattr(node, field)))
        else:
            getattr(node, field)[index] = make(getattr(node, field)[index])
        return ast.fix_missing_locations(tree)
    return change


BOUNDS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}


def verdict(body):
    """The refusal of an `if` that only refuses."""
    texts = [ast.unparse(part) for part in body if not isinstance(part, ast.Expr) or not
             isinstance(part.value, ast.Constant)]
    refuses = texts and (texts[-1].startswith(("raise No", "bad.add", "return {", "return False", "return True"))
                         or texts[-1] == "continue" or texts[-1].startswith("return '"))
    return texts[-1] if refuses else None


def of_node(node, path, function, module):
    """The breaks of one node of a function."""
    out = lambda words, make: Break(module, function, words, swap(path, make))
    if isinstance(node, ast.If):
        what = verdict(node.body) or "..."
        yield out(f"never `if {short(node.test)}: {what[:60]}`",
                  lambda found: ast.If(ast.Constant(False), found.body, found.orelse))
        if not verdict(node.body):
            yield out(f"always `if {short(node.test)}`",
                      lambda found: ast.If(ast.Constant(True), found.body, found.orelse))
    if isinstance(node, ast.BoolOp):
        for place, part in enumerate(node.values):
            yield out(f"`{short(part)}` left out of `{short(node)}`",
                      lambda found, at=place: ast.BoolOp(found.op, found.values[:at] + found.values[at + 1 :])
                      if len(found.values) > 2 else found.values[1 - at])
    if isinstance(node, ast.Compare):
        for place, op in enumerate(node.ops):
            if type(op) in BOUNDS:
                other = BOUNDS[type(op)]()
                yield out(f"`{short(node)}` off by one" + (f" at {place}" if len(node.ops) > 1 else ""),
                          lambda found, at=place, other=other: ast.Compare(
                              found.left, found.ops[:at] + [other] + found.ops[at + 1 :], found.comparators))
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("symbolon 2026"):
        yield out(f"another domain than `{node.value}`", lambda found: ast.Constant(found.value + "x"))
    if isinstance(node, ast.Constant) and type(node.value) is int and node.value > 1:
        yield out(f"{node.value} one more", lambda found: ast.Constant(found.value + 1))
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("max", "min") and len(node.args) == 2:
        for place in (0, 1):
            yield out(f"`{short(node)}` is `{short(node.args[place])}`", lambda found, at=place: found.args[at])
    effect = isinstance(node, ast.AugAssign) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)) or (
        isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript))
    if effect and not short(node).startswith("bad.add"):
        yield out(f"without `{short(node)}`", lambda found: ast.Pass())
    if isinstance(node, ast.Call) and short(node.func) == "concat":
        for place, part in enumerate(node.args):
            if not isinstance(part, ast.Starred):
                yield out(f"`{short(part)}` left out of `{short(node)}`",
                          lambda found, at=place: ast.Call(
                              found.func, found.args[:at] + found.args[at + 1 :], found.keywords))


def walk(node, path, function, module):
    yield from of_node(node, path, function, module)
    for field, value in ast.iter_fields(node):
        if isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, ast.AST):
                    yield from walk(item, path + [(field, index)], function, module)
        elif isinstance(value, ast.AST):
            yield from walk(value, path + [(field, None)], function, module)


def functions(body, path, prefix=""):
    """The functions of a body that hold rules, with their paths; those of classes by their class's name."""
    for index, node in enumerate(body):
        here = path + [("body", index)]
        if isinstance(node, ast.ClassDef):
            yield from functions(node.body, here, node.name + ".")
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith(("run_", "_hex", "_same", "_of")):
            yield prefix + node.name, node, here


def layouts_of(tree, module):
    """A missing field, for every record and variant; another tag for a variant without fields."""
    for index, node in enumerate(tree.body):
        call = getattr(node, "value", None)
        if not isinstance(call, ast.Call) or getattr(call.func, "id", "") != "layout":
            continue
        path = [("body", index), ("value", None), ("args", 0)]
        # Written here, or read from the tables of the pages.
        written = call.args[0].value if isinstance(call.args[0], ast.Constant) else layouts.tables()
        text = written.replace("\\\n", " ")
        for line in filter(None, map(str.strip, text.splitlines())):
            kind, rest = line.split(" ", 1)
            name, body = rest.split(":", 1)
            parts = [body] if kind == "record" else body.split(";")
            for place, part in enumerate(parts):
                fields = part.split(",")
                head = "" if kind == "record" else " ".join(part.split()[:2])
                label = name if kind == "record" else f"{name}.{part.split()[1]}"
                if kind == "choice" and len(part.split()) == 2:
                    tag, variant = part.split()
                    changed, words = f" {int(tag) + 100} {variant}", "another tag"
                elif len(fields) > 1:
                    changed, words = ",".join(fields[:-1]), f"without `{fields[-1].strip()}`"
                elif kind == "choice":
                    changed, words = f" {head}", "without its field"
                else:
                    continue
                whole = ";".join(parts[:place] + [changed] + parts[place + 1 :])
                new = text.replace(line, f"{kind} {name}:{whole}")
                yield Break(module, "layout", f"{label} {words}",
                            swap(path, lambda found, new=new: ast.Constant(new)))


def constants_of(tree, module):
    """Module constants, one more and one less."""
    for index, node in enumerate(tree.body):
        if isinstance(node, ast.Assign) and all(
                isinstance(part, ast.Name) and part.id.isupper()
                for target in node.targets for part in getattr(target, "elts", [target])):
            value = node.value
            parts = value.elts if isinstance(value, ast.Tuple) else [value]
            for place, part in enumerate(parts):
                named = node.targets[0].elts[place] if isinstance(value, ast.Tuple) else node.targets[0]
                is_number = isinstance(part, ast.Constant) and type(part.value) is int or (
                    isinstance(part, ast.BinOp) and not any(isinstance(n, ast.List) for n in ast.walk(part)))
                if not is_number or not isinstance(named, ast.Name):
                    continue
                path = [("body", index), ("value", None)] + (
                    [("elts", place)] if isinstance(value, ast.Tuple) else [])
                for words, by in (("more", 1), ("less", -1)):
                    yield Break(module, "limit", f"{named.id} one {words}", swap(
                        path, lambda found, by=by: ast.BinOp(found, ast.Add(), ast.Constant(by))))


def breaks_of(module, tree):
    yield from layouts_of(tree, module)
    if module != "primitives":
        yield from constants_of(tree, module)
    for name, node, path in functions(tree.body, []):
        if module == "primitives" and name not in PRIMITIVE_RULES:
            continue
        if module == "ledger" and name.startswith(("History", "unfolded")):
            continue
        if name in ("encode", "layout", "_fields") or (module == "wycheproof"):
            continue
        # How pages are read is no rule of theirs.
        if module == "layouts" and name in ("section", "cells", "snake", "type_of", "tables", "one"):
            continue
        for index, part in enumerate(node.body):
            if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant):
                continue
            yield from walk(part, path + [("body", index)], name, module)


def all_breaks(trees):
    seen = {}
    for module in ["primitives"] + MODULES:
        for one in breaks_of(module, trees[module]):
            seen[one.name] = seen.get(one.name, 0) + 1
            if seen[one.name] > 1:
                one.name += f" ({seen[one.name]})"
            yield one


# Running.


class Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads the checker's modules from code objects in memory."""

    def __init__(self, codes):
        self.codes = codes

    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self) if name in self.codes else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        module.__file__ = str(HERE / f"{module.__name__}.py")
        exec(self.codes[module.__name__], module.__dict__)


def compiled(module, tree):
    return compile(tree, str(HERE / f"{module}.py"), "exec")


def forget():
    for name in MODULES:
        sys.modules.pop(name, None)


def traced(codes):
    """Runs all vectors once: for each file its seconds, and the functions that it reached."""
    forget()
    sys.meta_path.insert(0, Loader(codes))
    known, out = check.runners(), {}
    names = {str(HERE / f"{name}.py"): name for name in ["primitives"] + MODULES}
    for name, run in known.items():
        went = set()

        def trace(frame, event, _, went=went):
            if event == "call" and frame.f_code.co_filename in names:
                went.add((names[frame.f_code.co_filename], frame.f_code.co_qualname.split(".<locals>")[0]))

        begun = time.monotonic()
        sys.setprofile(trace)
        count, wrong = check.failures(name, run)
        sys.setprofile(None)
        assert not wrong, f"{name} fails without any break: run check.py"
        out[name] = (time.monotonic() - begun, went)
    sys.meta_path.pop(0)
    return out


def noticed(one, trees, codes, files):
    """In a process of its own: whether any vector has another outcome."""
    signal.alarm(SECONDS_MAX)
    changed = compiled(one.module, one.change(trees[one.module]))
    forget()
    if one.module == "primitives":
        exec(changed, primitives.__dict__)
    sys.meta_path.insert(0, Loader(codes | {one.module: changed}))
    try:
        known = check.runners()
    except Exception:  # noqa: BLE001 - a checker that cannot even begin has noticed
        return True
    return any(check.disagrees(name, known[name]) for name in files)


def run_all(breaks, trees, codes, files, workers):
    """The breaks that nothing noticed."""
    waiting, running, out, done = list(reversed(breaks)), {}, [], 0
    while waiting or running:
        while waiting and len(running) < workers:
            one = waiting.pop()
            to_run = [
                name for name, (_, went) in sorted(files.items(), key=lambda item: item[1][0])
                if one.function in ("layout", "limit") or (one.module, one.function) in went]
            child = os.fork()
            if child == 0:
                os._exit(0 if noticed(one, trees, codes, to_run) else 7)
            running[child] = one
        child, status = os.wait()
        one = running.pop(child)
        done += 1
        # A break that never ends was noticed too: the process is ended by its alarm.
        if os.waitstatus_to_exitcode(status) == 7:
            out.append(one.name)
        if done % 200 == 0:
            print(f"{done} of {len(breaks)}", file=sys.stderr)
    return out


def allowed():
    """Names of breaks that may go unnoticed."""
    path = HERE / "unnoticed.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return {line for line in lines if line and not line.startswith(("#", " "))}


def main(arguments):
    every, only = 1, []
    while arguments:
        argument = arguments.pop(0)
        if argument == "--sample":
            every = int(arguments.pop(0))
        else:
            only.append(argument)
    trees = {name: ast.parse((HERE / f"{name}.py").read_text()) for name in ["primitives"] + MODULES}
    codes = {name: compiled(name, trees[name]) for name in MODULES}
    breaks = list(all_breaks(trees))
    names = {one.name for one in breaks}
    chosen = [one for one in breaks[::every] if not only or any(text in one.name for text in only)]
    files = traced(codes)
    begun = time.monotonic()
    unnoticed = run_all(chosen, trees, codes, files, os.cpu_count() or 1)
    may = allowed()
    wrong = sorted(set(unnoticed) - may)
    for name in wrong:
        print(f"unnoticed: {name}")
    tried = {one.name for one in chosen}
    stale = sorted(name for name in may if name not in names or (name in tried and name not in unnoticed))
    for name in stale:
        print(f"stands in unnoticed.txt, and is noticed or gone: {name}")
    count = len(chosen) - len(unnoticed)
    print(f"{count} of {len(chosen)} breaks noticed, {len(set(unnoticed) & may)} need not be "
          f"({time.monotonic() - begun:.0f} s)")
    print(f"{len(chosen) - len(wrong)} passed, {len(wrong) + len(stale)} failed")
    return 1 if wrong or stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
