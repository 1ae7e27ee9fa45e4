"""The state machine: everything that happens to a beamline's copies, in any order, with the oracle after each step."""

from __future__ import annotations

import errno
import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from xpcs_assets.copies.ledger import RemovalKind
from xpcs_assets.errors import XpcsAssetsError
from xpcs_assets.prune.remove import empty_trash
from xpcs_assets.testing.faults import KILLED, DieAt, FailAt, Fault, FaultySyscalls, count_commits, in_children
from xpcs_assets_tests.faults.conftest import MEMORY
from xpcs_assets_tests.faults.state_machine.oracle import NOTE, Oracle, Sight, ViolationError
from xpcs_assets_tests.faults.state_machine.pause import PauseAt
from xpcs_assets_tests.faults.state_machine.steps import CARING, KEEPING, Step, correlate, pruning, putting_back
from xpcs_assets_tests.faults.state_machine.world import (
    BEAMLINE,
    DETECTOR,
    DISK,
    MIRROR,
    PLACES,
    PRUNED,
    TAPE,
    Hands,
    Spec,
    Word,
    World,
)

WHOLE_WAY = ("take_run", "stage_newest", "mirror_newest", "archive_run")
COPYING = {"stage_newest": DISK, "mirror_newest": MIRROR}
"""Steps that write a run's files one by one, and where."""
RUNS = ("12", "112", "1200")
"""Run keys of which one is a part of another."""
NAMES = ("r.imm", "r_metadata.hdf", "sub/x é.txt")
SIZES = (0, 1, 511, 512, 513, 2000)
DAMAGES = ("flip", "truncate", "zero", "delete")
ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES)
WRITING = frozenset({"write", "fsync", "link", "mkdir", "set_mtime", "rename"})
REMOVING = frozenset({"unlink", "fsync", "lstat", "read", "link"})
STOPS = frozenset({"read", "lstat"})
LONG_PAUSE_S = 400.0
"""Longer than any proof holds."""
Which = tuple[str, int, str]
Victim = tuple[str, int, str]
"""Place, number of a file there, and how it is damaged."""
HOUR_S, YEAR_S = 3600.0, 365 * 86400.0
WAITS_S = (1.0, HOUR_S - 1, HOUR_S, 31 * 86400.0)
JUMPS_S = (60.0, -1.0, -86400.0, 86400.0, 10 * YEAR_S, -10 * YEAR_S)
STAND_INS = ("nothing", "empty", "foreign")

runs = st.sampled_from(RUNS)
numbers = st.integers(0, 40)
victims = st.tuples(st.sampled_from(PLACES), numbers, st.sampled_from(DAMAGES))
steps_in = st.integers(1, 500)
words = st.builds(
    Word,
    keep_for_s=st.sampled_from([1, 3600, 30 * 86400]),
    min_copies=st.sampled_from([1, 1, 2, 3]),
    needs_archive=st.booleans(),
    trash_for_s=st.sampled_from([0, 0, 600]),
)
specs = st.builds(
    Spec,
    domains=st.sampled_from(["cellar", "room", "hall", "vault"]).map(
        lambda mirror: {DETECTOR: "hall", DISK: "room", MIRROR: mirror, TAPE: "vault"}
    ),
    words=st.fixed_dictionaries(dict.fromkeys(PRUNED, words)),
    gathers=st.booleans(),
)


@dataclass
class Done:
    """What came of a step: the sight before and after it, and the error it ended with."""

    before: Sight
    after: Sight
    error: XpcsAssetsError | None


class CopiesMachine(RuleBasedStateMachine):
    """A beamline, and all that may befall it.

    Attributes
    ----------
    tally
        How often each thing really came about, over all examples: a walk that never removes anything proves nothing.
    """

    tally: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        where = MEMORY if os.access(MEMORY, os.W_OK) else None
        self.folder = tempfile.TemporaryDirectory(dir=where)
        self.world: World

    @initialize(spec=specs, due=st.booleans())
    def begin(self, spec: Spec, due: bool) -> None:
        """A site with one run that has gone all the way, and one that was only staged."""
        self.build(spec)
        self.write_run("12", [2000, 0, 512], keep=False)
        self.write_run("112", [511, 1], keep=False)
        for run, names in (("12", WHOLE_WAY), ("112", WHOLE_WAY[:2])):
            for name in names:
                self.do(name, partial(_keep, name, run))
        if due:
            self.wait_until_all_is_due()

    def build(self, spec: Spec) -> None:
        """An empty site."""
        self.world = World(Path(self.folder.name), spec)
        self.hands = self.world.hands()
        self.oracle = Oracle(self.world)
        self.hands.ledger.doubt_clock(self.world.stopwatch)  # as the site's sensors do all the time
        self.contents = 0

    def teardown(self) -> None:
        if hasattr(self, "hands"):
            self.hands.close()
            self.tally["files removed"] += self.oracle.gone
        self.folder.cleanup()

    def do(self, what: str, step: Step, hands: Hands | None = None) -> Done:
        """Let the product do a step, and judge it."""
        before = self.oracle.look(self.hands)
        error = None
        try:
            step(hands or self.hands)
        except XpcsAssetsError as told:
            error = told
        return self.judged(what, before, error)

    def judged(self, what: str, before: Sight, error: XpcsAssetsError | None = None) -> Done:
        """Judge what was done since ``before``."""
        self.oracle.learn(self.hands, before)
        after = self.oracle.look(self.hands)
        self.oracle.judge(before, after, f"{what} ({error or 'done'})")
        self.tally[f"{what.split()[0]} {'refused' if error else 'done'}"] += 1
        return Done(before, after, error)

    # What the world does.

    @rule(run=runs, sizes=st.lists(st.sampled_from(SIZES), min_size=1, max_size=3), keep=st.booleans())
    def write_run(self, run: str, sizes: list[int], keep: bool) -> None:
        """The detector writes a run anew; ``keep``: its first file stays as it was."""
        if DETECTOR in self.world.away:
            return
        self.contents += 1
        old = self.world.written.get(run, {})
        files = {
            name: b"%06d" % self.contents * (size // 6) + b"x" * (size % 6)
            for name, size in zip(NAMES, sizes, strict=False)
        }
        if keep and old:
            files |= {NAMES[0]: old[NAMES[0]]}
        self.world.write_run(run, files)

    @rule(run=runs, sizes=st.lists(st.sampled_from(SIZES), min_size=3, max_size=3))
    def take_again(self, run: str, sizes: list[int]) -> None:
        """The detector writes a run once more under its name, its first file as before, and that is taken."""
        self.write_run(run, sizes, keep=True)
        self.keep(run, "take_run")

    @rule(place=st.sampled_from(PLACES), number=numbers, how=st.sampled_from(DAMAGES))
    def corrupt(self, place: str, number: int, how: str) -> None:
        """A file of a copy rots."""
        self.world.corrupt_any(place, number, how)

    @rule(number=st.integers(0, 10), of=st.sampled_from([DISK, MIRROR]))
    def link_copies(self, number: int, of: str) -> None:
        """Somebody saves room: a file of one disk becomes a hard link to the same file of the other."""
        self.world.link_any(number, of, MIRROR if of == DISK else DISK)

    @rule(place=st.sampled_from(PLACES), stand_in=st.sampled_from(STAND_INS))
    def lose(self, place: str, stand_in: str = "nothing") -> None:
        """A disk is not mounted: its folder is not there, is empty, or shows another place's disk."""
        if place not in self.world.away:
            self.world.lose(place, stand_in)

    @precondition(lambda self: self.world.away)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        """A disk is mounted again."""
        self.world.give_back(data.draw(st.sampled_from(sorted(self.world.away))))

    @rule(seconds=st.sampled_from(WAITS_S))
    def wait(self, seconds: float) -> None:
        """Time goes by."""
        self.world.advance(seconds)

    @rule(seconds=st.sampled_from(JUMPS_S), right=st.booleans())
    def set_clock(self, seconds: float, right: bool) -> None:
        """A clock is set; when that was right, somebody says so."""
        self.world.set_clock(seconds)
        if right:
            self.accept_clock()

    @rule()
    def accept_clock(self) -> None:
        """A person says that the clock is right."""
        self.hands.ledger.accept_clock("operator", self.world.stopwatch)
        self.oracle.believe_clock()

    @rule()
    def wait_until_all_is_due(self) -> None:
        """So long that every lease has ended and every copy has stayed long enough."""
        self.world.advance(31 * 86400.0)

    @rule(run=runs)
    def hold(self, run: str) -> None:
        """Somebody says that a run stays."""
        self.hands.ledger.hold("b1", run, "a paper", "a scientist")

    @rule(run=runs)
    def release(self, run: str) -> None:
        """Somebody lets it go."""
        self.hands.ledger.release("b1", run, "a scientist")

    # What the product does.

    @rule(run=runs, name=st.sampled_from(sorted(KEEPING)))
    def keep(self, run: str, name: str) -> None:
        """A step that adds a copy; done once more it changes nothing (I12)."""
        done = self.do(name, partial(_keep, name, run))
        if done.error is None:
            again = self.do(f"{name} again", partial(_keep, name, run))
            self.same(done.after, again.after, f"I12: {name} of {run} done again")
            if again.error is not None:
                raise ViolationError(f"I12: {name} of {run} done again: {again.error}")

    @rule(run=runs, name=st.sampled_from(sorted(COPYING)), number=numbers, how=st.sampled_from(DAMAGES))
    def keep_over_rot(self, run: str, name: str, number: int, how: str) -> None:
        """A file of a copy rots, and the step that made the copy is done once more."""
        self.world.corrupt_any(COPYING[name], number, how, below=f"{BEAMLINE}/{run}")
        self.keep(run, name)

    @rule(run=runs)
    def whole_way(self, run: str) -> None:
        """A run goes through all steps, as it does when nothing is in the way."""
        for name in WHOLE_WAY:
            self.keep(run, name)

    def same(self, one: Sight, other: Sight, what: str) -> None:
        """Both sights have the same files, and the ledger the same copies."""
        for place in PLACES:
            files = [
                {name: file.data for name, file in sight.disks[place].files.items() if not name.endswith(NOTE)}
                for sight in (one, other)
            ]
            if files[0] != files[1]:
                raise ViolationError(f"{what}: other files in {place}")
        rows = [
            {name: replace(row, verified_at=row.recorded_at) for name, row in sight.copies.items()}
            for sight in (one, other)
        ]
        if rows[0] != rows[1]:
            raise ViolationError(f"{what}: other copies in the ledger")

    @rule(run=runs, recipe=st.sampled_from(["a", "b"]))
    def correlate(self, run: str, recipe: str) -> None:
        """A result is made."""
        self.contents += 1
        self.do("correlate", lambda hands: correlate(hands, run, recipe, b"g2 %d" % self.contents))

    def one(self, number: int) -> Which:
        """One of the copies that the ledger knows in places that are pruned: run, version and place."""
        copies = sorted(name[:3] for name in self.oracle.look(self.hands).copies if name[2] in PRUNED)
        return copies[number % len(copies)] if copies else ("12", 1, DETECTOR)

    @rule(which=numbers)
    def prune(self, which: int) -> None:
        """A copy is removed, if it may go."""
        run, version, place = self.one(which)
        self.do(f"prune {place}", pruning(run, version, place, self.world.stopwatch))

    @rule(which=numbers)
    def prune_held(self, which: int) -> None:
        """Somebody says that a run stays, and a copy of it is to be removed."""
        self.hold(self.one(which)[0])
        self.prune(which)

    @rule(which=numbers)
    def empty_trash(self, which: int) -> None:
        """What lies in a trash goes, if it may."""
        run, version, place = self.one(which)
        self.do("emptying", pruning(run, version, place, self.world.stopwatch, act=empty_trash))

    @rule(which=numbers)
    def put_back(self, which: int) -> None:
        """A copy is taken out of the trash."""
        self.do("undo", putting_back(*self.one(which)))

    @rule(run=runs, name=st.sampled_from(sorted(CARING)))
    def care(self, run: str, name: str) -> None:
        """A step that looks after copies."""
        self.do(name, partial(_care, name, run))

    # What goes wrong in the middle.

    @rule(run=runs, name=st.sampled_from(sorted(KEEPING)), number=steps_in, again=st.booleans())
    def die_while_keeping(self, run: str, name: str, number: int, again: bool) -> None:
        """The process is killed while it adds a copy."""
        self.die(f"killed:{name}", partial(_keep, name, run), number)
        if again:
            self.world.advance(HOUR_S)
            self.keep(run, name)

    @rule(which=numbers, number=st.integers(1, 100), again=st.booleans())
    def die_while_pruning(self, which: int, number: int, again: bool) -> None:
        """The process is killed while it removes a copy."""
        run, version, place = self.one(which)
        self.die("killed:prune", pruning(run, version, place, self.world.stopwatch), number)
        if again:
            self.world.advance(HOUR_S + 1)
            self.do(f"prune {place}", pruning(run, version, place, self.world.stopwatch))

    def die(self, what: str, step: Step, number: int) -> None:
        """Run a step in a process of its own that is killed at a call or a commit."""
        before = self.oracle.look(self.hands)

        def child() -> None:
            fault = DieAt(number)
            hands = self.world.hands(FaultySyscalls(fault))
            count_commits(hands.engine, fault)
            _refusable(step, hands)

        (status,) = in_children(child)
        if status not in {0, KILLED}:
            raise ViolationError(f"{what}: the process ended with {status}")
        self.judged(f"{what}{'' if status else ':unhurt'}", before)

    @rule(run=runs, name=st.sampled_from(sorted(CARING)), number=steps_in)
    def die_while_caring(self, run: str, name: str, number: int) -> None:
        """The process is killed while it looks after copies."""
        self.die(f"killed:{name}", partial(_care, name, run), number)

    @rule(which=numbers, number=steps_in, undo=st.booleans())
    def die_at_the_trash(self, which: int, number: int, undo: bool) -> None:
        """The process is killed while it empties a trash, or takes a copy out of it."""
        run, version, place = self.one(which)
        emptying = pruning(run, version, place, self.world.stopwatch, act=empty_trash)
        self.die(
            "killed:undo" if undo else "killed:emptying",
            putting_back(run, version, place) if undo else emptying,
            number,
        )

    @rule(run=runs, name=st.sampled_from(sorted(KEEPING)), number=st.integers(1, 40), code=st.sampled_from(ERRORS))
    def fail_while_keeping(self, run: str, name: str, number: int, code: int) -> None:
        """A system call fails while a copy is added: nothing partial is left (F05)."""
        fault = FailAt(number, code, WRITING)
        done = self.do(f"failed:{name}", partial(_keep, name, run), self.faulty(fault))
        for place in PLACES:
            left = done.after.disks[place].files.keys() - done.before.disks[place].files.keys()
            if any(name.endswith(".xpcs-partial") for name in left):
                raise ViolationError(f"F05: a partial is left in {place} after {fault.failed}")
        if fault.failed and done.error is None:
            self.keep(run, name)

    @rule(which=numbers, number=st.integers(1, 60))
    def fail_while_pruning(self, which: int, number: int) -> None:
        """A system call fails while a copy is removed."""
        run, version, place = self.one(which)
        fault = FailAt(number, errno.EIO, REMOVING)
        self.do("failed:prune", pruning(run, version, place, self.world.stopwatch), self.faulty(fault))

    def faulty(self, fault: Fault) -> Hands:
        """The same open beamline, its system calls those of ``fault``."""
        hands = self.world.hands(FaultySyscalls(fault))
        hands.__dict__["engine"] = self.hands.engine
        return hands

    @rule(
        which=numbers,
        number=st.integers(1, 60),
        victim=victims,
    )
    def stopped_prune(self, which: int, number: int, victim: Victim) -> None:
        """The process is stopped for longer than a proof holds, and a copy rots meanwhile (F41)."""
        self.stop_while_pruning(which, number, victim)

    @rule(which=numbers, number=st.integers(1, 9), victim=victims)
    def stopped_removal(self, which: int, number: int, victim: Victim) -> None:
        """The same, once it is written why the copy goes: another copy of that run rots just before the first file."""
        self.stop_while_pruning(which, number, victim, frozenset({"lstat"}), late=True)

    def stop_while_pruning(
        self, which: int, number: int, victim: Victim, at: frozenset[str] = STOPS, late: bool = False
    ) -> int:
        """Stop a removal, ``late``: after its tombstone; how many calls there were at which it could be stopped."""
        run, version, place = self.one(which)
        sights = [self.oracle.look(self.hands)]
        folder = "" if not late else run if victim[0] == DETECTOR else f"{BEAMLINE}/{run}"

        def meanwhile() -> None:
            now = self.oracle.look(self.hands)
            self.oracle.judge(sights[0], now, "prune before it was stopped")
            self.world.corrupt_any(*victim, below=folder)
            self.world.advance(LONG_PAUSE_S)
            sights[0] = self.oracle.look(self.hands)

        def begun() -> bool:
            told = self.hands.ledger.removals(BEAMLINE, run, RemovalKind.TOMBSTONE)
            return any(line not in sights[0].lines for line in told)

        fault = PauseAt(number, at, meanwhile, begun if late else lambda: True)
        error = None
        try:
            pruning(run, version, place, self.world.stopwatch)(self.faulty(fault))
        except XpcsAssetsError as told:
            error = told
        self.judged("stopped:prune", sights[0], error)
        return len(fault.steps)

    @rule(which=numbers, places=st.permutations(PRUNED))
    def two_pruners(self, which: int, places: list[str]) -> None:
        """Two processes remove copies of the same version in two places at the same moment (F38)."""
        run, version, _ = self.one(which)
        before = self.oracle.look(self.hands)
        ends = [os.pipe(), os.pipe()]

        def child(number: int) -> None:
            hands = self.world.hands()
            step = pruning(run, version, places[number], self.world.stopwatch, holder=f"pruner {number}")
            hands.ledger.holds("b1", run)
            os.write(ends[number][1], b"!")
            os.read(ends[1 - number][0], 1)
            _refusable(step, hands)

        statuses = in_children(lambda: child(0), lambda: child(1))
        for end in (*ends[0], *ends[1]):
            os.close(end)
        if statuses != [0, 0]:
            raise ViolationError(f"two pruners ended with {statuses}")
        self.judged("two-pruners", before)


def _keep(name: str, run: str, hands: Hands) -> None:
    KEEPING[name](hands, run)


def _care(name: str, run: str, hands: Hands) -> None:
    CARING[name](hands, run)


def _refusable(step: Step, hands: Hands) -> None:
    try:
        step(hands)
    except XpcsAssetsError:
        pass
    finally:
        hands.close()


def directed(spec: Spec | Mapping[str, Word] | None = None, *, due: bool = True, empty: bool = False) -> CopiesMachine:
    """A machine to be led by hand: a run that is taken, staged, mirrored and archived, and due to go."""
    machine = CopiesMachine()
    machine.build(spec if isinstance(spec, Spec) else Spec(words=spec or dict.fromkeys(PRUNED, Word())))
    if empty:
        return machine
    machine.write_run("12", [2000, 0, 512], keep=False)
    machine.whole_way("12")
    if due:
        machine.wait_until_all_is_due()
    return machine
