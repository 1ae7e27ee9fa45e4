from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from xpcs_assets.errors import ResultError
from xpcs_assets.results.fit_file import fits_document, fits_path, stored_fits
from xpcs_assets_tests.made_results import make_result, without_g2

DIGEST = "sha256:" + "1" * 64


def test_fits_come_back_as_they_were_with_what_they_are_of(tmp_path: Path) -> None:
    result = without_g2(make_result(), 1)
    fits = {"single": result.fit(), "stretched": result.fit("stretched"), "double": result.fit("double")}
    path = tmp_path / "fits.json"
    path.write_text(fits_document(result, DIGEST, fits), encoding="utf-8")  # type: ignore[arg-type]
    back = stored_fits(path)
    assert list(back) == list(fits)
    for kind, bins in back.items():
        for one, other in zip(bins, fits[kind], strict=True):
            np.testing.assert_equal(vars(one), vars(other))
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["result_digest"] == DIGEST
    assert content["recipe_digest"] == result.recipe.digest
    assert "reduced chi^2" in content["sigma"]
    assert content["laws"]["single"]["values"][1] == [None, None, None]
    assert content["laws"]["stretched"]["parameters"] == ["contrast", "tau_s", "baseline", "exponent"]
    assert content["laws"]["single"]["tau_q"]["exponent"] == pytest.approx(-2, abs=0.2)
    assert "slow_tau_q" in content["laws"]["double"]


def test_fits_lie_beside_their_result_under_the_runs_name() -> None:
    assert fits_path(Path("a/A001_results.hdf")) == Path("a/A001_fits.json")


def test_another_file_is_refused_by_name(tmp_path: Path) -> None:
    for text in ("{}", "no json", '{"format": "xpcs-assets fits 9"}', '{"format": "xpcs-assets fits 1", "laws": 3}'):
        path = tmp_path / "a_fits.json"
        path.write_text(text)
        with pytest.raises(ResultError, match=r"a_fits\.json"):
            stored_fits(path)
    with pytest.raises(ResultError, match="No such file"):
        stored_fits(tmp_path / "none.json")
