"""Which code a process has imported: a fingerprint that differs when a file was changed."""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from pathlib import Path

__all__ = ["of_code"]

_NOT_OURS = ("stdlib", "platstdlib", "purelib", "platlib")


def of_code() -> str:
    """A fingerprint of the source files of all imported modules but those of the standard library and of
    installed packages: the pipeline's and, in an editable checkout, our own.

    By path, time of change and size, and not by content: a process takes it at each start.
    """
    left_out = tuple({f"{sysconfig.get_path(name)}/" for name in _NOT_OURS})
    paths = set()
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str) and path.endswith(".py") and not path.startswith(left_out):
            paths.add(path)
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(paths):
        try:
            found = Path(path).stat()
        except OSError:  # removed meanwhile, or in an archive: then it has no time of change
            digest.update(f"{path}\0-\n".encode("utf-8", "surrogateescape"))
        else:
            digest.update(
                f"{path}\0{found.st_mtime_ns}\0{found.st_size}\n".encode("utf-8", "surrogateescape")
            )
    return digest.hexdigest()
