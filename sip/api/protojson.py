"""LiveKit's JSON of trunks and rules, in every shape that `lk sip`, its documentation and this tool write.

camelCase, snake_case and Go's own names; flat, or wrapped as API requests are (`{"trunk": …}`,
`{"dispatch_rule": …}`, `{"replace": …}`); single, in a list or in `{"items": […]}`; durations as `"30s"`, as
seconds or as `{"seconds": 30}`; enumerations by name, short name or number. What is not known is an error
that names the nearest field that is.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from livekit.protocol import sip as pb

from sip.api import durations, mark, wire
from sip.api.wire import ApiKind, Message
from sip.errors import ConfigurationError

MASK = "***"
"""Stands in place of a password or PIN that was not to be shown; reading it changes nothing."""
SECRETS = ("auth_password", "pin")
Document = dict[str, Any]
"""The JSON object of one trunk or rule, out of its wrapping."""

_IGNORED = {"createdat", "updatedat", "managed"}
_OLD_TRUNK = re.compile(r"(inbound|outbound)(addresse?s?|number|numbersregex|username|password)")


def documents(text: str, kind: ApiKind, source: str = "JSON") -> list[Document]:
    """The objects in a text, out of their wrapping. `source` names it in errors.

    Raises `ConfigurationError` for what is no JSON, or holds no object.
    """
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            f"{source} is no JSON", f"line {error.lineno}, column {error.colno}: {error.msg}"
        ) from None
    except _Twice as error:
        raise ConfigurationError(f"{source} cannot be read", f"{error} stands twice in one object") from None
    except RecursionError:
        raise ConfigurationError(f"{source} cannot be read", "it is nested too deeply") from None
    return [_unwrapped(each, kind, source) for each in _several(value, source)]


def identity(document: Document) -> str:
    """The id that a document names (`ST_…`, `SDR_…`), or an empty string."""
    for key, value in document.items():
        if _compact(key) in ("siptrunkid", "sipdispatchruleid") and isinstance(value, str):
            return value
    return ""


def read(document: Document, kind: ApiKind, source: str = "JSON") -> Message:
    """A new message of a document. Raises `ConfigurationError` with all problems in it."""
    message = wire.MESSAGES[kind]()
    apply(document, message, source)
    return message


def apply(
    document: Document, message: Message, source: str = "JSON", *, before: Message | None = None
) -> None:
    """Change a message where a document says something: a key that is there replaces the field's value.

    An empty list, object or string empties the field; `null` says nothing, like a missing key. Secrets that
    the document masks are those of `before`, which is the message itself by default.
    Raises `ConfigurationError` with all problems in it.
    """
    reader = _Reader(cast("Descriptor", message.DESCRIPTOR))
    reader.fill(document, message, wire.copy(before or message), "")
    given = set(map(_compact, document))
    if "mediaencryption" in given and "media" not in given and message.media.HasField("encryption"):
        message.media.encryption = message.media_encryption  # the newer field would hide it
    if reader.problems:
        raise ConfigurationError(f"{source} cannot be used", "; ".join(reader.problems))


def dump(message: Message, *, show_secrets: bool = False) -> Document:
    """A message as JSON with snake_case names, without the mark; `managed` says whether it had one.

    Passwords and PINs are `***` unless they are to be shown. `read` and `apply` take it as it is.
    """
    shown = wire.copy(message)
    item = wire.read(shown)
    if isinstance(shown, pb.SIPDispatchRuleInfo):
        shown.attributes.pop(mark.ATTRIBUTE, None)
    else:
        shown.metadata = item.metadata
    document: Document = json_format.MessageToDict(shown, preserving_proto_field_name=True)
    if message.media.HasField("encryption") and message.media.encryption == message.media_encryption:
        document.pop("media_encryption", None)  # the older field says the same
    if not show_secrets:
        _mask(document)
    return document | ({"managed": True} if item.managed else {})


class _Twice(Exception):
    """A key that an object holds twice."""


def _once(pairs: list[tuple[str, Any]]) -> Document:
    for key, _ in pairs:
        if sum(1 for other, _ in pairs if other == key) > 1:
            raise _Twice(repr(key))
    return dict(pairs)


def _several(value: object, source: str) -> Iterator[Document]:
    if isinstance(value, list):
        for each in cast("list[object]", value):
            yield from _several(each, source)
    elif isinstance(value, dict):
        document = cast("Document", value)
        items = document.get("items", document.get("Items"))
        if isinstance(items, list) and len(document) == 1:
            yield from _several(items, source)
        else:
            yield document
    else:
        raise ConfigurationError(f"{source} holds no object", f"it is {_kind_of(value)}", 'Write {"name": …}')


def _unwrapped(document: Document, kind: ApiKind, source: str) -> Document:
    """The object inside the wrapping of a request; an id beside it is kept."""
    wrappings = {"dispatchrule", "replace", "update"} if kind == "rule" else {"trunk", "replace", "update"}
    inner = [key for key in document if _compact(key) in wrappings]
    if not inner:
        return document
    rest = {key: value for key, value in document.items() if key not in inner}
    strangers = [key for key in rest if _compact(key) not in ("siptrunkid", "sipdispatchruleid")]
    value = document[inner[0]]
    if len(inner) > 1 or strangers:
        raise ConfigurationError(
            f"{source} cannot be used",
            f"{(inner[1:] + strangers)[0]!r} stands beside {inner[0]!r}",
            f"Put all fields inside {inner[0]!r}, or leave it out",
        )
    if not isinstance(value, dict):
        raise ConfigurationError(f"{source} cannot be used", f"{inner[0]!r} is {_kind_of(value)}, no object")
    return cast("Document", value) | rest


class _Reader:
    """Walks a document along the fields of a message and collects what is wrong."""

    def __init__(self, root: Descriptor) -> None:
        self.root = root
        self.problems: list[str] = []

    def fill(self, document: Mapping[str, Any], message: Any, before: Any, path: str) -> None:
        """Set the fields of `message` that a document names; masked secrets come from `before`."""
        descriptor: Descriptor = message.DESCRIPTOR
        fields = {_compact(field.name): field for field in descriptor.fields}
        seen: set[str] = set()
        for key, value in document.items():
            compact = _compact(key)
            where = f"{path}.{key}" if path else key
            if compact in seen:
                self.problems.append(f"{where} stands there in two spellings")
            seen.add(compact)
            if value is None or (not path and compact in _IGNORED):
                continue
            if descriptor.name == "SIPDispatchRule" and compact == "rule":
                self._object(value, message, before, where)  # Go's name of the oneof
            elif descriptor.name == "SIPDispatchRuleInfo" and compact in _RULE_FIELDS:
                self._field(_RULE_FIELDS[compact], value, message.rule, before.rule, where)
            elif compact in fields:
                self._field(fields[compact], value, message, before, where)
            else:
                self.problems.append(f"{where} is not known{self._hint(key, path)}")

    def _field(self, field: FieldDescriptor, value: Any, message: Any, before: Any, where: str) -> None:
        if field.containing_oneof and not field.containing_oneof.name.startswith("_"):
            other = message.WhichOneof(field.containing_oneof.name)
            if other not in (None, field.name, before.WhichOneof(field.containing_oneof.name)):
                self.problems.append(f"{where} stands beside {other}: a rule is of one kind")
        if field.message_type and field.message_type.GetOptions().map_entry:
            self._map(field, value, message, where)
        elif field.is_repeated:
            self._list(field, value, message, before, where)
        elif field.message_type and field.message_type.full_name == "google.protobuf.Duration":
            self._time(field, value, message, where)
        elif field.message_type and field.message_type.full_name == "google.protobuf.Timestamp":
            return
        elif field.message_type:
            message.ClearField(field.name)
            getattr(message, field.name).SetInParent()
            self._object(value, getattr(message, field.name), getattr(before, field.name), where)
        elif value == MASK and field.name in SECRETS:
            if getattr(before, field.name):
                setattr(message, field.name, getattr(before, field.name))
            else:
                self.problems.append(
                    f"{where} is masked: print it with --show-secrets, or set the real one by its flag"
                )
        else:
            plain = self._plain(field, value, where)
            if plain is not None:
                setattr(message, field.name, plain)

    def _object(self, value: Any, message: Any, before: Any, where: str) -> None:
        if isinstance(value, dict):
            self.fill(cast("Document", value), message, before, where)
        else:
            self.problems.append(f"{where} is {_kind_of(value)}, not an object")

    def _map(self, field: FieldDescriptor, value: Any, message: Any, where: str) -> None:
        if not isinstance(value, dict):
            self.problems.append(f'{where} is {_kind_of(value)}, not an object such as {{"X-Name": "value"}}')
            return
        pairs = cast("Document", value)
        target = getattr(message, field.name)
        target.clear()
        for key, each in pairs.items():
            if isinstance(each, str):
                target[key] = each
            else:
                self.problems.append(f"{where}.{key} is {_kind_of(each)}, not text")

    def _list(self, field: FieldDescriptor, value: Any, message: Any, before: Any, where: str) -> None:
        target = getattr(message, field.name)
        if (
            isinstance(value, dict)
            and not field.message_type
            and value.keys() <= {"set", "add", "remove", "clear"}
        ):
            value = _list_update([*target], cast("Document", value))
        if not isinstance(value, list):
            self.problems.append(f"{where} is {_kind_of(value)}, not a list: write [{json.dumps(value)}]")
            return
        values = cast("list[Any]", value)
        del target[:]
        for index, each in enumerate(values):
            if field.message_type:
                made = target.add()
                self._object(each, made, type(made)(), f"{where}[{index}]")
            elif (plain := self._plain(field, each, f"{where}[{index}]")) is not None:
                target.append(plain)

    def _time(self, field: FieldDescriptor, value: Any, message: Any, where: str) -> None:
        duration = durations.seconds(value)
        if duration is None:
            self.problems.append(f'{where} is no time: write "30s" or seconds as a number')
        else:
            message.ClearField(field.name)
            if duration:
                getattr(message, field.name).FromNanoseconds(round(duration * 1e9))

    def _plain(self, field: FieldDescriptor, value: Any, where: str) -> Any:
        """The value of a text, number, switch or enumeration; None after a problem."""
        if field.enum_type:
            number = _number_of(field.enum_type, value)
            if number is None:
                words = ", ".join(each.name for each in field.enum_type.values[:4])
                self.problems.append(f"{where} is no value of it: {words} …")
            return number
        if field.type == FieldDescriptor.TYPE_STRING:
            if not isinstance(value, str):
                self.problems.append(f'{where} is {_kind_of(value)}, not text: write "{json.dumps(value)}"')
                return None
            return value
        if field.type == FieldDescriptor.TYPE_BOOL:
            if not isinstance(value, bool):
                self.problems.append(f"{where} is {_kind_of(value)}: write true or false")
                return None
            return value
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) or value < 0:
            self.problems.append(f"{where} is {_kind_of(value)}, not a whole number")
            return None
        return int(value)

    def _hint(self, key: str, path: str) -> str:
        compact = _compact(key)
        if not path and _OLD_TRUNK.fullmatch(compact) and "Trunk" in self.root.name:
            return (
                ": it belongs to the old trunk for both directions; make an inbound trunk (numbers,"
                " allowed_addresses) and an outbound one (address, numbers)"
            )
        known = dict(_paths(self.root))
        exact = [where for where, name in known.items() if _compact(name) == compact]
        if exact:
            return f": did you mean {exact[0]}?"
        for kind, message in wire.MESSAGES.items():
            other = {_compact(field.name) for field in message.DESCRIPTOR.fields}
            if message.DESCRIPTOR is not self.root and compact in other and not path:
                return f": it is a field of {_NOUNS[kind]}"
        near = difflib.get_close_matches(
            compact, [_compact(name) for name in known.values()], n=1, cutoff=0.5
        )
        if near:
            best = next(where for where, name in known.items() if _compact(name) == near[0])
            return f": did you mean {best}?"
        return f": {self.root.name} has {', '.join(field.name for field in self.root.fields)}"


_NOUNS: dict[ApiKind, str] = {
    "inbound": "inbound trunks",
    "outbound": "outbound trunks",
    "rule": "dispatch rules",
}
_RULE_FIELDS = {
    field.name.replace("_", ""): cast("FieldDescriptor", field)
    for field in pb.SIPDispatchRule.DESCRIPTOR.fields
}


def _paths(descriptor: Descriptor, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every field under a message with its path (`rule.dispatch_rule_direct.pin`), the nearest first."""
    inner: list[tuple[FieldDescriptor, str]] = []
    for field in descriptor.fields:
        where = f"{prefix}{field.name}"
        yield where, field.name
        message = field.message_type
        if message and not message.GetOptions().map_entry and message.full_name.startswith("livekit."):
            inner.append((field, where + ("[]" if field.is_repeated else "")))
    if depth < 2:
        for field, where in inner:
            if field.name != "egress":
                yield from _paths(cast("Descriptor", field.message_type), where + ".", depth + 1)


def _compact(key: str) -> str:
    """One spelling for roomConfig, room_config and RoomConfig."""
    return key.replace("_", "").replace("-", "").lower()


def _kind_of(value: object) -> str:
    if value is None:
        return "null"
    kinds: dict[type, str] = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "an object",
    }
    return kinds.get(type(value), "something else")


def _number_of(enum: EnumDescriptor, value: object) -> int | None:
    """The number of an enumeration's value, from its name, the telling part of its name, or a number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if value in enum.values_by_number else None
    if not isinstance(value, str):
        return None
    word = value.strip().upper().replace("-", "_")
    if word.isdecimal():
        return _number_of(enum, int(word))
    word = "NO" if word == "NONE" and enum.name == "SIPHeaderOptions" else word
    for each in enum.values:
        if each.name == word:
            return each.number
    for each in enum.values:
        if word and (
            each.name.endswith(f"_{word}") or (enum.name == "SIPHeaderOptions" and f"_{word}_" in each.name)
        ):
            return each.number
    return None


def _list_update(values: list[str], update: Document) -> list[str]:
    """A `ListUpdate` of the API, carried out."""
    if update.get("clear"):
        values = []
    if update.get("set"):
        values = list(update["set"])
    removed = update.get("remove") or []
    return [each for each in values if each not in removed] + [
        each for each in update.get("add") or [] if each not in values
    ]


def _mask(document: Document) -> None:
    for key, value in document.items():
        if key in SECRETS and value:
            document[key] = MASK
        elif isinstance(value, dict) and key in ("rule", *wire.RULES.values()):
            _mask(cast("Document", value))
