"""What the chart does not take, and that it says why so that a person understands it."""

import pytest
from helms import Refused

WRONG = [
    ({"replicaCount": 3}, "replicaCount"),
    ({"mode": "pod"}, "mode"),
    ({"config": {"cache": {"blok": "1MiB"}}}, "blok"),
    ({"config": {"cache": {"memory": "lots"}}}, "memory"),
    ({"config": {"cache": {"memory": -1}}}, "memory"),
    ({"config": {"limits": {"keep_alive": 60}}}, "keep_alive"),
    ({"config": {"limits": {"keep_alive": "1 minute"}}}, "keep_alive"),
    ({"config": {"auth": {"mode": "open"}}}, "verify"),
    ({"config": {"rules": [{"match": "**", "freshness": "forever"}]}}, "immutable|revalidate|bypass"),
    ({"config": {"rules": [{"match": "**", "freshness": {"ttl": "1h", "events": {}}}]}}, "freshness"),
    ({"config": {"rules": [{"match": "**", "disk_share": "120%"}]}}, "disk_share"),
    ({"config": {"listen": [{"address": "0.0.0.0:9000", "mode": 660}]}}, "mode"),
    ({"config": {"log": {"level": "loud"}}}, "level"),
    ({"config": {"threads": "all"}}, "threads"),
    ({"service": {"port": "s3"}}, "port"),
    ({"service": {"trafficDistribution": "Nearby"}}, "trafficDistribution"),
    ({"disk": {"size": "100 GB"}}, "size"),
    ({"image": {"digest": "sha256:abc"}}, "digest"),
    ({"image": {"tag": "latest"}}, "image.tag: latest is another image tomorrow"),
    ({"image": {"tagg": "1"}}, "tagg"),
    ({"metrics": {"serviceMonitor": {"enabled": "yes"}}}, "enabled"),
    ({"disk": {"type": "claim"}}, "disk.type: claim is for mode: statefulset"),
    ({"resources": {"limits": {"memory": "64Mi"}}}, "hotset needs at least 128Mi"),
    ({"resources": {"limits": {"memory": "2 GB"}}}, "is not a quantity such as 2Gi"),
    ({"config": {"admin": {"address": ""}}}, "the probes need the admin port"),
    ({"mode": "daemonset", "autoscaling": {"enabled": True}}, "as many pods as there are nodes"),
    (
        {"autoscaling": {"enabled": True, "metrics": [{"type": "Resource", "resource": {"name": "memory"}}]}},
        "a cache fills its memory",
    ),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG, ids=[str(wrong) for wrong, _ in WRONG])
def test_a_wrong_value_is_refused_by_both_helms_with_its_name(helm3, helm4, wrong, said):
    with pytest.raises(Refused) as by3:
        helm3.render(wrong)
    with pytest.raises(Refused) as by4:
        helm4.render(wrong)
    assert said in str(by3.value) and said in str(by4.value)


def test_a_cluster_that_is_too_old_is_refused(helm3):
    with pytest.raises(Refused, match="kubeVersion"):
        helm3.render({}, "1.24.0")
