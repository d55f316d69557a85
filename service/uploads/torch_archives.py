"""State dicts of torch.save: the zip they travel in, checked from its directory. What is pickled is left alone."""

import zipfile
from typing import BinaryIO

from service.problems import InvalidError, TooLargeError
from service.uploads.zips import BoundedReader

MAGIC = b"PK\x03\x04"
_MEMBERS_MAX = 20_000
_SAVE_STATE_DICT = (
    "save the weights alone, safetensors.torch.save_file(model.state_dict(), path), and send them with the name of "
    "their architecture"
)


def check_archive(file: BinaryIO, size: int, known: str) -> None:
    """Raise InvalidError or TooLargeError unless the file may be a state dict for the worker to read.

    `known` are the architectures there are, for those who sent a program in place of weights.
    """
    file.seek(0)
    try:
        with zipfile.ZipFile(BoundedReader(file, _SAVE_STATE_DICT)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, UnicodeError, ValueError) as error:
        raise InvalidError("truncated_upload", f"the .pt file is damaged or cut short: {error}") from error
    names = {member.filename.partition("/")[2] or member.filename for member in members}
    if kind := _program(names):
        raise InvalidError(
            "exported_program_refused",
            f"this is {kind}: loading one can run code from the file, so it is not loaded here. "
            f"Instead, {_SAVE_STATE_DICT}. The architectures: {known}",
        )
    _check_members(members, size)
    if "data.pkl" not in names:
        raise InvalidError(
            "unknown_format",
            "the archive is no state dict of torch.save: send .safetensors, or what torch.save(model.state_dict(), "
            "path) writes",
        )


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    if len(members) > _MEMBERS_MAX:
        raise TooLargeError(
            "expands_too_much", f"the archive has {len(members)} members, and {_MEMBERS_MAX} is the most"
        )
    seen: set[str] = set()
    for member in members:
        name = member.orig_filename
        if name in seen or not _inside(name):
            raise InvalidError(
                "unexpected_member",
                f"the archive has a member {name[:200]!r}: names must be distinct and lead nowhere else",
            )
        seen.add(name)
        if member.flag_bits & 1 or member.compress_type != zipfile.ZIP_STORED:
            raise InvalidError(
                "unsupported_archive",
                f"{name[:200]!r} is compressed or encrypted: send the file as torch.save wrote it",
            )
    # Nothing is compressed: members that hold more than the file overlap.
    if (total := sum(member.file_size for member in members)) > size:
        raise TooLargeError("expands_too_much", f"the archive's members hold {total} bytes, and it has {size}")


def _inside(name: str) -> bool:
    return not (name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/"))


def _program(names: set[str]) -> str | None:
    """What kind of program the archive holds, if it holds one."""
    exported = {"archive_format", "serialized_exported_program.json"} & names
    if exported or any(name.startswith("models/") and name.endswith(".json") for name in names):
        return "an exported program (.pt2)"
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        return "a TorchScript archive"
    return None
