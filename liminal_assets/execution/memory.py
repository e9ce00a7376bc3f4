"""Garbage collection around what makes many objects and drops none."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collection_paused"]


@contextmanager
def collection_paused() -> Iterator[None]:
    """Holds the cyclic garbage collector back while objects are made that stay.

    The definitions of a thousand blocks are 130,000 containers: looking through them for garbage
    again and again took a quarter of the time that making them takes.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
