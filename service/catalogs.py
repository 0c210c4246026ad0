"""The message catalogs of this package, read once, when this module is imported.

`make translations` compiles service/locale/*/LC_MESSAGES/oxherd.po to the .mo files that are read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from gettext import GNUTranslations
from importlib.resources import files
from typing import Final

from service.i18n import LANGUAGES, Language, Translator


def _catalog(language: Language) -> GNUTranslations:
    path = files("service").joinpath("locale", language, "LC_MESSAGES", "oxherd.mo")
    with path.open("rb") as file:
        return GNUTranslations(file)


def _translator(language: Language) -> Translator:
    catalog = _catalog(language)
    if language != "en":
        catalog.add_fallback(ENGLISH.catalog)
    return Translator(language, catalog)


ENGLISH: Final = Translator("en", _catalog("en"))
TRANSLATORS: Final[Mapping[Language, Translator]] = {
    language: ENGLISH if language == "en" else _translator(language) for language in LANGUAGES
}
