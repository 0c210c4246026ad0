"""The state of a running scaler: in memory, and in a store if there is one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf
from typing import Final

from scaler.model import Control
from scaler.state.learned import Learned, dump_learned, load_learned
from scaler.state.model import (
    Action,
    OperatorState,
    State,
    StateError,
    control,
    orders_text,
    with_action,
    without_expired,
)
from scaler.state.store import Store, StoreError, Update
from service.clock import monotonic, now
from service.logs import ProblemLog

log = logging.getLogger(__name__)

_LEARNED_SECONDS: Final = 60.0  # between two writes of nothing but what was learned
_SOON_SECONDS: Final = 10.0  # if some of it is needed at once after a restart
_RETRY_SECONDS: Final = 30.0
_REPAIR: Final = "repair it, or go on with what can be read of it by `scaling state discard`"
_UNREAD: Final = object()
"""The version of a state that has to be read again whatever its version is."""


class LiveState:
    """What operators have set, what was done and learned. For one thread; `operator` and `actions` for
    all.

    Orders that cannot be read are not taken for none: at a start nothing is `loaded`, and later those that
    were read last stay in force, also where the state is gone.
    """

    def __init__(self, store: Store | None, *, store_may_be_unreachable: bool = False) -> None:
        """`loaded` is false until the store has been read.

        Raises StoreError: the store cannot be used, and `store_may_be_unreachable` is false.
        """
        self._store = store
        self._lock = threading.Lock()
        self._state = State()
        self._version: object = None
        self._new_actions: list[Action] = []
        self._save_at = 0.0
        self._saved_at = -inf
        self._unreadable = ProblemLog(log, "state not readable", None)
        self._held = ProblemLog(log, "state not usable, nothing is scaled", "state usable again")
        self._unsaved = ProblemLog(log, "state not saved", "state saved again")
        self._failed = False
        self._is_gone = False
        self._is_read = True
        self._reported: list[str] = []
        self.why_held = ""
        """Why no target is scaled, whatever its metrics say; empty if targets are."""
        self.write_errors = 0
        """How often the state could not be written since the start."""
        self.loaded = store is None
        if store is None:
            return
        store.own()
        try:
            self._load(store)
        except StateError as error:
            self._report_unreadable(error)
        except StoreError as error:
            if not store_may_be_unreachable:
                store.close()
                raise
            self._report_unreadable(error)

    @property
    def readable(self) -> bool | None:
        """Whether every order could be read at the last look; None: they are not stored."""
        return None if self._store is None else self._is_read and not self._state.operator.doubted

    @property
    def recalls(self) -> bool:
        """Whether `recall` has what was learned, which may be of a state whose orders cannot be read."""
        return self.loaded or bool(self._state.learned)

    @property
    def operator(self) -> OperatorState:
        """What operators have set, as of the last `refresh`."""
        return self._state.operator

    @property
    def actions(self) -> tuple[Action, ...]:
        """The last changes, the newest last."""
        return self._state.actions

    def refresh(self) -> None:
        """Take over what commands, people or another scaler have changed in the store. Never raises."""
        if self._store is None:
            return
        try:
            if not self.loaded:
                self._load(self._store)
                return
            version = self._store.version()
            if version == self._version:
                return
            self._version = version
            if version is None and not self.why_held:  # while nothing is scaled it is a decision
                self._report_gone(self._store)
                return
            state, problems = self._store.read()
        except (StateError, StoreError) as error:
            self._report_unreadable(error)
            return
        self._report(problems, state.operator)
        if state.operator != self._state.operator:
            log.info("operator state changed", extra={"state": self._store.name})
        self._state = replace(
            self._state, operator=state.operator, actions=state.actions, learned=state.learned
        )
        for action in self._new_actions:
            self._state = with_action(self._state, action)

    def update(self, update: Callable[[State], State]) -> Update:
        """A command, from any thread: into the store, from where `refresh` takes it.

        Raises StateError and StoreError, and what `update` raises.
        """
        if self._store is not None:
            try:
                result = self._store.update(update, gone=self._stored())
            except StoreError:
                self.write_errors += 1
                raise
            with self._lock:
                # effective at once; `refresh` reads everything
                self._state = replace(self._state, operator=result.after.operator)
            return result
        with self._lock:
            before, self._state = self._state, update(self._state)
            return Update(before, self._state, None)

    def control(self, target: str, at: float) -> Control:
        """What operators have set for a target at a time (unix s)."""
        return control(self._state.operator, target, at)

    def recall(self, target: str) -> Learned:
        """What was learned before the start, without what is invalid."""
        learned, problems = load_learned(self._state.learned.get(target, {}))
        for problem in problems:
            log.warning("learned state not usable", extra={"target": target, "error": problem})
        return learned

    def record_action(self, target: str, at: float, old: int, new: int, reason: str) -> None:
        """The number of workers was changed; `save` writes it."""
        action = Action(at, target, old, new, reason)
        with self._lock:
            self._state = with_action(self._state, action)
        self._new_actions.append(action)

    def save(
        self, learned: Callable[[], Mapping[str, Learned]], *, at_once: bool = False, soon: bool = False
    ) -> None:
        """Write what is new: a change at once, learned values alone once a minute, `soon` after 10 s, and
        after a failure nothing for 30 s. `learned` is called when they are written. Never raises."""
        if self._store is None or not self.loaded:
            return
        if soon and not self._failed:
            self._save_at = min(self._save_at, self._saved_at + _SOON_SECONDS)
        expired = without_expired(self._state.operator, now()) != self._state.operator
        news = (expired or self._new_actions or self._is_gone) and not self._failed
        if not at_once and not news and monotonic() < self._save_at:
            return
        dumped = dict(self._state.learned) | {name: dump_learned(known) for name, known in learned().items()}

        def with_new(state: State) -> State:
            for action in self._new_actions:
                state = with_action(state, action)
            return replace(state, learned=dumped, operator=without_expired(state.operator, now()))

        try:
            _, self._state, self._version = self._store.update(with_new, gone=self._stored())
        except (StateError, StoreError) as error:
            self.write_errors += 1
            self._unsaved.report(str(error))
            self._failed = True
            self._save_at = monotonic() + _RETRY_SECONDS
            return
        if self._state.operator.doubted:
            self._version = _UNREAD  # an edit that no `refresh` has seen
        self._unsaved.report("")
        self._failed = self._is_gone = False
        self._new_actions.clear()
        self._saved_at = monotonic()
        self._save_at = self._saved_at + _LEARNED_SECONDS

    def close(self) -> None:
        """Let another scaler use the store."""
        if self._store is not None:
            self._store.close()

    def _load(self, store: Store) -> None:
        version = store.version()
        self._state, problems = store.read()
        self._version, self.loaded = version, True
        self._report(problems, self._state.operator)

    def _stored(self) -> State:
        """The state without what `save` has yet to add to it."""
        with self._lock:
            actions = self._state.actions
            return replace(self._state, actions=actions[: max(0, len(actions) - len(self._new_actions))])

    def _report_unreadable(self, error: StateError | StoreError) -> None:
        self._is_read, self._reported = False, []
        if isinstance(error, StoreError):
            self._version = _UNREAD
        if self.loaded:
            self._unreadable.report(str(error))
        elif isinstance(error, StoreError):
            self.why_held = f"the state cannot be read: {error}"
            self._unreadable.report(str(error))
        else:
            self._state = error.readable
            self._hold(f"the state cannot be read: {error}")

    def _report_gone(self, store: Store) -> None:
        """What is not there any more says nothing about the orders in it."""
        self._is_gone, self._failed = True, False
        orders = orders_text(self._state.operator) or "none"
        log.warning("state gone, written again", extra={"state": store.name, "orders": orders})
        self._report([], self._state.operator)

    def _report(self, problems: list[str], operator: OperatorState) -> None:
        self._is_read = True
        self._failed = False  # it has changed, and can be read: it may be mended
        self._unreadable.report("")
        self._hold(f"orders cannot be read: {'; '.join(problems)}" if operator.any_unknown else "")
        for problem in problems:
            if problem not in self._reported:
                log.warning("part of the state not usable", extra={"part": problem})
        self._reported = problems

    def _hold(self, why: str) -> None:
        self.why_held = f"{why}; {_REPAIR}" if why else ""
        self._held.report(self.why_held)
