"""Lints of the peers: whether each balancer knows itself and the others, and they talk."""

from collections.abc import Iterator
from itertools import combinations

from verify.lints.lint import Hit, lint, lint_each, listed, pairs, readable
from verify.lints.process import JUST_STARTED
from verify.seen import Seen
from verify.topology import Topology

# What a session's last status means (statuscode_str() in src/peers.c).
STATUS = {
    "NONE": "it was never tried",
    "CONN": "no connection: the peer is stopped, or its port is filtered or another one",
    "HSHK": "the other side takes the connection and says nothing",
    "ESTA": "the session was established and has ended",
    "RETR": "the other side wants it to be tried again later",
    "PROT": "the other side takes the greeting for no peers protocol",
    "VERS": "the other side speaks another version of the protocol",
    "NAME": "what answers there goes by another name",
    "UNKN": "the other side knows no peer by the name that this balancer goes by",
}


@lint_each(
    "wrong",
    "HAProxy runs without peers: nothing is shared, and each reload loses its tables. That is what becomes of a"
    " peers section without a peer of the process's own name, with a mere warning, and of one that is disabled.",
    "Name a peer as the process calls itself: by -L, by localpeer, or else by the host's name. See haproxy -c.",
)
def no_peers(seen: Seen) -> Iterator[str]:
    """Whether there is a peers section, where tables keep sessions."""
    if seen.sections == [] and seen.sticky:
        keeping = [table.name for table in seen.sticky if table.used] or [table.name for table in seen.sticky]
        yield f"show peers is empty, with {listed(keeping)} to be shared"


@lint_each(
    "wrong",
    "No peer of the section is the balancer itself: the new process of a reload can't learn from the old one.",
    "Name a peer as the process calls itself: by -L, by localpeer, or else by the host's name.",
)
def no_local_peer(seen: Seen) -> Iterator[str]:
    """Whether the balancer stands in its own peers section."""
    for section in seen.sections or []:
        if not any(peer.local for peer in section.peers):
            yield f"{section.name} has no local peer among {listed(peer.name for peer in section.peers)}"


@lint_each(
    "risky",
    "There is no other balancer: a reload keeps the sessions, a restart loses them.",
    "Add a second balancer to the peers section.",
)
def alone(seen: Seen) -> Iterator[str]:
    """Whether there is somebody to share with."""
    for section in seen.sections or []:
        if section.peers and all(peer.local for peer in section.peers):
            yield f"{section.name} has no peer but the balancer itself"


@lint_each(
    "wrong",
    "A peer has no session, so neither side learns from the other.",
    "Start the peer, and let its port through; NAME and UNKN: give the peer the same name on both sides.",
)
def peer_not_established(seen: Seen) -> Iterator[str]:
    """Whether each other peer has a session."""
    for peer in seen.remote:
        if not peer.established:
            why = STATUS.get(peer.last_status, "a status that the verifier does not know")
            yield f"{peer.name} at {peer.address}: {peer.last_status}, {why}"


@lint_each(
    "risky",
    "Sessions with a peer broke the protocol.",
    "Upgrade both sides (HAProxy 2.4 mended several causes), and let only peers reach the peers port.",
)
def protocol_errors(seen: Seen) -> Iterator[str]:
    """Whether a session with a peer ever broke the protocol."""
    for peer in seen.remote:
        if peer.proto_err:
            yield f"{peer.name}: {peer.proto_err} of {peer.new_conn} connections broke the protocol (proto_err)"


@lint_each(
    "wrong",
    "The process never ended learning what it could. As long as it has not, it teaches nobody: a reload loses its"
    " tables.",
    "Don't reload. Mend the peers' connections, or restart this balancer while another one has the rows.",
)
def not_in_sync(seen: Seen) -> Iterator[str]:
    """Whether the process has learnt all it could, after time enough."""
    if seen.uptime >= JUST_STARTED:
        yield from _not_in_sync(seen)


@lint_each(
    "risky",
    "The process is still learning from its peers. Until it has ended, it teaches nobody: a reload loses its tables.",
    "Don't reload before show peers has flags whose last two bits are set: 5 to 12 s after a start.",
)
def not_in_sync_yet(seen: Seen) -> Iterator[str]:
    """Whether the process has learnt all it could, soon after its start."""
    if seen.uptime < JUST_STARTED:
        yield from _not_in_sync(seen)


def _not_in_sync(seen: Seen) -> Iterator[str]:
    for section in seen.sections or []:
        if not section.in_sync:
            yield f"{section.name} has flags={section.flags:#x} {seen.uptime} s after the start"


@lint(
    "wrong",
    "A balancer has no peer by the name that another one goes by.",
    "Give all balancers the same peer lines, and each process the name of its own one (-L).",
)
def name_unknown(seens: list[Seen], topology: Topology | None) -> Iterator[Hit]:
    """Whether each balancer knows the others by their own names."""
    for seen, other in pairs(seens):
        if seen.local_names and other.local_names and not seen.peer(other) and seen.local_names != other.local_names:
            yield seen.balancer, f"it knows no {listed(other.local_names)}, as {other.balancer} calls itself"


@lint(
    "wrong",
    "Two balancers go by the same name: each takes the other for itself, and they share nothing.",
    "Give each process the name of its own peer line (-L).",
)
def same_name(seens: list[Seen], topology: Topology | None) -> Iterator[Hit]:
    """Whether each balancer has a name of its own."""
    for seen, other in combinations(readable(seens), 2):
        if both := seen.local_names & other.local_names:
            yield None, f"{seen.balancer} and {other.balancer} both go by {listed(both)}"


@lint(
    "risky",
    "The balancers' peers sections name different peers.",
    "Give all balancers the same peer lines.",
)
def peers_differ(seens: list[Seen], topology: Topology | None) -> Iterator[Hit]:
    """Whether all balancers have the same peers."""
    named = {seen.balancer: {peer.name for peer in seen.remote} | seen.local_names for seen in readable(seens)}
    named = {balancer: names for balancer, names in named.items() if names}
    if len(set(map(frozenset, named.values()))) > 1:
        yield None, "; ".join(f"{balancer} has {listed(names)}" for balancer, names in named.items())


@lint(
    "wrong",
    "What runs is not what the topology says.",
    "Roll out the configuration again, and reload.",
)
def not_as_intended(seens: list[Seen], topology: Topology | None) -> Iterator[Hit]:
    """Whether names and peers are those that the topology has."""
    intended = {balancer.name: balancer.peer for balancer in topology.balancers} if topology else {}
    peers = {peer.name for peer in topology.peers} if topology else set()
    for seen in readable(seens):
        name = intended.get(seen.balancer)
        if seen.local_names and name and name not in seen.local_names:
            yield seen.balancer, f"it goes by {listed(seen.local_names)}, not {name}"
        if seen.sections and peers and (lacking := peers - {peer.name for peer in seen.remote} - seen.local_names):
            yield seen.balancer, f"it has no peer {listed(lacking)}"
