"""What shows that a server answers as the registry's model does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.diagnostics import Location
from liminal_assets.language.loading import Project
from liminal_assets.steps.champion import load_champion, reference_rows
from liminal_assets.steps.score import Scorer
from liminal_assets.storage.model_version import ModelVersion

__all__ = ["Proof"]

_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Proof:
    """A row to ask a server of a version, and what it must answer.

    Attributes:
        version: the version.
        row: the row as JSON values: the first of the training reference, or values of the right
            types without one.
        expected: what the registry's model answers, by column.
        location: what an error points to.
    """

    version: ModelVersion
    row: Mapping[str, Any]
    expected: Mapping[str, Any]
    location: Location

    @classmethod
    def of(cls, project: Project, deployment: Deployment, version: ModelVersion) -> Proof:
        """That of a version from the registry.

        Raises:
            StepError: the version can't be loaded.
        """
        champion = load_champion(project, deployment, version)
        signature = champion.signature
        relation = reference_rows(project, deployment.model, version.version)
        rows = relation.limit(1).to_arrow_table().to_pylist() if relation is not None else []
        row = signature.sample(rows[0] if rows else None)
        frame = signature.frame({name: [row[name]] for name in signature.names}, 1)
        scored = Scorer(champion.pipeline)(frame).columns
        expected = {name: column.tolist()[0] for name, column in scored.items()}
        return cls(version, signature.as_json(row), expected, project.locate(deployment))

    def check(self, answer: Any) -> Mapping[str, Any]:
        """The prediction in an answer of ``/predict`` to the row.

        Raises:
            StepError: it isn't the registry's, or another version answered.
        """
        if answer["model_version"] != str(self.version.version):
            raise StepError(
                f"version {answer['model_version']} answered where {self.version.version} was "
                "expected: the champion moved meanwhile",
                location=self.location,
                transient=True,
            )
        served: Mapping[str, Any] = answer["predictions"][0]
        for name, expected in self.expected.items():
            self._check(name, served.get(name), expected)
        return served

    def check_prediction(self, served: Any) -> None:
        """Compares a prediction alone, where that is all that a protocol answers.

        Raises:
            StepError: it isn't the registry's.
        """
        self._check("prediction", served, self.expected["prediction"])

    def _check(self, name: str, served: Any, expected: Any) -> None:
        if not _same(served, expected):
            raise StepError(
                f"the server's {name} is {served!r}, the registry's {expected!r}",
                location=self.location,
                hint="do both run with the same versions of Python and the libraries?",
            )


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, int | float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return bool(one == other)
