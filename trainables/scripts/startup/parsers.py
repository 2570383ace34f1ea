"""Say what a script's parser takes when the script is asked for --help; sitecustomize.py follows the parser for it.

One line on the standard output, MARK and JSON: {"flags": [{"names": ["--lr"], "kind": "float", …}], "commands": {"train": …}}.
`kind`: the type of the value, if that and `choices` alone decide which values are taken. `default`: in Python's words, if it is
certain. Needs Python 3.6 and nothing else.
"""

import enum
import itertools
import json
import sys
from typing import Any, Dict, Iterable  # noqa: UP035

MARK = "what the parser takes: "
MOST = 1000  # choices of a flag
_OF_CLICK = {"integer": "int", "integer range": "int", "float": "float", "float range": "float", "choice": "str"}
_OF_ABSL = {"int": "int", "float": "float", "string enum": "str"}
_Told = Dict[str, Any]  # noqa: UP006


def say(told: _Told) -> None:
    print("\n" + MARK + json.dumps(told), flush=True)


def of_argparse(parser: Any) -> _Told:
    flags, commands, defaults = [], {}, {}  # type: Any, Any, Any
    is_strict = type(parser).__module__ in (
        "argparse",
        "transformers.hf_argparser",
    )  # others may read flags from elsewhere
    for action in parser._actions:
        defaults.setdefault(action.dest, action.default)  # the first one of a name decides
    for action in parser._actions:
        names, kind, takes = action.option_strings, type(action).__name__, action.nargs
        is_plain = kind == "_StoreAction" and takes is None
        others = [each for each in parser._actions if each.nargs == 0 and each.dest == action.dest]
        off = [name for each in others if each.const is (not action.const) for name in each.option_strings]
        if kind == "BooleanOptionalAction":
            off = [name for name in names if name.startswith("--no-")]
        if hasattr(action, "_name_parser_map"):
            commands = {name: of_argparse(each) for name, each in action.choices.items()}
        elif names:
            flags.append(_flag(
                [name for name in names if name not in off], off if takes == 0 else [],
                "nothing" if takes == 0 else "one" if takes in (None, "?", 1) else "many",
                {int: "int", float: "float", None: "str"}.get(action.type, "") if is_plain else "", action.choices or (),
                is_on=takes == 0 and isinstance(action.const, bool) and action.const is defaults[action.dest],
                is_hidden=action.help == "==SUPPRESS==",
                default=_default(defaults[action.dest], action.type) if is_strict and not action.required else "",
            ))  # fmt: skip
    return {"flags": flags, "commands": commands, "is_strict": is_strict, "abbreviates": parser.allow_abbrev}


def of_click(context: Any) -> _Told:
    return _of_command(context.command, context)


def _of_command(command: Any, context: Any) -> _Told:
    flags = []
    for option in command.get_params(context):
        if option.param_type_name == "option":
            is_switch = option.is_flag or option.count
            kind, choices = _type_of(option)
            is_plain = option.nargs == 1 and not (is_switch or option.multiple or option.callback)
            flags.append(_flag(
                option.opts, option.secondary_opts, "nothing" if is_switch else "one" if option.nargs == 1 else "many",
                kind if is_plain else "", choices, is_on=is_switch and option.default is True, is_hidden=option.hidden,
                default="" if option.required or option.callback else _default(option.default),
            ))  # fmt: skip
    names = command.list_commands(context) if hasattr(command, "list_commands") else ()
    commands = {name: _of_command(command.get_command(context, name), context) for name in names}
    return {"flags": flags, "commands": commands, "is_strict": True, "abbreviates": False}


def _type_of(option: Any) -> Any:
    """The kind and the choices of an option of click, or of a typer that has its own types."""
    if hasattr(option, "type"):
        choices, is_exact = getattr(option.type, "choices", ()), getattr(option.type, "case_sensitive", True)
        return _OF_CLICK.get(option.type.name, "") if is_exact else "", choices
    annotation, info = option.type_descriptor.annotation, option.type_descriptor.parameter_info
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum) and info.case_sensitive:
        return "str", [each.value for each in annotation]
    return "" if info.parser else {int: "whole number", float: "float"}.get(annotation, ""), ()


def of_absl(values: Any) -> _Told:
    flags = [
        _flag(
            ["--" + flag.name], ["--no" + flag.name] if flag.boolean else [], "nothing" if flag.boolean else "one",
            _OF_ABSL.get(flag.flag_type(), ""), getattr(flag.parser, "enum_values", None) or (),
            default=_default(flag.default),
        )
        for flag in values.get_key_flags_for_module(sys.argv[0])
    ]  # fmt: skip
    return {"flags": flags, "commands": {}, "is_strict": False, "abbreviates": False}


def _default(value: Any, read: Any = None) -> str:
    """A default in Python's words; empty if it is not certain, as of a text that the script has `read` as something else."""
    if value is None or type(value).__name__ == "Sentinel":  # as click says that there is none
        return "None"
    is_read = isinstance(value, str) and (value == "==SUPPRESS==" or read not in (None, str, int, float))
    return repr(value) if isinstance(value, (bool, int, float, str, list, tuple)) and not is_read else ""


def _flag(
    names: Any,
    off: Any,
    takes: str,
    kind: str,
    choices: Iterable[Any],
    is_on: bool = False,
    is_hidden: bool = False,
    default: str = "",
) -> _Told:
    listed = list(itertools.islice(choices, MOST))
    is_certain = len(listed) < MOST and all(isinstance(each, (str, int, float)) for each in listed)
    told = {"names": names, "off": off, "takes": takes, "is_on": is_on, "is_hidden": is_hidden, "default": default}
    return dict(told, kind=kind, choices=listed) if is_certain and (listed or kind != "str") else told


PARSERS = {  # module → class, the function that makes its help, what to say of it
    "argparse": ("ArgumentParser", "format_help", of_argparse),
    "click.core": ("Context", "get_help", of_click),
    "typer._click.core": ("Context", "get_help", of_click),
    "absl.flags._flagvalues": ("FlagValues", "main_module_help", of_absl),
}
