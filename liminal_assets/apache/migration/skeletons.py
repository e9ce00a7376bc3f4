"""Text of the sections and functions that a modern file gets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import fill

from liminal_assets.apache.migration.estimators import Estimator
from liminal_assets.apache.migration.outline import written

__all__ = ["Deployed", "Learned", "functions", "sections"]


@dataclass(frozen=True)
class Learned:
    """What a pipeline learns."""

    name: str
    """The pipeline's, as a block may be called."""
    trains: tuple[str, ...]
    """The tasks that train, with their commands."""
    judges: tuple[str, ...]
    """The tasks that judge and release, with their commands."""
    after: str | None
    """The task before them, which makes the rows."""
    cron: str | None
    images: frozenset[str]
    estimator: Estimator | None
    """What the program of the first task that trains makes."""

    @property
    def rows(self) -> str:
        return f"{self.name}_rows"

    @property
    def model(self) -> str:
        return f"{self.name}_model"


@dataclass(frozen=True)
class Deployed:
    """A server of endpoints that answers with a model."""

    name: str
    service: str
    model: str
    choices: tuple[str, ...]
    """Other models that it might be."""
    endpoints: tuple[str, ...]


_HEAD = """\
# What follows is this project in models and deployments. Everything above stays as it is and runs
# beside it. What the pipelines' files don't say is yours to decide: look for TODO here and in
# {module}.py. Then take out the tasks and services that are replaced.
"""


def sections(learned: Sequence[Learned], deployed: Sequence[Deployed], module: str) -> str:
    """Our sections, as they are put at the end of a file."""
    parts = [
        _HEAD.format(module=module),
        "datasets:\n",
        *(_dataset(item, module) for item in learned),
        "models:\n",
        *map(_model, learned),
    ]
    if deployed:
        parts += ["deployments:\n", *map(_deployment, deployed)]
    scheduled = [item for item in learned if item.cron]
    if scheduled:
        parts += ["schedules:\n", *(_schedule(item, deployed) for item in scheduled)]
    return "".join(parts)


def _dataset(item: Learned, module: str) -> str:
    lines = [
        f"  - dataset: {item.rows}",
        f"    # TODO: write {item.rows} in {module}.py, or fetch a file or a query instead",
        f"    fetch: {{python: '{module}:{item.rows}'}}",
    ]
    if item.after:
        lines.append(f"    after: {written(item.after)}")
    return _text(lines)


def _model(item: Learned) -> str:
    return _text(
        [
            f"  - model: {item.model}",
            *(f"    # replaces {said}" for said in (*item.trains, *item.judges)),
            f"    features: {item.rows}",
            "    target: target # TODO: the column of the rows that is to be predicted",
            *_estimator(item),
            "    # the model is released if all of these hold",
            "    validate:",
            "      - {integrity: true}",
            *_todo_of(item.judges),
        ]
    )


def _estimator(item: Learned) -> Iterator[str]:
    made = item.estimator
    if made is None:
        yield "    # TODO: a DummyClassifier learns nothing: name the class that is trained, or"
        yield "    # 'python: module:function' for a function that returns a new estimator"
        yield "    estimator: sklearn.dummy.DummyClassifier"
        return
    yield f"    estimator: {made.path} # as in {item.trains[0].split(':')[0]}"
    if made.params:
        yield f"    params: {written(dict(made.params))}"
    if made.computed:
        yield f"    # TODO: params that are computed there: {', '.join(made.computed)}"


def _todo_of(judges: Sequence[str]) -> Iterator[str]:
    rule = "{metric: accuracy, at_least: 0.9}"
    names = " and ".join(said.split(":")[0] for said in judges) or "a person"
    yield f"      # TODO: what {names} checked, such as - {rule}"


def _deployment(item: Deployed) -> str:
    lines = [f"  - deployment: {item.name}", f"    # replaces the service {item.service}"]
    if item.endpoints:
        lines += [
            "    # its endpoints were",
            *(f"    #   {endpoint}" for endpoint in item.endpoints),
            "    # and are /predict (rows as JSON), /healthz, /readyz, /info, /docs",
            "    # those that do more than predict can answer beside it: 'endpoints:' in 'serve:'",
            "    # TODO: clients of /predict send and get other JSON: /docs shows an example",
        ]
    if item.choices:
        lines.append(f"    # TODO: is it this model, or {' or '.join(item.choices)}?")
    return _text([*lines, f"    model: {item.model}", "    serve: {port: 8080}"])


def _schedule(item: Learned, deployed: Sequence[Deployed]) -> str:
    served = [one.name for one in deployed if one.model == item.model]
    return _text(
        [
            f"  - schedule: {item.name}_refresh",
            "    # TODO: true, once all else is decided and the pipeline's own schedule is out",
            "    running: false",
            f"    cron: {written(item.cron)}",
            f"    refresh: {written(served or [item.model])}",
        ]
    )


def _text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


_MODULE = '''\
"""What a file of Apache Liminal doesn't say, and someone has to write."""

import pandas as pd
'''

_FUNCTIONS = '''

def {rows}() -> pd.DataFrame:
    """TODO: the rows that are learned from, one column of them the target.

{trains}
    """
    raise NotImplementedError("write {rows}")
'''


def functions(learned: Sequence[Learned]) -> str:
    """The module of the functions that are to be written."""
    return _MODULE + "".join(
        _FUNCTIONS.format(rows=item.rows, trains=_paragraph(item)) for item in learned
    )


def _paragraph(item: Learned) -> str:
    """Where rows come from so far, as lines of a docstring."""
    said = f"So far they are read in {' and '.join(item.trains)}"
    said = said.replace("\\", "\\\\").replace('"', "'")
    return fill(said, 96, initial_indent="    ", subsequent_indent="    ", break_long_words=False)
