"""Files that a data set names in its tables: never outside of its folder, and one clear error where one is missing."""

from pathlib import Path, PurePosixPath

from datasets.errors import VrmmError


def inside(folder: Path, name: str, origin: str) -> Path:
    """The file that a table calls ``name``, relative to ``folder``.

    A link that the user put into the folder is followed; a name that leads out of it is not.

    Raises:
        VrmmError: an absolute name or one with ``..`` in it; ``origin`` says where it stands.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in parts[0] or "\0" in name:
        raise VrmmError(f"{origin} is {name!r}, which leads out of {folder}; nothing outside of it is read")
    return folder.joinpath(*parts)


def read_bytes(path: Path, origin: str = "") -> bytes:
    """A file's bytes.

    Args:
        path: of the file.
        origin: where the file is named, if it is named somewhere.

    Raises:
        VrmmError: it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        named = f", which {origin} names," if origin else ""
        raise VrmmError(f"{path}{named} cannot be read ({error.strerror}); is the download complete?") from error
