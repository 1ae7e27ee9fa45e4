"""The documentation says what the code does: links, commands, settings, names and examples are looked up or run."""

from __future__ import annotations

import argparse
import importlib.util
import io
import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import fields
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import pytest
import typer
import yaml
from pydantic import BaseModel

from xpcs_assets import errors
from xpcs_assets.cli import app
from xpcs_assets.copies.copy_book import CopyState, Evidence
from xpcs_assets.copies.ledger import ArrivalState, TransferState
from xpcs_assets.correlate import average_command, merge_command, worker
from xpcs_assets.definitions import build_defs
from xpcs_assets.runs.recipe import AnalysisSettings
from xpcs_assets.settings import Beamline, SiteSettings
from xpcs_assets.site import Site

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?<!\")xpcs-assets ([a-z][a-z-]*)((?: [^`\n|#;)]*)?)")
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [re.sub(f"^{indent}", "", body, flags=re.MULTILINE) for indent, kind, body in found if kind == language]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@EVERY_PAGE
def test_every_link_leads_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in LINK.findall(text):
        if re.match(r"https?://", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_relative_to(ROOT), f"{link} leads out of the repository"
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


def test_no_page_holds_both_sides_of_a_merge() -> None:
    marks = re.compile(r"^(<{7} |={7}$|>{7} )", re.MULTILINE)
    assert [page.name for page in PAGES if marks.search(page.read_text(encoding="utf-8"))] == []


def test_the_index_leads_to_every_page() -> None:
    index = DOCS / "README.md"
    linked = {(DOCS / link).resolve() for link in LINK.findall(index.read_text(encoding="utf-8"))}
    assert set(DOCS.rglob("*.md")) - linked == {index}


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each `xpcs-assets ...` of a page in code, with what follows the command's name."""
    code = [body for _, _, body in FENCE.findall(text)]
    code += re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    for piece in code:
        yield from COMMAND.findall(piece)


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    """The options of each command."""
    group: Any = typer.main.get_command(app)
    options = {name: {o for p in command.params for o in p.opts} for name, command in group.commands.items()}
    modules = {"correlate": worker, "average": average_command, "merge": merge_command}
    for name, module in modules.items():
        parser: argparse.ArgumentParser = module._parser()
        options[name] = {option for action in parser._actions for option in action.option_strings}
    return {name: {*found, "--help"} for name, found in options.items()}


@EVERY_PAGE
def test_every_command_that_is_named_exists_with_its_options(page: Path, known: dict[str, set[str]]) -> None:
    for name, rest in commands(page.read_text(encoding="utf-8")):
        assert name in known, f"there is no command {name!r}"
        words = shlex.split(rest.replace("'", ""), posix=True)
        used = {word for word in words if word.startswith("--")}
        assert used <= known[name], f"{name} has no {used - known[name]}"


def test_the_search_for_commands_finds_them_and_their_options() -> None:
    text = "Say `xpcs-assets up --home site` or\n```\n$ key=$(xpcs-assets submit b x --as-is)  # now\n```\n"
    assert list(commands(text)) == [("submit", " b x --as-is"), ("up", " --home site")]


@EVERY_PAGE
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    there_are = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    text = page.read_text(encoding="utf-8")
    named = {*re.findall(r"`make ([a-z-]+)", text), *re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)}
    assert named <= there_are


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_reference", DOCS / "generate_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_pages_and_the_schema_are_what_the_code_makes_today() -> None:
    for path, text in generator().pages().items():
        assert path.read_text(encoding="utf-8") == text, f"run docs/generate_reference.py: {path.name} is old"


def keys_of(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for model in [schema, *schema["$defs"].values()]:
        yield from model["properties"].items()


@pytest.mark.parametrize(("model", "name"), [(Beamline, "beamline-file.md"), (SiteSettings, "site-file.md")])
def test_every_key_of_a_settings_file_has_a_meaning_and_is_in_the_reference(model: type[BaseModel], name: str) -> None:
    page = text_of(f"reference/{name}")
    for key, content in keys_of(model.model_json_schema()):
        assert content.get("description"), f"{key} has no description"
        assert f"| `{key}` |" in page


def test_the_schema_lets_durations_and_sizes_be_written_with_their_units() -> None:
    keys = dict(keys_of(Beamline.model_json_schema()))
    for name in ("quiet", "keep_for", "alone_over", "silent_for"):
        assert keys[name]["type"] == ["number", "string"]


def test_every_error_is_in_the_tree() -> None:
    page = text_of("reference/errors.md")
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) > 15
    assert [kind.__name__ for kind in kinds if kind.__name__ not in page] == []


def test_every_setting_of_a_recipe_and_all_that_a_run_config_takes_are_in_the_reference(site: Site) -> None:
    page = text_of("reference/recipe.md")
    table, _, config = page.partition("## What a run config may set")
    assert [field.name for field in fields(AnalysisSettings) if f"`{field.name}`" not in table] == []
    assert [name for name in taken_by_correlation(site) if f"`{name}`" not in config] == []


def taken_by_correlation(site: Site) -> set[str]:
    job = build_defs(site).resolve_job_def("xpcs_ingest")
    schema: Any = job.run_config_schema.config_type
    return set(
        schema.fields["ops"].config_type.fields["xpcs__correlation"].config_type.fields["config"].config_type.fields
    )


def test_every_asset_check_job_and_sensor_is_in_the_reference(site: Site) -> None:
    page = text_of("reference/assets.md")
    repository = build_defs(site).get_repository_def()
    graph = repository.asset_graph
    named = {key.path[-1] for key in graph.get_all_asset_keys()} | {key.name for key in graph.asset_check_keys}
    tied = {*(job.name for job in repository.get_all_jobs()), *(sensor.name for sensor in repository.sensor_defs)}
    tied = {name for name in tied if not name.startswith("__")}  # what Dagster makes up itself
    places = "|".join(site.beamlines["xpcs"].places)
    named |= {re.sub(rf"_({places})$", "_<place>", name.replace("xpcs_", "<beamline>_", 1)) for name in tied}
    assert len(named) > 15
    assert [name for name in sorted(named) if f"`{name}`" not in page] == []


def test_every_state_and_evidence_is_in_the_reference() -> None:
    page = text_of("reference/states-and-exit-codes.md")
    words = [str(word) for kind in (ArrivalState, CopyState, Evidence, TransferState) for word in kind]
    assert [word for word in words if f"`{word}`" not in page] == []


@pytest.mark.parametrize("name", ["archive-and-prune.md", "send-copies-to-more-places.md"])
def test_pieces_of_beamline_files_are_taken_by_a_beamline(name: str, site: Site) -> None:
    whole = yaml.safe_load((site.home / "beamlines" / "xpcs.yaml").read_text(encoding="utf-8"))
    pieces = blocks(DOCS / "how-to" / name, "yaml")
    assert pieces
    for piece in pieces:
        for key, value in yaml.safe_load(piece).items():
            whole[key] = {**whole[key], **value}
        Beamline.model_validate(whole)


def test_the_channels_of_the_how_to_are_taken_by_a_site_and_its_alerts_by_a_beamline(site: Site) -> None:
    of_site, of_beamline = blocks(DOCS / "how-to" / "be-told-of-trouble.md", "yaml")
    (site.home / "site.yaml").write_text(of_site, encoding="utf-8")
    file = site.home / "beamlines" / "xpcs.yaml"
    whole = yaml.safe_load(file.read_text(encoding="utf-8")) | yaml.safe_load(of_beamline)
    file.write_text(yaml.safe_dump(whole), encoding="utf-8")
    assert Site(site.home).broken == {}


def test_the_run_config_of_the_how_to_is_one_that_correlation_takes(site: Site) -> None:
    (piece,) = blocks(DOCS / "how-to" / "re-materialise-with-other-settings.md", "yaml")
    (config,) = yaml.safe_load(piece)["ops"].values()
    assert set(config["config"]) <= taken_by_correlation(site)


@EVERY_PAGE
def test_python_in_a_page_compiles(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Path]:
    """A folder in which the tutorial was followed, what its last example printed, and its result."""
    folder = tmp_path_factory.mktemp("tutorial")
    detector, store = folder / "site" / "detector", folder / "site" / "store" / "xpcs"
    detector.mkdir(parents=True)
    drop, look = blocks(DOCS / "tutorial" / "first-run.md", "python")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        dropped = ran(drop, {})
        run = next(detector.iterdir())
        result = store / run.name / "v1" / "results" / "ce51788b108b" / f"{run.name}_results.hdf"
        arguments = [f"{run}/{run.name}.h5", "--qmap", f"{run}/{run.name}_qmap.hdf", "--output", str(result)]
        assert worker.main([*arguments, "--progress", "none", "--device", "cpu"]) == 0
        printed = ran(look, {})
    return folder, dropped + printed, result


def ran(block: str, names: dict[str, Any]) -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile(block, "documentation", "exec"), names)  # noqa: S102 - our own pages
    return out.getvalue()


def test_the_tutorial_prints_what_it_says(followed: tuple[Path, str, Path]) -> None:
    folder, printed, _ = followed
    page = text_of("tutorial/first-run.md")
    lines = printed.splitlines()
    assert len(lines) == 4
    assert [line for line in lines if line not in page] == []
    assert (folder / "g2.png").stat().st_size > 10_000
    assert (folder / "g2.csv").read_text(encoding="utf-8").startswith("# run: A001_first\n")


def test_the_how_to_on_results_runs(followed: tuple[Path, str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _, result = followed
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"path": result}
    ran(blocks(DOCS / "how-to" / "open-results-in-python.md", "python")[1], names)
    assert len(names["good"]) == names["result"].g2.shape[1]


def test_the_last_line_of_the_readme_draws_g2(
    followed: tuple[Path, str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = re.search(r"python -c '([^']+)'", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert found is not None
    monkeypatch.chdir(tmp_path)
    ran(found[1].replace("RESULT.hdf", str(followed[2])), {})
    assert (tmp_path / "g2.png").stat().st_size > 10_000


def test_everything_in_a_result_file_is_in_the_reference(followed: tuple[Path, str, Path]) -> None:
    named = re.findall(r"`(/xpcs/[^`]+)`", text_of("reference/result-file.md"))
    with h5py.File(followed[2]) as file:
        there: list[str] = []
        file["/xpcs"].visititems(lambda name, item: there.append(f"/xpcs/{name}") if hasattr(item, "shape") else None)
        assert len(there) > 30
        assert [name for name in there if not any(fnmatch(name, pattern) for pattern in named)] == []
        assert [name for name in named if "*" not in name and name not in file] == []
