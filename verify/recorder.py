"""Recorder: a run's clock, numbers and history; thread-safe, because load and faults write at once."""

import threading
import time
from pathlib import Path

from verify.history import AnyRecord, Fault, Journal, Operation, Phase
from verify.teller import Teller


class Recorder:
    """Writes a history, and tells of what people want to hear of it."""

    def __init__(self, path: Path, teller: Teller, began_ns: int = 0) -> None:
        """Creates the history's file.

        Args:
            path: the file, which must not exist.
            teller: hears of faults and phases.
            began_ns: how long ago the run began, where it goes on an earlier one.
        """
        self._journal = Journal(path)
        self._teller = teller
        self._zero = time.monotonic_ns() - began_ns
        self._lock = threading.Lock()
        self._index = 0
        self.phase_name = ""

    def now(self) -> int:
        """Returns the nanoseconds since the run began."""
        return time.monotonic_ns() - self._zero

    def next_index(self) -> int:
        """Returns a fresh number for an operation."""
        with self._lock:
            self._index += 1
            return self._index

    def write(self, record: AnyRecord) -> None:
        """Appends a record to the history."""
        with self._lock:
            self._journal.write(record)
            if isinstance(record, Operation):  # one that was carried over from an earlier run
                self._index = max(self._index, record.index)
        if isinstance(record, Fault):
            self._teller.fault(record)

    def phase(self, name: str) -> None:
        """Begins a phase of the scenario."""
        self.phase_name = name
        self.write(Phase(name=name, at_ns=self.now()))
        self._teller.phase(name)

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._journal.close()
