"""Run keys: the partition key of a run, made from its path by a rule that can be undone.

A key matches ``[A-Za-z0-9][A-Za-z0-9._=-]{0,95}`` and holds no ``..``, so that it is safe in a URL, a
folder name and a Kubernetes label. Two different names never share a key: every byte outside the safe set is
written ``=XX``. A name too long for 96 characters is shortened and ends in ``=-`` and 16 hex digits of its
sha256; such a key cannot be undone, the ledger and the manifest keep the whole name.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Mapping

from xpcs_assets.errors import SettingsError

MAX_LENGTH = 96
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]{0,95}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")
_SAFE = frozenset((string.ascii_letters + string.digits + "._-").encode())
_LEAD = "0=."  # "=" is always followed by two hex digits or a mark, so this cannot come from a name
_SHORT = "=-"
_JOINTS = frozenset("_-")
_ESCAPED = re.compile(rb"=([0-9A-F]{2})")


def is_run_key(text: str) -> bool:
    """Tell whether ``text`` can be a run key.

    >>> is_run_key("B390_Strain2.04mm_att0"), is_run_key("a..b"), is_run_key("-a"), is_run_key("")
    (True, False, False, False)
    """
    return _KEY.fullmatch(text) is not None and ".." not in text


def encode(name: str) -> str:
    """Turn any name into a run key.

    >>> encode("B390_Strain2.04mm_att0"), encode("50 % µm"), encode("_dark"), encode("a..b")
    ('B390_Strain2.04mm_att0', '50=20=25=20=C2=B5m', '0=._dark', 'a.=2Eb')

    Raises
    ------
    SettingsError
        The name is empty or no text (bytes that are no UTF-8).
    """
    return _shortened(_escaped(name, "", first=True), name)


def decode(key: str) -> str | None:
    """The name a key was made from; None for a shortened key.

    >>> decode("50=20=25=20=C2=B5m"), decode("0=._dark"), decode("a.=2Eb")
    ('50 % µm', '_dark', 'a..b')
    """
    text = key.removeprefix(_LEAD)
    if _SHORT in text:
        return None
    return _ESCAPED.sub(lambda match: bytes.fromhex(match[1].decode()), text.encode()).decode("utf-8")


def run_key(template: str, fields: Mapping[str, str]) -> str:
    """Fill a key template such as ``{experiment}_{run}`` so that it stays reversible.

    What stands between two fields is escaped in every field but the last, so ``a_b`` + ``c`` and ``a`` +
    ``b_c`` get different keys.

    >>> run_key("{experiment}_{run}", {"experiment": "a_b", "run": "c"})
    'a=5Fb_c'
    >>> run_key("{experiment}_{run}", {"experiment": "a", "run": "b_c"})
    'a_b_c'

    Raises
    ------
    SettingsError
        The template names a field that the path does not give, or joins two fields with nothing between.
    """
    pieces = [(literal, name) for literal, name, _, _ in string.Formatter().parse(template)]
    names = [name for _, name in pieces if name]
    joints = [literal for literal, _ in pieces[1 : len(names)]]
    if not names or any(joint not in _JOINTS for joint in joints):
        raise SettingsError(
            f"the key template {template!r} cannot be undone",
            remedy="Write one field, or fields joined by _ or - such as {experiment}_{run}",
        )
    text = ""
    for index, (literal, name) in enumerate(pieces):
        text += literal
        if not name:
            continue
        if name not in fields:
            raise SettingsError(
                f"the key template {template!r} names {{{name}}}, which the path pattern does not have",
                remedy=f"Use one of: {', '.join(sorted(fields)) or 'none'}",
            )
        text += _escaped(fields[name], joints[index] if index < len(joints) else "", first=not text)
    key = _shortened(text, "\0".join(fields[name] for name in names))
    if not is_run_key(key):
        raise SettingsError(
            f"the key template {template!r} makes {key!r}, which is no run key",
            remedy="Begin it with a letter, a digit or a field and use only letters, digits, '.', '_' and '-'",
        )
    return key


def analysis_key(key: str, name: str) -> str:
    """The key of a reprocessing of run ``key`` under ``name``.

    >>> analysis_key("A001", "wide-q")
    'A001~wide-q'
    """
    if _NAME.fullmatch(name) is None or ".." in name:
        raise SettingsError(
            f"{name!r} cannot name a reprocessing",
            remedy="Use letters, digits, '.', '_' and '-', at most 48 of them, the first a letter or digit",
        )
    return f"{key}~{name}"


def split_analysis_key(key: str) -> tuple[str, str | None]:
    """The run key and, behind ``~``, the reprocessing's name (None for the run's own recipe).

    >>> split_analysis_key("A001~wide-q"), split_analysis_key("A001")
    (('A001', 'wide-q'), ('A001', None))
    """
    run, tilde, name = key.partition("~")
    return run, name if tilde else None


def _escaped(value: str, joint: str, *, first: bool) -> str:
    try:
        raw = value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise SettingsError("a name that is no UTF-8 cannot make a run key", remedy="Rename it") from error
    if not raw:
        raise SettingsError("an empty name cannot make a run key", remedy="Name the run's folder or file")
    text = ""
    for byte in raw:
        character = chr(byte)
        unsafe = byte not in _SAFE or character == joint or (character == "." and text[-1:] in {"", "."})
        text += f"={byte:02X}" if unsafe else character
    return text if text[0].isalnum() or not first else _LEAD + text


def _shortened(text: str, whole: str) -> str:
    if len(text) <= MAX_LENGTH:
        return text
    digest = hashlib.sha256(whole.encode("utf-8")).hexdigest()[:16]
    head = text[: MAX_LENGTH - len(digest) - len(_SHORT)]
    head = re.sub(r"=.?$", "", head)  # never cut inside an escape
    return head + _SHORT + digest
