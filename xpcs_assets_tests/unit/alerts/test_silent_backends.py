"""Back ends that leave jobs waiting, by what following those jobs writes into the ledger."""

from __future__ import annotations

from xpcs_assets.alerts.rules import backends
from xpcs_assets.copies.ledger import JobState
from xpcs_assets_tests.unit.compute.conftest import Clusters, clusters, made  # noqa: F401  fixtures

HOUR_S = 3600.0


def test_a_back_end_that_took_a_job_and_is_silent_since_is_wrong_after_an_hour_until_it_answers(
    clusters: Clusters,  # noqa: F811
) -> None:
    found = clusters()
    found.asked()
    found.first.is_down = True
    found.tick(after_s=HOUR_S - 1)
    assert backends(found.beamline) == []
    found.tick(after_s=2)
    (wrong,) = backends(found.beamline)
    assert (wrong.subject, wrong.text) == ("cluster", "1 of its jobs wait: cluster does not answer: no answer")
    found.first.is_down = False
    found.tick(after_s=HOUR_S)
    assert backends(found.beamline) == []


def test_a_job_that_no_back_end_takes_is_wrong_after_an_hour(clusters: Clusters) -> None:  # noqa: F811
    found = clusters()
    for backend in found.backends.values():
        backend.is_down = True
    found.asked()
    found.tick(after_s=HOUR_S)
    assert found.states() == [JobState.INTENDED]
    (wrong,) = backends(found.beamline)
    assert wrong.subject == "cluster"
    assert "no answer" in wrong.text
