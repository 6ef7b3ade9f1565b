"""Identity: who answered. Learnt from a header or the page, or left open; never guessed."""

import re
from dataclasses import dataclass
from typing import Literal

from verify.client import Answer
from verify.errors import BadUse
from verify.topology import Service

_ALLOWED = "write header:NAME, body:REGEX or table"


@dataclass(frozen=True)
class ServerFrom:
    """Where an answer says which server it comes from.

    Attributes:
        kind: `header`: its value is the server's name. `body`: what a regular expression finds is a
            server's `page`, or its name. `table`: answers do not say; a balancer's stick table does.
        what: the header's name, or the expression; empty for `table`.
    """

    kind: Literal["header", "body", "table"]
    what: str = ""

    @classmethod
    def parse(cls, text: str) -> "ServerFrom":
        """Reads `header:NAME`, `body:REGEX` or `table`.

        Raises:
            BadUse: anything else, or an expression that is none.
        """
        kind, _, what = text.partition(":")
        if kind == "header" and re.fullmatch(r"[\w-]+", what, re.ASCII):
            return cls("header", what)
        if kind == "body" and what:
            try:
                re.compile(what)
            except re.error as error:
                raise BadUse(f"--server-from {text}: the regular expression can't be read: {error}") from None
            return cls("body", what)
        if text == "table":
            return cls("table")
        raise BadUse(f"--server-from {text!r} is not known: {_ALLOWED}")

    @classmethod
    def default(cls, service: Service) -> "ServerFrom":
        """Looks for the servers' pages where all of them are known, else asks the table."""
        pages = sorted({server.page for server in service.servers if server.page}, key=lambda page: (-len(page), page))
        if not pages or not all(server.page for server in service.servers):
            return cls("table")
        # Not inside a word: "Backend 1" is no part of "Backend 12".
        return cls("body", rf"(?<!\w)({'|'.join(map(re.escape, pages))})(?!\w)")

    @property
    def by_table(self) -> bool:
        """Whether the stick table has to be asked."""
        return self.kind == "table"

    def server(self, answer: Answer, service: Service) -> str | None:
        """Returns the server's name; None if the answer names none, an unknown one, or several.

        Of an expression's match the first group counts, or all of it if there is no group.
        """
        if self.kind == "header":
            value = answer.header(self.what)
            return value if value in {server.name for server in service.servers} else None
        if self.kind == "table":
            return None
        named = {found[1] if found.re.groups else found[0] for found in re.finditer(self.what, answer.body)}
        servers = {server.name for server in service.servers if server.page and server.page in named}
        servers = servers or {server.name for server in service.servers if server.name in named}
        return servers.pop() if len(servers) == 1 else None
