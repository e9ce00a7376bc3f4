"""The fastest form of a fitted pipeline that is proved to answer as the pipeline does."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from liminal_assets.serving.forms.compiled import Compiled
from liminal_assets.serving.model import PipelinePredictor
from liminal_assets.steps.compile import Description, UnsupportedError, compile_pipeline
from liminal_assets.steps.compile.certificate import (
    Certificate,
    DifferentError,
    certify,
    microseconds,
)
from liminal_assets.steps.signature import Signature

__all__ = ["CompiledForm", "compiled_form", "uncompiled"]


@dataclass(frozen=True)
class CompiledForm:
    """A compiled form with its certificate.

    Attributes:
        name: the form's name.
        description: what it is made of.
        predictor: it, in memory.
        certificate: what shows that it answers as the pipeline does.
    """

    name: str
    description: Description
    predictor: Compiled
    certificate: Mapping[str, Any]


def compiled_form(
    pipeline: Any,
    signature: Signature,
    known: Sequence[Mapping[str, Any]],
    refused: dict[str, str],
    *,
    alone: int | None = None,
) -> CompiledForm | None:
    """The compiled form of a pipeline; None if there is none that is proved and faster, and
    ``refused`` says why.

    Args:
        pipeline: a fitted scikit-learn pipeline or estimator.
        signature: what it takes.
        known: rows that both are asked about; at least one.
        refused: why forms can't be used, by name.
        alone: how many rows at the edges are asked one by one; default: all.
    """
    name = "compiled"
    try:
        description = compile_pipeline(pipeline, signature)
        name = description.form
        with tempfile.TemporaryDirectory(prefix="liminal-form-") as draft:
            description.write(Path(draft))
            form = Compiled(description.said, Path(draft), signature.names)
        itself = PipelinePredictor(pipeline, signature)
        proof = certify(name, form, itself, signature, known, alone=alone)
        times = microseconds({name: form, "pipeline": itself}, signature, known)
    except (UnsupportedError, DifferentError) as error:
        refused[name] = str(error)
        return None
    if times and times[name] > times["pipeline"]:
        refused[name] = f"a row takes {times[name]} µs, the pipeline {times['pipeline']} µs"
        return None
    return CompiledForm(name, description, form, {**asdict(proof), "microseconds": times})


def uncompiled(refused: Mapping[str, str]) -> dict[str, Any]:
    """The certificate of the pipeline itself: why nothing else answers."""
    return asdict(Certificate("pipeline", refused=refused))
