"""Gives a target many inputs, and keeps those that it fails on."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import perf_counter, process_time
from types import TracebackType
from typing import Any, Final

from tests.fuzz.inputs import Form
from tests.fuzz.mutation import Mutator

CORPUS: Final = Path(__file__).parent / "corpus"
FIXTURES: Final = Path(__file__).parents[1] / "fixtures"

SLOW_SECONDS: Final = 2.0
"""CPU seconds of one input: more is a finding, too."""
BLOCK: Final = 10_000
"""So many inputs are made of the corpus alone, then the next ones: a run can begin with any block."""
REFUSED: Final = object()
"""What a target returns for an input that it does not go on with."""
_MOST_FINDINGS: Final = 20
_KEPT: Final = 0.1  # how often a changed input that was taken is changed further
_GENERATIONS: Final = 4  # how often that is done: they get larger, and less like what they were


@dataclass(frozen=True)
class Target:
    """What is given inputs. `run` returns REFUSED for one that it does not go on with, or raises one of
    `allowed`. `seeds`: patterns of files besides those of its folder in the corpus; `words`: what inputs have
    in them; `quick`: how many inputs a run of all tests has."""

    name: str
    form: Form
    run: Callable[[Any], object]
    allowed: tuple[type[Exception], ...] = ()
    seeds: tuple[str, ...] = ()
    words: tuple[bytes, ...] = ()
    quick: int = 1500

    def corpus(self) -> dict[Path, Any]:
        """The inputs to begin with, by their files."""
        files = [path for path in sorted((CORPUS / self.name).glob("*")) if path.is_file()]
        files += [path for pattern in self.seeds for path in sorted(FIXTURES.glob(pattern))]
        return {path: self.form.decoded(path.read_bytes()) for path in files}

    def failure(self, value: Any) -> BaseException | None:
        """What this input raises that is not allowed; a TimeoutError if it took too long."""
        result = self.outcome(value)
        return result if isinstance(result, BaseException) else None

    def outcome(self, value: Any) -> BaseException | bool:
        """The failure, or whether the input was taken rather than refused."""
        began, cpu = perf_counter(), process_time()
        taken = False
        try:
            taken = self.run(value) is not REFUSED
        except self.allowed:
            pass
        except (Exception, RecursionError) as error:  # noqa: BLE001  # that is what is looked for
            return error
        if perf_counter() - began > SLOW_SECONDS and process_time() - cpu > SLOW_SECONDS:
            return TimeoutError(f"{process_time() - cpu:.1f} s of CPU")
        return taken


@dataclass
class Finding:
    """An input that a target fails on, and how."""

    target: Target
    value: Any
    error: BaseException
    times: int = 1

    @property
    def text(self) -> str:
        return "".join(traceback.format_exception(self.error)[-6:])

    def keep(self, folder: Path) -> Path:
        """Write the input to a file in this folder."""
        folder.mkdir(parents=True, exist_ok=True)
        frame = _last_of_ours(self.error.__traceback__)
        path = folder / f"{self.target.name}-{type(self.error).__name__}-{frame.replace('/', '.')}"
        path.write_bytes(self.target.form.encoded(self.value))
        return path


@dataclass
class Search:
    """The same seed gives the same inputs. `taken`: how many of them were not refused; `end`: the number of
    the input with which another run goes on."""

    target: Target
    seed: int
    findings: dict[str, Finding] = field(default_factory=dict)
    inputs: int = 0
    taken: int = 0
    end: int = 0
    interrupted: bool = False

    def run(self, inputs: int, begin: int = 0, tell: Callable[[int], object] = bool) -> None:
        """The corpus, and so many inputs made of it, from number `begin` on, which is that of a block. Ends
        early at a KeyboardInterrupt, or with many different findings. `tell` is given the number with which
        each block begins."""
        corpus, self.end = list(self.target.corpus().values()), begin
        try:
            for value in corpus:
                self._try(value)
            while self.end < begin + inputs and len(self.findings) < _MOST_FINDINGS:
                tell(self.end)
                count = min(BLOCK, begin + inputs - self.end)
                self._block(corpus, self.end // BLOCK, count)
                self.end += count
        except KeyboardInterrupt:
            self.interrupted = True

    def _block(self, corpus: list[Any], number: int, inputs: int) -> None:
        for value, keep in self._made(corpus, number, inputs):
            if self._try(value):
                keep()
            if len(self.findings) >= _MOST_FINDINGS:
                return

    def _made(self, corpus: list[Any], block: int, inputs: int) -> Iterator[tuple[Any, Callable[[], None]]]:
        """Inputs, each with what makes it one to change further. A block does not depend on others."""
        random = Random(f"{self.target.name} {self.seed} {block}")
        mutator, changed = Mutator(random, self.target.words), self.target.form.changed
        pool, chance = [(value, 0) for value in corpus], random.random
        least, most = len(corpus), 2 * len(corpus) + 20
        generation, made = 0, None

        def keep() -> None:
            if generation >= _GENERATIONS or chance() >= _KEPT:
                return
            if len(pool) < most:
                pool.append((made, generation + 1))
            else:  # one of the changed ones makes room
                pool[least + int(chance() * (most - least))] = (made, generation + 1)

        for _ in range(inputs):
            value, generation = pool[int(chance() * len(pool))]
            made = changed(mutator, value, pool[int(chance() * len(pool))][0])
            yield made, keep

    def _try(self, value: Any) -> bool:
        """Whether it was taken."""
        began = perf_counter()
        try:
            outcome = self.target.outcome(value)
        except KeyboardInterrupt as interrupt:
            seconds = perf_counter() - began
            if seconds > SLOW_SECONDS:
                error = TimeoutError(f"still at it after {seconds:.1f} s")
                self._found(value, error.with_traceback(interrupt.__traceback__))
            raise
        self.inputs += 1
        self.taken += outcome is True
        if isinstance(outcome, BaseException):
            self._found(value, outcome)
        return outcome is True

    def _found(self, value: Any, error: BaseException) -> None:
        where = f"{type(error).__name__} {_last_of_ours(error.__traceback__)}"
        if where in self.findings:
            self.findings[where].times += 1
        else:
            self.findings[where] = Finding(self.target, value, error)


def _last_of_ours(trace: TracebackType | None) -> str:
    """File and line of the innermost frame that is neither of a library nor of the fuzzer."""
    last = "nowhere"
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if any(f"/{package}/" in name for package in ("exporter", "scaler", "service")):
            last = f"{'/'.join(Path(name).parts[-3:])}:{trace.tb_lineno}"
        trace = trace.tb_next
    return last
