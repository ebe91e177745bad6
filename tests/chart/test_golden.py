"""What `helm template` writes in each mode, kept so that a change of the chart shows what it does.

After a change that is meant: HOTSET_WRITE_GOLDEN=1 pytest tests/chart/test_golden.py
"""

import os

import pytest
from helms import HERE
from test_dependency import parent_chart

GOLDEN = HERE / "golden"
MODES = ["deployment", "statefulset", "daemonset", "sidecar"]
# A statefulset with routers in front is kept, too.
KEPT = [*MODES, "router"]


@pytest.mark.parametrize("mode", KEPT)
def test_what_is_rendered_is_what_was_looked_at(helm3, tmp_path, mode):
    if mode == "sidecar":
        text = helm3.text({"hotset": {"mode": mode}}, "1.37.0", parent_chart(tmp_path))
    elif mode == "router":
        routed = {"router": {"enabled": True}, "adminToken": {"existingSecret": "admin"}}
        text = helm3.text({"mode": "statefulset"} | routed)
    else:
        text = helm3.text({"mode": mode})
    path = GOLDEN / f"{mode}.yaml"
    if os.environ.get("HOTSET_WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.read_text() == text


def test_no_line_ends_in_a_blank():
    for mode in KEPT:
        for line in (GOLDEN / f"{mode}.yaml").read_text().splitlines():
            assert line == line.rstrip(), (mode, line)
