"""A form without the right answers gets no certificate."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from liminal_assets.serving.forms.compiled import Compiled
from liminal_assets.serving.model import PipelinePredictor
from liminal_assets.steps.compile import compile_pipeline
from liminal_assets.steps.compile.certificate import DifferentError, certify
from liminal_assets_tests.steps.compile.parity import NUMERIC, fit, scaled, table


@pytest.mark.parametrize("change", [1e-6, 0.2, np.nan], ids=["a little", "much", "no number"])
def test_a_form_that_was_tampered_with_gets_no_certificate(change: float) -> None:
    pipeline = fit(scaled(LogisticRegression()), 1, signature=NUMERIC)
    description = compile_pipeline(pipeline, NUMERIC)
    name = description.said["answer"]["computed"]["intercept"]["array"]
    # not in place: the array is the pipeline's own
    doctored = {**description.arrays, name: description.arrays[name] + change}
    description = replace(description, arrays=doctored)
    with tempfile.TemporaryDirectory() as folder:
        description.write(Path(folder))
        form = Compiled(description.said, Path(folder), NUMERIC.names)
    itself = PipelinePredictor(pipeline, NUMERIC)
    with pytest.raises(DifferentError, match=r"the pipeline's|alone has"):
        certify("numpy", form, itself, NUMERIC, [NUMERIC.sample(table(2).iloc[0].to_dict())])
