"""Dagster binding of word to people: the sensor that looks and tells."""

from functools import cache
from typing import TYPE_CHECKING

from dagster import DefaultSensorStatus, SensorDefinition, SensorEvaluationContext, SkipReason, sensor

from xpcs_assets.errors import UnreachableError
from xpcs_assets.orchestrate.bindings import Bound

if TYPE_CHECKING:
    from xpcs_assets.alerts.telling import Teller

EVERY_S = 60


def build(bound: Bound) -> list[SensorDefinition]:
    """The sensor of one beamline that tells people."""

    @cache
    def teller() -> "Teller":
        from xpcs_assets.alerts.telling import Teller  # rules know readers of files: not where definitions are loaded

        return Teller(bound.beamline)

    @sensor(
        name=f"{bound.beamline.settings.dagster_name}_alerts",
        minimum_interval_seconds=EVERY_S,
        default_status=DefaultSensorStatus.RUNNING,
        description="People are told of what is wrong, and when it is over; fails when a channel does not take it",
    )
    def alerts(context: SensorEvaluationContext) -> SkipReason:
        taken = teller().tell(context.log.warning)
        silent = {name: told.why for name, told in taken.items() if told.why}
        if silent:
            raise UnreachableError(
                "; ".join(f"{name}: {why}" for name, why in silent.items()),
                where=bound.beamline.name,
                remedy=f"It is told again later; try `xpcs-assets alerts {bound.beamline.name} --test {min(silent)}`",
            )
        odd = [f"{name}: {told.odd}" for name, told in taken.items() if told.odd]
        if odd:
            context.log.warning("; ".join(odd))
        wrong = sum(not one.is_news for one in teller().book.standing.values())
        return SkipReason(f"told {', '.join(taken)}" if taken else f"nothing new; {wrong} things are wrong")

    return [alerts]
