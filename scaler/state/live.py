"""The state of a running scaler: in memory, and in a store where there is one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from scaler.decision.step import TargetMemory, dump_memory, load_memory
from scaler.model import Control
from scaler.state.model import Action, OperatorState, State, StateError, control, with_action, without_expired
from scaler.state.store import Store, StoreError
from service.clock import monotonic, now

log = logging.getLogger(__name__)

_LEARNED_SECONDS: Final = 60.0  # between two writes of nothing but what was learned
_RETRY_SECONDS: Final = 30.0


class LiveState:
    """What people have ordered, what was done and learned. For one thread;
    `operator` and `actions` for all."""

    def __init__(self, store: Store | None, *, store_may_be_unreachable: bool = False) -> None:
        """A patient one begins without a store that cannot be read yet, and is not `known` until it was.

        Raises StoreError: the store cannot be used.
        """
        self._store = store
        self._lock = threading.Lock()
        self._state = State()
        self._mark: object = None
        self._new_actions: list[Action] = []
        self._save_at = 0.0
        self._told: list[str] = []
        self.known = store is None
        if store is None:
            return
        store.own()
        try:
            self._load(store)
        except StoreError as error:
            if not store_may_be_unreachable:
                raise
            self._unreadable(error)

    @property
    def operator(self) -> OperatorState:
        """What people have said, as of the last `refresh`."""
        return self._state.operator

    @property
    def actions(self) -> tuple[Action, ...]:
        """The last changes, the newest last."""
        return self._state.actions

    def refresh(self) -> None:
        """Take over what commands, hands or another scaler have changed in the store. Never raises."""
        if self._store is None:
            return
        try:
            if not self.known:
                self._load(self._store)
                return
            mark = self._store.mark()
            if mark == self._mark:
                return
            self._mark = mark
            found, problems = self._store.read()
        except (StateError, StoreError) as error:
            self._unreadable(error)
            return
        self._tell(problems)
        if found.operator != self._state.operator:
            log.info("orders were changed", extra={"state": self._store.name})
        self._state = replace(self._state, operator=found.operator, actions=found.actions)
        for action in self._new_actions:
            self._state = with_action(self._state, action)

    def change(self, change: Callable[[State], State]) -> None:
        """An order of now, from any thread: into the store, from where `refresh` takes it.

        Raises StateError and StoreError.
        """
        if self._store is not None:
            left, _ = self._store.change(change)
            with self._lock:
                self._state = replace(
                    self._state, operator=left.operator
                )  # seen at once; `refresh` reads all
            return
        with self._lock:
            self._state = change(self._state)

    def control(self, target: str, at: float) -> Control:
        """What people have ordered for a target at a time (unix s)."""
        return control(self._state.operator, target, at)

    def recall(self, target: str) -> TargetMemory | None:
        """What was learned before the start; None where it cannot be used."""
        data = self._state.learned.get(target)
        try:
            return load_memory(data) if data is not None else None
        except ValueError as error:
            log.warning("what was learned cannot be used", extra={"target": target, "error": str(error)})
            return None

    def record_action(self, target: str, at: float, old: int, new: int, reason: str) -> None:
        """The number of workers was changed; `save` writes it."""
        action = Action(at, target, old, new, reason)
        with self._lock:
            self._state = with_action(self._state, action)
        self._new_actions.append(action)

    def save(self, memories: Mapping[str, TargetMemory], *, at_once: bool = False) -> None:
        """Write what is new: at once after a change, what was only learned once a minute. Never raises."""
        expired = without_expired(self._state.operator, now()) != self._state.operator
        due = at_once or expired or self._new_actions or monotonic() >= self._save_at
        if self._store is None or not self.known or not due:
            return
        learned = dict(self._state.learned) | {name: dump_memory(one) for name, one in memories.items()}

        def changed(found: State) -> State:
            for action in self._new_actions:
                found = with_action(found, action)
            return replace(found, learned=learned, operator=without_expired(found.operator, now()))

        try:
            self._state, self._mark = self._store.change(changed)
        except (StateError, StoreError) as error:
            log.warning("the state cannot be saved", extra={"error": str(error)})
            self._save_at = monotonic() + _RETRY_SECONDS
            return
        self._new_actions.clear()
        self._save_at = monotonic() + _LEARNED_SECONDS

    def close(self) -> None:
        """Let another scaler have the store."""
        if self._store is not None:
            self._store.close()

    def _load(self, store: Store) -> None:
        try:
            mark = store.mark()
            self._state, problems = store.read()
        except StateError as error:
            aside = store.set_aside()
            log.warning(
                "the state cannot be used: beginning anew", extra={"error": str(error), "kept_as": aside}
            )
            self.known = True
            return
        self._mark, self.known = mark, True
        self._tell(problems)

    def _unreadable(self, error: Exception) -> None:
        if str(error) not in self._told:
            log.warning("the state cannot be read", extra={"error": str(error)})
        self._told = [str(error)]

    def _tell(self, problems: list[str]) -> None:
        for problem in problems:
            if problem not in self._told:
                log.warning("a part of the state cannot be used", extra={"part": problem})
        self._told = problems
