"""The words of Apache Liminal 0.0.5: what it read, and what its documentation gave a meaning."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "ANYTHING",
    "EXECUTORS",
    "IMAGES",
    "ITEMS",
    "PIPELINE",
    "PIPELINE_DEFAULTS",
    "ROOT",
    "SERVICE",
    "TASKS",
    "task_words",
    "words",
]


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


ANYTHING = None
"""The words of something that takes every key."""

ROOT = words(
    """always_run description executors images metrics monitoring name owner pipeline_defaults
    pipelines secrets service_defaults services super task_defaults type variables volumes"""
)

_OPERATOR = words(
    """depends_on_past do_xcom_push doc doc_json doc_md doc_rst doc_yaml email email_on_failure
    email_on_retry end_date execution_timeout executor_config inlets max_retry_delay
    on_execute_callback on_failure_callback on_retry_callback on_success_callback outlets owner
    params pool pool_slots priority_weight queue resources retries retry_delay
    retry_exponential_backoff run_as_user sla start_date task_concurrency trigger_rule
    wait_for_downstream weight_rule"""
)
"""Arguments of every operator of Airflow 2.1.2."""

_POD = words(
    """affinity annotations arguments cluster_context cmds config_file configmaps dnspolicy
    env_from env_vars full_pod_spec get_logs hostnetwork image image_pull_policy
    image_pull_secrets in_cluster init_containers is_delete_operator_pod labels
    log_events_on_failure name namespace node_selector node_selectors pod_runtime_info_envs
    pod_template_file ports priority_class_name reattach_on_restart schedulername secrets
    security_context service_account_name startup_timeout_seconds termination_grace_period
    tolerations volume_mounts volumes"""
)
"""Arguments of KubernetesPodOperator (Airflow's Kubernetes provider 1.0.2)."""

PIPELINE = frozenset(
    {
        "after",
        "description",
        "pipeline",
        "schedule",
        "schedule_interval",
        "tasks",
        "timeout_minutes",
    }
    | _OPERATOR
    | _POD
)
"""A pipeline's other keys are arguments for each of its operators, ``default_…`` by custom."""

PIPELINE_DEFAULTS = PIPELINE | {"after_tasks", "before_tasks"}

SERVICE = words(
    """description endpoints env_vars health image max_body_mb mounts name port replicas resources
    secrets service source threads type"""
)
"""Apache Liminal read none of them; its documentation knew an image. Here services run."""

_TASK = frozenset({"after", "description", "executor", "produces", "task", "type", "variables"})
"""``after`` and ``produces`` are ours."""
_CONTAINER = frozenset(
    {"cmd", "do_xcom_push", "env_vars", "executors", "image", "mounts", "secrets"}
)

TASKS: Mapping[str, frozenset[str]] = {
    "create_cloudformation_stack": _TASK | {"properties", "stack_name"},
    "delete_cloudformation_stack": _TASK | {"stack_name"},
    "job_end": _TASK,
    "job_start": _TASK,
    "pipeline": _TASK | {"pipeline"},
    "python": _TASK | _CONTAINER,
    "spark": _TASK
    | _CONTAINER
    | {"application_arguments", "application_source", "class", "conf", "master"},
    "sql": _TASK | {"connection", "output_path", "output_table", "query", "sql_file"},
}
"""Each type of task, and its keys."""

EXECUTORS: Mapping[str, frozenset[str]] = {
    "airflow": frozenset({"executor", "type"}),
    "emr": words(
        "aws_conn_id cluster_id cluster_name cluster_state cluster_states executor properties type"
    ),
    "kubernetes": frozenset({"executor", "type"} | _OPERATOR | _POD),
    "local": frozenset({"engine", "executor", "type"}),
}
"""Each type of executor, and its keys."""

_IMAGE = words("build_cmd description image no_cache pip_conf python_version source type")

IMAGES: Mapping[str, frozenset[str]] = {
    "python": _IMAGE,
    "python_server": _IMAGE | {"endpoints"},
    "spark": _IMAGE,
}
"""Each type of image, and its keys."""

ITEMS: Mapping[str, frozenset[str]] = {
    "endpoints": frozenset({"endpoint", "function", "module"}),
    "metrics": frozenset({"backends", "namespace"}),
    "mounts": frozenset({"mount", "path", "read_only", "sub_path", "volume"}),
    "secrets": frozenset({"read_only", "remote_path", "secret", "sub_path"}),
}
"""The keys of what stands in a list, or a mapping, of that name in an image, a task or a file."""


def task_words(kind: object) -> frozenset[str] | None:
    """The keys of a type of task; :data:`ANYTHING` for a plugin's."""
    return TASKS.get(kind, ANYTHING) if isinstance(kind, str) else ANYTHING
