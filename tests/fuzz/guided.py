"""Inputs chosen by the code that they reach: `python -m tests.fuzz.guided TARGET [libFuzzer's options]`.

It needs atheris, which is no dependency of the project: `pip install atheris` into a copy of .venv. What it
keeps is in .lab/fuzz/TARGET; it stops at the first failure, which `--replay` of `tests.fuzz` shows.
"""

from __future__ import annotations

import logging
import sys
from hashlib import sha256
from pathlib import Path
from random import Random

import atheris

from tests.fuzz.inputs import NotAnInputError
from tests.fuzz.mutation import Mutator

with atheris.instrument_imports(include=["exporter", "scaler", "service"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    logging.disable()
    target = TARGETS[sys.argv[1]]
    form, corpus = target.form, list(target.corpus().values())
    folder = Path(".lab") / "fuzz" / target.name
    folder.mkdir(parents=True, exist_ok=True)
    for value in corpus:
        raw = form.encoded(value)
        (folder / sha256(raw).hexdigest()[:16]).write_bytes(raw)

    def take(raw: bytes) -> None:
        try:
            value = form.decoded(raw)
        except NotAnInputError:
            return
        error = target.failure(value)
        if error is not None:
            raise error

    def change(raw: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)
        other = random.choice(corpus)
        try:
            value = form.decoded(raw)
        except NotAnInputError:
            value = other
        changed = form.encoded(form.changed(Mutator(random, target.words), value, other))
        return changed if len(changed) <= most else raw

    options = [f"-artifact_prefix={folder}-", "-max_len=100000", *sys.argv[2:]]
    atheris.Setup([sys.argv[0], str(folder), *options], take, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
