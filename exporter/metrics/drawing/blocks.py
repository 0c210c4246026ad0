"""The samples of a table's families, kept as compressed blocks of rows: what did not change is not drawn.

A block has the samples of `SIZE` rows for each family. Rows that change again and again are put together,
into blocks of their own: else one changing queue of each hundred would have everything drawn again. So the
order of the rows is not that of the table, and may be another one in the next scrape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from exporter.metrics.drawing.encoding import Draw
from exporter.metrics.family import Table, TableColumn
from exporter.snapshot.queues import Changes
from service.web.body import Part, Piece, joined

Pack: TypeAlias = Callable[[bytes], Part]
RowLabels: TypeAlias = Callable[[Sequence[str], Sequence[str]], Any]
"""From the names and the values of a row's labels to what a `Draw` takes."""

SIZE: Final = 128
_PERIOD: Final = 6  # scrapes after which it is asked whether other blocks would be better
_HOT: Final = 3  # of these in which a row changed
_WORTH: Final = 2.0  # times as many blocks drawn as would be


class _Block:
    """Some rows: their labels, what they were at the last scrape, and the samples of each family; `lines`:
    how many lines these are as text."""

    __slots__ = ("keys", "labels", "lines", "parts", "stable", "values")

    def __init__(self, keys: list[Any], labels: list[Any], columns: int) -> None:
        self.keys = keys
        self.labels = labels
        self.stable: list[object] = []
        self.values: list[list[Any]] = [[] for _ in range(columns)]
        self.parts: list[Part | None] = [None] * columns
        self.lines = [0] * columns


class TableBlocks:
    """The blocks of one table. Not for two threads at a time."""

    def __init__(
        self,
        table: Table,
        names: Sequence[str],
        columns: Sequence[tuple[TableColumn, Draw]],
        labels: RowLabels,
    ) -> None:
        self._table = table
        self._label_names = names
        self._labels = labels
        self._columns = columns
        self._still = [place for place, (column, _) in enumerate(columns) if not column.moving]
        self._moving = [place for place, (column, _) in enumerate(columns) if column.moving]
        self._blocks: list[_Block] = []
        self._block_of: dict[Any, _Block] = {}  # in the order of the rows
        self._row_labels: list[Any] = []
        self._number: int | None = None  # of the collection of the last scrape
        self._joined: list[Part | None] = [None] * len(columns)
        self._lines = [0] * len(columns)
        self._dirty: set[int] = set()  # places of families whose joined part is not that of the blocks
        self._changes: Counter[Hashable] = Counter()
        self._drawn = self._updates = 0

    def pieces(self, rows: Mapping[Any, Any], pack: Pack, changes: Changes | None = None) -> list[Piece]:
        """Of each family its samples for these rows."""
        self._regroup_where_better()
        changed = self._changed(rows, changes)
        for block, own in self._taken(rows) if changed is None else self._of(changed, rows):
            self._refresh(block, own, pack)
        for place in self._dirty:
            parts = [part for block in self._blocks if (part := block.parts[place]) is not None]
            self._joined[place] = joined(parts) if parts else None
            self._lines[place] = sum([block.lines[place] for block in self._blocks])
        self._dirty.clear()
        pieces: list[Piece] = [part or b"" for part in self._joined]
        if self._moving:
            listed = [rows[key] for key in self._block_of]
            for place in self._moving:
                column, draw = self._columns[place]
                pieces[place] = drawn = draw(self._row_labels, map(column.value, listed))
                self._lines[place] = drawn.count(b"\n")
        return pieces

    @property
    def lines(self) -> int:
        """How many lines the last pieces have, if they are text."""
        return sum(self._lines)

    def _changed(self, rows: Mapping[Any, Any], changes: Changes | None) -> Iterable[Any] | None:
        """The rows of which `stable` may be another one than at the last scrape; None: of any, or some came
        or are gone."""
        last, self._number = self._number, changes.number if changes else None
        if changes is None or last is None or changes.number not in (last, last + 1):
            return None
        known = self._block_of
        if len(rows) != len(known) or len(changes.queues) > len(known) // 2:
            return None
        changed = [key for key in changes.queues if key in known or key in rows]
        return changed if all(key in known and key in rows for key in changed) else None

    def _of(self, keys: Iterable[Any], rows: Mapping[Any, Any]) -> list[tuple[_Block, list[Any]]]:
        """The blocks that have these rows, each with its rows."""
        blocks = {id(block): block for block in map(self._block_of.__getitem__, keys)}
        return [(block, [rows[key] for key in block.keys]) for block in blocks.values()]

    def _taken(self, rows: Mapping[Any, Any]) -> list[tuple[_Block, list[Any]]]:
        """The blocks, each with its rows: those that are gone leave it, and new ones come into the last."""
        taken, known = [], 0
        for block in self._blocks:
            own = list(map(rows.get, block.keys))
            known += len(own)
            if None in own:
                known -= own.count(None)
                rest = self._block([key for key in block.keys if key in rows])
                taken.append((rest, [row for row in own if row is not None]))
            else:
                taken.append((block, own))
        if known < len(rows):
            before = {key for block, _ in taken for key in block.keys}
            new = [key for key in rows if key not in before]
            if taken and len(taken[-1][1]) < SIZE:
                new = taken.pop()[0].keys + new
            taken += [(block, [rows[key] for key in block.keys]) for block in self._blocks_of(new)]
        taken = [(block, own) for block, own in taken if own]
        blocks = [block for block, _ in taken]
        if blocks != self._blocks:
            self._use(blocks)
        return taken

    def _use(self, blocks: list[_Block]) -> None:
        self._blocks = blocks
        self._dirty.update(self._still)
        self._block_of = {key: block for block in blocks for key in block.keys}
        self._row_labels = [label for block in blocks for label in block.labels]

    def _refresh(self, block: _Block, rows: list[Any], pack: Pack) -> None:
        """Draw what changed."""
        stable = list(map(self._table.stable, rows))
        before = block.stable
        if stable == before:
            return
        if before:
            self._drawn += 1
            self._changes.update(
                [
                    key
                    for key, old, new in zip(block.keys, before, stable, strict=True)
                    if old is not new and old != new
                ]
            )
        for place in self._still:
            column, draw = self._columns[place]
            values = list(map(column.value, rows))
            if values != block.values[place]:
                drawn = draw(block.labels, values)
                block.parts[place] = pack(drawn) if drawn else None
                block.lines[place] = drawn.count(b"\n")
                block.values[place] = values
                self._dirty.add(place)
        block.stable = stable

    def _regroup_where_better(self) -> None:
        """Put the rows that changed in most of the last scrapes into blocks of their own, if that saves half
        of the drawing or more."""
        self._updates += 1
        if self._updates < _PERIOD:
            return
        changes, drawn = self._changes, self._drawn
        self._changes, self._drawn, self._updates = Counter(), 0, 0
        hot = {key for key, times in changes.items() if times >= _HOT}
        others = sum(times for key, times in changes.items() if key not in hot)
        needed = _PERIOD * -(-len(hot) // SIZE) + others
        keys = [key for block in self._blocks for key in block.keys]
        scattered = len(self._blocks) > 2 * (len(keys) // SIZE + 2)
        if scattered or (hot and drawn >= _WORTH * needed):
            self._number = None  # they are all to be drawn
            still = [key for key in keys if key not in hot]
            self._use([*self._blocks_of([key for key in keys if key in hot]), *self._blocks_of(still)])

    def _blocks_of(self, keys: Sequence[Any]) -> Iterable[_Block]:
        return [self._block(list(keys[start : start + SIZE])) for start in range(0, len(keys), SIZE)]

    def _block(self, keys: list[Any]) -> _Block:
        return _Block(keys, [self._labels(self._label_names, key) for key in keys], len(self._columns))
