"""A site: the folder (its *home*) with ``site.yaml`` and one YAML file a beamline in ``beamlines/``.

What cannot be read is a :class:`~xpcs_assets.errors.SettingsError` that names the file and the key.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from xpcs_assets.commands import SshCommands
from xpcs_assets.errors import NotFoundError, SettingsError
from xpcs_assets.secret import SecretReference
from xpcs_assets.settings import Beamline, SiteSettings
from xpcs_assets.settings_alerts import LOG
from xpcs_assets.settings_base import Secret
from xpcs_assets.settings_compute import LOCAL

HOME_VARIABLE = "XPCS_ASSETS_HOME"
SITE_FILE = "site.yaml"

M = TypeVar("M", bound=BaseModel)


class Site:
    """A home folder with its settings; broken beamline files are kept apart, the others run.

    Attributes
    ----------
    home
        The site's folder, absolute.
    settings
        What ``site.yaml`` says.
    beamlines
        The beamlines that could be read, by name.
    broken
        The error of each beamline file that could not, by the file's stem.
    """

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()
        self.settings = _load(self.home / SITE_FILE, SiteSettings)
        self.beamlines: dict[str, Beamline] = {}
        self.broken: dict[str, SettingsError] = {}
        for path in sorted((self.home / "beamlines").glob("*.yaml")):
            try:
                beamline = load_beamline(path)
                self._know_catalogs(beamline, path)
                self._know_backends(beamline, path)
                self._know_hosts(beamline, path)
                self._know_channels(beamline, path)
            except SettingsError as error:
                self.broken[path.stem] = error
            else:
                self.beamlines[beamline.beamline] = beamline

    def beamline(self, name: str) -> Beamline:
        """The beamline of that name.

        Raises
        ------
        NotFoundError, SettingsError
            There is none, or its file is broken.
        """
        if name in self.broken:
            raise self.broken[name]
        if name not in self.beamlines:
            there_are = f"There are: {', '.join(self.beamlines) or 'none'}"
            raise NotFoundError(f"no beamline {name!r}", where=self.home / "beamlines", remedy=there_are)
        return self.beamlines[name]

    def _know_catalogs(self, beamline: Beamline, path: Path) -> None:
        """Refuse a beamline that names a catalog which ``site.yaml`` has not."""
        unknown = [name for name in beamline.pipeline.told if name not in self.settings.catalogs]
        if unknown:
            raise SettingsError(
                f"pipeline.catalog: {SITE_FILE} has no catalog {', '.join(unknown)}",
                where=path,
                remedy=f"There are: {', '.join(['embedded', *self.settings.catalogs])}",
            )

    def _know_backends(self, beamline: Beamline, path: Path) -> None:
        """Refuse a beamline whose analyses, or jobs that reach HPSS, are to run where ``site.yaml`` has nothing."""
        for name, place in beamline.places.items():
            if place.kind == "hpss" and place.through not in self.settings.compute:
                raise SettingsError(
                    f"places.{name}.through: {SITE_FILE} has no back end {place.through!r} under compute",
                    where=path,
                    remedy=f"There are: {', '.join(self.settings.compute) or 'none'}",
                )
        pipeline = beamline.pipeline
        analysis = pipeline.correlate or pipeline.process
        unknown = [name for name in (analysis.remote if analysis else ()) if name not in self.settings.compute]
        if unknown:
            step = "correlate" if pipeline.correlate else "process"
            raise SettingsError(
                f"pipeline.{step}.on: {SITE_FILE} has no back end {', '.join(unknown)} under compute",
                where=path,
                remedy=f"There are: {', '.join([*self.settings.compute, LOCAL])}",
            )

    def _know_hosts(self, beamline: Beamline, path: Path) -> None:
        """Refuse a beamline with a place on a host that ``site.yaml`` has not."""
        for name, place in beamline.places.items():
            if place.kind == "ssh" and place.host not in self.settings.hosts:
                raise SettingsError(
                    f"places.{name}.host: {SITE_FILE} has no host {place.host!r}",
                    where=path,
                    remedy=f"There are: {', '.join(self.settings.hosts) or 'none'}",
                )

    def _know_channels(self, beamline: Beamline, path: Path) -> None:
        """Refuse a beamline that would tell people by a channel which ``site.yaml`` has not."""
        there_are = [LOG, *self.settings.channels]
        unknown = [name for name in beamline.alerts.to if name not in there_are]
        if unknown:
            raise SettingsError(
                f"alerts.to: {SITE_FILE} has no channel {', '.join(unknown)}",
                where=path,
                remedy=f"There are: {', '.join(there_are)}",
            )

    @property
    def dagster_home(self) -> Path:
        """Dagster's own folder. Apart from the site's: Dagster removes ``logs`` in its home as it likes."""
        return self.home / "dagster"

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the ledger and the embedded catalog."""
        return self.settings.database or f"sqlite:///{self.home / 'ledger.db'}"

    @property
    def journal(self) -> Path:
        """Folder of the ledger's journal."""
        return self.home / "journal"

    def path(self, relative: Path) -> Path:
        """A path of the settings, made absolute."""
        return self.home / relative

    def secret(self, secret: Secret | None) -> SecretReference | None:
        """Where a secret of the settings lies, its path made absolute."""
        if secret is None:
            return None
        return SecretReference(file=str(self.path(secret.file)) if secret.file else "", variable=secret.variable)

    def host(self, name: str) -> SshCommands:
        """A machine of the settings, to run programs on over ssh."""
        settings = self.settings.hosts[name]
        key, known_hosts = (str(self.path(path)) for path in (settings.key, settings.known_hosts))
        return SshCommands(
            settings.address, settings.port, settings.user, key=key, known_hosts=known_hosts, connect_s=settings.connect
        )

    def folder(self, settings: Beamline, place: str) -> Path:
        """The folder of a beamline's place on this machine.

        Raises
        ------
        SettingsError
            The place has none here.
        """
        folder = settings.places[place].folder
        if folder is None:
            raise SettingsError(
                f"place {place!r} is no folder of this machine",
                where=settings.beamline,
                remedy="Name a place of kind posix, or one that is mounted here",
            )
        return self.path(folder)


def load_beamline(path: Path) -> Beamline:
    """Read one beamline file.

    Raises
    ------
    SettingsError
        It cannot be read, is no YAML, a key is missing, unknown or wrong, or it is not named after its beamline.
    """
    beamline = _load(path, Beamline)
    if beamline.beamline != path.stem:
        raise SettingsError(
            f"the file says beamline {beamline.beamline!r}", where=path, remedy="Give file and beamline one name"
        )
    return beamline


def find_home(home: Path | None = None) -> Path:
    """The site's home: as given, or ``XPCS_ASSETS_HOME``, or around ``DAGSTER_HOME``, or this folder.

    Raises
    ------
    SettingsError
        None of them is a site.
    """
    named = [home] if home else [Path(value) for value in [os.environ.get(HOME_VARIABLE, "")] if value]
    if not named and os.environ.get("DAGSTER_HOME"):
        named = [Path(os.environ["DAGSTER_HOME"]).parent]
    for candidate in named or [Path.cwd(), Path.cwd() / "site"]:
        if (candidate / SITE_FILE).is_file():
            return candidate.resolve()
    raise SettingsError(
        "no site here",
        where=(named or [Path.cwd()])[0],
        remedy=f"Make one with `xpcs-assets init HOME`, or name one with --home or {HOME_VARIABLE}",
    )


def _in_a_line(error: Exception) -> str:
    """What a YAML error says and where, without the text around it."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


_BOOLEAN = "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice: the second would silently replace what somebody relies on.

    Only ``true`` and ``false`` are booleans, as in YAML 1.2: a key ``on`` or a beamline ``no`` is the word.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML wants it so
        first: [(tag, expression) for tag, expression in resolvers if tag != _BOOLEAN]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys are all different; what ``<<`` merges in may be given again."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(_BOOLEAN, re.compile("true|True|TRUE|false|False|FALSE"), list("tTfF"))


def _load(path: Path, model: type[M]) -> M:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506  it is a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the file cannot be read ({error})", where=path, remedy="Give it back") from error
    except (yaml.YAMLError, ValueError) as error:  # a ValueError is an impossible date
        raise SettingsError(f"this is no YAML: {_in_a_line(error)}", where=path, remedy="Mend that line") from error
    try:
        return model.model_validate(content or {})
    except ValidationError as error:
        lines = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'file'}: {item['msg']}" for item in error.errors()
        )
        page = "site-file" if path.name == SITE_FILE else "beamline-file"
        raise SettingsError(lines, where=path, remedy=f"docs/reference/{page}.md has every key") from error
