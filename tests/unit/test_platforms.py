"""The platforms' files: those that there are hold, and a malformed one is told in a sentence."""

import re

import pytest

from shared.errors import OperatorError
from shared.platforms import parse_platform, platforms

GOOD = """
name = "shop"
title = "Shop"
time_zone = "America/Sao_Paulo"
total_unit = "minor"
currency = "BRL"
[recognise]
present = ["kind", "shop.id"]
[fields]
type = ["kind"]
dedup_key = [["id"], ["order", "status?"]]
"""


def test_the_platforms_that_there_are() -> None:
    found = platforms()
    assert list(found)[-1] == "generic", "the fallback is tried last"
    assert {"grapfy", "generic"} <= set(found)
    assert [platform.name for platform in found.values() if platform.fallback] == ["generic"]
    assert all(platform.recognise for platform in found.values() if not platform.fallback)


def test_a_good_file() -> None:
    platform = parse_platform(GOOD.encode(), "shop.toml")
    assert (platform.name, platform.total_unit, platform.currency) == ("shop", "minor", "BRL")
    assert platform.fields.dedup_key == (("id",), ("order", "status?"))
    assert platform.recognise is not None
    assert platform.recognise.present == ("kind", "shop.id")
    assert not platform.fallback


MALFORMED = {
    "no TOML": "name = ",
    "empty": "",
    "bad UTF-8": GOOD.replace('"Shop"', '"caf\udce9"'),
    "no title": GOOD.replace('title = "Shop"', ""),
    "unknown setting": "colour = 1" + GOOD,
    "unknown field": GOOD + 'coupon = ["coupon"]',
    "wrong type of a field": GOOD.replace('type = ["kind"]', 'type = "kind"'),
    "no type": GOOD.replace('type = ["kind"]', "type = []"),
    "a key without parts": GOOD.replace('["id"], ', "[], "),
    "unknown unit": GOOD.replace('"minor"', '"cents"'),
    "unknown time zone": GOOD.replace("America/Sao_Paulo", "America/Atlantis"),
    "a time zone that leads elsewhere": GOOD.replace("America/Sao_Paulo", "../../etc/passwd"),
    "a name that is none": GOOD.replace('"shop"', '"sh op"'),
    "an empty name": GOOD.replace('name = "shop"', 'name = ""'),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_file_is_told_in_one_sentence_that_names_it(case: str) -> None:
    with pytest.raises(OperatorError) as caught:
        parse_platform(MALFORMED[case].encode(errors="surrogateescape"), "shop.toml")
    text = str(caught.value)
    assert re.fullmatch(r"The platform file shop\.toml is malformed: [^\n]+\.", text), text
    assert not text.endswith("..")
