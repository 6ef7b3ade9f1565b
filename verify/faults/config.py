"""Config: a changed configuration that comes with a reload."""

import shlex
from typing import ClassVar

from verify.errors import HostError, Refused
from verify.faults.health import in_sync
from verify.faults.injection import PEERS, Command, watch
from verify.faults.process import Reload, becomes
from verify.faults.worker import no_strays
from verify.history import Evidence

ADDED = "sticky-verify-added"
KEPT, CANDIDATE = ".sticky-verify", ".sticky-verify-candidate"

# awk: `wanted` is true in a server's line, within the backend's section.
_SECTIONS = (
    "global|defaults|frontend|backend|listen|peers|resolvers|mailers|userlist|cache|program|http-errors|ring"
    "|fcgi-app|log-forward|crt-store|traces"
)
_FIND = (
    f"$1 ~ /^({_SECTIONS})$/ {{ own = $1 ~ /^(backend|listen)$/ && $2 == backend }}"
    ' { wanted = own && $1 == "server" && $2 == server; found += wanted } END { exit !found }'
)
# The HAProxy that the unit starts, or that stands beside the wrapper which it starts.
_PROGRAM = "$(systemctl show --property=ExecStart %s | sed -E 's|.* path=([^ ;]+)/[^/ ;]+ .*|\\1|')/haproxy"


class ReloadConfig(Reload):
    """A server more."""

    kind: ClassVar = "reload-config"
    does: ClassVar = (
        f"Adds a server ({ADDED}, weight 0) to a balancer's configuration and reloads; heals by the original."
    )
    proves_not: ClassVar = "What a server does that gets requests: the added one has weight 0, and gets none."
    tools: ClassVar = ("awk", "cmp")
    # A second line of a server, without its id, that no request is balanced to.
    edit: ClassVar[str] = (
        ' { print } wanted { line = "  server ' + ADDED + '"; for (field = 3; field <= NF && $field !~ /^#/; field++)'
        ' if ($field == "id") field++; else line = line " " $field; print line " weight 0" }'
    )

    @property
    def server(self) -> str:
        """The server whose line is edited: the last one."""
        return self.site.service.servers[-1].name

    @property
    def listed(self) -> bool:
        """Whether the server in question is there while the fault lasts."""
        return True

    @property
    def changed(self) -> str:
        """The server in question."""
        return ADDED

    def injecting(self) -> list[Command]:
        """The original is kept, the changed one checked, and only then put in its place."""
        config = self._config
        steps = [
            f"cp -p {config} {config}{CANDIDATE}",
            f"{self.editor} {config} > {config}{CANDIDATE}",
            f"{_PROGRAM % self.unit} -c -q -f {config}{CANDIDATE} -L {self.site.peer(self.target)}",
            f"cp -p {config} {config}{KEPT}",
            f"cp -p {config}{CANDIDATE} {config}",
            *(line for _, line in super().injecting()),
        ]
        return [(self.target, " && ".join(steps))]

    def healing(self) -> list[Command]:
        """The original comes back with a reload, once, unless somebody else has written another one."""
        config = self._config
        kept, candidate = f"{config}{KEPT}", f"{config}{CANDIDATE}"
        line = (
            f"if [ -e {kept} ]; then if cmp -s {candidate} {config}; then cp -p {kept} {config} || exit 1; fi;"
            f" rm -f {kept} {candidate}; systemctl reload {self.unit}; else rm -f {candidate}; fi"
        )
        return [(self.target, line)]

    def inject(self) -> list[Evidence]:
        """What was in sync before has to be so again: healing is a reload too."""
        self._synced = in_sync(self.site, self.target)
        return super().inject()

    def more(self, written: str) -> list[Evidence]:
        """The list of servers is another one, and the new worker has learnt its tables."""
        return [self._shown(self.listed), watch(f"{self.target} is in sync again", self._learnt, PEERS)]

    def heal(self) -> list[Evidence]:
        """The list is as it was, and the old worker gone."""
        self.run(self.healing())
        return [
            becomes(self.site, self.target, "active"),
            self._shown(not self.listed),
            no_strays(self.site, self.target),
        ]

    def preflight(self) -> None:
        """The server's line has to be in the file, and the file must be as it was written."""
        super().preflight()
        host = self.site.hosts[self.target]
        try:
            host.run(["/bin/sh", "-c", f"{self.editor} {self._config} > /dev/null"])
        except HostError as error:
            raise Refused(
                f"{self.kind} on {self.target}: {self._config} has no line for {self.server}"
                f" in {self.site.service.backend} ({error.stderr.strip() or 'awk found none'})"
            ) from None

    @property
    def _config(self) -> str:
        return shlex.quote(self.site.balancer(self.target).config)

    @property
    def editor(self) -> str:
        """The command that writes the changed file, and fails where the server has no line."""
        variables = f"-v backend={shlex.quote(self.site.service.backend)} -v server={shlex.quote(self.server)}"
        return f"awk {variables} {shlex.quote(_FIND + self.edit)}"

    def _shown(self, wanted: bool) -> Evidence:
        def look() -> tuple[bool, str]:
            servers = self.site.apis[self.target].servers(self.site.service.backend)
            names = [server.name for server in servers]
            return (self.changed in names) == wanted, ", ".join(names)

        return watch(f"{self.target} {'lists' if wanted else 'no longer lists'} {self.changed}", look)

    def _learnt(self) -> tuple[bool, str]:
        now = in_sync(self.site, self.target)
        return now >= self._synced, ", ".join(sorted(now)) or "no section of peers is"


class ReloadConfigRemove(ReloadConfig):
    """A server less."""

    kind: ClassVar = "reload-config-remove"
    does: ClassVar = "Takes the last server out of a balancer's configuration and reloads; heals by the original."
    proves_not: ClassVar = "That its sessions come back: they have moved by then, and stay where they are."
    edit: ClassVar = ' wanted { print "# sticky-verify: " $0; next } { print }'

    @property
    def moves(self) -> list[str]:
        """The server."""
        return [self.server]

    @property
    def listed(self) -> bool:
        """It is not."""
        return False

    @property
    def changed(self) -> str:
        """The server."""
        return self.server
