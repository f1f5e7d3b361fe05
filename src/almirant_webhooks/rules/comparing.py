"""Values of bodies compared: numbers as exact decimals, values of different types as different."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from .paths import Number, Value

# Beyond what a decimal can be. Every number of a condition lies between them.
_HUGE, _TINY = Decimal("1E+999999999999999999"), Decimal("1E-999999999999999999")


def decimal_of(number: Number) -> Decimal:
    """Return a number without loss. An exponent of more than 18 digits counts as one of 18."""
    try:
        return Decimal(number)
    except InvalidOperation:
        mantissa, _, exponent = number.lower().partition("e")
        if not mantissa.strip("-0."):
            return Decimal(0)
        size = _TINY if exponent.startswith("-") else _HUGE
        return size.copy_negate() if mantissa.startswith("-") else size


# What equal values share that are neither arrays nor objects: a number as sign, digits and exponent; a truth, which is no number, with its type.
Plain = str | tuple[bool] | tuple[int, str, int] | None


def plain_of(value: Value) -> Plain:
    """Return what is equal for equal values that are neither arrays nor objects, and for them alone."""
    if type(value) is Number:
        return _number_key(decimal_of(value))
    return (value,) if type(value) is bool else value


def _number_key(number: Decimal) -> tuple[int, str, int]:
    """Return a number without zeros at its end. Texts have a hash that nobody knows; numbers can be chosen to have all the same."""
    sign, digits, exponent = number.as_tuple()
    text = "".join(map(str, digits))
    kept = text.rstrip("0")
    return (sign, kept, int(exponent) + len(text) - len(kept)) if kept else (0, "", 0)


def is_equal(value: Value, wanted: Value) -> bool:
    """Return whether two values are the same: 1 and 1.0 are, `true` and 1 are not. It goes as deep as `wanted` is."""
    if type(value) is not type(wanted):
        return False
    if type(wanted) is Number:
        return decimal_of(value) == decimal_of(wanted)
    if type(wanted) is list:
        return len(value) == len(wanted) and all(map(is_equal, value, wanted))
    if type(wanted) is dict:
        return value.keys() == wanted.keys() and all(is_equal(value[key], wanted[key]) for key in wanted)
    return bool(value == wanted)
