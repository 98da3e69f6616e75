"""Kinds of component actors: which component their instances are made from."""

import asyncio
import logging
import zlib
from collections import deque
from pathlib import Path
from typing import Final

from theater.errors import InstanceEnded, InvalidComponent, MailboxFull
from theater.limits import ActorLimits, Limits
from theater.runtime.ports import Behaviour, Context
from theater.wasm.actor import ComponentActor, OldComponentActor
from theater.wasm.cache import Cache, cache_folder
from theater.wasm.contracts import V0_1
from theater.wasm.engine import Engine
from theater.wasm.instance import Instance
from theater.wasm.instance import instance as new_instance
from theater.wasm.program import Program

log = logging.getLogger("theater")

_WARM: Final = 2  # instances that wait for actors
_REFILL_DELAY: Final = 0.05  # seconds; who has just come is served first


class ComponentType:
    """A component file, as what makes actors; it can be replaced while they run.

    Args:
        path: of the file.
        grants: packages outside of the contract that it may import.
        threaded: its instances compute in worker threads from the start.
        limits: of its actors.
        engine: what runs it.
        cache: of what has been compiled.

    Attributes:
        path: of the file.
        program: what new instances are made from.

    Raises:
        InvalidComponent: it does not fit, cannot be read, or is none.
    """

    def __init__(
        self,
        path: Path,
        grants: tuple[str, ...],
        threaded: bool,
        limits: ActorLimits,
        engine: Engine,
        cache: Cache,
    ) -> None:
        self.path = path
        self._grants = grants
        self._threaded = threaded
        self._limits = limits
        self._engine = engine
        self._cache = cache
        self._warm: deque[Instance] = deque()
        self._refilling: asyncio.Task[None] | None = None
        self._stamp = self._read_stamp()
        self.program = self._load()

    def _load(self) -> Program:
        return Program(self.path, self._grants, self._limits, self._engine, self._cache)

    def _read_stamp(self) -> tuple[int, int] | None:
        """What differs when the file has been replaced."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size

    def create(self, context: Context) -> Behaviour:
        """Makes an actor."""
        make = OldComponentActor if self.program.contract is V0_1 else ComponentActor
        return make(self, context)

    async def instance(self, owner: object, name: str) -> Instance:
        """An instance of the newest program, ready to be called.

        Args:
            owner: given to host functions as their first argument.
            name: of the actor.

        Raises:
            InstanceEnded: it cannot be made.
            MailboxFull: there are too many.
        """
        affinity = zlib.crc32(name.encode())
        if self._warm:
            instance = self._warm.popleft()
            instance.adopt(owner, name, affinity)
        else:
            if self._engine.instances >= self._engine.max_instances:
                raise MailboxFull(name)
            instance = new_instance(self.program, self._threaded)  # has its place from now on
            instance.adopt(owner, name, affinity)
            try:
                await self._engine.pace()
            except BaseException:
                instance.end()
                raise
            await instance.start()
        if self._refilling is None:
            loop = asyncio.get_running_loop()
            self._refilling = loop.create_task(self._refill(self.program), name=f"warm {self.path}")
        return instance

    async def _refill(self, program: Program) -> None:
        """Makes instances for actors to come."""
        try:
            await asyncio.sleep(_REFILL_DELAY)
            while len(self._warm) < _WARM:
                await self._engine.pace()
                if self._engine.instances >= self._engine.max_instances:
                    return
                instance = new_instance(program, self._threaded)
                await instance.start()
                if program is not self.program:
                    instance.end()
                    return
                self._warm.append(instance)
        except InstanceEnded:
            pass  # whoever needs one is told so
        finally:
            self._refilling = None

    async def reload(self) -> bool:
        """Loads the file anew if it has changed; actors get new instances between their turns.

        Returns:
            Whether it had changed. After an exception all is as it was.

        Raises:
            InvalidComponent: it does not fit, cannot be read, or is none; or it is built for another
                version of the contract, or lacks what the one that runs exports.
            InstanceEnded: it cannot be instantiated.
        """
        stamp = self._read_stamp()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        program = await asyncio.to_thread(self._load)
        if program.contract is not self.program.contract:
            problem = (
                f"is built for version {program.contract.version} of the contract, and the one that runs "
                f"for {self.program.contract.version}: restart the server"
            )
            raise InvalidComponent(str(self.path), problem)
        if missing := self.program.exports - program.exports:  # handlers may lead there
            problem = f"does not export {', '.join(sorted(missing))} any more: restart the server"
            raise InvalidComponent(str(self.path), problem)
        trial = new_instance(program, self._threaded)
        try:
            await trial.start()
        finally:
            trial.end()
        self.program = program
        while self._warm:
            self._warm.popleft().end()
        return True

    async def stop(self) -> None:
        """Lets go of instances that nobody has."""
        if self._refilling is not None:
            self._refilling.cancel()
            await asyncio.wait([self._refilling])
        while self._warm:
            self._warm.popleft().end()


class Components:
    """All kinds of component actors of a server, and the engine that they share.

    Args:
        limits: the server's.
    """

    def __init__(self, limits: Limits) -> None:
        self._engine = Engine(limits.max_stack, limits.max_instances)
        self._cache = Cache(cache_folder())
        self._kinds: list[ComponentType] = []

    def load(self, path: Path, grants: tuple[str, ...], threaded: bool, limits: ActorLimits) -> ComponentType:
        """Loads a component; see `ComponentType`."""
        kind = ComponentType(path, grants, threaded, limits, self._engine, self._cache)
        self._kinds.append(kind)
        return kind

    async def reload(self) -> None:
        """Puts those in place whose files have changed; one that is no good leaves the old one running."""
        for kind in self._kinds:
            try:
                if await kind.reload():
                    log.info("%s has been replaced", kind.path)
            except (InvalidComponent, InstanceEnded) as error:
                log.error("%s stays as it was: %s", kind.path, error)

    async def stop(self) -> None:
        """Ends what runs components; no actor may be left that uses one."""
        for kind in self._kinds:
            await kind.stop()
        self.close()

    def close(self) -> None:
        """The same for where no actor has been made."""
        self._engine.close()
