"""What the API server would refuse, refused where it was written: each function raises ``ValueError`` or returns the value."""

import ipaddress
import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from zoneinfo import available_timezones

from cdk8s import Cron, Duration, Size, SizeRoundingBehavior

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"


def dns_label(what: str, value: str) -> str:
    """RFC 1123 label: what a container's name must be."""
    if len(value) > 63 or not re.fullmatch(_LABEL, value):
        raise ValueError(f"{what} must be at most 63 of a-z, 0-9 and '-', no '-' at either end, got {value!r}")
    return value


def service_name(what: str, value: str) -> str:
    """RFC 1035 label: what a Service's name must be in every Kubernetes from 1.27 on."""
    if len(value) > 63 or not re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", value):
        raise ValueError(
            f"{what} must be at most 63 of a-z, 0-9 and '-', from a letter on and no '-' at the end, got {value!r}"
        )
    return value


def dns_subdomain(what: str, value: str, *, longest: int = 253) -> str:
    """RFC 1123 subdomain: what the name of most objects must be."""
    if len(value) > longest or not re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", value):
        raise ValueError(
            f"{what} must be at most {longest} of a-z, 0-9, '-' and '.', each part from a letter or digit "
            f"to a letter or digit, got {value!r}"
        )
    return value


def several(what: str, values: Sequence[str]) -> Sequence[str]:
    """A sequence that is not a word by itself, whose letters would be taken for the values."""
    if isinstance(values, str):
        raise ValueError(f"{what} must be a list, got {values!r}")  # noqa: TRY004 - the types cannot say it
    return values


def local_path(value: str) -> str:
    """An absolute path below the root, without ``..`` (a ``local`` volume's rule)."""
    if not value.startswith("/"):
        raise ValueError(f"path must be absolute, got {value!r}")
    parts = PurePosixPath(value).parts
    if len(parts) == 1:
        raise ValueError(f"path must be a directory below '/', got {value!r}")
    if ".." in parts:
        raise ValueError(f"path must not contain '..', got {value!r}")
    return value


def more_than_zero(what: str, value: Size) -> None:
    """Some room at all."""
    if value.to_kibibytes(rounding=SizeRoundingBehavior.NONE) == 0:
        raise ValueError(f"{what} must be more than zero, got {value.as_string()!r}")


def whole_kibibytes(what: str, value: Size) -> None:
    """Some room, and no fraction of a KiB."""
    more_than_zero(what, value)
    size = value.to_kibibytes(rounding=SizeRoundingBehavior.NONE)
    if size != int(size):
        raise ValueError(f"{what} must be whole KiB, got {value.as_string()!r}")


def whole_seconds(what: str, value: Duration) -> int:
    """The seconds of a duration that has no fraction of one."""
    if not isinstance(value, Duration):
        raise ValueError(f"{what} must be a Duration such as Duration.days(14), got {value!r}")  # noqa: TRY004 - as all bad input
    seconds = value.to_seconds(integral=False)
    if seconds != int(seconds):
        raise ValueError(f"{what} must be whole seconds, got {seconds} s")
    return int(seconds)


def some_seconds(what: str, value: Duration) -> int:
    """The same, and at least one."""
    seconds = whole_seconds(what, value)
    if seconds < 1:
        raise ValueError(f"{what} must be at least a second, got {seconds} s")
    return seconds


def url(what: str, value: str) -> str:
    """An http or https URL of a host, no user, query or fragment: what dockerd takes for a mirror."""
    if not re.fullmatch(r"https?://[^\s?#@]+", value) or not _has_host(value):
        raise ValueError(f"{what} must be a URL such as 'https://{what.replace(' ', '-')}.example', got {value!r}")
    return value


def registry_host(what: str, value: str) -> str:
    """``host[:port]``, without a scheme or a path."""
    if not re.fullmatch(r"[^\s?#@/]+", value) or not _has_host(f"//{value}"):
        raise ValueError(f"{what} must be host[:port], got {value!r}")
    return value


def insecure_registry(value: str) -> str:
    """What dockerd takes for ``--insecure-registry``."""
    if "/" not in value:
        return registry_host("insecure registry", value)
    network("insecure registry with a '/'", value)
    return value


def image_pattern(what: str, value: str) -> str:
    """A pattern that an image's name as ``docker images`` shows it can match; the engine says nothing of one that none can."""
    if not re.fullmatch(r"[\w.\-/:@*?]+", value, re.ASCII) or re.match(r"(index\.)?docker\.io/", value):
        raise ValueError(f"{what} must be a name as docker images shows it, '*' and '?' for a part of it, got {value!r}")
    return value


def network(what: str, value: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A network by its prefix, no bit of a host in it."""
    try:
        return ipaddress.ip_network(value)
    except ValueError:
        raise ValueError(f"{what} must be a network such as '10.0.0.0/8', got {value!r}") from None


def ip_address(what: str, value: str) -> str:
    """An IPv4 or IPv6 address."""
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


def certificate_name(value: str) -> str:
    """A DNS name, which may begin with ``*.``, or an IP address, as openssl writes it: ``DNS:…`` or ``IP:…``."""
    if "%" not in value:  # the zone of an address, which no certificate has
        try:
            return f"IP:{ipaddress.ip_address(value)}"
        except ValueError:
            pass
    name = value.removeprefix("*.").lower()
    if len(name) > 253 or not re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", name) or any(len(part) > 63 for part in name.split(".")):
        raise ValueError(f"certificate name must be a DNS name or an IP address, got {value!r}")
    return f"DNS:{value.lower()}"


def proxy(what: str, value: str) -> str:
    """A URL of a proxy, which may carry a user and a password: they are not repeated in the error."""
    url_without_user = re.sub(r"(?<=//)[^@/\s]*@", "", value)
    return url(what, url_without_user) and value


def time_zone(value: str) -> str:
    """A name of the time zone database, where this machine has one to look in."""
    known = available_timezones()
    if known and value not in known:
        raise ValueError(f"time zone must be one of the IANA database, such as 'Europe/Berlin', got {value!r}")
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


def schedule(value: Cron) -> Cron:
    """Five fields as the CronJob controller reads them: its parser, robfig/cron, has no 7 for Sunday, no ``L`` and no ``#``."""
    expression = value.expression_string
    fields = expression.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"schedule must have five fields, got {expression!r}")
    for text, (what, lowest, highest, names) in zip(fields, _FIELDS, strict=True):
        for part in text.split(","):
            if not _is_cron_range(part, lowest, highest, names):
                raise ValueError(
                    f"schedule's {what} must be '*', or numbers, ranges and steps from {lowest} to {highest}, "
                    f"got {text!r} in {expression!r}"
                )
    return value


def _is_cron_range(text: str, lowest: int, highest: int, names: dict[str, int]) -> bool:
    match = re.fullmatch(r"(?:[*?]|(\w+)(?:-(\w+))?)(?:/(\d+))?", text.lower(), re.ASCII)
    if not match or (match[3] and int(match[3]) == 0):
        return False
    ends = [names.get(end, int(end) if end.isdigit() else -1) for end in match.group(1, 2) if end]
    return ends == sorted(ends) and all(lowest <= end <= highest for end in ends)
