"""Whether the tests notice a mutant: they are called against it in a process of their own, in which it is the module.

Calling test functions takes a hundredth of the time of a run of pytest; of fixtures there are those in
:data:`FIXTURES`, and a test that wants another is left out.
"""

from __future__ import annotations

import importlib
import inspect
import os
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

from xpcs_assets_tests.faults.conftest import MEMORY
from xpcs_assets_tests.mutation.mutants import Mutant
from xpcs_assets_tests.storage import Storage

CPU_LIMIT_S = 120.0
"""Of the processor, so that a busy machine makes no mutant look noticed."""
_FILE = "a mutant"
_TESTS = Path(__file__).resolve().parents[1]


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        yield Path(folder)


@contextmanager
def _storage() -> Iterator[Storage]:
    with _folder() as folder:
        storage = Storage.build(folder).fill()
        yield storage
        storage.close()


FIXTURES: Mapping[str, Callable[[], AbstractContextManager[Any]]] = {
    "storage": _storage,
    "tmp_path": _folder,
    "monkeypatch": pytest.MonkeyPatch.context,
}


@dataclass(frozen=True)
class Call:
    """A test function with one set of its parameters, and the fixtures that it wants."""

    function: Callable[..., object]
    named: Mapping[str, Any]
    fixtures: tuple[str, ...]

    def run(self) -> None:
        """Call it."""
        with ExitStack() as stack:
            made = {name: stack.enter_context(FIXTURES[name]()) for name in self.fixtures}
            self.function(**self.named, **made)


def is_noticed(module: str, mutant: Mutant | None, tests: Iterable[str]) -> bool:
    """Whether any of the tests fails, or never ends, when ``mutant`` is the module (None: the module as it is).

    Raises
    ------
    RuntimeError
        The tests could not be called at all, which says nothing of the mutant.
    """
    # Those that draw their examples come last: to make a failing one small takes its time.
    calls = sorted((call for test in tests for call in calls_of(test)), key=lambda call: _draws(call.function))
    if not calls:
        raise RuntimeError(f"none of the tests of {module} can be called")

    def child() -> int:
        if mutant is not None:
            put_in_place(importlib.import_module(module), mutant.source)
        signal.setitimer(signal.ITIMER_PROF, CPU_LIMIT_S)
        for call in calls:
            try:
                call.run()
            except (Exception, pytest.fail.Exception):  # noqa: BLE001 - whatever a wrong rule leads to
                return 1
        return 0

    status = _in_child(child)
    if status not in {0, 1, -signal.SIGPROF}:
        raise RuntimeError(f"the tests of {module} ended with {status} for {mutant and mutant.name}")
    return status != 0


def calls_of(test: str) -> list[Call]:
    """Each test function of a file with each set of its parameters."""
    name = ".".join([_TESTS.name, *Path(test).with_suffix("").parts])
    calls: list[Call] = []
    for function_name, function in vars(importlib.import_module(name)).items():
        if not function_name.startswith("test_"):
            continue
        sets: list[dict[str, Any]] = [{}]
        for mark in getattr(function, "pytestmark", ()):
            if mark.name == "parametrize":
                sets = [{**one, **more} for one in sets for more in _parameters(*mark.args)]
        wants = () if _draws(function) else tuple(inspect.signature(function).parameters.keys() - sets[0].keys())
        if FIXTURES.keys() >= set(wants):
            calls += [Call(function, one, wants) for one in sets]
    return calls


def _draws(function: Callable[..., object]) -> bool:
    return hasattr(function, "hypothesis")


def _parameters(names: str | Sequence[str], values: Iterable[Any]) -> list[dict[str, Any]]:
    listed = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    return [dict(zip(listed, value if len(listed) > 1 else (value,), strict=True)) for value in values]


def put_in_place(module: ModuleType, source: str) -> None:
    """Make ``source`` what a module does, for everybody who has imported it or anything from it."""
    # The functions stay the objects that others hold; what they do is exchanged.
    fresh = dict(vars(module))
    exec(compile(source, _FILE, "exec"), fresh)  # noqa: S102 - the package's own source, with one change
    for name, new in fresh.items():
        old = vars(module).get(name)
        if isinstance(new, type) and isinstance(old, type) and new is not old:
            for part, member in vars(new).items():
                _exchange(vars(old).get(part), member)
        elif not _exchange(old, new) and name.isupper() and new != old:
            setattr(module, name, new)


def _exchange(old: Any, new: Any) -> bool:
    """Give a function, or the one behind a property, another's code; False when there is none."""
    for behind in ("fget", "__func__", "__wrapped__"):
        old, new = getattr(old, behind, old), getattr(new, behind, new)
    if not (isinstance(new, FunctionType) and isinstance(old, FunctionType)):
        return False
    code: CodeType = new.__code__
    if code.co_filename == _FILE:
        old.__code__, old.__defaults__, old.__kwdefaults__ = code, new.__defaults__, new.__kwdefaults__
    return True


def _in_child(operation: Callable[[], int]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # threads of this process do not live on in the child, which uses none
        child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 70
    try:
        status = operation()
    finally:
        os._exit(status)
