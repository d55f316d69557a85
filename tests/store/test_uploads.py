"""Uploads that grow on disk: bounded, private, forgotten in time, and as long as they say whatever ends a process."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from store.errors import UploadMissingError, UploadsFullError
from store.uploads import Uploads


def kept(folder: Path, **bounds: Any) -> Uploads:
    return Uploads(folder, **{"most": 3, "most_bytes": 1000, "expiry_seconds": 60, **bounds})


def test_number_and_bytes_are_bounded(tmp_path: Path) -> None:
    uploads = kept(tmp_path)
    with pytest.raises(UploadsFullError, match="1000"):
        uploads.create("a", 1001, "")
    made = [uploads.create("a", 100, "") for _ in range(3)]
    with pytest.raises(UploadsFullError, match="3 uploads"):
        uploads.create("b", 1, "")
    uploads.remove(made[0].id, "a")
    uploads.create("b", 800, "")
    uploads.remove(made[1].id, "a")
    with pytest.raises(UploadsFullError, match="900 bytes"):
        uploads.create("b", 101, "")


def test_nobody_sees_the_upload_of_another(tmp_path: Path) -> None:
    uploads = kept(tmp_path)
    made = uploads.create("alice", 10, "")
    assert uploads.find(made.id, "alice") == made
    for call in (
        lambda: uploads.find(made.id, "bob"),
        lambda: uploads.remove(made.id, "bob"),
        lambda: uploads.opened(made.id, "").__enter__(),
        lambda: uploads.writing(made.id, "bob", 0).__enter__(),
    ):
        with pytest.raises(UploadMissingError):
            call()
    assert uploads.find(made.id, "alice")


def test_expired_ones_are_swept_and_busy_ones_are_not(tmp_path: Path) -> None:
    uploads = kept(tmp_path, expiry_seconds=0.2)
    old, busy = uploads.create("a", 10, ""), uploads.create("a", 10, "")
    (tmp_path / "half.data").touch()
    with uploads.opened(busy.id, "a"):
        time.sleep(0.25)
        with pytest.raises(UploadMissingError):
            uploads.find(old.id, "a")
        assert uploads.sweep() == 1
        assert (tmp_path / f"{busy.id}.data").exists()
    assert uploads.sweep() == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "half.data"]


def test_descriptions_that_are_damaged(tmp_path: Path) -> None:
    uploads = kept(tmp_path)
    made = uploads.create("a", 10, "")
    (tmp_path / f"{made.id}.json").write_text('{"id": 1')
    with pytest.raises(UploadMissingError):
        uploads.find(made.id, "a")
    assert uploads.create("a", 10, "").id != made.id


def test_a_killed_process_loses_only_what_it_had_not_saved(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, sys; from store.uploads import Uploads\n"
        "u = Uploads(pathlib.Path(sys.argv[1]), most=9, most_bytes=1 << 40, expiry_seconds=60)\n"
        "made = u.create('me', 100 << 20, '')\n"
        "with u.writing(made.id, 'me', 0) as writer:\n"
        "    for _ in range(20): writer.write(bytes([7]) * (1 << 20))\n"
        "    print(made.id, flush=True); os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True)
    assert done.returncode == -9
    uploads = Uploads(tmp_path, most=9, most_bytes=1 << 40, expiry_seconds=60)
    upload = uploads.find(done.stdout.strip(), "me")
    assert upload.offset == 16 << 20
    assert (tmp_path / f"{upload.id}.data").stat().st_size == 20 << 20
    with uploads.writing(upload.id, "me", upload.offset) as writer:
        writer.write(b"8")
        writer.save()
    with uploads.opened(upload.id, "me") as (found, file):
        assert found.offset == (16 << 20) + 1
        assert file.read() == bytes([7]) * (16 << 20) + b"8"
