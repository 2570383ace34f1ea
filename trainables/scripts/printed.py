"""Read one line of a training's output as a person would: names, numbers, and the step that it belongs to.

    read("epoch 3/20: valid_loss=0.52 (best 0.49)").value("valid_loss").number      0.52
    read("epoch 3/20: valid_loss=0.52 (best 0.49)").steps                           {"epoch": 3.0}

A number is never cut off. If the text after it makes it doubtful (`1.2.3`, `0,52`, `3/20`), there is no value, and
`doubtful` returns that text.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from trainables.scripts.line import Line, Value, spelled
from trainables.scripts.names import (
    ENVIRONMENT_STEPS,
    LETTER,
    MARKS,
    SAME,
    SPLITS,
    STEP_WORDS,
    key_of,
    may_be_a_setting,
)
from trainables.scripts.numbers import (
    COUNT,
    GOES_ON,
    NOT_FINITE,
    NUMBER,
    SECOND,
    STEP_GOES_ON,
    SUPPORT,
    UNIT,
    WHOLE,
    decimals,
    join_thousands,
    number_of,
    shows_thousands,
    step_of,
    whole,
)

NAME_LENGTH = 100  # characters before a number in which to look for its name
LONGEST = 20_000  # characters of a line to read, if it is not JSON or a Python dict
_FULL_WIDTH = str.maketrans(
    {"：": ": ", "＝": "=", "，": ", ", "、": ", ", "；": "; ", "（": "(", "）": ")", "。": ". ", "％": "%"}
)

_UNIT = rf"(?:\s?%|{UNIT})"
_ENDS = rf"(?:{_UNIT})?(?=$|\s|[;|)\]}}\"±(]|[,'](?!\d)|\.(?=\s|$)|\+/-|:(?=\s|$))"
_WORD = rf"{LETTER}(?:[\w{MARKS}/.@-]*[\w{MARKS}@])?(?:'s)?(?:\(\w[\w{MARKS}.-]*\))?"
_VALUE = re.compile(rf"(?<![\w.])(?:{NUMBER}){_ENDS}", re.I)
_NAME = re.compile(
    rf"(?<![\w{MARKS}])(?P<quote>[\"'])?(?P<name>{_WORD}(?:(?(quote)[ ]+|[ ]){_WORD}){{0,4}})(?(quote)(?P=quote))"
    r"(?:\s*(?:==?|:|│|┃)\s*|\s+\|\s+|\s+)[\"'\[(]{0,2}\s*$"
)
_PLAIN = re.compile(rf"{_WORD}(?: {_WORD})*")
_STEP = re.compile(
    r"(?<![\w/.-])(?:(?P<before>best|last|from|until|till|since|at|previous|max|total|of)[\s_]+)?"
    r"(?P<word>(?:num[_ ])?time[_ ]?steps?|env(?:ironment)?(?:[_ ]steps?)?(?![_ ]?[A-Za-z])"
    r"|(?:current[ _]|train(?:er)?/)?(?:epoch|global[_ ]step|step|iteration|iter|num_updates|update|round|episode)"
    r"|(?:ep|it|(?P<plural>steps|epochs))(?=\s*[=:])|(?<=\[)(?:ep|it)(?=\s+\d))"
    r"(?:_?(?:num(?:ber)?|idx|index|i))?(?:\((?P<split>\w+)\))?[\"']?(?:\s*[=:#_]\s*|-(?=\d)|\s*-\s+|\s*no\.?\s*|\s*)[\"'\[(]*\s*(?P<minus>-)?"
    rf"(?P<number>{WHOLE}(?:\.\d+)?(?:[eE][-+]?\d+)?)(?:\s*(?:/|of)\s*(?P<total>{WHOLE}))?"
    rf"(?:(?=(?P<behind>{STEP_GOES_ON}))|(?![\w.]*\w))[\"'\])]?",
    re.I,
)  # fmt: skip
_COUNTED = re.compile(rf"(?<![\w{MARKS}/.-])(?P<word>{LETTER}[\w{MARKS}-]*)\s*[=:#]?\s*{COUNT}")
_LEADING = re.compile(
    rf"^[\s;]*(?:\[\s*(?P<bracket>{WHOLE})(?P<behind>(?: \d{{3}})+(?!\d))?\s*(?:/\s*(?P<total>{WHOLE})(?: \d{{3}})*\s*)?\]"
    r"|(?P<index>\d+):(?=\s))(?!\s*\[)"
)
_LETTERS = re.compile(rf"{LETTER}+")
_COLUMN = re.compile(rf"\s*\|\s*{NUMBER}\s*(?:\||$)", re.I)  # one name, several columns
_SEVERAL = re.compile(rf"[,\s]\s*{NUMBER}[^\[\]()]*[\])]", re.I)  # behind the first number of a list
_LEADING_NUMBER = re.compile(NUMBER, re.I)
_COUNTED_EPOCH = re.compile(r"(?<![\w.,'=:])(\d+)(?:st|nd|rd|th)?[ -]?epoch\b(?!\s*[=:#]?\s*\d)", re.I)
_PROGRESS = re.compile(
    r"[\[(]\s*(\d+)\s*/\s*(\d+)\s*[\])(]|(?<![\w.])(\d+)\s*/\s*(\d+)(?=\s*(?:batches|\[|━|╸|╺|\d+(?::\d\d)+|.{0,60}?(?:it/s|s/it|s/step|s/epoch)))"
)
_PLACE = re.compile(rf"\[\s*{WHOLE}\s*/\s*{WHOLE}\s*\]")
BARS = re.compile(r"(?<![\d.])\d{1,3}%\s*\|[^|]*\||[━╸╺█▏▎▍▌▋▊▉]+|\[[=>.]{4,}\]")
_DRAWN_BAR = re.compile(  # up to its end, as tqdm draws it; what follows was printed behind it
    r".*(?:\d{1,3}%\|[#█=>*.-]*[\d▏▎▍▌▋▊▉]? *\|\s*(?:[\d.]+\w*/[\d.]+\w*\s*)?(?:\[\d+:\d\d[^\]]*\])?"
    r"|\b\d{1,9}\w{1,9} \[\d+:\d\d(?::\d\d)?, [^\]]*/[^\]]*\])\s*"
)
_STAMPS = re.compile(
    r"\d{4}[-/]\d\d[-/]\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)?"
    r"|\d\d/\d\d/(?:\d{4}|\d\d)(?=\s+\d\d:)|(?<![\w.])\d{1,2}/\d{1,2}\s(?=\d\d:\d\d:\d\d)"
    r"|(?<![\w.])(?:\d+ days?, )?\d{1,3}(?::\d\d){1,2}(?:[.,]\d+)?(?![\w:])"
    r"|^[IWEF]\d{4} [\d:.]+ +\d+ [\w.]+:\d+\]|[\w/.-]+\.py:\d+"
)
_LEVEL = re.compile(  # not a word of a metric's name: `TEST ERROR: 0.5`
    rf"^[^=]{{0,120}}?\b(?P<level>INFO|WARNING|DEBUG|ERROR)\b(?!\s*[:=]?\s*(?:{NUMBER}){_ENDS})(?::[\w.]+:)?[\]:)\s|-]*"
)
_SHARE = re.compile(r"(?<![\w.])(?P<number>\d+(?P<point>\.?)\d*)\s*(?P<percent>%?)\s*$")
_METER = re.compile(r"\d\s*\(\s*[\d.]+\s*\)")  # the last batch's value, and the mean so far
_COLOURS = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_WRAPPED = re.compile(
    rf"(?:\b(?:tensor|array|Array|DeviceArray)|\b(?:np|numpy|jnp|torch)\.(?:float|int|tensor|array)\w*)"
    rf"\(\s*(?P<list>\[+)?\s*(?P<number>{NUMBER})\s*(?(list)\]+)\s*(?:,[^()]*(?:\([^()]*\)[^()]*)*)?\)"
    rf"|<tf\.Tensor:[^<>]*numpy=(?P<tensor>{NUMBER})>"
)
_OF_THE_BEST = re.compile(  # before a step: `(best 0.43, epoch 6)`, `best 0.43 at epoch 6`
    r"[(\[][^()\[\]]*\b(?:best|lowest|highest|previous)(?![a-z])[^()\[\]]*$"
    r"|\b(?:best|lowest|highest|previous)(?![a-z])[^()\[\];|]*\d\s*(?:at|@|in|from|on)\s*$",
    re.I,
)
_HEADING = re.compile(
    r"^[\W\d_]*(?:(?:train|training|start|starting|running|learning|begin|beginning|end of|eval|evaluating|validat\w+|finished)\b[\W_]*)?$",
    re.I,
)
BARSE = re.compile(  # outside of what stands in quotes
    rf"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?<=[:,\[ ])([-+]?{NOT_FINITE})(?=\s*[,\]}}])""", re.I
)


def read(text: str, names: Sequence[str] = (), *, thousands: bool = False) -> Line:
    """The content of one line. `names`: of which any signs are part if they stand in the line: `mAP@[.5:.95]`; `thousands`:
    commas are known to separate them."""
    text = visible(text)
    if len(text) > LONGEST:
        return _of_long(text, names)
    if not re.search(r"\d|nan|inf", text, re.I):
        return Line(text)
    if re.match(r"\s*wandb:", text):
        return Line()
    plain = _WRAPPED.sub(lambda found: found["number"] or found["tensor"], text)
    begin = plain.find("{")
    if begin >= 0 and isinstance(found := structure(plain[begin:].rstrip()), dict):
        before, inside = read(plain[:begin], names), of_mapping(text, found)
        return Line(
            text,
            (*before.values, *inside.values),
            {**inside.steps, **before.steps},
            counted=before.counted,
            others=inside.others,
        )
    aliases = {f"named__{place}": name for place, name in enumerate(names) if not _PLAIN.fullmatch(name)}
    for alias, name in aliases.items():
        plain = re.sub(rf"(?<![\w/.-]){re.escape(name)}(?![\w/@(\[])", alias, plain)
    plain = plain.translate(_FULL_WIDTH)
    progress = [
        (int(found[1] or found[3]), int(found[2] or found[4]))
        for found in _PROGRESS.finditer(plain)
        if not (found[1] and _is_share(plain[: found.start()], int(found[1]), int(found[2])))
    ]
    steps, heading, plain, own = _take_steps(_without_level(_STAMPS.sub(" ; ", plain), names))
    inner = [place for place in progress if place not in own]
    counted = {
        key_of(found["word"]): (whole(found["number"]), int(whole(found["total"])))
        for found in _COUNTED.finditer(plain)
    }
    is_progress = any(done < total for done, total in inner) or bool(inner and _METER.search(plain))
    counted |= {word: place for place, word in own.items() if word}
    plain = BARS.sub(" ; ", plain)
    values = tuple(_values(plain))
    if thousands or any(shows_thousands(value.text) for value in values):
        values = tuple(_values(join_thousands(plain)))
    values = tuple(_by_own_name(value, aliases) for value in values)
    return Line(text, values, steps, heading, is_progress, counted)


def _of_long(text: str, names: Sequence[str]) -> Line:
    """A line that is too long for all but JSON or a Python dict; it says so if it has one of the names."""
    found = structure(text.strip()) if text.lstrip().startswith("{") else None
    if isinstance(found, dict):
        return of_mapping(text[:LONGEST], found)
    if not any(re.search(spelled(name), text, re.I) for name in names):
        return Line(text[:LONGEST])
    return Line(text[:LONGEST], broken=f"it has {len(text):,} characters, and only JSON may have more than {LONGEST:,}")


def _is_share(before: str, done: int, total: int) -> bool:
    """Whether a fraction in brackets is the number before it, as in `acc 62.5% (5/8)`, and no progress."""
    found = _SHARE.search(before[-NAME_LENGTH:])
    if found is None or not total or not found["percent"] + found["point"]:
        return False
    number, digit = number_of(found["number"]), 0.5 * 10.0 ** -decimals(found["number"])
    scales = (100,) if found["percent"] else (1, 100)
    return any(
        abs(number - scale * done / total) <= digit + scale / total for scale in scales
    )  # of a count cut to a whole one


def _by_own_name(value: Value, aliases: Mapping[str, str]) -> Value:
    *before, last = value.name.rpartition(" ")
    return replace(value, name="".join([*before, aliases[last]])) if last in aliases else value


def measured(line: str) -> dict[str, float]:
    """The numbers of a line by name (the first of each name), and the steps that it names.

    measured("epoch 3: valid_loss=0.52 (best 0.49)")      {"valid_loss": 0.52, "epoch": 3.0}
    """
    found = read(line)
    return {value.name: value.number for value in reversed(found.values)} | dict(found.steps)


def visible(text: str) -> str:
    """The final form of a line in a terminal: without colours, after carriage returns and backspaces, and without a
    progress bar behind which a line of its own was printed."""
    text = _COLOURS.sub("", text).rstrip("\r\n")
    shown = [part for part in re.split(r"\r|\x08+", text) if part.strip()]
    return _behind_the_bar(shown[-1]) if shown else ""


def _behind_the_bar(text: str) -> str:
    """What was printed behind a progress bar if it names its own step, or is a log record of a bar that names none; else
    the whole text."""
    bar = _DRAWN_BAR.match(text) if len(text) <= LONGEST else None
    behind = "" if bar is None else text[bar.end() :]
    if bar is None or not behind:
        return text
    begin = behind.lstrip("[( ")
    is_record = bool(_STAMPS.match(begin) or re.match(r"(?:INFO|WARNING|DEBUG|ERROR)\b", begin))
    if names_step := _STEP.search(_STAMPS.sub(" ; ", behind)) or _LEADING.match(behind):
        is_line = is_record or not bar.group().endswith(" ") or not names_step.string[: names_step.start()].strip()
        return behind if is_line else text
    return behind if is_record and not _STEP.search(bar.group()) else text


def structure(text: str) -> dict[Any, Any] | list[Any] | None:
    """The JSON or the Python literal that a text is; None if it is none. NaN may stand in it as any language prints it."""
    if not text.endswith(("}", "]")):
        return None
    for body in (text, BARSE.sub(lambda found: found[1] or f'"{found[2]}"', text)):
        for parse in (json.loads, ast.literal_eval):
            try:
                found = parse(body)
            except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
                continue
            if isinstance(found, (dict, list)):
                return found
    return None


def of_mapping(text: str, found: Mapping[Any, Any], number: str = NUMBER) -> Line:
    """The line `text`, whose content is `found`; `number`: the pattern of one in a text."""
    values: list[Value] = []
    steps: dict[str, float] = {}
    others: dict[str, str] = {}
    for name, value in _flat(found):
        shown = value.strip() if isinstance(value, str) else "null" if value is None else repr(value)
        is_step = (key := key_of(name).removeprefix("train_")) in STEP_WORDS
        if isinstance(value, bool) or not re.fullmatch(f"{number}|{WHOLE}" if is_step else number, shown, re.I):
            others[name] = shown
        elif is_step:
            steps.setdefault(key, number_of(shown))
        else:
            values.append(Value(name, shown))
    return Line(text, tuple(values), steps, others=others)


def _flat(found: Mapping[Any, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in found.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        elif isinstance(value, (list, tuple)) and len(value) == 1:
            yield f"{before}{name}", value[0]
        else:
            yield f"{before}{name}", value


def _without_level(text: str, names: Sequence[str] = ()) -> str:
    """The text without a log level and what log formats put before it: time stamps, names, brackets. A step before it stays."""
    found = _LEVEL.match(text)
    if found is None or any(
        re.search(rf"{spelled(name)}\s*[=:|]?\s*[-+.\d]", text, re.I) is not None
        for name in names
        if found["level"] in name.upper()
    ):
        return text
    before = text[: found.start("level")]
    has_step = _STEP.search(before) or _PLACE.search(before)
    return f"{before if has_step else ''} ; {text[found.end() :]}"


def _take_steps(text: str) -> tuple[dict[str, float], bool, str, dict[tuple[float, int], str]]:
    """The steps that a line names, whether it begins with one, the rest of it, and the `3/20` of steps with their words."""
    steps: dict[str, float] = {}
    places: dict[tuple[float, int], str] = {}
    heading = False

    def take(found: re.Match[str]) -> str:
        nonlocal heading
        before, split = (found["before"] or "").lower(), (found["split"] or "").lower()
        key = key_of(found["word"]).removesuffix("s") if found["plural"] else key_of(found["word"])
        number = math.nan if found["minus"] else step_of(found["number"], found["behind"])
        if before == "total" and key in ENVIRONMENT_STEPS:
            before, key = "", f"total_{key}"
        place = (number, int(whole(found["total"]))) if found["total"] and number.is_integer() else None
        if place is not None:
            places[place] = ""
        if _OF_THE_BEST.search(found.string[: found.start("word")]):
            return " ; "
        if before in ("best", "last", "from", "until", "till", "since", "previous", "max", "total"):
            return " ; "
        if split in ("val", "test") and "iter" in key:  # it counts the batches of an evaluation
            return " ; "
        if place is not None and key not in steps:
            places[place] = key
        if not steps and not before and (place is not None or not may_be_a_setting(key)) and not found["plural"]:
            heading = bool(_HEADING.match(found.string[: found.start()]))
        elif before == "of":
            heading = bool(re.match(r"^[\W_]*end\s*$", found.string[: found.start()], re.I))
        steps.setdefault(key, number)
        return f" ; {split} ; "

    if (leading := _LEADING.match(text)) and not _STEP.search(text[: leading.end() + 1]):
        steps["index"] = step_of(leading["bracket"] or leading["index"], leading["behind"])
        if leading["total"] and not leading["behind"]:
            places[steps["index"], int(whole(leading["total"]))] = "index"
        text = " ; " + text[leading.end() :]
    if counted := _COUNTED_EPOCH.search(text):
        steps.setdefault("epoch", float(counted[1]))
        text = text[: counted.start()] + " ; " + text[counted.end() :]
    text = _STEP.sub(take, text)
    return steps, heading, text, places


def progress_in(text: str) -> dict[int, int]:
    """How far the progress bars in a text have come: {2000: 982} of `49%|████▉     | 982/2000 [00:04<00:05, 198it/s]`."""
    found = (bar for part in re.split(r"[\r\n]", _COLOURS.sub("", text)) for bar in _PROGRESS.finditer(part))
    return {int(bar[2] or bar[4]): int(bar[1] or bar[3]) for bar in found}


def before_step(text: str) -> str:
    """The text of a line before the step that it names, else before its first number; without its time stamp."""
    plain = _without_level(_STAMPS.sub(" ; ", visible(text)))
    found = _STEP.search(plain)
    return plain[: found.start("number")] if found else re.split(r"\d", plain, maxsplit=1)[0]


def _values(text: str) -> Iterator[Value]:
    """The values of a line, in order, each with the part of the data that was named last before it."""
    split, position = "", 0
    for number in _VALUE.finditer(text):
        begin = max(position, number.start() - NAME_LENGTH)
        found = _NAME.search(text, begin, number.start())
        if found is None:
            continue
        name = found["name"]
        if name in ("d", "h", "m") and text[max(0, found.start() - 1)].isdigit():  # 1m 38s
            continue
        for word in _LETTERS.findall(text[position : found.start()].lower()):
            split = SAME.get(word, word) if word in SPLITS else split
        first = name.split()[0].lower()
        if " " in name and first in SPLITS:
            split = SAME.get(first, first)
        position = number.end()
        is_list = found.group().rstrip()[-1:] in ("[", "(") and _SEVERAL.match(text, position)
        in_columns = "|" in found.group() and _COLUMN.match(text, position)
        text_of = _LEADING_NUMBER.match(number.group())[0]  # type: ignore[index]
        unit = number.group()[len(text_of) :].strip()
        is_share = "." in text_of and SUPPORT.match(text, position)
        goes_on = GOES_ON.match(text, position) or (not unit and not is_share and SECOND.match(text, position))
        if not (is_list or in_columns or goes_on):
            yield Value(name, text_of, split, unit)
