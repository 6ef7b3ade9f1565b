"""Table: faults of what a balancer keeps."""

import re
from typing import ClassVar

from verify.faults.injection import Command, OnBalancer, runtime
from verify.history import Evidence

# An argument of a command may have 128 KiB (Linux: MAX_ARG_STRLEN).
AT_ONCE = 500


class TableClear(OnBalancer):
    """A balancer that has forgotten the verifier's own sessions."""

    kind: ClassVar = "table-clear"
    does: ClassVar = "Clears the verifier's own rows from the table of one balancer, and nobody else's."
    proves_not: ClassVar = (
        "That rows are gone for good: clearing is not replicated, and a hit elsewhere brings them back."
    )
    may_move: ClassVar = True

    def injecting(self) -> list[Command]:
        """Key by key; `KEY` stands for each one as long as there are none. A blank keeps a key from ending in `<<`."""
        table, socket = self.site.service.table.name, self.site.balancer(self.target).socket
        keys = [re.sub(r"([\\ ;\t])", r"\\\1", key) for key in self.site.own_keys()] or ["KEY"]
        clears = [f"clear table {table} key {key} " for key in keys]
        parts = [clears[start : start + AT_ONCE] for start in range(0, len(clears), AT_ONCE)]
        return [(self.target, runtime(socket, *part)) for part in parts]

    def healing(self) -> list[Command]:
        """There is nothing to put back: the next request of a session makes its row anew."""
        return []

    def inject(self) -> list[Evidence]:
        """Fewer rows than before: under load some are made anew at once."""
        before = self._rows()
        if before:
            self.run(self.injecting())
        after = self._rows()
        what = f"own rows are gone from {self.target}'s table"
        return [Evidence(what=what, seen=after < before, text=f"{before} -> {after}")]

    def heal(self) -> list[Evidence]:
        """It is over by itself."""
        return []

    def preflight(self) -> None:
        """A table has to be known."""
        super().preflight()
        _ = self.site.service

    def _rows(self) -> int:
        return len(self.site.apis[self.target].rows(self.site.service.table.name, self.site.own_keys()))
