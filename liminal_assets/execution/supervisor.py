"""Keeps servers up: starts them, tells when they are ready, and starts them again when they end."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from liminal_assets.errors import StepError
from liminal_assets.execution.programs import PATIENCE, Program, is_ready, spawn, stop
from liminal_assets.execution.records import Record, Records

__all__ = ["Supervisor"]

_FIRST, _LONGEST = 0.5, 30.0
"""Seconds before a server that ended is started again: each time twice as many."""
_SETTLED = 30.0
"""Seconds after which a server that ends is taken for one that worked."""
_TRIES = 3
"""Ends in a row, none of them after it was ready, that make a server ``failed``; it is tried on."""
_EVERY = 5.0
"""Seconds between two looks at a server that is ready."""
_GRACE = 20.0
"""Seconds that a server has to end before it is killed."""
_UNANSWERED = 4
"""Looks without an answer after which a server is taken to hang."""


class Supervisor:
    """Keeps programs up until it is told to stop, and keeps a record of how each is.

    Args:
        programs: what is to be up.
        records: where to tell.
    """

    def __init__(self, programs: Sequence[Program], records: Records) -> None:
        self.programs = programs
        self.records = records
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Has :meth:`run` end; may be called from a signal handler or another thread."""
        self._stopping.set()

    def run(self) -> None:
        """Returns when :meth:`stop` was called and every program is gone with all its group."""
        self.records.claim()
        threads = [
            threading.Thread(target=self._keep, args=(program,), name=program.name)
            for program in self.programs
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            # a join without an end would keep signals from being handled
            while thread.is_alive():
                thread.join(0.2)
        self.records.clear()

    def _keep(self, program: Program) -> None:
        """Has one program up; starts it anew, each time later, until all are to stop."""
        record = Record(program.name, program.kind, url=program.url, log=str(program.log))
        delay, failures = _FIRST, 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                process = spawn(program)
            except StepError as error:
                _note(program, str(error))
                was_ready, code = False, None
            else:
                record = self._tell(record.of_process(process.pid), "starting")
                was_ready = self._watch(program, record, process)
                stop(process, number=_ask_with(program), grace=_GRACE)
                code = process.returncode
            if self._stopping.is_set():
                break
            failures = 0 if was_ready else failures + 1
            if time.monotonic() - began > _SETTLED:
                delay = _FIRST
            record = replace(record, restarts=record.restarts + 1, exit_code=code, pid=0)
            record = self._tell(record, "failed" if failures >= _TRIES else "restarting")
            _note(program, f"{program.name} ended ({code}); it starts again in {delay:.3g} s")
            self._stopping.wait(delay)
            delay = min(2 * delay, _LONGEST)
        self._tell(replace(record, pid=0), "stopped")

    def _watch(self, program: Program, record: Record, process: subprocess.Popen[bytes]) -> bool:
        """Until a program ends, hangs or is to stop.

        Returns:
            Whether it was ready.
        """
        deadline = time.monotonic() + PATIENCE
        # something else may answer in the place of one that has ended
        while not is_ready(program) or process.poll() is not None:
            if process.poll() is not None or self._stopping.wait(0.1):
                return False
            if time.monotonic() > deadline:
                _note(program, f"{program.name} doesn't answer after {PATIENCE:.0f} s")
                return False
        self._tell(record, "ready")
        unanswered, next_look = 0, time.monotonic() + _EVERY
        while process.poll() is None and not self._stopping.wait(0.1):
            if time.monotonic() < next_look:
                continue
            unanswered = 0 if is_ready(program, timeout=_EVERY) else unanswered + 1
            if unanswered >= _UNANSWERED:
                _note(program, f"{program.name} doesn't answer any more")
                break
            next_look = time.monotonic() + _EVERY
        return True

    def _tell(self, record: Record, state: str) -> Record:
        record = replace(record, state=state, since=time.time())
        self.records.write(record)
        return record


def _ask_with(program: Program) -> int:
    """The signal on which a program ends: Dagster's command takes its children along on Ctrl-C."""
    return signal.SIGINT if program.kind == "ui" else signal.SIGTERM


def _note(program: Program, text: str) -> None:
    """A line of ours in a program's log."""
    with suppress(OSError), program.log.open("a", encoding="utf-8") as log:
        log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} liminal: {text}\n")
