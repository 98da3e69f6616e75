"""All actors of one process."""

import asyncio
from collections.abc import Iterator

import msgspec

from theater.errors import MailboxFull, NoSuchActor
from theater.limits import ActorLimits, Limits
from theater.runtime.address import Address
from theater.runtime.cell import Cell
from theater.runtime.counters import Counters
from theater.runtime.ports import BehaviourFactory, Clock


class ActorType(msgspec.Struct, frozen=True):
    """A kind of actor: its name, what makes an instance, and what one may do."""

    name: str
    create: BehaviourFactory
    limits: ActorLimits


class ActorSystem:
    """Finds actors by address, and makes them on first use.

    Args:
        types: the kinds of actor this process runs; names differ.
        clock: for timeouts.
        limits: for the number of actors.
        loop: where asynchronous handlers run.

    Attributes:
        counters: totals by actor type.
    """

    def __init__(
        self, types: list[ActorType], clock: Clock, limits: Limits, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.counters = {kind.name: Counters() for kind in types}
        self._types = {kind.name: kind for kind in types}
        self._cells: dict[Address, Cell] = {}
        self._clock = clock
        self._limits = limits
        self._loop = loop

    def cell(self, address: Address) -> Cell:
        """The cell at an address, made if need be; one whose actor could not start is made anew.

        Raises:
            NoSuchActor: no such type.
            MailboxFull: there are too many actors.
        """
        cell = self._cells.get(address)
        if cell is not None:
            return cell
        kind = self._types.get(address.type)
        if kind is None:
            raise NoSuchActor(str(address))
        if len(self._cells) >= self._limits.max_actors:
            raise MailboxFull(str(address))
        cell = Cell(address, self, self._clock, self.counters[kind.name], kind.limits, self._loop)
        self._cells[address] = cell  # before it starts: it may send to itself
        cell.start(kind.create)
        return cell

    def limits(self, name: str) -> ActorLimits:
        """The limits of the actors of a type."""
        return self._types[name].limits

    def forget(self, cell: Cell) -> None:
        """Lets go of a cell whose actor could not start."""
        if self._cells.get(cell.address) is cell:
            del self._cells[cell.address]

    def __iter__(self) -> Iterator[Cell]:
        return iter(self._cells.values())

    async def drain(self) -> None:
        """Waits until no turn is under way and none waits."""
        while busy := [cell for cell in self if cell.task is not None or cell.queued]:
            tasks = [cell.task for cell in busy if cell.task is not None]
            await (asyncio.wait(tasks) if tasks else asyncio.sleep(0))

    async def stop(self) -> None:
        """Ends all actors."""
        await asyncio.gather(*[cell.stop() for cell in self])
