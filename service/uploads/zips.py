"""Zip archives that may be hostile: what their directory says is bounded before it is read."""

from typing import BinaryIO

from service.problems import TooLargeError

DIRECTORY_MAX = 2 << 20


class BoundedReader:
    """The file, for reading its directory in small pieces: zipfile would read one of any length at once.

    Raises TooLargeError `expands_too_much` until `listed` is set. Without a descriptor, on purpose.
    """

    def __init__(self, file: BinaryIO, advice: str) -> None:
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable
        self.listed = False
        self._file, self._advice = file, advice

    def read(self, size: int = -1, /) -> bytes:
        """At most the longest directory."""
        if self.listed:
            return self._file.read(size)
        most = DIRECTORY_MAX + 1
        block = self._file.read(most if size < 0 else min(size, most))
        if len(block) == most:
            raise TooLargeError(
                "expands_too_much", f"the archive's directory is longer than {DIRECTORY_MAX} bytes: {self._advice}"
            )
        return block
