"""Written for Apache Liminal."""

from liminal.runners.airflow.model import executor
from plugins.tasks import special_task


class SpecialExecutor(executor.Executor):
    supported_task_types = [special_task.SpecialTask]

    def _apply_executor_task_to_dag(self, **kwargs):
        return kwargs["task"].speak()
