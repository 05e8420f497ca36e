"""Checks of values. Each function raises ``ValueError`` for a value that the API server or the engine would reject."""

import ipaddress
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from zoneinfo import available_timezones

from cdk8s import Cron, Duration, Size, SizeRoundingBehavior
from cdk8s_plus_27 import ContainerResources

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME = "[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
# Kubernetes reads a quantity as a 64-bit integer.
_MAX_KIBIBYTES = (1 << 53) - 1
_MAX_SECONDS = (1 << 31) - 1


def dns_label(what: str, value: str) -> str:
    """Check an RFC 1123 label, such as the name of a container or a namespace."""
    if len(value) > 63 or not re.fullmatch(_LABEL, value):
        raise ValueError(
            f"{what} must be at most 63 lower-case letters, digits and '-', and start and end with a letter or digit, "
            f"got {value!r}"
        )
    return value


def service_name(what: str, value: str) -> str:
    """Check an RFC 1035 label, which every release since Kubernetes 1.27 accepts as the name of a Service."""
    if len(value) > 63 or not re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", value):
        raise ValueError(
            f"{what} must be at most 63 lower-case letters, digits and '-', start with a letter and not end with '-', "
            f"got {value!r}"
        )
    return value


def dns_subdomain(what: str, value: str, *, longest: int = 253) -> str:
    """Check an RFC 1123 subdomain, such as the name of most objects."""
    if len(value) > longest or not re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", value):
        raise ValueError(
            f"{what} must be at most {longest} lower-case letters, digits, '-' and '.', and each part must start and end "
            f"with a letter or digit, got {value!r}"
        )
    return value


def qualified_name(what: str, value: str) -> str:
    """Check the key of a label or an annotation: a name with an optional prefix, which is a DNS subdomain and ``/``."""
    prefix, slash, name = value.rpartition("/")
    if slash:
        dns_subdomain(f"prefix of {what}", prefix)
    if len(name) > 63 or not re.fullmatch(_NAME, name):
        raise ValueError(f"{what} must be a name such as 'example.com/team', got {value!r}")
    return value


def labels(what: str, values: Mapping[str, str]) -> None:
    """Check the keys and values of labels."""
    for key, value in values.items():
        qualified_name(f"key of {what}", key)
        if len(value) > 63 or not re.fullmatch(f"({_NAME})?", value):
            raise ValueError(f"{what} {key!r} must be at most 63 letters, digits, '-', '_' and '.', got {value!r}")


def local_path(value: str) -> str:
    """Check the path of a ``local`` volume: absolute, below the root and without ``..``."""
    if not value.startswith("/"):
        raise ValueError(f"path must be absolute, got {value!r}")
    parts = PurePosixPath(value).parts
    if len(parts) == 1:
        raise ValueError(f"path must be a directory below '/', got {value!r}")
    if ".." in parts:
        raise ValueError(f"path must not contain '..', got {value!r}")
    return value


def whole_kibibytes(what: str, value: Size) -> int:
    """Check a size of whole KiB, at least one, and return their number."""
    size = value.to_kibibytes(rounding=SizeRoundingBehavior.NONE)
    if size != int(size) or not 0 < size <= _MAX_KIBIBYTES:
        raise ValueError(f"{what} must be a whole number of KiB, from 1 to {_MAX_KIBIBYTES}, got {value.as_string()!r}")
    return int(size)


def whole_seconds(what: str, value: Duration, *, least: int = 1) -> int:
    """Check a duration of whole seconds, and return their number."""
    seconds = value.to_seconds(integral=False)
    if seconds != int(seconds) or not least <= seconds <= _MAX_SECONDS:
        raise ValueError(f"{what} must be a whole number of seconds, from {least} to {_MAX_SECONDS}, got {seconds:g} s")
    return int(seconds)


def resources(what: str, value: ContainerResources) -> None:
    """Check that no request exceeds its limit."""
    if value.cpu and value.cpu.request and value.cpu.limit:
        request, limit = value.cpu.request.amount, value.cpu.limit.amount
        if cores(request) > cores(limit):
            raise ValueError(f"{what} must request at most their limit of CPU, got {request!r} and {limit!r}")
    for kind, sizes in (("memory", value.memory), ("ephemeral storage", value.ephemeral_storage)):
        if sizes and sizes.request and sizes.limit:
            kibibytes = [size.to_kibibytes(rounding=SizeRoundingBehavior.NONE) for size in (sizes.request, sizes.limit)]
            if kibibytes[0] > kibibytes[1]:
                got = f"{sizes.request.as_string()!r} and {sizes.limit.as_string()!r}"
                raise ValueError(f"{what} must request at most their limit of {kind}, got {got}")


def cores(amount: str) -> float:
    """Return an amount of CPU such as ``500m`` as a number."""
    return float(amount[:-1]) / 1000 if amount.endswith("m") else float(amount)


def image(what: str, value: str) -> str:
    """Check a reference to an image: a name with an optional registry, tag and digest."""
    if not _is_image(value):
        raise ValueError(f"{what} must be an image such as 'registry.example/docker:29.9.3-dind', got {value!r}")
    return value


def _is_image(value: str) -> bool:
    host = r"([a-zA-Z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(:[0-9]+)?/"
    part = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
    return bool(re.fullmatch(rf"({host})?{part}(/{part})*(:\w[\w.-]{{0,127}})?(@sha256:[0-9a-f]{{64}})?", value, re.ASCII))


def url(what: str, value: str) -> str:
    """Check an http or https URL without user, query and fragment, as dockerd requires of a mirror."""
    if not re.fullmatch(r"https?://[^\s?#@]+", value) or not _has_host(value):
        raise ValueError(f"{what} must be a URL such as 'https://host.example', got {value!r}")
    return value


def proxy(what: str, value: str) -> str:
    """Check the URL of a proxy. One with a user or a password belongs in a Secret, and the error does not repeat it."""
    if re.match(r"https?://[^/\s]*@", value):
        raise ValueError(f"{what} must have no user and no password: put the URL into a Secret, and name it in proxy_secret")
    return url(what, value)


def registry_host(what: str, value: str) -> str:
    """Check ``host[:port]``, without a scheme or a path."""
    if not re.fullmatch(r"[^\s?#@/]+", value) or not _has_host(f"//{value}"):
        raise ValueError(f"{what} must be host[:port], got {value!r}")
    return value


def insecure_registry(what: str, value: str) -> str:
    """Check a value of ``--insecure-registry``: ``host[:port]`` or a network."""
    if "/" not in value:
        return registry_host(what, value)
    network(what, value)
    return value


def image_pattern(what: str, value: str) -> str:
    """Check a pattern that can match the name of an image as ``docker images`` shows it.

    The engine accepts any pattern, even one that can match no name.
    """
    name, at, digest = value.partition("@")
    # A pattern that can match a name matches this one, with a digit for each wildcard: a digit is valid anywhere.
    example = re.sub("[*?]", "1", name)
    is_shown = not re.match(r"((index\.)?docker\.io|library)/", name)
    has_no_tag = ":" not in name.rpartition("/")[2]
    is_digest = re.fullmatch(r"[*?]+|(sha256|[*?]+):[0-9a-f*?]{1,64}", digest) and has_no_tag
    if not _is_image(example) or not is_shown or (at and not is_digest):
        raise ValueError(
            f"{what} must be a name as `docker images` shows it, with '*' and '?' as wildcards, such as "
            f"'registry.example/base/*:1', got {value!r}"
        )
    return value


def volume_pattern(what: str, value: str) -> str:
    """Check a pattern that can match the name of a volume, which has at least two characters."""
    if not re.fullmatch(r"[A-Za-z0-9*?][\w.*?-]+|\*", value, re.ASCII):
        raise ValueError(f"{what} must be the name of a volume, with '*' and '?' as wildcards, got {value!r}")
    return value


def network(what: str, value: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Check a network in CIDR notation without host bits."""
    try:
        return ipaddress.ip_network(value)
    except ValueError:
        raise ValueError(f"{what} must be a network such as '10.0.0.0/8', got {value!r}") from None


def ip_address(what: str, value: str) -> str:
    """Check an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise ValueError(f"{what} must be an IP address, got {value!r}") from None
    return value


def _has_host(url: str) -> bool:
    match = re.fullmatch(r"(?:https?:)?//(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:/]+))(?::(\d{1,5}))?(?:/.*)?", url, re.ASCII)
    if not match or (match[3] and not 0 < int(match[3]) <= 65535):
        return False
    try:
        if match[1]:
            ipaddress.IPv6Address(match[1])
        elif re.fullmatch(r"[\d.]+", match[2]):
            ipaddress.IPv4Address(match[2])
    except ValueError:
        return False
    label = r"[A-Za-z0-9]([-_A-Za-z0-9]{0,61}[A-Za-z0-9])?"
    return bool(match[1]) or (len(match[2]) <= 253 and bool(re.fullmatch(rf"{label}(\.{label})*", match[2])))


def certificate_name(what: str, value: str) -> str:
    """Check a DNS name, which can start with ``*.``, or an IP address. Return it as openssl writes it, such as ``DNS:…``."""
    if "%" not in value:  # the zone of an address, which no certificate has
        try:
            return f"IP:{ipaddress.ip_address(value)}"
        except ValueError:
            pass
    name = value.removeprefix("*.").lower()
    if len(name) > 253 or not re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", name) or any(len(part) > 63 for part in name.split(".")):
        raise ValueError(f"{what} must be a DNS name or an IP address, got {value!r}")
    return f"DNS:{value.lower()}"


def time_zone(what: str, value: str) -> str:
    """Check a name of the IANA time zone database, if this machine has the database."""
    known = available_timezones()
    if known and value not in known:
        raise ValueError(f"{what} must be a name of the IANA database such as 'Europe/Berlin', got {value!r}")
    return value


_MONTHS: dict[str, int] = dict(zip("jan feb mar apr may jun jul aug sep oct nov dec".split(), range(1, 13), strict=True))
_WEEKDAYS: dict[str, int] = dict(zip("sun mon tue wed thu fri sat".split(), range(7), strict=True))
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("week day", 0, 6, _WEEKDAYS),
)


def schedule(what: str, value: Cron) -> Cron:
    """Check the five fields of a schedule as the CronJob controller parses them.

    Its parser, robfig/cron, accepts neither 7 for Sunday nor ``L`` nor ``#``.
    """
    expression = value.expression_string
    fields = expression.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"{what} must have five fields, got {expression!r}")
    for text, (field, lowest, highest, names) in zip(fields, _FIELDS, strict=True):
        for part in text.split(","):
            if not _is_cron_range(part, lowest, highest, names):
                raise ValueError(
                    f"{what} must have '*', or numbers, ranges and steps from {lowest} to {highest}, as its {field}, "
                    f"got {text!r} in {expression!r}"
                )
    return value


def _is_cron_range(text: str, lowest: int, highest: int, names: dict[str, int]) -> bool:
    match = re.fullmatch(r"(?:[*?]|(\w+)(?:-(\w+))?)(?:/(\d{1,9}))?", text.lower(), re.ASCII)
    if not match or (match[3] and int(match[3]) == 0):
        return False
    ends = [names.get(end, int(end) if end.isdigit() else -1) for end in match.group(1, 2) if end]
    return ends == sorted(ends) and all(lowest <= end <= highest for end in ends)
