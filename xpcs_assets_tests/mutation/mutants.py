"""Small wrong changes to a module's source, one at a time: what a slip of the hand would make of a rule.

Each comparison is turned and moved over its border, each clause of an ``and`` or ``or`` and each ``not`` left out, each
condition of a comprehension, each early ``return``, ``raise``, ``continue`` and ``break``, each statement that only
calls something, each entry of a tuple, list or set, and each side of a sum.
"""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

_TURNED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
_OTHER_WORD = {"any": "all", "all": "any", "min": "max", "max": "min"}


@dataclass(frozen=True)
class Mutant:
    """A module with one change.

    Attributes
    ----------
    name
        The function, what stood there and what stands there now; unique in the module.
    line
        Where, in the module as it is.
    source
        The changed module.
    """

    name: str
    line: int
    source: str


@dataclass(frozen=True)
class _Change:
    """Replace the node at ``number`` of a walk over the tree by ``node``; None takes the statement out."""

    number: int
    node: ast.AST | None


def mutants_of(source: str) -> tuple[Mutant, ...]:
    """All mutants of a module, in the order of its lines."""
    tree = ast.parse(source)
    inside = _functions(tree)
    nodes = list(ast.walk(tree))
    spared = _spared(tree)
    found: list[Mutant] = []
    names: Counter[str] = Counter()
    for number, node in enumerate(nodes):
        if id(node) in spared or id(node) not in inside:
            continue
        for new in _changes(node):
            where = inside[id(node)]
            name = f"{where}: {_told(node)} -> {_told(new) if new is not None else 'nothing'}"
            names[name] += 1
            if names[name] > 1:
                name += f" #{names[name]}"
            found.append(Mutant(name, getattr(node, "lineno", 0), _changed(tree, _Change(number, new))))
    return tuple(sorted(found, key=lambda mutant: mutant.line))


def _functions(tree: ast.Module) -> dict[int, str]:
    """The name of the function, class or constant that each node is in; without imports and annotations."""
    inside: dict[int, str] = {}

    def note(node: ast.AST, where: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = where
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                name = f"{where}.{child.name}".removeprefix(".")
            elif isinstance(child, ast.Assign) and not where:
                name = ast.unparse(child.targets[0])
            if name:
                inside[id(child)] = name
            note(child, name)

    note(tree, "")
    return inside


def _spared(tree: ast.Module) -> set[int]:
    """Nodes that are no code: docstrings, annotations, decorators, messages."""
    spared: set[int] = set()
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.FunctionDef):
            parts += [node.returns, *node.decorator_list, *(arg.annotation for arg in node.args.args)]
            parts += [arg.annotation for arg in node.args.kwonlyargs]
        elif isinstance(node, ast.AnnAssign):
            parts.append(node.annotation)
        elif isinstance(node, ast.ClassDef):
            parts += node.decorator_list
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            parts.append(node)
        for part in parts:
            if part is not None:
                spared.update(id(inner) for inner in ast.walk(part))
    return spared


def _changes(node: ast.AST) -> Iterator[ast.AST | None]:
    """What may stand in a node's place; None where a statement is taken out."""
    if isinstance(node, ast.Compare):
        yield from _turned(node)
    elif isinstance(node, ast.BinOp):
        yield from _half(node)
    elif isinstance(node, ast.If | ast.IfExp):
        yield from _one_way(node)
    elif isinstance(node, ast.stmt):
        yield from _taken_out(node)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _OTHER_WORD:
        yield ast.Call(ast.Name(_OTHER_WORD[node.func.id], ast.Load()), node.args, node.keywords)
    else:
        yield from _shorter(node)


def _taken_out(node: ast.stmt) -> Iterator[None]:
    calls = isinstance(node, ast.Expr) and not isinstance(node.value, ast.Yield | ast.YieldFrom)
    if calls or isinstance(node, ast.Raise | ast.Continue | ast.Break | ast.AugAssign):
        yield None


def _one_way(node: ast.If | ast.IfExp) -> Iterator[ast.AST]:
    if isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)
    else:
        yield from _early_returns(node)
        yield ast.If(ast.Constant(value=False), node.body, node.orelse)


def _shorter(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.BoolOp):
        yield from _without_one(node, "values")
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.comprehension):
        yield from _without_one(node, "ifs")
    elif isinstance(node, ast.Tuple | ast.List | ast.Set) and isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
        yield from _without_one(node, "elts")


def _turned(node: ast.Compare) -> Iterator[ast.Compare]:
    for at, op in enumerate(node.ops):
        for other in _TURNED[type(op)]:
            yield ast.Compare(node.left, [*node.ops[:at], other(), *node.ops[at + 1 :]], node.comparators)


def _without_one(node: ast.AST, field: str) -> Iterator[ast.AST]:
    entries = getattr(node, field)
    for at in range(len(entries)):
        less = copy.copy(node)
        rest = [*entries[:at], *entries[at + 1 :]]
        if isinstance(node, ast.BoolOp) and len(rest) == 1:
            yield rest[0]
            continue
        setattr(less, field, rest)
        if rest or not isinstance(node, ast.Set):
            yield less


def _half(node: ast.BinOp) -> Iterator[ast.AST]:
    if isinstance(node.op, ast.Add | ast.Sub):
        yield ast.BinOp(node.left, ast.Sub() if isinstance(node.op, ast.Add) else ast.Add(), node.right)
    elif isinstance(node.op, ast.BitOr | ast.BitAnd):
        yield node.left
        yield node.right
    elif isinstance(node.op, ast.Mult | ast.Div):
        yield ast.BinOp(node.left, ast.Div() if isinstance(node.op, ast.Mult) else ast.Mult(), node.right)


def _early_returns(node: ast.If) -> Iterator[ast.If]:
    for at, statement in enumerate(node.body):
        if isinstance(statement, ast.Return):
            yield ast.If(node.test, [*node.body[:at], ast.Pass(), *node.body[at + 1 :]], node.orelse)


def _changed(tree: ast.Module, change: _Change) -> str:
    fresh = copy.deepcopy(tree)
    old = list(ast.walk(fresh))[change.number]
    new = copy.deepcopy(change.node) if change.node is not None else ast.Pass()
    for parent in ast.walk(fresh):
        for field, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, field, new)
            elif isinstance(value, list) and any(each is old for each in value):
                setattr(parent, field, [new if each is old else each for each in value])
    return ast.unparse(ast.fix_missing_locations(fresh))


def _told(node: ast.AST) -> str:
    """A node in one short line."""
    text = " ".join(ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).split())
    return text if len(text) <= 90 else f"{text[:60]} ... {text[-26:]}"
