"""A port of one's own, or one sentence about who has it."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from liminal_assets.errors import StepError
from liminal_assets.language.diagnostics import Location
from liminal_assets.serving.config import Grpc

__all__ = ["bound_socket", "holder_of", "shared_port"]


@contextmanager
def bound_socket(
    host: str,
    port: int,
    *,
    location: Location | None = None,
    host_location: Location | None = None,
) -> Iterator[socket.socket]:
    """A listening socket, closed at the end of the block.

    Args:
        host: an address or a name of this machine.
        port: 0 takes a free one.
        location: where the port was asked for.
        host_location: where the address was.

    Raises:
        StepError: another process has the port, or it may not be had.
    """
    with _socket(host) as bound:
        try:
            bound.bind((host, port))
            bound.listen(2048)
        except OSError as error:
            raise _refused(error, host, port, location, host_location) from None
        bound.setblocking(False)
        bound.set_inheritable(True)
        yield bound


@contextmanager
def shared_port(settings: Grpc, *, location: Location | None = None) -> Iterator[Grpc]:
    """A port that is kept until the end of the block for workers who listen at it themselves, each
    with ``SO_REUSEPORT``: a connection goes to one of them, never to this process.

    Args:
        settings: an address or a name of this machine, and a port; 0 takes a free one.
        location: where the port was asked for.

    Yields:
        The same with the address and the port that it is.

    Raises:
        StepError: another process has the port, or it may not be had.
    """
    host, port = settings.host, settings.port
    with _socket(host) as kept:
        try:
            # alone first: a server of something else that shares its port is no place for ours
            kept.bind((host, port))
            kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
            kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        except OSError as error:
            raise _refused(error, host, port, location, location, "--grpc-port") from None
        host, port = kept.getsockname()[:2]
        yield msgspec.structs.replace(settings, host=host, port=port)


def _socket(host: str) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return made


def _refused(
    error: OSError,
    host: str,
    port: int,
    location: Location | None,
    host_location: Location | None,
    option: str = "--port",
) -> StepError:
    if error.errno == errno.EADDRINUSE:
        holder = holder_of(port)
        by = f" by {holder[1]} (process {holder[0]})" if holder else " by another process"
        stop = f"stop it (kill {holder[0]}), or choose" if holder else "choose"
        return StepError(
            f"port {port} of {host} is taken{by}",
            location=location,
            hint=f"{stop} another port with {option}; 0 takes a free one",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        hint = f"ports below 1024 are for the system; choose another with {option}"
        return StepError(f"port {port} of {host} isn't allowed", location=location, hint=hint)
    reason = error.strerror or str(error)
    return StepError(
        f"cannot listen on {host}:{port}: {reason}",
        location=host_location,
        hint="--host names an address of this machine, such as 127.0.0.1 or 0.0.0.0",
    )


def holder_of(port: int) -> tuple[int, str] | None:
    """The process that listens on a port, and its command; None where the system won't tell."""
    wanted = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not wanted:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        if wanted & set(_open_files(process)):
            with suppress(OSError):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ")
                return int(process.name), command.decode(errors="replace").strip()[:80]
    return None


def _open_files(process: Path) -> Iterator[str]:
    """What a process has open; nothing of another user's, or of one that is gone."""
    with suppress(OSError):
        for link in (process / "fd").iterdir():
            # among them the one that reads this folder, gone by now
            with suppress(OSError):
                yield str(link.readlink())


def _listening_inodes(port: int) -> set[str]:
    """The sockets in state LISTEN of Linux's tables, by inode."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        path = Path(table)
        if not path.exists():
            continue
        for line in path.read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and int(columns[1].rpartition(":")[2], 16) == port:
                inodes.add(columns[9])
    return inodes
