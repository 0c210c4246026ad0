"""The body of an answer, in parts of which some are compressed already. Pure.

A part is a segment of a deflate stream that refers to nothing before it (Z_FULL_FLUSH): parts of different
times make one gzip member, in any order. Members of their own would be as valid, but several clients (httpx,
browsers) read only the first. The checksum of the whole follows from those of the parts, as in zlib's
crc32_combine.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

_LEVEL: Final = 1
_RAW: Final = -zlib.MAX_WBITS  # deflate without header and checksum
_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"  # no time, fastest, unknown system
_END: Final = b"\x03\x00"  # an empty last block
_POLYNOMIAL: Final = 0xEDB88320  # of CRC-32, reflected


class Part(NamedTuple):
    """A compressed segment, and the checksum and the number of the bytes in it."""

    deflated: bytes
    crc: int
    size: int

    def plain(self) -> bytes:
        return zlib.decompress(self.deflated + _END, _RAW, max(1, self.size))


Piece: TypeAlias = bytes | Part


class Packer:
    """Compresses parts. One thread at a time: a new one costs 256 kB and tens of microseconds."""

    def __init__(self) -> None:
        self._stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _RAW)

    def pack(self, plain: bytes) -> Part:
        deflated = self._stream.compress(plain) + self._stream.flush(zlib.Z_FULL_FLUSH)
        return Part(deflated, zlib.crc32(plain), len(plain))


class Body(NamedTuple):
    """Pieces in their order."""

    pieces: Sequence[Piece]

    def plain(self) -> bytes:
        return b"".join(
            piece if isinstance(piece, bytes) else piece.plain() for piece in self.pieces if piece
        )

    def gzip(self) -> bytes:
        """One gzip member."""
        packer = Packer()
        parts = [packer.pack(piece) if isinstance(piece, bytes) else piece for piece in _merged(self.pieces)]
        deflated, crc, size = joined(parts)
        return b"".join(
            (_HEADER, deflated, _END, crc.to_bytes(4, "little"), (size & 0xFFFFFFFF).to_bytes(4, "little"))
        )


def joined(parts: Iterable[Part]) -> Part:
    """One part of several."""
    listed = list(parts)
    crc = size = 0
    for part in listed:
        crc = combined(crc, part.crc, part.size)
        size += part.size
    return Part(b"".join(part.deflated for part in listed), crc, size)


def combined(crc: int, following: int, size: int) -> int:
    """The CRC-32 of bytes that are followed by `size` others, from those of both."""
    power = 0
    while size:
        if size & 1:
            low, second, third, high = _zeros(power)
            crc = low[crc & 255] ^ second[crc >> 8 & 255] ^ third[crc >> 16 & 255] ^ high[crc >> 24]
        size >>= 1
        power += 1
    return crc ^ following


_Operator: TypeAlias = tuple[list[int], list[int], list[int], list[int]]
_operators: Final[list[_Operator]] = []


def _zeros(power: int) -> _Operator:
    """What 2**power bytes of 0 make of a CRC register, for each value of each of its bytes."""
    while len(_operators) <= power:
        bits = [1 << bit for bit in range(32)]
        if _operators:
            last = _operators[-1]
            bits = [_applied(last, _applied(last, bit)) for bit in bits]
        else:
            for _ in range(8):
                bits = [bit >> 1 ^ (_POLYNOMIAL if bit & 1 else 0) for bit in bits]
        tables = []
        for first in range(0, 32, 8):
            table = [0] * 256
            for value in range(1, 256):
                lowest = value & -value
                table[value] = table[value ^ lowest] ^ bits[first + lowest.bit_length() - 1]
            tables.append(table)
        _operators.append((tables[0], tables[1], tables[2], tables[3]))
    return _operators[power]


def _applied(operator: _Operator, crc: int) -> int:
    low, second, third, high = operator
    return low[crc & 255] ^ second[crc >> 8 & 255] ^ third[crc >> 16 & 255] ^ high[crc >> 24]


def _merged(pieces: Iterable[Piece]) -> Iterable[Piece]:
    """Without empty pieces, and plain ones that follow each other as one."""
    plain: list[bytes] = []
    for piece in pieces:
        if isinstance(piece, bytes):
            plain.append(piece)
            continue
        if any(plain):
            yield b"".join(plain)
        plain.clear()
        if piece.size:
            yield piece
    if any(plain):
        yield b"".join(plain)
