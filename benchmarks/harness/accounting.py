"""What a process and its children have used, by the kernel's own accounts (Linux)."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CLOCK_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system CPU time of a process and all its descendants since they began, in seconds.

    Exact to the nanosecond, threads that have ended included (/proc/PID/task/*/schedstat forgets those);
    only for descendants that have ended is it exact to no more than a clock tick (10 ms).
    """
    return sum(_own_cpu_seconds(each) + _ended_children_seconds(each) for each in _family(pid))


def resident_kib(pid: int) -> int:
    """Resident memory (Rss) of a process and all its descendants, in KiB. Kernel memory is not in it.

    Rss and not Pss: a page's share (Pss) changes with every stranger that maps the same library.
    """
    return sum(_own_resident_kib(each) for each in _family(pid))


def private_kib(pid: int) -> int:
    """Memory of a process and all its descendants that nobody shares, and its page tables, in KiB.

    Not Rss, where instances of components are compared: it counts a page of a component's memory that is
    still as it was in the file once for each instance that has read it, and there is only one.
    """
    return sum(_own_private_kib(each) for each in _family(pid))


def reset_peak(pid: int) -> None:
    """Make what is resident now the peak of a process and all its descendants."""
    for each in _family(pid):
        with suppress(OSError):
            Path(f"/proc/{each}/clear_refs").write_text("5")  # proc_pid_clear_refs(5)


def peak_kib(pid: int) -> int:
    """The most memory that was resident since the peak was reset, in KiB; the sum of everyone's own peak."""
    return sum(_own_peak_kib(each) for each in _family(pid))


def _family(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            pids = children.read_text().split()
        except OSError:  # the thread has ended since it was listed
            continue
        for child in pids:
            yield from _family(int(child))


def _own_cpu_seconds(pid: int) -> float:
    process_clock = ~pid << 3 | 2  # what clock_getcpuclockid(3) returns for a process
    try:
        return time.clock_gettime_ns(process_clock) / 1e9
    except OSError:  # the process has ended since it was listed
        return 0.0


def _ended_children_seconds(pid: int) -> float:
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    user, system = after_name[13:15]  # fields 16 and 17 of proc_pid_stat(5), cutime and cstime
    return (int(user) + int(system)) / CLOCK_TICKS_PER_SECOND


def _own_resident_kib(pid: int) -> int:
    return _kib_line(Path(f"/proc/{pid}/smaps_rollup"), "Rss:")


def _own_private_kib(pid: int) -> int:
    process = Path(f"/proc/{pid}")
    return _kib_line(process / "smaps_rollup", "Anonymous:") + _kib_line(process / "status", "VmPTE:")


def _own_peak_kib(pid: int) -> int:
    return _kib_line(Path(f"/proc/{pid}/status"), "VmHWM:")


def _kib_line(path: Path, name: str) -> int:
    """What stands behind a name; 0 if the process has ended."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)
