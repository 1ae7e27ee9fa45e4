"""All steps of a Dagster run in one process, as Dagster's own executor has them, but waiting for a pool sleeps.

Dagster's in-process executor asks over and over, with a processor of its own, whether a step that waits for a slot may
begin: it takes the earlier of now and the time of the next try. A step can wait for a tape for hours.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from dagster import InitExecutorContext, executor
from dagster._core.events import DagsterEvent, EngineEventData
from dagster._core.execution.api import ExecuteRunWithPlanIterable
from dagster._core.execution.context.system import PlanExecutionContext, PlanOrchestrationContext
from dagster._core.execution.context_creation_job import PlanExecutionContextManager
from dagster._core.execution.plan.execute_plan import inner_plan_execution_iterator
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor


class SleepingContext(InstanceConcurrencyContext):
    """What a run holds of pools and waits for."""

    def interval_to_next_pending_claim_check(self) -> float:
        """How long nothing is to be asked, s."""
        now = time.time()
        return max(0.0, min((at - now for at in self._pending_timeouts.values()), default=0.0))


class OneProcessExecutor(InProcessExecutor):
    """Executes one step after the other, those that have their slot first."""

    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        """Execute all steps of a run."""
        told = EngineEventData.in_process(os.getpid(), execution_plan.step_keys_to_execute)
        yield DagsterEvent.engine_event(plan_context, f"Executing steps in process {os.getpid()}", told)
        yield from ExecuteRunWithPlanIterable(
            execution_plan=plan_context.execution_plan,
            iterator=_each_step,
            execution_context_manager=PlanExecutionContextManager(
                job=plan_context.job,
                retry_mode=plan_context.retry_mode,
                execution_plan=plan_context.execution_plan,
                run_config=plan_context.run_config,
                dagster_run=plan_context.dagster_run,
                instance=plan_context.instance,
                raise_on_error=plan_context.raise_on_error,
                output_capture=plan_context.output_capture,
                step_dependency_config=self.step_dependency_config,
            ),
        )


def _each_step(execution_plan: ExecutionPlan, job_context: PlanExecutionContext) -> Iterator[DagsterEvent]:
    with SleepingContext(job_context.instance, job_context.dagster_run) as pools:
        yield from inner_plan_execution_iterator(job_context, execution_plan, pools)


@executor(name="in_process")
def one_process(_: InitExecutorContext) -> OneProcessExecutor:
    """All steps of a run in its own process."""
    return OneProcessExecutor(RetryMode.ENABLED)
