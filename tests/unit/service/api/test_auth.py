"""Who is let in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from service.api.auth import ApiKeyAuth, AuthError
from service.api.settings import ApiSettings, key_problem

FULL, READ = "a-full-key-of-tests", "a-read-key-of-tests"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def auth(clock: Clock | None = None, **keys: str) -> ApiKeyAuth:
    settings = ApiSettings(**{name: SecretStr(key) for name, key in keys.items()})
    return ApiKeyAuth(settings, "CRON_API_KEY", clock=clock or Clock())


def status(of: ApiKeyAuth, key: str | None, address: str = "a", *, changes: bool = False) -> int:
    refused: AuthError | None = None
    try:
        of.authorize([key] if key is not None else [], address, changes=changes)
    except AuthError as error:
        refused = error
    assert FULL not in str(refused)
    assert READ not in str(refused)
    return refused.status if refused else 200


def test_without_a_key_set_all_is_closed_and_the_setting_is_named() -> None:
    with pytest.raises(AuthError, match="CRON_API_KEY is not set") as error:
        auth().authorize(["anything"], "a")
    assert error.value.status == 503


@pytest.mark.parametrize(
    ("key", "changes", "expected"),
    [
        (FULL, False, 200),
        (FULL, True, 200),
        (READ, False, 200),
        (READ, True, 403),
        (None, False, 401),
        ("", False, 401),
        (FULL[:-1], False, 401),
        (FULL + "x", False, 401),
        (FULL.upper(), False, 401),
        ("\udcff\u00e9", True, 401),
    ],
)
def test_keys(key: str | None, expected: int, *, changes: bool) -> None:
    assert status(auth(key=FULL, read_key=READ), key, changes=changes) == expected


@given(st.text(min_size=1))
def test_nothing_but_the_key_is_a_key(key: str) -> None:
    assert (status(auth(key=FULL), key) == 200) == (key == FULL)


def test_one_right_key_among_others_is_enough() -> None:
    keys = auth(key=FULL, read_key=READ)
    assert keys.authorize(["", "a-proxys-own-key", READ, FULL], "a", changes=True) == FULL
    assert keys.authorize(["a-proxys-own-key", READ], "a") == READ
    assert keys.refused["wrong"] == 0


def test_a_read_key_alone_reads() -> None:
    only = auth(read_key=READ)
    assert (status(only, READ), status(only, READ, changes=True)) == (200, 403)


@pytest.mark.fault
def test_guessing_is_slowed_down_by_address_and_counted() -> None:
    clock = Clock()
    keys = auth(clock, key=FULL)
    assert [status(keys, "wrong-key-number-x") for _ in range(12)] == [401] * 10 + [429] * 2
    assert status(keys, FULL) == 429, "a right guess after too many wrong ones is not told"
    assert status(keys, FULL, "b") == 200
    with pytest.raises(AuthError) as error:
        keys.authorize([FULL], "a")
    assert error.value.retry_after == 60
    clock.now += 61
    assert status(keys, FULL) == 200
    assert status(keys, None) == 401
    assert keys.refused == {"missing": 1, "wrong": 10, "throttled": 4, "read_only": 0}


def test_missing_keys_do_not_lock_anybody_out() -> None:
    keys = auth(key=FULL)
    assert {status(keys, None) for _ in range(50)} == {401}
    assert status(keys, FULL) == 200


def test_many_addresses_take_bounded_memory() -> None:
    keys = auth(key=FULL)
    for number in range(10_500):
        status(keys, "wrong-key-number-x", str(number))
    assert len(keys._failures) == 10_000


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("your-secure-api-key", "key of an example"),
        ("short", "shorter than 12"),
        ("with spaces in the key", "printable"),
        ("an-umlaut-in-it-ü", "printable"),
        (FULL, None),
    ],
)
def test_what_may_be_a_key(key: str, why: str | None) -> None:
    problem = key_problem(SecretStr(key))
    assert (problem is None) if why is None else (problem is not None and why in problem)
    assert key not in (problem or "") or key == "short"
