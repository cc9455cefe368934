"""Power cuts: what a disk holds that lost everything, or any part, of what was not yet synchronised."""

from __future__ import annotations

import random
from pathlib import Path

from preloaded import preloaded

SECTOR_BYTES = 512


class PowerCut:
    """A directory on a disk whose power can be cut.

    Args:
        folder: an empty directory, for everything.

    Attributes:
        root: the directory that processes use.
        environment: what a process needs in its environment, so that it is known what it synchronises.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.root, self._disk = folder / "root", folder / "disk"
        self.root.mkdir(parents=True)
        self._disk.mkdir()
        self.environment = {
            "POWER_CUT_ROOT": str(self.root),
            "POWER_CUT_DISK": str(self._disk),
            "LD_PRELOAD": preloaded("power_cut", folder),
        }

    def synchronised(self) -> Path:
        """Return a directory as after a power cut: it holds what was synchronised, and nothing else."""
        target = self._folder / "synchronised"
        root = self._disk / "root"
        if root.exists():
            self._put_directory(root.read_text(), target)
        else:
            target.mkdir()
        return target

    def partly_written(self, chance: random.Random) -> Path:
        """Return a directory as after a power cut before which the disk wrote any sectors that it did not have to."""
        target = self._folder / "partly_written"
        old = self.synchronised()
        for directory in (self.root, *sorted(path for path in self.root.rglob("*") if path.is_dir())):
            (target / directory.relative_to(self.root)).mkdir()
        for file in sorted(path for path in self.root.rglob("*") if path.is_file()):
            name = file.relative_to(self.root)
            before = self._last_of(file) or (old / name if (old / name).exists() else None)
            mixed = _mixed(before.read_bytes() if before else b"", file.read_bytes(), chance)
            (target / name).write_bytes(mixed)
        return target

    def _last_of(self, file: Path) -> Path | None:
        """Return the last synchronised state of a file that is there, whatever its name was."""
        states = self._disk.glob(f"{file.stat().st_ino}-*")
        return max(states, key=lambda path: float(path.name.split("-")[1]), default=None)

    def _put_directory(self, identity: str, target: Path) -> None:
        target.mkdir()
        listing = self._disk / identity
        if not listing.exists():
            return
        for line in listing.read_text().splitlines():
            entry, name, kind = line.split("\t")
            if kind == "directory":
                self._put_directory(entry, target / name)
            else:
                state = self._disk / entry
                (target / name).touch(0o600)
                (target / name).write_bytes(state.read_bytes() if state.exists() else b"")


def _mixed(old: bytes, new: bytes, chance: random.Random) -> bytes:
    """Return a file each of whose sectors, and whose size, is the old or the new one."""
    size_bytes = len(chance.choice((old, new)))
    sectors = []
    for at in range(0, size_bytes, SECTOR_BYTES):
        sector = chance.choice((old, new))[at : at + SECTOR_BYTES]
        sectors.append(sector.ljust(SECTOR_BYTES, b"\0"))
    return b"".join(sectors)[:size_bytes]
