from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from service.config.load import (
    ConfigError,
    Given,
    from_environment,
    load,
    masked,
    secret_names,
    secrets_of,
    to_bool,
)


class Inner(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    number: float = Field(1.0, gt=0)
    whole: int = 1
    active: bool = False
    names: tuple[str, ...] = ()
    password: SecretStr | None = None
    name: str | None = None


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    match: str


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    listen: str = ":1"
    inner: Inner = Inner()
    parts: tuple[Part, ...] = ()
    table: dict[str, str] = Field(default_factory=dict)


NAMES = {
    "NUMBER": "inner.number",
    "WHOLE": "inner.whole",
    "ON": "inner.active",
    "NAMES": "inner.names",
    "PASSWORD": "inner.password",
}


def complaint(text: str = "", **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(Model, text, from_environment(Model, environ, NAMES), file="a.yaml")
    line = str(caught.value)
    assert "\n" not in line
    return line


def loaded(text: str = "", **environ: str) -> Model:
    return load(Model, text, from_environment(Model, environ, NAMES), file="a.yaml").model


def test_nothing_set_is_the_defaults() -> None:
    assert loaded() == Model()
    assert loaded("# only a comment\n") == Model()
    assert loaded("inner:\n  # number: 2\n") == Model()


def test_the_file_under_the_environment() -> None:
    text = "inner: {number: 2, whole: 3, names: [a], active: true}\nparts: [{match: x}]\ntable: {a: b}"
    model = loaded(text, NUMBER=" 4.5 ", NAMES="b, c,,", PASSWORD=" s ")
    assert (model.inner.number, model.inner.whole, model.inner.names) == (4.5, 3, ("b", "c"))
    assert (model.inner.active, model.parts, model.table) == (True, (Part(match="x"),), {"a": "b"})
    assert model.inner.password is not None
    assert model.inner.password.get_secret_value() == " s "


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert loaded(NUMBER="", NAMES=" , ", PASSWORD="") == Model()


@pytest.mark.parametrize("word", ["true", "1", "yes", "on", "TRUE", " True "])
def test_true(word: str) -> None:
    assert loaded(ON=word).inner.active is True
    assert to_bool("ON", word) is True


@pytest.mark.parametrize("word", ["false", "0", "no", "off", "Off"])
def test_false(word: str) -> None:
    assert loaded(ON=word).inner.active is False
    assert to_bool("ON", word) is False


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"NUMBER": "5m"}, "NUMBER=5m (environment): should be a number"),
        ({"NUMBER": "-1"}, "NUMBER=-1 (environment): should be greater than 0"),
        ({"NUMBER": "nan"}, "NUMBER=nan (environment): should be a number"),
        ({"NUMBER": "inf"}, "NUMBER=inf (environment): should be a number"),
        ({"WHOLE": "1.5"}, "WHOLE=1.5 (environment): should be a whole number"),
        ({"ON": "maybe"}, "ON=maybe (environment): should be true or false"),
        ({"WHOLE": "a\nb"}, "WHOLE=a\\nb (environment): should be a whole number"),
        ({"WHOLE": "x" * 200}, f"WHOLE={'x' * 80}... (environment): should be a whole number"),
        ({"WHOLE": "redis://:pw@h"}, "WHOLE=(hidden) (environment): should be a whole number"),
    ],
)
def test_a_variable_that_cannot_be_used(environ: dict[str, str], line: str) -> None:
    assert complaint(**environ) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("inner:\n  number: five", "inner.number=five (a.yaml, line 2): should be a number"),
        ("inner:\n  number: '5'", "inner.number=5 (a.yaml, line 2): should be a number"),
        ("inner:\n  number: yes", "inner.number=true (a.yaml, line 2): should be a number"),
        ("inner:\n  number: .nan", "inner.number=nan (a.yaml, line 2): should be a number"),
        ("inner:\n  active: 'yes'", "inner.active=yes (a.yaml, line 2): should be true or false"),
        ("inner:\n  names: a", "inner.names=a (a.yaml, line 2): should be a list"),
        ("inner:\n  names: [a, 5]", "inner.names[1]=5 (a.yaml, line 2): should be a text: put it in quotes"),
        ("inner: 5", "inner (a.yaml, line 1): should be a mapping of settings"),
        ("listen: 80", "listen=80 (a.yaml, line 1): should be a text: put it in quotes"),
        ("parts:\n- {}", "parts[0].match (a.yaml, line 2): is missing"),
        ("table:\n  a: 1", "table.a=1 (a.yaml, line 2): should be a text: put it in quotes"),
        (
            "innr:\n  number: 2",
            "innr (a.yaml, line 1): unknown setting; did you mean inner?",
        ),
        (
            "inner:\n  nubmer: 2",
            "inner.nubmer (a.yaml, line 2): unknown setting; did you mean inner.number?",
        ),
        ("number: 2", "number (a.yaml, line 1): unknown setting; did you mean inner.number?"),
        (
            "parts:\n- match: a\n  zzz: 1",
            "parts[0].zzz (a.yaml, line 3): unknown setting; here there are match",
        ),
        ("inner:\n  whole: 1\n  whole: 2", "inner.whole (a.yaml, line 3): is set in line 2 already"),
        (
            "- a",
            "a.yaml (line 1): should be settings, like `redis:` and indented below it `url: ...`",
        ),
        ("inner:\n\twhole: 1", "a.yaml (line 2, column 1): not YAML: indent with spaces, not tabs"),
        ("a: &a [*a]", "a.yaml (somewhere): it contains a value that no setting can have"),
    ],
)
def test_a_file_that_cannot_be_used(text: str, line: str) -> None:
    assert complaint(text) == line


@pytest.mark.parametrize(
    "value",
    ['!!int ""', "2026-02-31", "!!timestamp x", "!!bool perhaps", "!!float x", "9" * 5000, "!!int 0x"],
)
def test_a_value_that_its_tag_does_not_fit_is_one_line(value: str) -> None:
    assert complaint(f"listen: {value}").endswith("a value that no setting can have")


def test_the_mistake_in_the_file_is_told_though_the_environment_sets_it_too() -> None:
    assert complaint("inner:\n  whole: x", WHOLE="3").startswith("inner.whole=x (a.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "inner:\n  password: *hunter2",
        "inner:\n  password: !hunter2 x",
        "inner:\n  password: 'hunter2",
        "inner:\n  password: @hunter2",
        "inner:\n  password: `hunter2`",
        "inner:\n  password: {hunter2: 1}",
        "inner:\n  password: [hunter2]",
        "inner:\n  password: a: hunter2",
        "inner:\n  pasword: hunter2",
        "inner: hunter2",
        "inner:\n- password: hunter2",
        "parts: [hunter2]",
        "parts:\n- password: hunter2",
        "inner:\n  names: redis://:hunter2@h",
        "password: hunter2\npassword: hunter2",
        "hunter2",
        "inner:\n  password: %hunter2",
    ],
)
def test_a_password_is_in_no_complaint(text: str) -> None:
    assert "hunter2" not in complaint(text)


def test_a_number_as_password_is_not_shown_either() -> None:
    line = "inner.password (a.yaml, line 2): should be a text: put it in quotes"
    assert complaint("inner:\n  password: 123456") == line


def test_who_set_what() -> None:
    given = {"listen": Given("--listen", ":2", "command line")}
    result = load(Model, "inner:\n  whole: 2\n", given, file="a.yaml")
    assert result.model.listen == ":2"
    assert (result.name("listen"), result.source("listen")) == ("--listen", "command line")
    assert (result.name("inner.whole"), result.source("inner.whole")) == ("inner.whole", "a.yaml, line 2")
    assert [result.is_set(path) for path in ("listen", "inner.whole", "inner.active")] == [True, True, False]
    assert str(result.error("inner.active", "why")) == "inner.active (not set): why"


def test_secrets() -> None:
    model = loaded(PASSWORD="hunter2")
    assert masked(model)["inner"]["password"] == "(hidden)"
    assert "hunter2" not in str(masked(model)) + repr(model)
    assert list(secrets_of(model)) == ["hunter2"]
    assert secret_names(Model, NAMES) == ["PASSWORD"]


@given(st.text())
def test_any_text_is_settings_or_one_line(text: str) -> None:
    line = ""
    try:
        load(Model, text, {}, file="a.yaml")
    except ConfigError as error:
        line = str(error)
    assert "\n" not in line


@given(st.dictionaries(st.sampled_from(list(NAMES)), st.text()))
def test_any_environment_is_settings_or_one_line(environ: dict[str, str]) -> None:
    line = ""
    try:
        load(Model, "", from_environment(Model, environ, NAMES), file="a.yaml")
    except ConfigError as error:
        line = str(error)
    assert "\n" not in line
