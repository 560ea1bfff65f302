"""Files that appear complete or not at all."""

import os
from pathlib import Path


def put_file(path: Path, content: bytes) -> None:
    """Put a file in place of the one before, at once; it is on the disk then.

    A process that is killed, or a disk that is full, leaves the file before as it was.

    Args:
        path: the file. Devices, pipes and links such as /dev/stdout are written where
            they are, since something else would take their place.
        content: of the file.

    Raises:
        OSError: if it cannot be written; then the file is as it was.

    Example:
        >>> put_file(Path("results.json"), b"{}")
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_bytes(content)
        return
    draft = path.with_name(f".{path.name}.draft")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Put on the disk which files are in a folder."""
    # A rename is on the disk only when its folder is.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
