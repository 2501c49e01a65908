"""The language of a report: English, or what a catalogue makes of it.

Tables, captions and reasons are built in English by many modules; a catalogue translates them
where they are written down, so that what stands in CSV files and records is the same in any
language. What a catalogue does not know stays English: names, commands, what documents say.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import attrs

CATALOGUES = Path(__file__).parent / "languages"
ENGLISH = "en"
WILD = "{}"


@attrs.frozen
class Phrase:
    """A text with wildcards, and what stands there instead.

    Attributes:
        pattern: finds the text, a group for each wildcard.
        instead: the translation, with ``{}`` for the groups in order.
        anchor: the longest part without wildcards: what is not there need not be looked for.
    """

    pattern: re.Pattern[str]
    instead: str
    anchor: str

    @classmethod
    def of(cls, text: str, instead: str) -> Phrase:
        """The phrase of a catalogue's line.

        Raises:
            ValueError: the translation has another number of wildcards.
        """
        if text.count(WILD) != instead.count(WILD):
            raise ValueError(f"wildcards differ: {text!r}, {instead!r}")
        parts = text.split(WILD)
        # A first wildcard is a word: it would take in all that stands before it. A full stop at
        # the end is one: a decimal point has no blank behind it.
        pattern = r"(.+?)".join(map(re.escape, parts))
        if text.startswith(WILD):
            pattern = r"(?<!\S)(\S+?)" + pattern.removeprefix(r"(.+?)")
        elif text[0].isalnum():
            pattern = r"(?<!\w)" + pattern
        if text.endswith("."):
            pattern += r"(?=\s|$)"
        elif text[-1].isalnum():
            pattern += r"(?!\w)"
        return cls(re.compile(pattern), instead, max(parts, key=len))

    def put(self, text: str) -> str:
        """The text with this phrase translated wherever it stands."""
        if self.anchor not in text:
            return text
        pieces = self.instead.split(WILD)

        def replace(found: re.Match[str]) -> str:
            groups = (*found.groups(), "")
            return "".join(piece + group for piece, group in zip(pieces, groups, strict=True))

        return self.pattern.sub(replace, text)


@attrs.frozen
class Language:
    """Translates texts of a report.

    Attributes:
        name: as ``--lang`` has it.
        exact: whole texts.
        phrases: parts of texts, the longest first.
        script: what the page's script says.
    """

    name: str
    exact: dict[str, str] = attrs.field(factory=dict)
    phrases: tuple[Phrase, ...] = ()
    script: dict[str, str] = attrs.field(factory=dict)

    def __call__(self, text: Any) -> str:
        """The text in this language, as far as the catalogue knows it."""
        whole = str(text)
        if self.name == ENGLISH:
            return whole
        if whole in self.exact:
            return self.exact[whole]
        for phrase in self.phrases:
            whole = phrase.put(whole)
        return whole


@cache
def language(name: str) -> Language:
    """English, or the language of a catalogue.

    Raises:
        KeyError: there is none of that name.
    """
    if name == ENGLISH:
        return Language(ENGLISH)
    path = CATALOGUES / f"{name}.toml"
    if not path.is_file():
        raise KeyError(name)
    found = tomllib.loads(path.read_text(encoding="utf8"))
    longest = sorted(found["phrase"].items(), key=lambda pair: -len(pair[0]))
    phrases = tuple(Phrase.of(text, instead) for text, instead in longest)
    return Language(name, found["exact"], phrases, found["script"])
