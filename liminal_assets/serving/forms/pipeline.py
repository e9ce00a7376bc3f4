"""The registered model itself, from its files in a release; MLflow isn't needed to read them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liminal_assets.errors import StepError
from liminal_assets.storage.modules import isolated_modules

if TYPE_CHECKING:
    from liminal_assets.serving.model import PipelinePredictor
    from liminal_assets.serving.releases.release import Release

__all__ = ["copy_model", "load", "settings_of"]

_CODE = "code"


def copy_model(model: Path, flavor: Mapping[str, Any], folder: Path) -> None:
    """Copies the files of a model that MLflow's ``sklearn`` flavor wrote.

    Args:
        model: the folder of the registered model.
        flavor: what its ``MLmodel`` says of the flavor.
        folder: the release's folder.
    """
    shutil.copyfile(model / flavor["pickled_model"], folder / _file(flavor))
    code = flavor.get("code")
    if code:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(model / code, folder / _CODE, ignore=ignored)


def settings_of(flavor: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`load` needs besides the files."""
    return {
        "model": _file(flavor),
        "format": flavor.get("serialization_format", "pickle"),
        "trusted": list(flavor.get("skops_trusted_types") or ()),
    }


def _file(flavor: Mapping[str, Any]) -> str:
    return Path(flavor["pickled_model"]).name


def load(release: Release) -> PipelinePredictor:
    """The fitted pipeline. What
    :func:`~liminal_assets.serving.releases.release.read_release` returns has been compared with its
    digests; only such a file is unpickled.

    Raises:
        StepError: the file has a format that isn't known.
    """
    from liminal_assets.serving.model import PipelinePredictor

    with isolated_modules(release.folder / _CODE):
        pipeline = _read(release.folder / release.settings["model"], release.settings)
    return PipelinePredictor(pipeline, release.signature)


def _read(file: Path, settings: Mapping[str, Any]) -> Any:
    if settings["format"] == "skops":
        import skops.io

        return skops.io.load(file, trusted=list(settings["trusted"]))
    if settings["format"] in ("cloudpickle", "pickle"):
        import cloudpickle

        return cloudpickle.loads(file.read_bytes())
    raise StepError(f"the model's file has the unknown format {settings['format']!r}")
