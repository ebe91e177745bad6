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


@pytest.mark.parametrize("path", sorted((ROOT / "conf").glob("*.yaml")), ids=lambda path: path.name)
def test_the_schema_takes_every_configuration_in_conf(path):
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.Draft7Validator(SCHEMA).validate(yaml.safe_load(path.read_text()))
