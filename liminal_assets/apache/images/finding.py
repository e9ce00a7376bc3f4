"""The image builder of each type: built in, of the project, or installed."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Literal

from liminal_assets.apache.images.builder import ImageBuilder
from liminal_assets.apache.plugin_modules import (
    class_of_module,
    importable,
    plugin_class,
    written_for_original,
)
from liminal_assets.apache.plugins import find_plugin, unknown_type_hint
from liminal_assets.apache.vocabulary import IMAGES
from liminal_assets.apache.workflow import Image, Workflow
from liminal_assets.errors import StepError, user_errors
from liminal_assets.language.diagnostics import Diagnostic

__all__ = ["image_builder", "image_mistakes"]


def image_builder(spec: Image, workflow: Workflow) -> type[ImageBuilder]:
    """The class of an image's type.

    Raises:
        StepError: there is none, or its plugin can't be used.
    """
    at = spec.locate("type")
    if spec.type in IMAGES:
        module = importlib.import_module(f"{__package__}.{spec.type}")
        # an abstract class is what mypy sees, a concrete one what is found
        return class_of_module(module, ImageBuilder, at)  # type: ignore[type-abstract]
    plugin = plugin_class("images", spec.type, workflow.root, ImageBuilder, at)  # type: ignore[type-abstract]
    if plugin is None:
        hint = unknown_type_hint("images", spec.type, IMAGES)
        raise StepError(f"no image is of type {spec.type!r}", location=at, hint=hint)
    return plugin


def image_mistakes(workflow: Workflow) -> Iterator[Diagnostic]:
    """What takes the imports of image builders to know: plugins that can't be used, and what each
    class finds wrong with its configuration.

    A plugin that was written for Apache Liminal is a warning: all but the build works without it.
    """
    for spec in workflow.images.values():
        if spec.type:
            yield from _checked(spec, workflow)


def _checked(spec: Image, workflow: Workflow) -> list[Diagnostic]:
    at = spec.locate("type")
    path = find_plugin("images", spec.type, workflow.root)
    try:
        found = image_builder(spec, workflow)
        with importable(workflow.root), user_errors(workflow.root, f"{found.__name__}.check", at):
            return list(found.check(spec, workflow))
    except StepError as error:
        original = path is not None and written_for_original(path)
        severity: Literal["error", "warning"] = "warning" if original else "error"
        code = "plugin-of-original" if original else "plugin"
        return [Diagnostic(error.location or at, code, error.message, error.hint, severity)]
