"""Every validator returns its value, or raises one line: NAME must be CONDITION, got VALUE."""

import math

import numpy as np
import psutil
import pytest

from cgro.base import validate
from cgro.base.errors import UserError
from cgro.base.machine import in_words, require_memory
from cgro.base.numerals import read_fraction


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: validate.integer("seed", -3, low=0), "seed must be a non-negative integer, got -3"),
        (lambda: validate.integer("seed", True), "seed must be an integer, got True"),
        (lambda: validate.distinct("names", ("a", "b", "a")), "names must be one or more, all different, got a, b, a"),
        (lambda: validate.distinct("names", ()), "names must be one or more, all different, got none"),
        (lambda: validate.ascending("steps", (3, 1)), "steps must be increasing, got [3, 1]"),
        (lambda: validate.ascending("steps", (1, 1)), "steps must be one or more, all different, got 1, 1"),
        (lambda: validate.integer("seed", 2.0), "seed must be an integer, got 2.0"),
        (lambda: validate.integer("images", 9, low=10), "images must be an integer of at least 10, got 9"),
        (lambda: validate.integer("k", 5, low=1, high=4), "k must be an integer from 1 to 4, got 5"),
        (lambda: validate.finite("rate", math.nan), "rate must be finite, got nan"),
        (lambda: validate.finite("rate", "1"), "rate must be a real number, got '1'"),
        (lambda: validate.finite("rate", 1j), "rate must be a real number, got 1j"),
        (lambda: validate.finite("rate", 10**309), f"rate must be a number of at most 308 digits, got {10**309}"),
        (lambda: validate.flag("compile", 1), "compile must be true or false, got 1"),
        (lambda: validate.at_least("weight", -0.5, 0), "weight must be at least 0, got -0.5"),
        (lambda: validate.at_least("weight", math.inf, 0), "weight must be finite, got inf"),
        (lambda: validate.above("radius", 0.0, 0), "radius must be greater than 0, got 0.0"),
        (lambda: validate.between("share", 1.5, 0, 1), "share must be in [0, 1], got 1.5"),
        (lambda: validate.between("ratio", 1.0, 0, 1, open_high=True), "ratio must be in [0, 1), got 1.0"),
        (lambda: validate.between("ratio", 0.0, 0, 1, open_low=True), "ratio must be in (0, 1], got 0.0"),
        (lambda: validate.increasing("g", (0.2, 0.1), 0, 1), "g must be one or more and increasing, got [0.2, 0.1]"),
        (lambda: validate.increasing("g", (0.2, 0.2), 0, 1), "g must be one or more and increasing, got [0.2, 0.2]"),
        (lambda: validate.increasing("g", (), 0, 1), "g must be one or more and increasing, got []"),
        (lambda: validate.increasing("g", (0.0, 0.1), 0, 1), "g must be in (0, 1], got 0.0"),
        (lambda: validate.increasing("g", (0.1, 1.1), 0, 1), "g must be in (0, 1], got 1.1"),
        (
            lambda: validate.one_of("norm", "Linf", ("1", "2", "inf")),
            "norm must be one of 1, 2, inf, got 'Linf'; did you mean inf?",
        ),
    ],
)
def test_a_bad_value_is_refused_in_one_line(check, message):
    with pytest.raises(UserError) as caught:
        check()
    assert str(caught.value) == message


def test_good_values_are_returned():
    assert validate.integer("k", np.int64(3), low=3, high=3) == 3
    assert validate.finite("x", np.float32(0.5)) == 0.5
    assert validate.flag("x", False) is False
    assert validate.at_least("x", 0, 0) == 0
    assert validate.above("x", 1e-300, 0) == 1e-300
    assert validate.between("x", 1.0, 0, 1) == 1.0
    assert validate.one_of("norm", "2", ("1", "2")) == "2"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8/255", 8 / 255),
        (" 1 / 3 ", 1 / 3),
        ("0.1/0.3", 1 / 3),
        ("-2/4", -0.5),
        ("0.03", 0.03),
        ("1e-3", 1e-3),
        ("0/5", 0.0),
        ("1e-999/1", 0.0),
    ],
)
def test_fractions_are_read(text, value):
    assert read_fraction(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "1/",
        "1/0",
        "1/2/3",
        "1_0/2",
        "inf",
        "nan",
        "0x8/255",
        "1e999",
        "8:255",
        "1e9999",
        "1e300/1e-300",
        "\u0661/2",
    ],
)
def test_invalid_fractions_are_refused(text):
    with pytest.raises(UserError, match=r"must be a decimal such as 0\.03 or a fraction such as 8/255, got"):
        read_fraction(text)


def test_work_larger_than_the_machine_is_refused_with_the_memory_it_needs():
    there = psutil.virtual_memory().total
    require_memory(there, "samples = 3")
    with pytest.raises(UserError, match=r"samples = 10,000,000 would need .* of memory, this machine has"):
        require_memory(there + 1, "samples = 10,000,000")


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 B"), (1536, "1.5 KiB"), (24 * 1024**3, "24 GiB"), (1e30, "8.9e+14 PiB")]
)
def test_sizes_are_printed_in_readable_units(size, words):
    assert in_words(size) == words
