"""The super of every file that names none: it reports each job's start and end."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from liminal_assets.language.source import LocatedDict, read_document

__all__ = ["BASE_FILE", "BASE_NAME", "base_document"]

BASE_NAME = "base"
BASE_FILE = Path("<Apache Liminal's base>")
"""What positions call the file."""

_TEXT = """
name: base
type: super
executors:
  - {executor: default_k8s, type: kubernetes}
  - {executor: airflow_executor, type: airflow}
service_defaults: {description: add defaults parameters for all services}
task_defaults:
  description: add defaults parameters for all tasks separate by task type
  python: {executor: default_k8s}
  spark: {executor: default_k8s}
  job_end: {executor: airflow_executor}
  job_start: {executor: airflow_executor}
pipeline_defaults:
  description: add defaults parameters for all pipelines
  before_tasks: [{task: start, type: job_start}]
  after_tasks: [{task: end, type: job_end}]
"""
# the descriptions end up in what `liminal resolve` prints, so they are the original's


@cache
def base_document() -> LocatedDict:
    """The base, with positions in :data:`BASE_FILE`."""
    document, _ = read_document(BASE_FILE, text=_TEXT, yaml_1_1=True)
    return document
