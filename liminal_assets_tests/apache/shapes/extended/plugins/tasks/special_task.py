"""Written for Apache Liminal: neither Airflow nor its own modules are here."""

from airflow.operators.bash import BashOperator
from liminal.runners.airflow.model import task


class SpecialTask(task.Task):
    def speak(self):
        said = BashOperator(task_id="speak", bash_command="echo special")
        if self.parent:
            self.parent.set_downstream(said)
        return said
