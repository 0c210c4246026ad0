from __future__ import annotations

import gzip
import zlib

from hypothesis import given
from hypothesis import strategies as st

from service.web.body import Body, Packer, combined, joined

texts = st.lists(st.binary(max_size=300) | st.sampled_from([b"bullmq_up 1.0\n" * 900, b"", b"\0" * 70_000]))
packed = st.lists(st.booleans(), min_size=20, max_size=20)


@given(texts, packed)
def test_a_gzip_body_is_one_member_with_the_plain_bytes(texts: list[bytes], packed: list[bool]) -> None:
    packer = Packer()
    body = Body(
        [
            packer.pack(text) if compressed else text
            for text, compressed in zip(texts, (packed * 20)[: len(texts)], strict=True)
        ]
    )
    assert body.plain() == b"".join(texts)
    assert gzip.decompress(body.gzip()) == body.plain()
    reader = zlib.decompressobj(31)
    assert reader.decompress(body.gzip()) == body.plain()
    assert reader.eof
    assert reader.unused_data == b"", "some clients read the first member alone"


@given(st.binary(max_size=2000), st.binary(max_size=2000))
def test_the_checksum_of_both_is_that_of_the_whole(first: bytes, second: bytes) -> None:
    assert combined(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


def test_the_checksum_of_large_parts() -> None:
    first, second = b"a" * 123_457, b"b" * 5_000_011
    assert combined(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


@given(texts)
def test_parts_are_used_in_any_order_and_again(texts: list[bytes]) -> None:
    packer = Packer()
    parts = [packer.pack(text) for text in texts]
    both = [*parts, *reversed(parts)]
    assert joined(both).plain() == b"".join([*texts, *reversed(texts)])
    assert gzip.decompress(Body(both).gzip()) == Body(both).plain()
