"""As much of PromQL as the dashboards and alerts use: read, given dimensions, and written again.

A dimension is a mapping of units to powers: bytes a second are {"B": 1, "s": -1}, a share is {}. A plain number in the
place of a term fits any. What cannot be told is a mistake in the expression, and so is a sum of unlike things.
"""

import re

TOKEN = re.compile(r"""\s*(?:
    (?P<number>(?:\d+\.\d*|\d+|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
  | (?P<name>[A-Za-z_:][\w:]*|\$price)
  | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
  | (?P<range>\[[^\]]*\])
  | (?P<labels>\{(?:[^}"']|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')*\})
  | (?P<sign>==|!=|>=|<=|[-+*/%^()<>,])
)""", re.VERBOSE)
LEVELS = [["or"], ["and", "unless"], ["==", "!=", "<=", "<", ">=", ">"], ["+", "-"], ["*", "/", "%"]]
COMPARISONS = set(LEVELS[2])
AGGREGATIONS = {"sum", "min", "max", "avg", "count", "topk", "bottomk", "quantile", "group"}
PER_SECOND = {"rate", "irate", "deriv"}
# Names that do not say their unit, as cAdvisor and the kernel have them.
ODD = {
    "container_memory_rss": {"B": 1}, "container_memory_cache": {"B": 1}, "container_memory_swap": {"B": 1},
    "container_memory_mapped_file": {"B": 1}, "container_spec_cpu_quota": {"s": 1}, "container_spec_cpu_period": {"s": 1},
    "$price": {"money": 1, "B": -1},
}


class Wrong(Exception):
    pass


def tokens(text):
    at, found = 0, []
    while text[at:].strip():
        match = TOKEN.match(text, at)
        if not match:
            raise Wrong(f"cannot read {text[at:]!r}")
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


class Reader:
    def __init__(self, text):
        self.tokens, self.at = tokens(text), 0

    def peek(self):
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def next(self):
        token = self.peek()
        self.at += 1
        return token

    def take(self, text):
        if self.peek()[1] == text:
            return self.next()
        return None

    def need(self, text):
        if not self.take(text):
            raise Wrong(f"{text} expected, found {self.peek()[1]!r}")

    def group(self):
        self.need("(")
        inside = []
        while not self.take(")"):
            inside.append(self.next()[1])
            if inside[-1] == "":
                raise Wrong("a bracket is not closed")
        return "(" + " ".join(inside).replace(" ,", ",") + ")"

    def whole(self):
        tree = self.binary(0)
        if self.peek()[0] != "end":
            raise Wrong(f"{self.peek()[1]!r} is too much")
        return tree

    def binary(self, level):
        if level == len(LEVELS):
            return self.unary()
        left = self.binary(level + 1)
        while self.peek()[1] in LEVELS[level]:
            sign = self.next()[1]
            words = []
            while self.peek()[1] in ("bool", "on", "ignoring", "group_left", "group_right"):
                word = self.next()[1]
                words.append(word if word == "bool" else f"{word} {self.group()}" if self.peek()[1] == "(" else word)
            left = ("binary", sign, words, left, self.binary(level + 1))
        return left

    def unary(self):
        if self.take("-"):
            return ("negative", self.unary())
        kind, text = self.next()
        if kind == "number":
            tree = ("number", text)
        elif kind == "text":
            tree = ("text", text)
        elif text == "(":
            tree = ("brackets", self.binary(0))
            self.need(")")
        elif kind == "name" and text in AGGREGATIONS:
            by = ""
            if self.peek()[1] in ("by", "without"):
                by = f"{self.next()[1]} {self.group()}"
            tree = ("aggregate", text, by, self.arguments())
        elif kind == "name" and self.peek()[1] == "(":
            tree = ("call", text, self.arguments())
        elif kind == "name":
            labels = self.next()[1] if self.peek()[0] == "labels" else ""
            tree = ("series", text, labels)
        else:
            raise Wrong(f"{text!r} is not expected here")
        if self.peek()[0] == "range":
            tree = ("range", tree, self.next()[1])
        return tree

    def arguments(self):
        self.need("(")
        found = []
        while not self.take(")"):
            found.append(self.binary(0))
            if not self.take(","):
                self.need(")")
                break
        return found


def read(text):
    return Reader(text).whole()


def write(tree, truth=False):
    """The expression again. With `truth` its outermost comparisons answer 0 or 1 instead of leaving series out, and what
    `unless` takes away stays."""
    kind = tree[0]
    if kind in ("number", "text"):
        return tree[1]
    if kind == "series":
        return tree[1] + tree[2]
    if kind == "range":
        return write(tree[1]) + tree[2]
    if kind == "negative":
        return "-" + write(tree[1])
    if kind == "brackets":
        return f"({write(tree[1], truth)})"
    if kind == "call":
        return f"{tree[1]}({', '.join(map(write, tree[2]))})"
    if kind == "aggregate":
        return f"{tree[1]} {tree[2]} ({', '.join(map(write, tree[3]))})"
    _, sign, words, left, right = tree
    if truth and sign == "unless":
        return write(left, truth)
    further = truth and sign in ("and", "or")
    if truth and sign in COMPARISONS and "bool" not in words:
        words = ["bool", *words]
    return " ".join([write(left, further), sign, *words, write(right, further)])


def series(tree):
    """All series that an expression asks for, as (name, labels)."""
    if tree[0] == "series":
        return [(tree[1], tree[2])]
    found = []
    for part in tree[1:]:
        for one in part if isinstance(part, list) else [part]:
            if isinstance(one, tuple):
                found += series(one)
    return found


def powers(left, right, sign):
    total = dict(left)
    for unit, power in right.items():
        total[unit] = total.get(unit, 0) + sign * power
    return {unit: power for unit, power in total.items() if power}


def of_name(name, labels):
    if name in ODD:
        return ODD[name]
    if name == "longshore_bound":
        return {"B": 1} if "bytes" in labels else {"n": 1}
    name = name.removesuffix("_total")
    for suffix, dimension in (("_bytes", {"B": 1}), ("_seconds", {"s": 1}), ("_ratio", {}), ("Octets", {"B": 1})):
        if name.endswith(suffix):
            return dimension
    return {"n": 1}


def dimension(tree):
    """What an expression is measured in; `None` fits all."""
    kind = tree[0]
    if kind in ("number", "text"):
        return None
    if kind == "series":
        return of_name(tree[1], tree[2])
    if kind in ("range", "negative", "brackets"):
        return dimension(tree[1])
    if kind == "aggregate":
        return {"n": 1} if tree[1] in ("count", "group") else dimension(tree[3][-1])
    if kind == "call":
        name, arguments = tree[1], tree[2]
        if name in ("time", "timestamp"):
            return {"s": 1}
        inner = next((one for one in map(dimension, arguments) if one is not None), None)
        if name in ("changes", "resets"):
            return {"n": 1}
        return powers(inner, {"s": 1}, -1) if name in PER_SECOND else inner
    _, sign, words, left, right = tree
    left, right = dimension(left), dimension(right)
    if sign in ("*", "/"):
        return powers(left or {}, right or {}, 1 if sign == "*" else -1)
    if sign not in ("and", "unless") and left is not None and right is not None and left != right:
        raise Wrong(f"{left} {sign} {right} in {write(tree)}")
    if "bool" in words:
        return {"n": 1}
    return right if left is None else left


def parts(tree):
    """The conditions that an expression joins by `or` and `unless`; those of `and` have to hold together."""
    if tree[0] == "binary" and tree[1] in ("or", "unless"):
        return parts(tree[3]) + parts(tree[4])
    return [tree]
