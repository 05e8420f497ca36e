"""Type checks at run time: a value of the wrong type raises ``ValueError`` at the call that passed it."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from enum import Enum
from functools import cache, partial, wraps
from types import NoneType, UnionType
from typing import Any, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from typing_extensions import Unpack, is_typeddict

P = ParamSpec("P")
R = TypeVar("R")

_EXAMPLES = {
    "Cron": "Cron.weekly()",
    "Duration": "Duration.days(14)",
    "Size": "Size.gibibytes(50)",
    "Tls": "SelfIssued()",
    "Toleration": "k8s.Toleration(key='dedicated', operator='Exists')",
}
_PHRASES = {str: "a string", int: "a whole number", bool: "True or False"}


def typed(function: Callable[P, R]) -> Callable[P, R]:
    """Check the arguments of a function against its annotations before it runs.

    :raises ValueError: An argument does not have the type of its annotation. The message names the argument and the value
    """
    signature = inspect.signature(function)
    # At the first call, when every name of the module exists.
    hints = cache(partial(get_type_hints, function))

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        _check(signature.bind(*args, **kwargs).arguments, hints())
        return function(*args, **kwargs)

    return checked


def check_fields(value: Any) -> None:
    """Check the fields of a frozen dataclass against their annotations, and copy its collections.

    :raises ValueError: A field does not have the type of its annotation. The message names the field and the value
    """
    _check(vars(value), get_type_hints(type(value)))
    for name in (field.name for field in fields(value)):
        content = getattr(value, name)
        if isinstance(content, Mapping):
            object.__setattr__(value, name, dict(content))
        elif isinstance(content, Sequence) and not isinstance(content, str):
            object.__setattr__(value, name, tuple(content))


def _check(values: Mapping[str, object], hints: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if name in hints:
            _require(name, value, hints[name])


def _require(name: str, value: Any, hint: Any) -> None:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in {Union, UnionType}:
        _require_one(name, value, arguments)
    elif origin is Unpack:
        _check_dict(name, value, arguments[0], prefix="")
    elif not _is(value, hint):
        raise ValueError(f"{name} must be {_phrase(hint)}, got {value!r}")
    elif is_typeddict(hint):
        _check_dict(name, value, hint, prefix=f"{name}.")
    elif isinstance(value, Mapping) and arguments:
        for key, item in value.items():
            _require(f"key of {name}", key, arguments[0])
            _require(f"{name}[{key!r}]", item, arguments[1])
    elif isinstance(value, Sequence) and arguments:
        for i, item in enumerate(value):
            _require(f"{name}[{i}]", item, arguments[0])


def _require_one(name: str, value: Any, hints: Sequence[Any]) -> None:
    others = [hint for hint in hints if hint is not NoneType]
    if value is None and NoneType in hints:
        return
    if len(others) == 1:
        _require(name, value, others[0])
    elif not any(_is(value, hint) for hint in others):
        raise ValueError(f"{name} must be {' or '.join(map(_phrase, others))}, got {value!r}")


def _check_dict(name: str, value: Mapping[str, object], hint: Any, *, prefix: str) -> None:
    hints = get_type_hints(hint)
    for key in value:
        if key not in hints:
            raise ValueError(f"{name} must be of {', '.join(sorted(hints))}, got {key!r}")
    _check({f"{prefix}{key}": item for key, item in value.items()}, {f"{prefix}{key}": hints[key] for key in hints})


def _is(value: object, hint: Any) -> bool:
    kind = get_origin(hint) or hint
    if kind is Any:
        return True
    if getattr(kind, "_is_protocol", False):
        # isinstance does not accept the protocols of jsii's interfaces.
        return not isinstance(value, type) and _members(kind) <= {*dir(type(value)), *getattr(value, "__dict__", ())}
    if is_typeddict(kind):
        return isinstance(value, Mapping)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is Sequence:
        return isinstance(value, Sequence) and not isinstance(value, str | bytes)
    return isinstance(value, kind)


def _members(protocol: type) -> set[str]:
    own = (vars(base) for base in protocol.__mro__ if getattr(base, "_is_protocol", False))
    return {name for members in own for name in (*members, *members.get("__annotations__", {})) if not name.startswith("_")}


def _phrase(hint: Any) -> str:
    kind, arguments = get_origin(hint) or hint, get_args(hint)
    if kind is Sequence:
        return f"a list, each item {_phrase(arguments[0])}"
    if kind is Mapping:
        return f"a dict, each value {_phrase(arguments[1])}"
    if is_typeddict(kind):
        return f"a dict of {', '.join(sorted(get_type_hints(kind)))}"
    if kind in _PHRASES:
        return _PHRASES[kind]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"one of {', '.join(map(str, kind))}"
    name = getattr(kind, "__name__", str(kind))
    example = f" such as {_EXAMPLES[name]}" if name in _EXAMPLES else ""
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}{example}"
