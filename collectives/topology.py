"""Who shares memory with whom, and so which link joins some of the ranks.

    ranks                                    link
    ------------------------------------------------------------------------------------------
    one                                      MpiLink
    several, all on one host                 SharedLink: shared memory
    on several hosts, several on one of them HierarchicalLink: shared memory inside, rings between
    on several hosts, one on each            MpiLink: one ring of all

Where a host has no memory to share, all ranks use MpiLink, and rank 0 warns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import shared
from .arena import Arena, Mapping, map_peer
from .hierarchy import HierarchicalLink
from .link import Link
from .mpi import MpiLink


class Topology:
    """Where the ranks of the world are, as one of them sees it.

    hosts: by rank of the world, the lowest rank on its host. Collective over comm, of all ranks.
    """

    def __init__(self, comm: Any, hosts: Sequence[int]):
        self._hosts = tuple(hosts)
        self.arena: Arena | None = None
        self._mappings: dict[int, Mapping] = {}
        self._crowded = False
        if len(set(hosts)) < len(hosts):
            self._map(comm)

    def _map(self, comm: Any) -> None:
        """Let the ranks of each host map each other's arenas, everywhere or nowhere."""
        rank = comm.Get_rank()
        arena, own, problem = None, None, ""
        try:
            shared.load()
            arena = Arena()
            own = arena.address
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            problem = str(error)
        said = comm.allgather((own, shared.processors(), problem))
        here = [peer for peer, host in enumerate(self._hosts) if host == self._hosts[rank]]
        mappings = {}
        if arena is not None and not any(theirs for *_, theirs in said):
            try:
                mappings = {peer: arena if peer == rank else map_peer(said[peer][0]) for peer in here}
                problem = shared.lacking(arena, len(here))
            except (OSError, ValueError) as error:
                problem = str(error)
        problems = [theirs for theirs in comm.allgather(problem) if theirs]
        if not problems:
            self.arena, self._mappings = arena, mappings
            self._crowded = len(set().union(*(said[peer][1] for peer in here))) < len(here)
        elif rank == 0:
            shared.warn_of_mpi(len(here), problems[0])

    def link(self, base: MpiLink) -> Link:
        """The link to use for the ranks of `base`. Collective over it."""
        if self.arena is None or base.size == 1:
            return base
        by_host: dict[int, list[int]] = {}
        for number, rank in enumerate(base.ranks):
            by_host.setdefault(self._hosts[rank], []).append(number)
        hosts = list(by_host.values())
        if len(hosts) == 1:
            return self._shared(base)
        if len(hosts) == base.size:
            return base
        here = next(ranks for ranks in hosts if base.rank in ranks)
        place = here.index(base.rank)
        rings = min(len(ranks) for ranks in hosts)
        local, across = base.sub(here), base.sub([ranks[place] for ranks in hosts] if place < rings else None)
        assert local is not None
        for part in (local, across):
            if part is not None:
                part.whole = base
        inside = self._shared(local)
        if not all(base.comm.allgather(inside is not local or local.size == 1)):
            if base.rank == 0:  # perhaps of another host
                shared.warn_of_mpi(max(map(len, hosts)), shared.NO_ROOM)
            return base
        return HierarchicalLink(base, hosts, inside, across, self.link)

    def _shared(self, base: MpiLink) -> Link:
        assert self.arena is not None
        return shared.share(base, self.arena, [self._mappings[rank] for rank in base.ranks], self._crowded)
