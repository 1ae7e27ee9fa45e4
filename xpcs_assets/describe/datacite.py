"""The DataCite block of a run's record, in the form of DataCite's REST API, schema 4.5.

It is made of the beamline file's ``datacite`` section and of what the record knows. https://schema.datacite.org/meta/kernel-4.5
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, get_args

from xpcs_assets.describe.record import Record
from xpcs_assets.describe.when import BEGIN, END, time_in
from xpcs_assets.settings_datacite import ContributorType, Creator, Datacite, Funding, IdentifierType, RelationType

SCHEMA = "http://datacite.org/schema/kernel-4.5"

_SAMPLE = ("/entry/sample/short_description", "/entry1/sample_1/name", "/bluesky/start/sample_name")
_HDF5_SUFFIXES = {".h5", ".hdf", ".hdf5", ".nxs"}
_GENERAL = (
    "Audiovisual", "Book", "BookChapter", "Collection", "ComputationalNotebook", "ConferencePaper",
    "ConferenceProceeding", "DataPaper", "Dataset", "Dissertation", "Event", "Image", "InteractiveResource",
    "Instrument",
    "Journal", "JournalArticle", "Model", "OutputManagementPlan", "PeerReview", "PhysicalObject", "Preprint", "Report",
    "Service", "Software", "Sound", "Standard", "StudyRegistration", "Text", "Workflow", "Other",
)  # fmt: skip
_DATES = (
    "Accepted", "Available", "Copyrighted", "Collected", "Created", "Issued", "Submitted", "Updated", "Valid",
    "Withdrawn", "Other",
)  # fmt: skip
_DATE = re.compile(r"\d{4}(-\d\d(-\d\d(T[\d:.]+(Z|[+-]\d\d:\d\d)?)?)?)?")


def datacite_block(settings: Datacite, record: Record, beamline_title: str = "") -> dict[str, Any]:
    """The properties of a run's dataset; those of which nothing is known are left out.

    Parameters
    ----------
    settings
        The beamline file's section.
    record
        The run.
    beamline_title
        What people call the beamline.
    """
    make = _Maker(settings, record, beamline_title)
    block: dict[str, Any] = {
        "schemaVersion": SCHEMA,
        "identifiers": make.identifiers(),
        "alternateIdentifiers": [
            {
                "alternateIdentifier": f"{record.beamline}/{record.run_key}/v{record.version}",
                "alternateIdentifierType": "run",
            }
        ],
        "creators": list(make.people(settings.creators)),
        "titles": [{"title": make.filled(settings.title)}],
        "publisher": _publisher(settings),
        "publicationYear": make.year(),
        "types": {"resourceTypeGeneral": "Dataset", "resourceType": settings.resource_type},
        "subjects": [{"subject": text} for text in map(make.filled, settings.subjects) if text],
        "contributors": [
            {**person, "contributorType": one.role} for one in settings.contributors for person in make.people([one])
        ],
        "dates": list(make.dates()),
        "language": settings.language,
        "sizes": list(_sizes(record)),
        "formats": sorted({_media_type(entry.path) for entry in record.files}),
        "version": str(record.version),
        "rightsList": [_rights(one.name, one.url, one.spdx) for one in settings.rights],
        "fundingReferences": [make.funding(one) for one in settings.funding],
        "relatedIdentifiers": [
            {
                "relatedIdentifier": make.filled(one.identifier),
                "relatedIdentifierType": one.type,
                "relationType": one.relation,
            }
            for one in settings.related
        ],
    }
    return {name: value for name, value in block.items() if value not in ("", [], {}, None)}


class _Maker:
    """Fills the configured texts with what a record knows."""

    def __init__(self, settings: Datacite, record: Record, title: str) -> None:
        self._settings, self._record = settings, record
        self._fields = {
            "run": record.run_key,
            "version": str(record.version),
            "beamline": record.beamline,
            "title": title or record.beamline,
            "proposal": record.owner.proposal,
            "experiment": record.owner.experiment,
            "sample": self._told(_SAMPLE),
        }

    def filled(self, text: str) -> str:
        """A configured text with the run's fields, without the gaps that unknown ones leave."""
        return " ".join(text.format_map(self._fields).split())

    def identifiers(self) -> list[dict[str, str]]:
        if not self._settings.prefix:
            return []
        record = self._record
        name = re.sub(r"[^A-Za-z0-9._-]", "-", f"{record.beamline}.{record.run_key}.v{record.version}").lower()
        return [{"identifier": f"https://doi.org/{self._settings.prefix}/{name}", "identifierType": "DOI"}]

    def people(self, creators: Iterable[Creator]) -> Iterator[dict[str, Any]]:
        for one in creators:
            name = self._told(one.name_from) or self.filled(one.name)
            if not name:
                continue
            person: dict[str, Any] = {"name": name, "nameType": one.type}
            family, comma, given = (part.strip() for part in name.partition(","))
            if comma and one.type == "Personal":
                person |= {"familyName": family, "givenName": given}
            if one.orcid:
                scheme = {"nameIdentifierScheme": "ORCID", "schemeUri": "https://orcid.org"}
                person["nameIdentifiers"] = [{"nameIdentifier": f"https://orcid.org/{one.orcid}", **scheme}]
            told = self._told(one.affiliation_from)
            affiliation = told or self.filled(one.affiliation)
            if affiliation:
                # The identifier is of the configured name, and of no other that the metadata may tell.
                ror = {} if told or not one.affiliation_id else _ror("affiliation", one.affiliation_id)
                person["affiliation"] = [{"name": affiliation, **ror}]
            yield person

    def year(self) -> int:
        """The year in which the data are there for others: at the end of an embargo, else when they were taken."""
        return int(self._embargo()[:4] or self._record.taken_at[:4])

    def dates(self) -> Iterator[dict[str, str]]:
        begin, end = time_in(self._record, BEGIN), time_in(self._record, END)
        if begin:
            date = f"{begin.isoformat()}/{end.isoformat()}" if end else begin.isoformat()
            yield {"date": date, "dateType": "Collected"}
        yield {"date": self._record.taken_at, "dateType": "Created"}
        if self._embargo():
            yield {"date": self._embargo(), "dateType": "Available"}

    def funding(self, one: Funding) -> dict[str, str]:
        kind = "ROR" if "ror.org" in one.funder_id else "Crossref Funder ID"
        found = {
            "funderName": self.filled(one.funder),
            "funderIdentifier": one.funder_id,
            "funderIdentifierType": kind if one.funder_id else "",
            "awardNumber": self.filled(one.award),
            "awardTitle": self.filled(one.award_title),
        }
        return {name: value for name, value in found.items() if value}

    def _told(self, paths: Sequence[str]) -> str:
        """The first text that the metadata tell in one of these fields, and that is no placeholder."""
        for path in paths:
            entry = self._record.first(path)
            text = entry.value.strip() if entry is not None and isinstance(entry.value, str) else ""
            if text and text not in self._settings.placeholders:
                return text
        return ""

    def _embargo(self) -> str:
        """When the embargo ends; empty where there is none, or no date of it."""
        until = self._record.owner.embargo_until
        return until if _DATE.fullmatch(until) else ""


def wrong(block: Mapping[str, Any]) -> list[str]:
    """What the schema asks for and the block has not, or has otherwise; nothing for a sound block."""
    types, publisher = block.get("types", {}), block.get("publisher", {})
    checks = (
        (bool(block.get("identifiers")), "no identifier (datacite.prefix gives one)"),
        (bool(block.get("creators")), "no creator whose name is known"),
        (any(title.get("title") for title in block.get("titles", ())), "no title"),
        (bool(publisher.get("name")), "no publisher"),
        (_is_year(block.get("publicationYear")), "no publication year of four digits"),
        (types.get("resourceTypeGeneral") in _GENERAL, "no general resource type"),
        (all(map(_is_date, block.get("dates", ()))), "a date that is none, or of no known kind"),
        (
            all(one.get("contributorType") in get_args(ContributorType) for one in block.get("contributors", ())),
            "a contributor of no known kind",
        ),
        (all(map(_is_related, block.get("relatedIdentifiers", ()))), "a related identifier of no known kind"),
        (
            all(one.get("funderName") for one in block.get("fundingReferences", ())),
            "a funding reference without funder",
        ),
    )
    return [what for is_right, what in checks if not is_right]


def _is_year(value: object) -> bool:
    return isinstance(value, int) and 1000 <= value <= 9999


def _is_date(one: Mapping[str, str]) -> bool:
    return one["dateType"] in _DATES and all(_DATE.fullmatch(part) for part in one["date"].split("/"))


def _is_related(one: Mapping[str, str]) -> bool:
    known = one["relatedIdentifierType"] in get_args(IdentifierType) and one["relationType"] in get_args(RelationType)
    return known and bool(one["relatedIdentifier"])


def _publisher(settings: Datacite) -> dict[str, str]:
    return {"name": settings.publisher, **(_ror("publisher", settings.publisher_id) if settings.publisher_id else {})}


def _ror(of: str, identifier: str) -> dict[str, str]:
    return {f"{of}Identifier": identifier, f"{of}IdentifierScheme": "ROR", "schemeUri": "https://ror.org"}


def _rights(name: str, url: str, spdx: str) -> dict[str, str]:
    identifier = {"rightsIdentifier": spdx, "rightsIdentifierScheme": "SPDX", "schemeUri": "https://spdx.org/licenses/"}
    return {"rights": name, **({"rightsUri": url} if url else {}), **(identifier if spdx else {})}


def _sizes(record: Record) -> Iterator[str]:
    yield f"{record.size_bytes} bytes"
    yield f"{len(record.files)} files"
    if "frames_recorded" in record.raw:
        raw = record.raw
        yield f"{raw['frames_recorded']} frames of {raw['rows_px']} x {raw['columns_px']} pixels"


def _media_type(path: str) -> str:
    suffix = PurePath(path).suffix.lower()
    return "application/x-hdf5" if suffix in _HDF5_SUFFIXES else _OTHERS.get(suffix, "application/octet-stream")


_OTHERS = {".json": "application/json", ".jsonl": "application/jsonl", ".txt": "text/plain"}
