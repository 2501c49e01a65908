"""The language of a report: English, or what a catalogue makes of it.

Tables, captions and reasons are built in English by many modules; a catalogue translates them
where they are written down, so that what stands in CSV files and records is the same in any
language. What a catalogue does not know stays English: names, commands, what documents say.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import attrs

CATALOGUES = Path(__file__).parent / "languages"
ENGLISH = "en"
WILD = "{}"
# Of what a wildcard stands for, and of a text: no caption is as long.
LONGEST, MOST_LETTERS = 600, 20_000
MOST_TRIES = 200
# Columns of names, of what was typed and of what others say: they stay as they are.
LITERAL = frozenset(
    {
        "Variant", "Class", "Model", "Cannot be told from it", "Cannot be told from", "Parameter",
        "Preset", "Default, documented", "Default, program", "Used in these runs",
        "Recommended, documented", "Against", "Warning", "Error", "Files", "Claim", "Source",
        "Source and note", "Command",
    }
)  # fmt: skip
# What such a column may say for itself.
PLAIN = frozenset({"n/a", "none", "all others"})


@attrs.frozen
class Phrase:
    """A text with wildcards, and what stands there instead.

    It is found by its parts, one after the other: no text makes that take long, as a pattern with
    several wildcards would let a hostile one.

    Attributes:
        parts: of the text, between its wildcards.
        instead: of the translation, between its own.
    """

    parts: tuple[str, ...]
    instead: tuple[str, ...]

    @classmethod
    def of(cls, text: str, instead: str) -> Phrase:
        """The phrase of a catalogue's line.

        Raises:
            ValueError: the translation has another number of wildcards.
        """
        if text.count(WILD) != instead.count(WILD):
            raise ValueError(f"wildcards differ: {text!r}, {instead!r}")
        return cls(tuple(text.split(WILD)), tuple(instead.split(WILD)))

    def put(self, text: str) -> str:
        """The text with this phrase translated wherever it stands."""
        out, at, tries = [], 0, 0
        anchor = self.parts[0] or self.parts[1]
        while tries < MOST_TRIES and (start := text.find(anchor, at)) >= 0:
            tries += 1
            found = self._at(text, start, at)
            if found is None:
                out.append(text[at : start + 1])
                at = start + 1
                continue
            begin, end, words = found
            out.append(text[at:begin])
            pieces = zip(self.instead, (*words, ""), strict=True)
            out.append("".join(piece + word for piece, word in pieces))
            at = end
        return "".join([*out, text[at:]])

    def _at(self, text: str, start: int, least: int) -> tuple[int, int, list[str]] | None:
        """Begin, end and wildcards of the phrase whose first part stands at ``start``."""
        words: list[str] = []
        begin, left = start, list(self.parts)
        if not left[0]:
            # A first wildcard is a word: it would take in all that stands before it.
            begin = max(text.rfind(" ", least, start) + 1, least)
            words.append(text[begin:start])
            left.pop(0)
            if begin == start:
                return None
        elif left[0][0].isalnum() and begin and _of_word(text[begin - 1]):
            return None
        end = start + len(left[0])
        if len(left) == 1:
            return (begin, end, words) if _ends(text, end, left[0]) else None
        for part in left[1:-1]:
            place = text.find(part, end + 1, end + LONGEST)
            if place < 0:
                return None
            words.append(text[end:place])
            end = place + len(part)
        # A last wildcard is a word too.
        place = _find_last(text, end, left[-1]) if left[-1] else _word_end(text, end)
        if place <= end:
            return None
        words.append(text[end:place])
        return begin, place + len(left[-1]), words


def _find_last(text: str, start: int, part: str) -> int:
    """Where a phrase's last part stands, at the end of a word or of a sentence; −1: nowhere."""
    place, limit = start, start + LONGEST
    while (place := text.find(part, place + 1, limit)) >= 0:
        if _ends(text, place + len(part), part):
            return place
    return -1


def _ends(text: str, end: int, part: str) -> bool:
    """Whether a part may end here: a decimal point ends no sentence, and half a word no word."""
    behind = text[end : end + 1]
    if not behind or not part:
        return True
    if part.endswith("."):
        return behind.isspace()
    return not (part[-1].isalnum() and _of_word(behind))


def _of_word(letter: str) -> bool:
    return letter.isalnum() or letter == "_"


def _word_end(text: str, start: int) -> int:
    place = text.find(" ", start)
    return len(text) if place < 0 else place


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
        if self.name == ENGLISH or len(whole) > MOST_LETTERS:
            return whole
        if whole in self.exact:
            return self.exact[whole]
        for phrase in self.phrases:
            whole = phrase.put(whole)
        return whole

    def cell(self, header: str, text: Any) -> str:
        """A cell of a table, in the column of an English header."""
        whole = str(text)
        literal = header in LITERAL and whole not in PLAIN and not whole.startswith("n/a (")
        return whole if literal else self(whole)


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
