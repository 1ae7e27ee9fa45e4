"""The ``datacite`` section of a beamline file: what DataCite's metadata schema (4.5) asks for and no measurement tells.

Who publishes, who is credited, under which rights, with whose money. Texts may hold ``{run}``, ``{version}``,
``{beamline}``, ``{title}`` (what people call the beamline), ``{proposal}``, ``{experiment}`` and ``{sample}``.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from xpcs_assets.settings_base import Settings

ContributorType = Literal[
    "ContactPerson", "DataCollector", "DataCurator", "DataManager", "Distributor", "Editor", "HostingInstitution",
    "Producer", "ProjectLeader", "ProjectManager", "ProjectMember", "RegistrationAgency", "RegistrationAuthority",
    "RelatedPerson", "Researcher", "ResearchGroup", "RightsHolder", "Sponsor", "Supervisor", "WorkPackageLeader",
    "Other",
]  # fmt: skip
RelationType = Literal[
    "IsCitedBy", "Cites", "IsCollectedBy", "Collects", "IsSupplementTo", "IsSupplementedBy", "IsContinuedBy",
    "Continues",
    "IsDescribedBy", "Describes", "HasMetadata", "IsMetadataFor", "HasVersion", "IsVersionOf", "IsNewVersionOf",
    "IsPreviousVersionOf", "IsPartOf", "HasPart", "IsPublishedIn", "IsReferencedBy", "References", "IsDocumentedBy",
    "Documents", "IsCompiledBy", "Compiles", "IsVariantFormOf", "IsOriginalFormOf", "IsIdenticalTo", "IsReviewedBy",
    "Reviews", "IsDerivedFrom", "IsSourceOf", "IsRequiredBy", "Requires", "IsObsoletedBy", "Obsoletes",
]  # fmt: skip
IdentifierType = Literal[
    "ARK", "arXiv", "bibcode", "DOI", "EAN13", "EISSN", "Handle", "IGSN", "ISBN", "ISSN", "ISTC", "LISSN", "LSID",
    "PMID",
    "PURL", "UPC", "URL", "URN", "w3id",
]  # fmt: skip
FIELDS = ("run", "version", "beamline", "title", "proposal", "experiment", "sample")

_FIELD = re.compile(r"\{([^{}]*)\}")


def _only_known_fields(text: str) -> str:
    unknown = sorted(set(_FIELD.findall(text)) - set(FIELDS))
    if unknown or set("{}") & set(_FIELD.sub("", text)):
        raise ValueError(f"{text!r} may have no braces but those of {', '.join(f'{{{name}}}' for name in FIELDS)}")
    return text


Text = Annotated[str, AfterValidator(_only_known_fields)]


class Creator(Settings):
    """Somebody who is credited: by name, or by a field of the metadata. Without any name they are left out."""

    name: Text = Field("", description="`Family, Given` of a person, or an organisation")
    name_from: tuple[str, ...] = Field(
        (), description="Metadata fields with the name, such as `/entry/user/name`; first"
    )
    type: Literal["Personal", "Organizational"] = Field("Personal", description="What kind of name it is")
    orcid: str = Field("", pattern=r"^(\d{4}-){3}\d{3}[\dX]$|^$", description="The person's ORCID iD")
    affiliation: Text = Field("", description="Where they belong")
    affiliation_from: tuple[str, ...] = Field((), description="Metadata fields with the affiliation; first")
    affiliation_id: str = Field("", pattern=r"^https://ror\.org/\w+$|^$", description="ROR of `affiliation`, as a URL")


class Contributor(Creator):
    """Somebody else who took part."""

    role: ContributorType = Field(description="In which way")


class Rights(Settings):
    """Under which rights the data can be used."""

    name: str = Field(description="Such as Creative Commons Attribution 4.0 International")
    url: str = Field("", description="Where they are written")
    spdx: str = Field("", description="Identifier of the SPDX licence list, such as CC-BY-4.0")


class Funding(Settings):
    """Whose money it was."""

    funder: Text = Field(description="Who gave it")
    funder_id: str = Field("", description="ROR of the funder as a URL, or its Crossref Funder ID as a DOI")
    award: Text = Field("", description="Number of the award")
    award_title: Text = Field("", description="Title of the award")


class Related(Settings):
    """Something that the data have to do with, such as the instrument or a paper."""

    identifier: Text = Field(description="Its identifier, such as a DOI without `https://doi.org/`")
    type: IdentifierType = Field("DOI", description="What kind of identifier")
    relation: RelationType = Field(description="What the data are to it; the instrument is `IsCollectedBy`")


class Datacite(Settings):
    """What the DataCite block of each run's record is made of. Left out, records have none."""

    publisher: str = Field(min_length=1, description="Who holds and publishes the data")
    publisher_id: str = Field("", pattern=r"^https://ror\.org/\w+$|^$", description="ROR of the publisher, as a URL")
    prefix: str = Field(
        "", pattern=r"^10\.\d{4,9}$|^$", description="DOI prefix; empty: the block has no identifier yet"
    )
    creators: tuple[Creator, ...] = Field(min_length=1, description="Who is credited, in this order")
    title: Text = Field("{run} at {beamline}", description="The title of a run's dataset")
    resource_type: str = Field("XPCS measurement", description="What the data are, in words")
    subjects: tuple[Text, ...] = Field(("X-ray photon correlation spectroscopy",), description="Key words")
    contributors: tuple[Contributor, ...] = Field((), description="Who else took part")
    rights: tuple[Rights, ...] = Field((), description="Under which rights the data can be used")
    funding: tuple[Funding, ...] = Field((), description="Whose money it was")
    related: tuple[Related, ...] = Field((), description="What the data have to do with")
    language: str = Field("en", description="Language of the texts")
    placeholders: tuple[str, ...] = Field(
        (), description="Values that the beamline's software writes where it knows no better, which count as none"
    )
