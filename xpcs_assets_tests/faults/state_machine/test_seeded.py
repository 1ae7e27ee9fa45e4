"""The state machine can fail: with a known defect built into the package it says so, without it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import RULE_MARKER, run_state_machine_as_test
from sqlalchemy import false

from xpcs_assets.archive import deposit
from xpcs_assets.archive.bundle import BundleContent
from xpcs_assets.archive.index import read_index
from xpcs_assets.copies import leases
from xpcs_assets.copies.ledger import CopyState, Ledger
from xpcs_assets.places import files
from xpcs_assets.prune import proof, rules
from xpcs_assets.prune.witness import SeenFile
from xpcs_assets_tests.faults.state_machine.machine import CopiesMachine, directed
from xpcs_assets_tests.faults.state_machine.oracle import ViolationError
from xpcs_assets_tests.faults.state_machine.world import DETECTOR, DISK, MIRROR, PRUNED, TAPE, Spec, Word

Patch = pytest.MonkeyPatch
LOOKS = frozenset({"lstat"})
Start = Callable[..., CopiesMachine]
THREE = dict.fromkeys(PRUNED, Word(min_copies=3))


def frames(machine: CopiesMachine) -> int:
    """Which of the files on the staging disk is the first of the run."""
    return [path.name for path in machine.world.data_files(DISK)].index("r.imm")


def younger_instead_of_older(patch: Patch) -> None:
    """straxen#205: the comparison of ages is turned."""
    patch.setattr(
        rules, "_too_young", lambda copy, now, kept: ["too old"] if now >= rules.kept_until(copy, kept) else []
    )


def fresh_copy_is_pruned(start: Start) -> None:
    machine = start(due=False)
    machine.prune(0)


def the_ledger_s_word_counts(patch: Patch) -> None:
    """The other copies are looked up and not read."""

    def believe(place: Any, copy: Any, manifest: Any, on_file: Any) -> Iterator[SeenFile]:
        for path in place.list(copy.path).files:
            yield SeenFile(path, place.stat(path).signature)

    patch.setattr(proof, "read_files", believe)
    patch.setattr(proof, "read_bundles", believe)


def pruned_when_the_others_are_damaged(start: Start) -> None:
    machine = start()
    for place in (DISK, MIRROR, TAPE):
        for number in range(8):
            machine.corrupt(place, number, "truncate")
    machine.prune(0)


def domains_are_not_compared(patch: Patch) -> None:
    """Two folders of one disk count as two copies."""

    class NoSet(set[str]):
        def __contains__(self, domain: object) -> bool:
            return False

    def every_one(copy: Any, others: Any, now: Any) -> Any:
        return tuple(other for other in others if other.state is CopyState.PRESENT)

    search = proof._Search
    patch.setattr(rules, "counting", every_one)
    patch.setattr(proof, "_Search", lambda *args: search(*args[:-2], NoSet(), args[-1]))
    patch.setattr(proof.RemovalProof, "__post_init__", lambda self: None)


def pruned_with_a_second_copy_on_the_same_disk(start: Start) -> None:
    domains = {DETECTOR: "hall", DISK: "room", MIRROR: "room", TAPE: "vault"}
    machine = start(Spec(domains=domains, words=THREE))
    for which in range(3):
        machine.prune(which)


def the_expiry_is_turned(patch: Patch) -> None:
    """git-annex 1243af4a18: a proof is good once it has expired."""

    def allow(self: proof.RemovalProof, place: str, path: str) -> None:
        if self.stopwatch() < self.expires_at_s:
            raise proof.refused(self.victim, "the proof has expired")

    patch.setattr(proof.RemovalProof, "allow", allow)


def stopped_between_proof_and_removal(start: Start) -> None:
    victim = (DISK, frames(start(THREE)), "flip")
    looks = start(THREE).stop_while_pruning(0, 10_000, victim, LOOKS)
    for number in range(looks - 4, looks + 1):  # the last three are those before each file goes
        start(THREE).stop_while_pruning(0, number, victim, LOOKS)


def no_tombstone_is_written(patch: Patch) -> None:
    """Bytes go before it is written why."""
    patch.setattr(Ledger, "record_tombstone", lambda self, intent, detail: None)


def pruned_when_it_may_go(start: Start) -> None:
    start().prune(0)


def holds_are_not_seen(patch: Patch) -> None:
    """A person's word is not looked up."""
    standing = leases._standing
    patch.setattr(leases, "_standing", lambda beamline, run: standing(beamline, run).where(false()))
    patch.setattr(rules, "_wanted", lambda holds, leases: [])


def pruned_when_held(start: Start) -> None:
    machine = start()
    machine.hold("12")
    machine.prune(0)


def names_are_believed_by_size(patch: Patch) -> None:
    """Rucio's fall-through: a file of the right size under the right name is taken for the file."""
    patch.setattr(files, "_refuse_other_bytes", lambda *args: None)


def staged_over_a_flipped_bit(start: Start) -> None:
    machine = start()
    machine.corrupt(DISK, frames(machine), "flip")
    machine.keep("12", "stage_newest")


def files_are_overwritten(patch: Patch) -> None:
    """A second writer takes the name over."""
    write = files.write_in
    patch.setattr(files, "write_in", lambda *args, **named: write(*args, **{**named, "replace": True}))


def files_are_written_in_place(patch: Patch) -> None:
    """A file has its name while it is written."""

    def write(folder: int, target: Path, chunks: Any, *, calls: Any, **named: Any) -> files.Written:
        descriptor = calls.open(target.name, 0o101, 0o644, folder)
        for chunk in chunks:
            calls.write(descriptor, memoryview(chunk))
        calls.close(descriptor)
        return files.Written(target.stat().st_size, named.get("sha256", ""), already_there=False)

    patch.setattr(files, "write_in", write)


def killed_while_staging(start: Start) -> None:
    for number in range(30, 90, 6):
        machine = start(empty=True)
        machine.write_run("12", [2000], keep=False)
        machine.keep("12", "take_run")
        machine.die_while_keeping("12", "stage_newest", number, again=False)


def the_archive_is_not_read_back(patch: Patch) -> None:
    """RAL 2010: what was put is believed to be there."""

    def believe(place: Any, plan: Any, on_bytes: Any) -> deposit.ReadBack:
        told = read_index(plan.index, plan.path)
        return deposit.ReadBack(plan, BundleContent(plan.members, plan.index, told, {}, 1, "0" * 64))

    patch.setattr(deposit, "_read_back", believe)


def archived_over_a_damaged_bundle(start: Start) -> None:
    machine = start(empty=True)
    machine.write_run("12", [2000, 0, 512], keep=False)
    for name in ("take_run", "stage_newest"):
        machine.keep("12", name)
    for number in range(60, 120, 20):
        machine.die_while_keeping("12", "archive_run", number, again=False)
        machine.wait_until_all_is_due()
        for bundle in machine.world.disk(TAPE).rglob("*.tar"):
            machine.world.corrupt(bundle, "truncate")
    machine.keep("12", "archive_run")


def silence_is_absence(patch: Patch) -> None:
    """A place that cannot be asked is taken for an empty one."""
    patch.setattr(proof._Search, "_tell", lambda self, other, error: self.on_finding(other, CopyState.LOST, error.what))


def pruned_when_a_disk_is_away(start: Start) -> None:
    machine = start(THREE)
    machine.lose(DISK)
    machine.prune(0)


def names_are_not_handed_on(patch: Patch) -> None:
    """An earlier version's copy goes although a later one has its names."""
    patch.setattr(rules, "_not_its_own", lambda taken_later: [])


def pruned_when_written_again(start: Start) -> None:
    machine = start()
    machine.take_again("12", [2000, 513, 1])
    machine.whole_way("12")
    machine.wait_until_all_is_due()
    machine.prune(0)  # the first version at the detector, of whose files the second has one


@dataclass(frozen=True)
class Seed:
    """A defect, the few steps after which it shows, and the rules that walks choose among to find it: all without."""

    defect: Callable[[Patch], None]
    steps: Callable[[Start], None]
    among: frozenset[str] = frozenset()

    @property
    def machine(self) -> type[CopiesMachine]:
        """The state machine, with these rules alone where some are named."""
        rules = {name: member for name, member in vars(CopiesMachine).items() if hasattr(member, RULE_MARKER)}
        plain = {name: partialmethod(rule) for name, rule in rules.items() if self.among and name not in self.among}
        return type(CopiesMachine.__name__, (CopiesMachine,), plain)


DUE = frozenset({"prune", "wait_until_all_is_due"})
LATE = frozenset({"stopped_removal", "wait_until_all_is_due", "keep"})


SEEDS: Mapping[str, Seed] = {
    seed.defect.__name__: seed
    for seed in (
        Seed(younger_instead_of_older, fresh_copy_is_pruned, frozenset({"prune", "wait"})),
        Seed(the_ledger_s_word_counts, pruned_when_the_others_are_damaged, DUE | {"corrupt"}),
        Seed(domains_are_not_compared, pruned_with_a_second_copy_on_the_same_disk, DUE | {"keep"}),
        Seed(the_expiry_is_turned, stopped_between_proof_and_removal, LATE),
        Seed(no_tombstone_is_written, pruned_when_it_may_go),
        Seed(holds_are_not_seen, pruned_when_held),
        Seed(names_are_believed_by_size, staged_over_a_flipped_bit, frozenset({"keep_over_rot"})),
        Seed(files_are_overwritten, staged_over_a_flipped_bit),
        Seed(files_are_written_in_place, killed_while_staging),
        Seed(the_archive_is_not_read_back, archived_over_a_damaged_bundle),
        Seed(silence_is_absence, pruned_when_a_disk_is_away),
        Seed(names_are_not_handed_on, pruned_when_written_again, DUE | {"take_again", "whole_way"}),
    )
}


@pytest.fixture
def start() -> Iterator[Start]:
    """Makes machines that are led by hand."""
    made: list[CopiesMachine] = []

    def make(spec: Spec | Mapping[str, Word] | None = None, **how: bool) -> CopiesMachine:
        made.append(directed(spec, **how))
        return made[-1]

    yield make
    for machine in made:
        machine.teardown()


@pytest.mark.parametrize("name", SEEDS)
def test_a_seeded_defect_shows_within_a_few_steps(name: str, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    SEEDS[name].steps(start)
    SEEDS[name].defect(monkeypatch)
    with pytest.raises(ViolationError):
        SEEDS[name].steps(start)


@pytest.mark.long
@pytest.mark.parametrize("name", SEEDS)
def test_a_seeded_defect_is_found_by_walking(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    walk = settings(
        max_examples=300,
        stateful_step_count=30,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    told: list[ViolationError] = []
    monkeypatch.setattr(ViolationError, "__init__", lambda self, *args: told.append(self))
    seed = SEEDS[name]
    seed.defect(monkeypatch)
    # A walk in which two processes race may end otherwise when it is gone again: then Hypothesis calls it flaky, and
    # what was found is found.
    with pytest.raises((ViolationError, Flaky)):
        run_state_machine_as_test(seed.machine, settings=walk)
    assert told
