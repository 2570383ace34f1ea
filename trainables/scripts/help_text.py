"""Read the flags in a help text, where the parser does not say itself what it takes: of tyro, in a container, in old Pythons."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainables.scripts.flags import Flag

_OPTION = re.compile(r"[\s│┃|*]*-{1,2}(?:[^\W\d_]|\[)")
_FLAG = re.compile(r"\s*(?:[,/|]\s*)?(?P<dashes>--?)(?P<name>(?:\[no\])?[^\W\d_][\w.-]*)")
_SWITCHES = re.compile(r"-{1,2}[^\W\d_][\w.-]*(?:(?:, ?|,? ?[/|] ?|\s{2,})-{1,2}[^\W\d_][\w.-]*)*(?=\s|$)")
_METAVAR = re.compile(  # after one blank; after more in typer's tables; after a colon in absl's
    r"(?:[ =]|\[=)(?![\s\-,/|])[^\s,]+(?: \[[^\]]*\.\.\.\])?|\s+(?:INTEGER|FLOAT|TEXT|PATH|FILE|DIRECTORY|UUID|<(?!bool)\w+>|\[\w+(?:\|\w+)+\])(?=\s|$)|:(?=\s)"
)


def flags_of(help_text: str) -> dict[str, Flag]:
    """The flags in a help text, by name."""
    known: dict[str, Flag] = {}
    for line, told in _entries(help_text):
        declared = list(_declared(line))
        takes = any(value for _, _, value in declared)
        many = any("..." in value for _, _, value in declared)
        long = [name for dashes, name, _ in declared if dashes == "--"]
        opposite = {} if takes else _opposites(line)
        for name in long or [name for _, name, _ in declared]:
            plain = name.removeprefix("[no]")
            off = f"no{plain}" if plain != name else opposite.get(name)
            is_on = bool(re.search(rf"\bdefault: (?:True|{re.escape(plain)})[)\]]", told))
            known[plain] = Flag(plain, takes and off is None, many, off, is_short=not long, is_on=is_on)
    return known


def _entries(help_text: str) -> Iterator[tuple[str, str]]:
    """The lines that begin with a flag, each without its frame, and with the lines that explain it."""
    found: list[list[str]] = []
    for line in help_text.splitlines():
        bare = line.strip(" │┃|*")
        if _OPTION.match(line):
            found.append([bare])
        elif bare and found and found[-1]:
            found[-1].append(bare)
        else:
            found.append([])
    return ((lines[0], " ".join(lines)) for lines in found if lines)


def _opposites(line: str) -> dict[str, str]:
    """Of the switches at the beginning of a line, each with the one that undoes it: `--[no-]x`, or apart without a comma.

    >>> _opposites("--shout, -s / --whisper"), _opposites("--amp, --no-amp"), _opposites("--fast, --quick")
    ({'shout': 'whisper', 'whisper': 'shout'}, {'amp': 'no-amp', 'no-amp': 'amp'}, {})
    """
    switches = _SWITCHES.match(line)
    sides = re.split(r"\s*/\s*|(?<!,)\s{2,}", switches.group()) if switches else []
    groups = [names for side in sides if (names := re.findall(r"--([^\s,|]+)", side))]
    if len(groups) == 2:
        pairs = [(on, groups[1][0]) for on in groups[0]] + [(off, groups[0][0]) for off in groups[1]]
        return dict(pairs)
    all_names = {name for group in groups for name in group}
    found: dict[str, str] = {}
    for name in all_names:
        head, dot, tail = name.rpartition(".")
        for off in (f"no-{name}", f"no_{name}", f"{head}{dot}no-{tail}", f"{head}{dot}no_{tail}"):
            if off in all_names:
                found |= {name: off, off: name}
    return found


def _declared(line: str) -> Iterator[tuple[str, str, str]]:
    """The flags at the beginning of a line: dashes, name, and the placeholder of the value."""
    position = 0
    while found := _FLAG.match(line, position):
        value = _METAVAR.match(line, found.end())
        position = value.end() if value else found.end()
        yield found["dashes"], found["name"], value.group().strip() if value else ""
