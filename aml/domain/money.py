"""Money is whole minor units of a currency: how many decimals each has, and exact text to minor units and back."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Final


def _codes(text: str) -> list[str]:
    return text.split()


# ISO 4217: every active code that payments use, by its number of decimals. Codes that ISO lists without a minor unit
# (metals, funds, test codes) are left out: nobody is paid in them.
_TWO: Final = _codes("""
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP CVE
CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW
KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK
PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS
UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG BOV CHE CHW COU MXV USN
ANG CUC HRK SLL ZWL
""")
_NONE: Final = _codes("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF")
_THREE: Final = _codes("BHD IQD JOD KWD LYD OMR TND")
_FOUR: Final = _codes("CLF UYW")

ISO_4217: Final[Mapping[str, int]] = {
    **dict.fromkeys(_NONE, 0),
    **dict.fromkeys(_TWO, 2),
    **dict.fromkeys(_THREE, 3),
    **dict.fromkeys(_FOUR, 4),
}
MOST_DIGITS: Final = 18
MOST_REPORTED: Final = 10**14  # a reporting amount is below this many minor units


class Defect(Enum):
    """Why a text is no amount of a currency."""

    NOT_DECIMAL = "not a decimal"
    NOT_FINITE = "not finite"
    NEGATIVE = "negative"
    ZERO = "zero"
    TOO_LARGE = "too large"
    DECIMALS = "more decimals than the currency has"


def decimals(currency: str) -> int:
    """Decimals of an ISO 4217 currency; 8 for any other code, as crypto-assets are counted in 10^-8.

    Which other codes a feed may use is the feed's to say (`streams/currencies.csv`).
    """
    return ISO_4217.get(currency, 8)


def to_minor(text: str, places: int) -> int | Defect:
    """Minor units of a positive decimal text with `places` decimals, exactly, or why there are none.

    Digits, an optional sign, point and exponent; trailing zeros beyond `places` are fine, any other digit there is not.
    """
    if not text.isascii() or "_" in text:
        return Defect.NOT_DECIMAL
    try:
        value = Decimal(text)
    except InvalidOperation:
        return Defect.NOT_DECIMAL
    if not value.is_finite():
        return Defect.NOT_FINITE
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    if not any(digits):
        return Defect.ZERO
    if sign:
        return Defect.NEGATIVE
    # Bounds before the power: an exponent of a billion must cost nothing.
    if len(digits) + exponent > MOST_DIGITS:
        return Defect.TOO_LARGE
    coefficient, shift = int("".join(map(str, digits))), exponent + places
    if shift < 0:
        if -shift > len(digits) or coefficient % 10**-shift:
            return Defect.DECIMALS
        minor = coefficient // 10**-shift
    else:
        minor = coefficient * 10**shift
    return minor if minor < 10**MOST_DIGITS else Defect.TOO_LARGE


def to_text(minor: int, places: int) -> str:
    """Decimal text of minor units: 1234 with 2 places is 12.34."""
    sign, digits = "-" if minor < 0 else "", f"{abs(minor):0{places + 1}d}"
    return f"{sign}{digits[:-places]}.{digits[-places:]}" if places else sign + digits
