"""The departures that the pages call unverified against AWS, and the claims of `make test-aws`: none is without the other."""

import ast
import re
import sys

import pytest
from conftest import ROOT
from departures import DEPARTURES

sys.path.append(str(ROOT / "tests/aws"))
import claims  # noqa: E402


@pytest.mark.parametrize("page", claims.SAID)
def test_the_words_of_a_page_are_those_of_the_claims(page):
    on_page, asked = claims.unverified()[page], list(claims.SAID[page])
    assert on_page, f"{page} has no such list"
    assert [words for words in on_page if words not in asked] == [], "these of the page have no claim in tests/aws/claims.py"
    assert [words for words in asked if words not in on_page] == [], f"these have a claim, and are not in {page}"


def test_no_words_are_without_a_claim():
    assert all(ids for said in claims.SAID.values() for ids in said.values())


def test_departures_that_are_unverified_name_their_claims():
    unverified = [departure.s3 for departure in DEPARTURES if "unverified" in departure.s3]
    named = {said: re.findall(r"[a-z-]+\.[a-z0-9-]+", said.partition("unverified: ")[2]) for said in unverified}
    assert named and not [said for said, ids in named.items() if not ids or set(ids) - claims.CLAIMS.keys()], named


def test_each_claim_is_asked_by_a_test():
    """That each has a row in the report, too, is shown by test_aws_suite.py."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "tests/aws").glob("test_*.py")]
    texts = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert claims.CLAIMS.keys() - texts == set()
