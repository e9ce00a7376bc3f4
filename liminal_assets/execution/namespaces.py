"""Folders mounted for one process tree only, in a mount namespace of its own (Linux).

The machine's file system isn't touched: a mount point that doesn't exist is made in a tmpfs that
covers the nearest folder that does, with all that the folder holds bound into it. When the last
process of the tree ends, the kernel takes everything away.

Imports nothing but the standard library, for the guardian of each command does.

References: mount_namespaces(7), user_namespaces(7), pivot_root(2).
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Bind", "NamespaceError", "enter", "probe"]

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_RDONLY, _NOSUID, _NODEV, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
_DETACH = 2
_KEPT_FLAGS = {os.ST_NOSUID: 2, 4: 4, 8: 8, 1024: 1024, 2048: 2048, 4096: 1 << 21}
"""Flags of statvfs → of mount, that a namespace of an ordinary user may not drop."""
_MOST_ENTRIES = 2000
"""The most entries of a folder that is covered: each is a mount."""


class NamespaceError(OSError):
    """A mount that the system doesn't allow, or that can't be made."""


@dataclass(frozen=True)
class Bind:
    """What is to be seen at a path."""

    target: str
    source: str = ""
    """A file or a folder of the machine."""
    read_only: bool = False
    copies: tuple[tuple[str, str], ...] = ()
    """Instead of a source: names of files in a folder in memory, and the files they are copies
    of."""


def enter(binds: Sequence[Bind]) -> None:
    """Moves this process, and those that it starts from now on, to a view of the file system of
    their own with some binds.

    As root by a mount namespace; as another user by a user namespace with it, in which the user
    is the same.

    Raises:
        NamespaceError: the system doesn't allow it, or a bind can't be made.
    """
    _unshare()
    _mount("none", "/", None, _REC | _PRIVATE, "make mounts private")
    view = _View()
    if any(_existing(os.path.realpath(bind.target)) == os.sep for bind in binds):
        view.cover(os.sep)  # before sources are opened: they would be of the root that goes
    sources = {bind: _opened(os.path.realpath(bind.source)) for bind in binds if bind.source}
    for bind in sorted(binds, key=lambda bind: Path(bind.target).parts):
        view.add(bind, sources.get(bind))
    view.close()
    for descriptor in sources.values():
        os.close(descriptor)


def probe() -> None:
    """Tries all that :func:`enter` may need: for a process that then ends.

    Raises:
        NamespaceError: the system doesn't allow it.
    """
    enter([Bind("/liminal-probe/folder", source=os.sep + "usr", read_only=True)])


class _View:
    """What has been mounted so far."""

    def __init__(self) -> None:
        self.private: list[str] = []
        """Folders in memory: whatever is made in them is seen here only."""
        self.bound: list[str] = []
        self.read_only: list[str] = []

    def add(self, bind: Bind, source: int | None) -> None:
        target = os.path.realpath(bind.target)
        folder = source is None or stat.S_ISDIR(os.fstat(source).st_mode)
        self._make_point(target, folder=folder)
        if source is None:
            _tmpfs(target)
            self.private.append(target)
            for name, original in bind.copies:
                _copy(original, os.path.join(target, name))
        else:
            _bind(source, target)
            self.bound.append(target)
        if bind.read_only:
            self.read_only.append(target)

    def cover(self, folder: str) -> None:
        """Makes a folder one where mount points may be made, with what it holds."""
        _cover(folder)
        self.private.append(folder)

    def close(self) -> None:
        """Makes read-only what is to be, now that nothing more is mounted below it."""
        for target in self.read_only:
            flags = os.statvfs(target).f_flag
            kept = sum(flag for seen, flag in _KEPT_FLAGS.items() if flags & seen)
            remount = _REMOUNT | _BIND | _RDONLY | kept
            _mount("none", target, None, remount, f"make {target} read-only")

    def _make_point(self, target: str, *, folder: bool) -> None:
        if os.path.lexists(target):
            if os.path.isdir(target) != folder:
                kind = "a file" if folder else "a folder"
                raise NamespaceError(0, f"{target} is {kind} already, so it can't be mounted there")
            return
        if not os.path.isdir(parent := _existing(target)):
            raise NamespaceError(0, f"{parent} is a file, so {target} can't be mounted")
        if not self._is_ours(parent):
            self.cover(parent)
        if folder:
            os.makedirs(target)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))

    def _is_ours(self, folder: str) -> bool:
        """Whether the nearest mount above a folder is one where mount points may be made.

        Below a volume they are made in the volume, as container engines do.
        """
        path = Path(folder)
        mine = {*self.private, *self.bound}
        for candidate in (path, *path.parents):
            if str(candidate) in mine:
                return (
                    str(candidate) in self.bound
                    or candidate == path
                    or not _crosses(path, candidate)
                )
        return False


def _existing(path: str) -> str:
    """A path, or the nearest one above it that exists."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def _crosses(path: Path, above: Path) -> bool:
    """Whether something of the machine is bound between a folder and one above it."""
    return path.stat().st_dev != above.stat().st_dev


def _cover(folder: str) -> None:
    """Puts a tmpfs over a folder, and what is in the folder into it."""
    names = os.listdir(folder)
    if len(names) > _MOST_ENTRIES:
        message = f"{folder} holds {len(names)} entries, too many to mount anything new beside them"
        raise NamespaceError(0, message)
    below = _opened(folder)
    mode = stat.S_IMODE(os.fstat(below).st_mode)
    base = folder if folder != os.sep else _stage()
    hidden = {os.path.basename(base): _opened(base)} if base != folder else {}
    _tmpfs(base, mode)
    for name in names:
        entry = hidden.get(name) or _opened(name, below)
        _put(entry, os.path.join(base, name))
    os.close(below)
    if base != folder:
        _pivot(base)


def _stage() -> str:
    """A folder to build a new root in; that it is covered is seen in the old root only."""
    for name in ("mnt", "srv", "media", "opt", "tmp", "var", "usr"):
        path = os.sep + name
        if os.path.isdir(path) and not os.path.islink(path):
            return path
    raise NamespaceError(0, "there is no folder to build a new root in")


def _pivot(folder: str) -> None:
    os.chdir(folder)
    number = {"x86_64": 155, "aarch64": 41, "riscv64": 41}.get(os.uname().machine)
    done = number is not None and _libc().syscall(number, b".", b".") == 0
    if done:
        # the old root stays below the new one where it may not be taken away
        _libc().umount2(b".", _DETACH)
    else:
        os.chroot(".")
    os.chdir(os.sep)


def _put(descriptor: int, path: str) -> None:
    mode = os.fstat(descriptor).st_mode
    try:
        if stat.S_ISLNK(mode):
            os.symlink(os.readlink("", dir_fd=descriptor), path)
            return
        if stat.S_ISDIR(mode):
            os.mkdir(path, stat.S_IMODE(mode))
        else:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, stat.S_IMODE(mode)))
        _bind(descriptor, path)
    finally:
        os.close(descriptor)


def _copy(original: str, path: str) -> None:
    with open(original, "rb") as source, open(path, "xb") as target:
        target.write(source.read())
        os.fchmod(target.fileno(), 0o400)


def _opened(path: str, folder: int | None = None) -> int:
    """A path, from a folder on, as it is now: whatever is mounted over it later."""
    return os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)


def _bind(descriptor: int, target: str) -> None:
    _mount(f"/proc/self/fd/{descriptor}", target, None, _BIND | _REC, f"mount {target}")


def _tmpfs(folder: str, mode: int = 0o755) -> None:
    what = f"mount a tmpfs at {folder}"
    _mount("tmpfs", folder, "tmpfs", _NOSUID | _NODEV, what, f"mode={mode:o}")


def _unshare() -> None:
    if sys.platform != "linux":
        raise NamespaceError(0, f"{sys.platform} has no mount namespaces")
    user, group = os.geteuid(), os.getegid()
    if user == 0 and _libc().unshare(_CLONE_NEWNS) == 0:
        return
    if _libc().unshare(_CLONE_NEWUSER | _CLONE_NEWNS) != 0:
        raise _failed("make a mount namespace")
    for name, line in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        Path("/proc/self", name).write_text(line)


def _mount(
    source: str, target: str, kind: str | None, flags: int, doing: str, data: str = ""
) -> None:
    done = _libc().mount(
        source.encode(),
        os.fsencode(target),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        data.encode() or None,
    )
    if done != 0:
        raise _failed(doing)


def _failed(doing: str) -> NamespaceError:
    number = ctypes.get_errno()
    return NamespaceError(number, f"the system doesn't let us {doing}: {os.strerror(number)}")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
