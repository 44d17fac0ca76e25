"""How values become the texts and bytes that the database keeps."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_plain_json = json.JSONEncoder(ensure_ascii=False)
_sorted_json = msgspec.json.Encoder(order="sorted")


def to_json(value: Any) -> str:
    """Compact JSON text with sorted keys; a float that is not finite becomes null."""
    return _sorted_json.encode(value).decode()


def from_json(text: str) -> Any:
    """The value of a JSON text."""
    return msgspec.json.decode(text)


def digest(*values: Any) -> str:
    """SHA-256, in hex, of the values as one sorted JSON array."""
    return hashlib.sha256(_sorted_json.encode(values)).hexdigest()


def canonical_json(value: Any) -> bytes:
    """Canonical bytes of a JSON value (RFC 8785): the same value always gives the same bytes.

    Raises ValueError for a float that is not finite, an integer of 2^53 or more, or a type that JSON has not.
    """
    return _canonical(value).encode()


def _canonical(value: Any) -> str:
    if value is None or isinstance(value, bool | str):
        return _plain_json.encode(value)
    if isinstance(value, int):
        if abs(value) >= 2**53:
            raise ValueError(f"{value} is not exact in JSON: write it as a text")
        return str(int(value))
    if isinstance(value, float):
        return _canonical_float(value)
    if isinstance(value, Mapping):
        # RFC 8785 sorts by UTF-16 code units.
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(f"{_canonical(key)}:{_canonical(value[key])}" for key in keys) + "}"
    if isinstance(value, Sequence):
        return "[" + ",".join(_canonical(item) for item in value) + "]"
    raise ValueError(f"{type(value).__name__} has no canonical JSON")


def _canonical_float(value: float) -> str:
    """ECMAScript's Number::toString: the shortest digits that read back, plain between 1e-6 and 1e21."""
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(f"{value} has no canonical JSON")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, exponent_text = f"{abs(value)!r}e0".split("e")[:2]
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent_text)
    if whole == "0":
        point -= len(fraction) + 1 - len(digits)
    return sign + _place_point(digits.rstrip("0"), point)


def _place_point(digits: str, point: int) -> str:
    """Write digits whose decimal point stands after the first `point` of them."""
    if len(digits) <= point <= 21:
        return digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{fraction}e{point - 1:+d}"


def rfc3339(at: int) -> str:
    """UTC microseconds as RFC 3339 text, with fractions only where there are any."""
    return (_EPOCH + dt.timedelta(microseconds=at)).isoformat().replace("+00:00", "Z")
