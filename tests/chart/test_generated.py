"""What is made of other files is current, and the values are explained."""

import json
import subprocess
import sys

import jsonschema
import pytest
import yaml
from conftest import ROOT
from helms import CHART

SCHEMA = json.loads((ROOT / "conf/hotset.schema.json").read_text())


def test_the_schema_and_the_readme_are_those_that_helm_generate_writes():
    done = subprocess.run([sys.executable, ROOT / "helm/generate", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_value_has_a_line_that_explains_it():
    lines = (CHART / "values.yaml").read_text().splitlines()
    sections, bare = [], []
    for number, line in enumerate(lines):
        text = line.strip()
        if not text or text.startswith(("#", "-")) or lines[number - 1].strip().startswith("#"):
            continue
        (sections if text.endswith(":") else bare).append(text.split(":")[0])
    # The rest are parts of fields of Kubernetes.
    assert len(bare) < 20 and "replicas" not in bare, bare
    assert len(sections) < 20, sections


def test_every_value_is_in_the_schema_and_the_other_way_around():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert schema["properties"].keys() - values.keys() == {"global", "enabled"}
    assert values.keys() <= schema["properties"].keys()
    jsonschema.Draft7Validator(schema).validate(values)


# One key each. Two things that hotset takes the schema does not: units in lower case, and bare numbers as texts.
VALUES = [
    *({"cache": {"memory": value}} for value in ["1GiB", "64MB", "8Gi", 67108864, "67108864", "2 GiB"]),
    *({"cache": {"memory": value}} for value in ["1 quart", "1G", "-1", -1, 1.5, "1.5GiB", "GiB", "", True]),
    *({"limits": {"body_timeout": value}} for value in ["30s", "1h30m", "1d", "1500ms"]),
    *({"limits": {"body_timeout": value}} for value in ["30", 30, "1m1h", "30 s", "s", "-1s", "", None]),
    *({"rules": [{"match": "**", "freshness": value}]} for value in ["immutable", "bypass", {"ttl": "5s"}]),
    *(
        {"rules": [{"match": "**", "freshness": value}]}
        for value in ["ttl", {}, {"ttl": 5}, {"tll": "5s"}, None]
    ),
    *(
        {"rules": [{"match": "**", "disk_share": value}]}
        for value in ["1%", "100%", None, "0%", "101%", "20", 20]
    ),
    *(
        {"listen": [{"address": "unix:/s", "mode": value}]}
        for value in ["0600", "660", "0800", "06600", 384, "0060"]
    ),
    *({"log": {"access": value}} for value in ["off", False, "json", "on", True, None]),
    *({"log": {"level": value}} for value in ["off", False, "trace", "loud", True, None]),
    *({"auth": {"mode": value}} for value in ["trust", "transparent", "open", None, 1]),
    *({"auth": {"buckets": value}} for value in [["a"], None, "a", [["a"]]]),
    *({"threads": value} for value in [4, None, -4, "four", 0.5]),
    *({"admin": value} for value in [{}, {"address": None}, {"tokn": "t"}, None, []]),
    *({"admin": {"token": "t" * length}} for length in [15, 16]),
    {"cache": {"admission": "first-touch"}},
    {"cache": {"admission": "first_touch"}},
    {"origin": {"addressing": "virtual", "credentials": {"file": "/f"}}},
    {"origin": {"addressing": "virtually"}},
    {"caches": {}},
]


@pytest.mark.parametrize("config", VALUES, ids=str)
def test_the_schema_takes_what_hotset_takes_and_refuses_what_it_refuses(program, tmp_path, config):
    file = tmp_path / "hotset.yaml"
    file.write_text(json.dumps(config))
    done = subprocess.run([program, "check", "--config", file], capture_output=True, text=True)
    is_valid = jsonschema.Draft7Validator(SCHEMA).is_valid(config)
    assert is_valid == (done.returncode == 0), done.stderr


CONFIGURATIONS = sorted(set((ROOT / "conf").glob("*.yaml")) - {ROOT / "conf/compose.yaml"})


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_the_schema_takes_every_configuration_in_conf(path):
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.Draft7Validator(SCHEMA).validate(yaml.safe_load(path.read_text()))
