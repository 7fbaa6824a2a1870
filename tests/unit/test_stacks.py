"""Stack dumps: written by workers that crash, hang or hold the interpreter; read without trust."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.host import stacks

SETUP = """
import ctypes, os, pathlib, sys, threading, time
from workers.main import _dump_stacks
_dump_stacks(pathlib.Path(sys.argv[1]), 7)
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
def in_hand():
    {}
print("ready", flush=True)
in_hand()
"""
# Not time.sleep: libc's own, called by PyDLL, keeps the interpreter's lock.
# A signal ends it, so that it is called again: else the process would be at its end when the next one comes.
HOLDS_THE_LOCK = "[ctypes.PyDLL(None).sleep(60) for _ in iter(int, 1)]"


def started(run_dir: Path, body: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", SETUP.format(body), str(run_dir)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def test_a_crash_leaves_its_reason_and_the_stack_of_the_thread_that_crashed(tmp_path: Path) -> None:
    process = started(tmp_path, "ctypes.string_at(0)")
    process.communicate()
    assert process.returncode == -signal.SIGSEGV
    reason, heading, *frames = stacks.tail(tmp_path, 7).splitlines()
    assert reason == "Fatal Python error: Segmentation fault"
    assert heading.startswith("Current thread")
    assert "in string_at" in frames[0]
    assert "in in_hand" in frames[1]
    assert "_bootstrap" not in "".join(frames)


def test_a_worker_in_a_c_call_that_holds_the_interpreter_says_where_it_is(tmp_path: Path) -> None:
    process = started(tmp_path, HOLDS_THE_LOCK)
    try:
        # Until the dump is complete: the signal may come before the call.
        while "in in_hand" not in stacks.tail(tmp_path, 7):
            assert process.poll() is None
            process.send_signal(signal.SIGUSR2)
    finally:
        process.kill()
        process.communicate()
    assert "_bootstrap" not in stacks.tail(tmp_path, 7)


def test_the_file_is_private_and_a_new_worker_in_the_slot_begins_it_anew(tmp_path: Path) -> None:
    os.write(stacks.open_file(tmp_path, 3), b"Current thread 0x1 (most recent call first):\n  File old\n")
    assert "old" in stacks.tail(tmp_path, 3)
    path = stacks.path_of(tmp_path, 3)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    stacks.open_file(tmp_path, 3)
    assert stacks.tail(tmp_path, 3) == ""


def test_what_is_cut_off_is_the_outermost_frames(tmp_path: Path) -> None:
    frames = "".join(f"  File frame {number}\n" for number in range(100))
    os.write(
        stacks.open_file(tmp_path, 0), f"Current thread 0x1 (most recent call first):\n{frames}".encode()
    )
    found = stacks.tail(tmp_path, 0, limit=200)
    assert len(found) == 200
    assert "frame 0\n" in found
    assert "frame 99" not in found


def test_of_a_large_file_only_the_end_is_read(tmp_path: Path) -> None:
    descriptor = stacks.open_file(tmp_path, 0)
    os.ftruncate(descriptor, 2**40)
    os.write(descriptor, b"\nThread 0x1 (most recent call first):\n  File the end\n")
    assert stacks.tail(tmp_path, 0) == "Thread 0x1 (most recent call first):\n  File the end"


@pytest.mark.parametrize("content", [b"", b"\xff\x00 no dump\n", b"Fatal Python error: "])
def test_what_is_no_dump_is_no_error(tmp_path: Path, content: bytes) -> None:
    os.write(stacks.open_file(tmp_path, 0), content)
    assert stacks.tail(tmp_path, 0) in {"", "Fatal Python error: "}


def test_without_a_file_there_is_nothing_and_a_link_is_not_followed(tmp_path: Path) -> None:
    assert stacks.tail(tmp_path, 0) == ""
    stacks.open_file(tmp_path, 1)
    stacks.path_of(tmp_path, 0).symlink_to(stacks.path_of(tmp_path, 1))
    assert stacks.tail(tmp_path, 0) == ""
    with pytest.raises(OSError, match="symbolic links"):
        stacks.open_file(tmp_path, 0)
