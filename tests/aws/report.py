"""The report: what S3 and hotset answered to each claim. It names no bucket, key, endpoint or account, and has no bytes."""

import json
import platform
import re
import time
from pathlib import Path

import boto3
import pytest
from claims import CLAIMS

ACCOUNT = re.compile(r"(?<![0-9A-Za-z])\d{12}(?![0-9A-Za-z])")


class Report:
    def __init__(self, is_aws: bool):
        self.is_aws, self.rows, self.not_asked = is_aws, [], {}
        self.hidden: dict[str, str] = {}
        """Names that an answer may have, each with the text that is written in its place."""
        self.hotset = ""

    def hide(self, word: str, *texts: str | None) -> None:
        self.hidden |= {text: word for text in texts if text}

    def censored(self, value):
        if isinstance(value, dict):
            return {key: self.censored(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.censored(inner) for inner in value]
        if not isinstance(value, str):
            return value
        # The longest first: a bucket's name may be in that of an endpoint.
        for text in sorted(self.hidden, key=len, reverse=True):
            value = value.replace(text, self.hidden[text])
        return ACCOUNT.sub("ACCOUNT", value)

    def __call__(self, claim: str, expected: dict, s3: dict, hotset: dict, differs: list[str]) -> None:
        """Adds a row: what is claimed, what was answered, and who differs. Fails unless that is another server than AWS."""
        page, words = CLAIMS[claim]
        row = {"claim": claim, "page": page, "words": words, "expected": expected}
        row |= {"s3": self.censored(s3), "hotset": self.censored(hotset), "differs": differs}
        self.rows.append(row)
        strict = [who for who in differs if who == "hotset" or self.is_aws]
        assert not strict, json.dumps(row, indent=1)

    def skip(self, why: str, *claims: str) -> None:
        """Ends a test whose claims cannot be asked here."""
        unknown = set(claims) - CLAIMS.keys()
        assert not unknown, unknown
        self.not_asked |= dict.fromkeys(claims, self.censored(why))
        pytest.skip(f"{', '.join(claims)}: {why}")

    def write(self, path: Path) -> None:
        asked = {row["claim"] for row in self.rows}
        missed = {claim: "its test did not come so far" for claim in CLAIMS if claim not in asked}
        written = {
            "server": "aws" if self.is_aws else "other",
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "hotset": self.hotset,
            "python": platform.python_version(),
            "boto3": boto3.__version__,
            "claims": len(asked),
            "differs": {who: sum(who in row["differs"] for row in self.rows) for who in ("s3", "hotset")},
            "not_asked": missed | {claim: why for claim, why in self.not_asked.items() if claim not in asked},
            "rows": self.rows,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(written, indent=1) + "\n")

    def summary(self, path: Path) -> list[str]:
        different = [row for row in self.rows if row["differs"]]
        lines = [f"{' and '.join(row['differs'])} differs: {row['claim']}: {row['words']}" for row in different]
        asked = len({row["claim"] for row in self.rows})
        return [*lines, f"{asked} of {len(CLAIMS)} claims asked, {len(different)} with a difference: {path}"]
