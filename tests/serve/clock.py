"""Sets the system clock forward and back for running processes; elapsed time is not affected.

A library that is preloaded before libc adds an offset to the time of day that the kernel returns; the offset is in a
file that every process maps. A job's process gets only the environment variables that its spec names, so it re-executes
itself with the library: Python runs `sitecustomize` at start."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

_SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile long long *offset;

__attribute__((constructor)) static void begin(void) {
    int file = open(OFFSET_FILE, O_RDONLY | O_CLOEXEC);
    if (file >= 0) offset = mmap(0, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
}
int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(id, at);
    if (!failed && offset && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += *offset;
    return failed;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""
_SITE = """
import os, sys
if os.environ.get("LD_PRELOAD") != {library!r}:
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {{**os.environ, "LD_PRELOAD": {library!r}}})
"""


class Clock:
    """A separate clock in `folder`; `environment` has the variables that a process needs to use it."""

    def __init__(self, folder: Path, root: Path) -> None:
        if not (compiler := shutil.which("cc")):
            pytest.skip("there is no C compiler to make the clock with")
        folder.mkdir()
        self._offset, library, source = folder / "offset", folder / "clock.so", folder / "clock.c"
        self._offset.write_bytes(struct.pack("q", 0))
        source.write_text(_SOURCE)
        (folder / "sitecustomize.py").write_text(_SITE.format(library=str(library)))
        define = f'-DOFFSET_FILE="{self._offset}"'
        subprocess.run([compiler, "-shared", "-fPIC", define, "-o", library, source, "-ldl"], check=True)
        self.environment = {"PYTHONPATH": f"{folder}:{root}"}

    def set(self, seconds: float) -> None:
        """Set the clock to this number of seconds after (below 0: before) the real time."""
        with self._offset.open("r+b") as file:
            file.write(struct.pack("q", int(seconds)))
