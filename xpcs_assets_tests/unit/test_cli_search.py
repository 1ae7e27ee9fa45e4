"""``xpcs-assets search``, ``comment``, ``tag``, ``mark`` and ``recatalogue``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.catalog.embedded import EmbeddedCatalog
from xpcs_assets.cli import run
from xpcs_assets.describe.describing import describe
from xpcs_assets.site import HOME_VARIABLE, SITE_FILE
from xpcs_assets.stage.staging import stage
from xpcs_assets.testing.webhook_server import WebhookServer
from xpcs_assets_tests.unit.catalog.made import derived, described, owned_by
from xpcs_assets_tests.unit.conftest import bare_run

PID = "test-beamline/A001/v1"
Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(beamline: OpenBeamline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run a command on a site with two raw datasets and a result; exit code and both outputs."""
    catalog = EmbeddedCatalog(beamline.engine)
    catalog.put_raw(described("A001"), "/f")
    catalog.put_raw(described("A002", sample="gold [bold]", owner=owned_by("P2", "g2")), "/f")
    curve = [1.2 - 0.003 * n for n in range(64)]
    catalog.put_derived(derived(), {"delay_s": curve, "curves": [{"bin": 1, "q_inv_angstrom": 0.1, "g2": curve}]})
    monkeypatch.setenv(HOME_VARIABLE, str(beamline.site.home))

    def said(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["xpcs-assets", *arguments])
        try:
            code = run()
        except SystemExit as ended:
            code = int(ended.code or 0)
        told = capsys.readouterr()
        return code, told.out, told.err

    return said


def test_datasets_are_listed_for_people_newest_first(say: Say) -> None:
    code, told, _ = say("search")
    heading, result, gold, _silica = told.splitlines()
    assert code == 0
    assert heading.split() == ["dataset", "created", "sample", "proposal", "state", "quality", "g2", "said"]
    assert "analysed" in result
    assert "█▇" in result
    assert "gold [bold]" in gold
    assert say("search", "silica", "--where", "kind=raw")[1].splitlines()[1].startswith(PID)


def test_nothing_found_is_exit_1_and_a_wrong_question_is_told(say: Say) -> None:
    assert say("search", "nothing-like-it") == (1, "", "none: no dataset is like that\n")
    assert say("search", "--json", "nothing-like-it")[2] == ""
    for arguments, why in (
        (("--where", "colour=red"), "told apart by colour"),
        (("--where", "sample"), "says nothing of a name"),
        (("--where", "state=foo", "--where", "state=staged"), "state is never foo. It is unverified or staged or"),
        (("--where", "kind=table"), "kind is never table. It is raw or derived"),
        (("--where", "quality=nice", "--facets"), "quality is never nice. It is complete or"),
        (("--range", "temperature"), "is no range"),
        (("--since", "yesterday"), "is no time"),
        (("--sort", "beauty"), "sorted by"),
        (("--after", "x"), "not where a page"),
        (("--limit", "0"), "page of 0"),
        (("--mark", "ugly"), "Marks are good and bad"),
        (("--range", "tau=5..1 s"), "Write the lower bound first"),
        (("--numbers", "tau"), "--numbers are columns of a table"),
        (("--numbers", "tau", "--export", "a-folder"), "--numbers are columns of a table"),
    ):
        code, _, error = say("search", *arguments)
        assert code == 1
        assert why in error


def test_pages_follow_by_what_was_printed(say: Say) -> None:
    seen = []
    _, told, error = say("search", "--limit", "1")
    while "--after" in error:
        seen.append(told.splitlines()[1].split()[0])
        _, told, error = say("search", "--limit", "1", "--after", error.split()[-1])
    assert [*seen, told.splitlines()[1].split()[0]][1:] == ["test-beamline/A002/v1", PID]


def test_scripts_get_json(say: Say) -> None:
    found = json.loads(say("search", "--json", "--where", "kind=raw", "--limit", "1")[1])
    (hit,) = found["datasets"]
    assert (hit["run_key"], hit["proposal"], hit["created_at"][:10]) == ("A002", "P2", "2026-05-01")
    assert hit["quality"] == "complete"
    assert found["next"]
    counts = json.loads(say("search", "--json", "--facets")[1])
    assert counts["total"] == 3
    assert counts["by"]["kind"] == [["raw", 2], ["derived", 1]]
    assert json.loads(say("search", "--json", "nothing-like-it")[1]) == {"datasets": [], "next": ""}


def test_facets_and_eyes_of_groups(say: Say) -> None:
    assert "proposal           2  P-1234" in say("search", "--facets")[1]
    assert say("search", "--facets", "--groups", "g2")[1].startswith("1 dataset\n")
    assert say("search", "--groups", "g2")[1].count("A002") == 1
    assert say("search", "--groups", "nobody")[0] == 1


def test_times_and_ranges_narrow(say: Say) -> None:
    assert say("search", "--since", "2026-05-01T12:02", "--until", "2026-05-01T12:30")[1].count("A002") == 1
    assert "A001" in say("search", "--range", "tau>1 us")[1]
    code, _, error = say("search", "--range", "contras>0")
    assert code == 1
    assert "no dataset tells 'contras'; there is: contrast" in error
    assert "the unit 'C' is not known" in say("search", "--range", "tau>1 C")[2]
    assert "note" not in say("search", "--range", "tau>1 us")[2]


def test_people_tag_mark_and_comment(say: Say) -> None:
    assert say("tag", PID, "x", "for the paper")[:2] == (0, "x for the paper\n")
    assert say("mark", f"xpcs-assets/{PID}", "bad")[:2] == (0, "bad\n")
    assert say("comment", PID, "beam [red]unsteady")[1].rstrip().endswith("beam [red]unsteady")
    assert say("comment", PID)[1].rstrip().endswith("beam [red]unsteady")
    assert say("comment", PID, " ")[0] == 1
    assert say("search", "--tag", "for the paper", "--mark", "bad")[1].rstrip().endswith("+x +for the paper bad")
    assert say("tag", PID, "x", "y", "--remove")[0] == 1
    assert say("mark", PID, "none")[:2] == (0, "no mark\n")
    assert say("search", "--mark", "bad")[0] == say("search", "--tag", "x")[0] == 1
    code, _, error = say("mark", PID, "splendid")
    assert (code, "Marks are good and bad" in error) == (1, True)
    assert "no such record" in say("comment", "b/none/v1", "x")[2]
    assert "no such record" in say("comment", "b/none/v1")[2]


def test_exports_are_written_once(say: Say, tmp_path: Path) -> None:
    table, crate = tmp_path / "runs.csv", tmp_path / "crate"
    assert say("search", "--export", str(table), "--numbers", "frames_recorded, tau")[0] == 0
    lines = table.read_text("utf-8").splitlines()
    assert len(lines) == 4
    assert lines[0].endswith("mark,frames_recorded,tau (s)")
    assert "nothing is overwritten" in say("search", "--export", str(table))[2]
    _, told, error = say("search", "A002", "--export", str(tmp_path / "b.csv"), "--numbers", "tauu")
    assert (told.split(": ")[1], "no dataset tells 'tauu'; there is: tau" in error) == ("1 dataset\n", True)
    for name in ("runs.csv", "crate"):
        code, _, error = say("search", "--export", str(tmp_path / "none" / name))
        assert (code, "the folder is not there" in error) == (1, True)
    assert not (tmp_path / "none").exists()
    assert say("search", "--export", str(crate))[0] == 0
    assert (crate / "ro-crate-metadata.json").is_file()
    assert say("search", "nothing-like-it", "--export", str(tmp_path / "none.csv"))[0] == 1
    assert not (tmp_path / "none.csv").exists()


def test_the_catalog_is_filled_again_from_what_lies_beside_the_data(say: Say, beamline: OpenBeamline) -> None:
    submit(beamline, bare_run(beamline.source_root / "B001"))
    take(beamline, "B001")
    stage(beamline, "B001")
    describe(beamline, "B001")
    assert say("search", "B001")[0] == 1
    assert say("recatalogue", beamline.name)[:2] == (0, f"1 dataset of {beamline.name}\n")
    code, told, _ = say("search", "B001")
    assert code == 0
    assert "staged" in told
    beamline.staged(beamline.latest("B001")).record.write_text("{}", encoding="utf-8")
    code, _, error = say("recatalogue", beamline.name)
    assert code == 1
    assert "B001 v1 is not in the catalog" in error


def test_a_comment_is_sent_to_the_logbook_and_kept_when_that_does_not_answer(say: Say, beamline: OpenBeamline) -> None:
    home = beamline.site.home
    with WebhookServer() as server:
        (home / "hook").write_text(server.address)
        logbook = {"kind": "webhook", "url": {"file": "hook"}, "form": "json"}
        (home / SITE_FILE).write_text(json.dumps({"channels": {"logbook": logbook}}))
        code, _, error = say("comment", PID, "--send", "logbook")
        assert (code, "no comment that could be sent" in error) == (1, True)
        assert say("comment", PID, "a bubble\nat 3 s\x1b", "--send", "logbook")[0] == 0
        with server.down():
            assert say("comment", PID, "the beam was lost", "--send", "logbook")[0] == 1
        assert say("comment", PID, "--send", "logbook")[0] == 0
        assert say("comment", PID, "lost", "--send", "chat")[0] == 1
    first, second = server.messages
    assert (first["dataset"], first["text"]) == (f"xpcs-assets/{PID}", "a bubble\nat 3 s\ufffd")
    assert second["text"] == "the beam was lost"
    assert first["written_by"] == second["written_by"] != ""
    assert "lost" in say("comment", PID)[1].splitlines()[-1]


def test_a_chat_is_told_who_wrote_the_comment_on_what(say: Say, beamline: OpenBeamline) -> None:
    code, told, _ = say("comment", PID, "a bubble", "--send", "log")
    lines = told.splitlines()
    assert (code, lines[:2]) == (0, [f"Comment on xpcs-assets/{PID}", "a bubble"])
    assert lines[2].startswith("- ")
    assert lines[2].endswith("UTC")
