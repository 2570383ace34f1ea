"""Write a configuration to a file for the script: JSON, YAML or TOML, alone or on top of an existing file.

A dot in a parameter's name goes one level down: {"optimizer.lr": 0.1} → optimizer: {lr: 0.1}.
"""

from __future__ import annotations

import importlib
import io
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from search.records import Config
from trainables.scripts.flags import nearest

FORMATS = ("json", "yaml", "toml")
MOST_LISTED = 12  # keys in an error
_OF_ANOTHER_TYPE = re.compile(
    r"(?i:y|n|yes|no|on|off|true|false|null|none|[-+.~=<]*|[-+]?\.?\d.*)"
)  # in YAML 1.1, perhaps


def kind_of(config: str) -> str:
    """ "json", "yaml" or "toml", from such a word or the name of such a file; raises ValueError for any other."""
    kind = config.rpartition(".")[2].lower().replace("yml", "yaml")
    if kind not in FORMATS:
        variables = (
            " For a script that reads variables, leave config out and write 'env NAME={NAME} python train.py', with the names "
            "of the parameters; dotenv keeps variables that are set already."
        )
        raise ValueError(
            f"Script(config={config!r}): must be 'json', 'yaml', 'toml', or a file with such an ending to start from."
            + variables * (".env" in Path(config).name)
        )
    return kind


def write(path: Path, config: str, values: Config) -> None:
    """Write `values` in the format of `config`, on top of its content if it is a file."""
    content = read(Path(config)) if "." in config else {}
    for name, value in values.items():
        *above, last = _steps(name, content)
        place = content
        for step in above:
            deeper = place.get(step)
            place[step] = place = dict(deeper) if isinstance(deeper, Mapping) else {}
        place[last] = value
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(_text(kind_of(config), content), encoding="utf-8")
    unfinished.replace(path)


def refuse_unknown(path: Path, name: str, values: Sequence[Any]) -> None:
    """Raise ValueError if the file has no key for the parameter `name`, which takes `values`."""
    place: Any = read(path)
    keys, steps = list(_keys(place)), _steps(name, place)
    for depth, step in enumerate(steps):
        if not isinstance(place, Mapping) and place is not None:
            above, kind = ".".join(steps[:depth]), "a list" if isinstance(place, list) else "a value"
            raise ValueError(f"{path}: {above!r} is {kind} and has no key {step!r}; tune {above!r} as a whole.")
        if not place or step not in place:
            near = _nearest(name, keys)
            listed = ", ".join(keys) if len(keys) <= MOST_LISTED else ", ".join([*keys[:MOST_LISTED], "…"])
            raise ValueError(
                f"{path} has no key {name!r}. "
                + (f"Did you mean {near!r}?" if near else f"It has {listed or 'none'}.")
                + f" To add a new key, write it into {path} with any value."
            )
        place = place[step]
    if isinstance(place, Mapping) and place and not all(isinstance(value, Mapping) for value in values):
        inner = next((key for key in keys if key.startswith(f"{name}.")), name)
        raise ValueError(f"{path}: {name!r} is a whole section; name the parameter after one of its keys: {inner!r}.")
    for text in (value for value in values if isinstance(value, str)):
        meant = _meant(text, place)
        if meant is not None:
            raise ValueError(
                f"{path}: {name!r} is {place!r}, and the parameter may be the text {text!r}, which stays a text in the file; "
                f"write {meant!r} in its place."
            )


def _meant(text: str, present: Any) -> Any:
    """The value of the kind of the `present` one that a text was probably meant for; None if it may be meant as a text."""
    if isinstance(present, list):
        found = next((each for each in map(_json, (text, f"[{text}]")) if isinstance(each, list)), None)
        return text.split(",") if found is None else found
    found = _json(text.lower() if isinstance(present, bool) else text)
    is_alike = isinstance(found, bool) == isinstance(present, bool)
    return found if is_alike and isinstance(found, (int, float)) and isinstance(present, (int, float)) else None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def instead(content: Mapping[str, Any], name: str) -> str | None:
    """The key that was probably meant by `name`, which `content` lacks ("": none is like it); None if it is there."""
    place: Any = content
    for step in _steps(name, content):
        if not isinstance(place, Mapping) or step not in place:
            return _nearest(name, list(_keys(content))) or ""
        place = place[step]
    return None


def _steps(name: str, content: Mapping[str, Any]) -> list[str]:
    """The keys from the top of the file down to the parameter's; a key may contain the dots itself."""
    return [name] if name in content else name.split(".")


def _keys(content: Mapping[Any, Any], above: str = "") -> Iterator[str]:
    """The dotted names of all values in a file."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _keys(value, f"{above}{key}.")
        else:
            yield f"{above}{key}"


def _nearest(name: str, keys: Sequence[str]) -> str | None:
    """The key that the user probably meant: of the same last word, of a similar one in its section, else alike."""
    above, _, word = name.rpartition(".")
    last = {key.rpartition(".")[2]: key for key in keys}
    beside = {key.rpartition(".")[2]: key for key in keys if key.rpartition(".")[0] == above}
    near = beside.get(nearest(word, beside) or "") if above else None
    return last.get(word) or near or nearest(name, keys) or last.get(nearest(word, last) or "")


def read(path: Path) -> dict[str, Any]:
    """The mapping in a file of one of these formats; raises ValueError if it contains none."""
    kind, text = kind_of(path.name), path.read_text(encoding="utf-8")
    try:
        found = _parsed(kind, text)
    except ImportError:
        raise ValueError(f"{path}: Python 3.11 or later reads TOML; give a YAML or JSON file.") from None
    except Exception as error:  # each parser has its own tree
        raise ValueError(f"{path} cannot be read as {kind.upper()}: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} contains no mapping of names to values, so the parameters have no place in it.")
    return found


def _parsed(kind: str, text: str) -> Any:
    if kind == "json":
        return json.loads(text)
    if kind == "toml":
        return importlib.import_module("tomllib").loads(text)
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import SafeConstructor

    class Constructor(SafeConstructor):
        """Remembers which texts stand without quotes."""

    def text_of(self: Any, node: Any) -> str:
        found = self.construct_yaml_str(node)
        return found if node.style else _Unquoted(found)

    Constructor.add_constructor("tag:yaml.org,2002:str", text_of)
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = Constructor
    return yaml.load(text)


class _Unquoted(str):
    """A text of the user's file without quotes, such as no, which PyYAML reads as False, and the script must go on doing so."""

    __slots__ = ()


def _text(kind: str, content: dict[str, Any]) -> str:
    if kind == "json":
        return json.dumps(content, indent=2, default=str) + "\n"
    if kind == "toml":
        return "\n".join(_toml(content, ())) + "\n"
    from ruamel.yaml import YAML
    from ruamel.yaml.representer import SafeRepresenter

    class Representer(SafeRepresenter):
        """Writes what YAML 1.1 (and so PyYAML) would read as another type so that it does not: 1.0e-05, not 1e-05; 'no'."""

    def number(self: Any, value: float) -> Any:
        text = repr(value) if math.isfinite(value) else {"inf": ".inf", "-inf": "-.inf"}.get(repr(value), ".nan")
        return self.represent_scalar("tag:yaml.org,2002:float", re.sub(r"^(-?\d+)e", r"\1.0e", text))

    def words(self: Any, value: str) -> Any:
        is_plain = isinstance(value, _Unquoted) or not _OF_ANOTHER_TYPE.fullmatch(value)
        return self.represent_scalar("tag:yaml.org,2002:str", str(value), style=None if is_plain else "'")

    Representer.add_representer(float, number)
    Representer.add_representer(str, words)
    Representer.add_representer(_Unquoted, words)
    yaml, stream = YAML(typ="safe", pure=True), io.StringIO()
    yaml.Representer = Representer
    yaml.default_flow_style = False
    yaml.dump(content, stream)
    return stream.getvalue()


def _toml(content: Mapping[str, Any], above: tuple[str, ...]) -> list[str]:
    plain = {name: value for name, value in content.items() if not isinstance(value, Mapping) and value is not None}
    lines = [f"{_toml_key(name)} = {_toml_value(value)}" for name, value in plain.items()]
    for name, value in content.items():
        if isinstance(value, Mapping):
            place = (*above, name)
            lines += ["", f"[{'.'.join(map(_toml_key, place))}]", *_toml(value, place)]
    return lines


def _toml_key(name: str) -> str:
    return name if re.fullmatch(r"[\w-]+", name, re.ASCII) else _toml_text(name)


def _toml_value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml_key(name)} = {_toml_value(item)}" for name, item in value.items()) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, (int, float)):
        return repr(value)
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return _toml_text(str(value))


def _toml_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
