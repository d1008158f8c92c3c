"""Texts with the user's values in them: `<<value>>`, and lines `%% if …`, `%% for …` as in Jinja.

The marks are chosen so that none of the formats that are written (INI, XML, Kamailio's and Asterisk's
languages) uses them. A name that has no value is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, cast

from jinja2 import (
    Environment,
    StrictUndefined,
    Template,
    TemplateSyntaxError,
    Undefined,
    UndefinedError,
    meta,
)

from sip.errors import ConfigurationError

_LINE = re.compile(r"^[ \t]*%%[ \t]*(.+)$", re.MULTILINE)
"""Jinja's own line statements swallow the blank lines that follow them."""
_WHOLE = re.compile(r"<<((?:(?!>>|<<).)+)>>", re.DOTALL)


def render(text: str, values: Mapping[str, object], *, xml: bool = False) -> str:
    """The text, filled in; `xml` escapes values."""
    try:
        return _template(text, xml).render(values)
    except (TemplateSyntaxError, UndefinedError) as error:
        raise ConfigurationError(f"the template {text[:60]!r} cannot be filled in", str(error)) from error


def evaluate(expression: str, values: Mapping[str, object]) -> Any:
    """The value of an expression such as `auth == 'digest'`."""
    try:
        found = _expression(expression)(**values)
    except (TemplateSyntaxError, UndefinedError) as error:
        raise ConfigurationError(f"the expression {expression!r} has no value", str(error)) from error
    if isinstance(found, Undefined):
        raise ConfigurationError(f"the expression {expression!r} has no value", "a name in it is not known")
    return found


def fill(value: object, values: Mapping[str, object]) -> Any:
    """A tree of templates, filled in; what turns out empty is left out.

    A text that is nothing but one `<<expression>>` keeps the type of its value, so that lists stay lists.
    """
    if isinstance(value, str):
        whole = _WHOLE.fullmatch(value.strip())
        return evaluate(whole[1].strip(), values) if whole else render(value, values)
    if isinstance(value, Mapping):
        pairs = cast("Mapping[str, object]", value)
        filled = {key: fill(each, values) for key, each in pairs.items()}
        return {render(key, values): each for key, each in filled.items() if not _empty(each)}
    if isinstance(value, (list, tuple)):
        several = [fill(each, values) for each in cast("list[object]", value)]
        return [each for each in several if not _empty(each)]
    return value


def names(value: object) -> set[str]:
    """The values that a tree of templates mentions."""
    if isinstance(value, str):
        return set(meta.find_undeclared_variables(_environment(False).parse(_blocks(value))))
    if isinstance(value, Mapping):
        pairs = cast("Mapping[str, object]", value)
        return set().union(*(names(key) | names(each) for key, each in pairs.items()))
    if isinstance(value, (list, tuple)):
        return set().union(*map(names, cast("list[object]", value)))
    return set()


def names_in_expression(expression: str) -> set[str]:
    """The values that an expression mentions."""
    return names(f"<<{expression}>>") if expression else set()


def _regex(number: str) -> str:
    """A number as a regular expression that matches nothing else."""
    return re.sub(r"([+.*])", r"\\\1", number)


def _env(name: str) -> str:
    """A name as the beginning of an environment variable's."""
    upper = re.sub(r"[^A-Z0-9]", "_", name.upper())
    return f"TRUNK_{upper}" if upper[0].isdigit() else upper


def _cucm(number: str) -> str:
    """A number as a route pattern of CUCM, where + is written with a backslash."""
    return number.replace("+", "\\+")


def _blocks(text: str) -> str:
    return _LINE.sub(r"<% \1 %>", text)


def _empty(value: object) -> bool:
    return value is None or value in ("", [], {})


@cache
def _template(text: str, xml: bool) -> Template:
    return _environment(xml).from_string(_blocks(text))


@cache
def _expression(text: str) -> Callable[..., Any]:
    return _environment(False).compile_expression(text, undefined_to_none=False)


@cache
def _environment(xml: bool) -> Environment:
    environment = Environment(
        variable_start_string="<<",
        variable_end_string=">>",
        block_start_string="<%",
        block_end_string="%>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        autoescape=xml,
    )
    environment.filters |= {"digits": _digits, "regex": _regex, "cucm": _cucm, "env": _env}
    return environment


def _digits(number: str) -> str:
    """A number without its plus."""
    return number.removeprefix("+")
