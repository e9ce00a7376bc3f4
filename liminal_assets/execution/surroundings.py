"""What a command finds around it without a container: variables, programs, Python packages."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from liminal_assets.apache.workflow import Image, Workflow
from liminal_assets.errors import StepError
from liminal_assets.execution.processes import Order, run_together
from liminal_assets.storage.locks import file_lock

__all__ = ["base_environment", "python_environment", "unmet_requirements"]

_KEPT = re.compile(
    r"HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TERM|LD_LIBRARY_PATH|"
    r"(https?|ftp|all|no)_proxy|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|PIP_\w+|"
    r"JAVA_HOME|SPARK_\w+|HADOOP_\w+|PYSPARK_\w+|CUDA_\w+|NVIDIA_\w+",
    re.IGNORECASE,
)
_PATHS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FILE = "requirements.txt"
_DONE = ".complete"
_FAILED = ".failed"
_OURSELVES = "apache-liminal"
"""Images of Apache Liminal's examples name it; no task imports it."""
_AGAIN = 86_400
"""Seconds before requirements that couldn't be installed are tried again."""
_LAST = 15
"""Lines of pip's output that are shown when it fails."""


def base_environment(programs: Sequence[Path]) -> dict[str, str]:
    """Variables that a command has before its own: what it needs to find its way on this machine,
    and nothing that belongs to the process that runs it, such as its secrets.

    Args:
        programs: the folders whose ``python`` and ``pip`` are those of the command.
    """
    kept = {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
    path = os.pathsep.join([*map(str, programs), os.environ.get("PATH") or _PATHS])
    return {**kept, "PATH": path, "PYTHONUNBUFFERED": "1"}


def python_environment(
    image: Image | None,
    source: Path,
    workflow: Workflow,
    *,
    log: Callable[[str], None],
    deadline: float | None = None,
) -> Sequence[Path]:
    """The folders of ``python`` and ``pip`` for what an image's source needs.

    They are those of the interpreter that runs us where this has all of ``requirements.txt``, else
    of a virtual environment below the state folder: one for each content of the file, made once.
    Where that can't be made, since old versions don't exist for this Python, and the interpreter
    has other versions of all that is missing, the log says so and those are used.

    Args:
        image: for its ``pip_conf``.
        source: the folder that may hold the file.
        log: takes what pip prints.
        deadline: when it must be there, on :func:`time.monotonic`'s clock.

    Raises:
        StepError: the requirements can't be installed.
    """
    file = source / _FILE
    unmet = unmet_requirements(file)
    if not unmet:
        return _own_programs(workflow)
    settings = _settings(image, workflow)
    key = _digest(file, settings)
    folder = workflow.state / "environments" / key
    with file_lock(folder.with_suffix(".lock")):
        if not (folder / _DONE).exists():
            log(f"{file} asks for {', '.join(unmet[:5])}{' …' if len(unmet) > 5 else ''}")
            others = _other_versions(unmet)
            if others and _failed_lately(folder):
                log(f"they can't be installed here; the task runs with {', '.join(others)}")
                return _own_programs(workflow)
            log(f"makes a virtual environment for it, once: {folder}")
            try:
                _make(folder, file, settings, image, log, deadline)
            except StepError:
                if not others or (deadline is not None and time.monotonic() >= deadline):
                    raise
                folder.with_suffix(_FAILED).touch()
                log(f"they can't be installed here; the task runs with {', '.join(others)}")
                return _own_programs(workflow)
            (folder / _DONE).touch()
    return [folder / "bin"]


def _failed_lately(folder: Path) -> bool:
    """Whether an environment was tried in vain not long ago."""
    mark = folder.with_suffix(_FAILED)
    return mark.exists() and time.time() - mark.stat().st_mtime < _AGAIN


def _other_versions(unmet: Sequence[str]) -> list[str]:
    """What the interpreter has in the place of each requirement; nothing if it lacks one."""
    found = []
    for line in unmet:
        try:
            name = Requirement(line).name
            found.append(f"{name} {version(name)}")
        except (InvalidRequirement, PackageNotFoundError):
            return []
    return found


def unmet_requirements(file: Path) -> list[str]:
    """What a requirements file asks for and this interpreter hasn't got; all of it where a line
    names a file, a folder or an address."""
    if not file.is_file():
        return []
    return [line for line in _lines(file) if not _is_met(line)]


def _lines(file: Path) -> Iterator[str]:
    """The requirements of a file and of those that it includes."""
    text = file.read_text(encoding="utf-8", errors="replace").replace("\\\n", " ")
    for line in text.splitlines():
        words = re.sub(r"(^|\s)#.*", "", line).split()
        if not words:
            continue
        option = re.match(r"(-r|--requirement)[= ]?(.+)", " ".join(words))
        if option and (included := file.parent / option[2]).is_file():
            yield from _lines(included)
        elif words[0].startswith(("-e", "--editable")):
            yield " ".join(words)
        elif not words[0].startswith("-") and not _is_ourselves(line):
            yield re.split(r"\s--", " ".join(words))[0]


def _is_ourselves(line: str) -> bool:
    return re.match(rf"\s*{_OURSELVES}(?![\w.-])", line.replace("_", "-"), re.I) is not None


def _to_install(file: Path, folder: Path) -> Path:
    """A requirements file without Apache Liminal itself, which no longer installs."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    kept = [line for line in lines if not _is_ourselves(line)]
    if kept == lines:
        return file
    beside = re.compile(r"^\s*(-r|-c|--requirement|--constraint)[= ]?\s*(?=[^/\s])(?!\w+:)")
    new = folder.with_suffix(".txt")
    here = [beside.sub(lambda match: f"{match[1]} {file.parent}/", line) for line in kept]
    new.parent.mkdir(parents=True, exist_ok=True)
    new.write_text("".join(f"{line}\n" for line in here), encoding="utf-8")
    return new


def _is_met(line: str, extra: str = "") -> bool:
    try:
        wanted = Requirement(line)
    except InvalidRequirement:
        return False
    if wanted.marker and not wanted.marker.evaluate({"extra": extra}):
        return True
    if wanted.url:
        return False
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        return False
    return wanted.specifier.contains(found, prereleases=True) and all(
        _is_met(line, name) for name in wanted.extras for line in requires(wanted.name) or ()
    )


def _settings(image: Image | None, workflow: Workflow) -> Path | None:
    written = image.get("pip_conf") if image else None
    return workflow.root / Path(str(written)).expanduser() if written else None


def _digest(file: Path, settings: Path | None) -> str:
    """A name for what is installed: requirements, pip's settings and the interpreter."""
    parts = [*_lines(file), file.read_text(encoding="utf-8", errors="replace")]
    if settings and settings.is_file():
        parts.append(settings.read_text(encoding="utf-8", errors="replace"))
    parts += [sys.executable, platform.python_version(), str(file.parent)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _make(
    folder: Path,
    file: Path,
    settings: Path | None,
    image: Image | None,
    log: Callable[[str], None],
    deadline: float | None,
) -> None:
    environment = base_environment([Path(sys.executable).parent])
    if settings:
        environment["PIP_CONFIG_FILE"] = str(settings)
    python = str(folder / "bin" / "python")
    options = ["--disable-pip-version-check", "--no-input"]
    lacks_pip = importlib.util.find_spec("pip") is None
    venv = [sys.executable, "-m", "venv", "--clear", str(folder)]
    pip = [python, "-m", "pip"] if lacks_pip else [sys.executable, "-m", "pip", "--python", python]
    for arguments in (
        venv if lacks_pip else [*venv, "--without-pip"],
        [*pip, *options, "install", "-r", str(_to_install(file, folder))],
    ):
        said: list[str] = []

        def hear(index: int, line: str, said: list[str] = said) -> None:
            del said[: -_LAST + 1]
            said.append(line)
            log(line)

        order = Order(arguments, str(file.parent), environment)
        ended = run_together([order], hear, deadline=deadline).get(0)
        if ended is None or not ended.succeeded:
            last = "".join(f"\n  {line}" for line in said)
            how = "took until the pipeline's time was over" if ended is None else ended
            raise StepError(
                f"the requirements of {file} can't be installed: pip {how}{last}",
                location=image.locate("source") if image else None,
                hint="a pip.conf in 'pip_conf' of the image may name another index",
                transient=True,
            )
    if not (folder / "bin" / "pip").exists():
        _write_script(folder / "bin" / "pip", " ".join(map(shlex.quote, pip)))


def _own_programs(workflow: Workflow) -> Sequence[Path]:
    """The folders of our own interpreter, with what a container has and it may lack: ``python``
    and ``pip``."""
    own = Path(sys.executable).parent
    python = shlex.quote(sys.executable)
    scripts = {"python": python, "python3": python, "pip": f"{python} -m pip"}
    if all((own / name).exists() for name in scripts):
        return [own]
    folder = workflow.state / "environments" / "programs"
    folder.mkdir(parents=True, exist_ok=True)
    for name, command in scripts.items():
        _write_script(folder / name, command)
    return [folder, own]


def _write_script(file: Path, command: str) -> None:
    """A program that is another command, with its arguments."""
    made = file.with_name(f".{file.name}-{os.getpid()}")
    made.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    made.chmod(0o755)
    made.replace(file)
