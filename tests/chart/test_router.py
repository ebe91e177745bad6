"""The routers: what is rendered for them, and pods of HAProxy in front of pods of hotset."""

import itertools
import re
import shutil
import signal
import subprocess

import pytest
from conftest import NAMES, ROOT, values
from helms import CHART, Refused
from pods import ADDRESS, Pod, unavailable
from routers import ROUTER, RouterPod
from workloads import component_of, configuration, of_kind, one, workload

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")
ROUTED = [name for name in NAMES if values(name).get("router", {}).get("enabled")]
BASE = {
    "mode": "statefulset",
    "replicas": 2,
    "disk": {"type": "none"},
    "router": {"enabled": True, "delay": 1},
    "adminToken": {"existingSecret": "admin"},
}
# There is no S3: it says so at once.
NOWHERE = {"origin": {"endpoint": f"http://{ADDRESS}:1", "attempts": 1}}

needs_haproxy = pytest.mark.skipif(not HAPROXY, reason="haproxy is not installed (`.ci/setup router`)")
needs_pods = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))


def haproxy_cfg(documents: list[dict]) -> str:
    (found,) = [one for one in of_kind(documents, "ConfigMap") if component_of(one) == "router"]
    return found["data"]["haproxy.cfg"]


def selects(selector: dict, documents: list[dict], component: str | None) -> bool:
    labels = workload(documents, component)["spec"]["template"]["metadata"]["labels"]
    return selector.items() <= labels.items()


# What is rendered.


@pytest.mark.parametrize("name", ROUTED)
def test_clients_reach_routers_and_only_routers_reach_pods(helm3, name):
    rendered = helm3.render(values(name))
    fullname = values(name).get("fullnameOverride", "cache-hotset")
    expected = {fullname: "router", f"{fullname}-headless": None, f"{fullname}-router": "router"}
    for service in of_kind(rendered, "Service"):
        selector, component = service["spec"]["selector"], expected[service["metadata"]["name"]]
        assert selects(selector, rendered, component)
        assert not selects(selector, rendered, None if component else "router")
    pods = one(rendered, "NetworkPolicy", fullname)["spec"]
    routers = one(rendered, "NetworkPolicy", f"{fullname}-router")["spec"]
    assert selects(pods["podSelector"]["matchLabels"], rendered, None)
    assert selects(routers["podSelector"]["matchLabels"], rendered, "router")
    (s3,) = [rule for rule in pods["ingress"] if rule["ports"] == [{"port": "s3"}]]
    assert [selects(peer["podSelector"]["matchLabels"], rendered, "router") for peer in s3["from"]] == [True]
    (clients,) = [rule for rule in routers["ingress"] if rule["ports"] == [{"port": "s3"}]]
    assert clients["from"] == [{"podSelector": {}}]


def test_operators_that_are_named_keep_no_router_from_its_health_checks(helm3):
    rendered = helm3.render(values("router-everything"))
    policy = one(rendered, "NetworkPolicy", "objects")["spec"]
    (admin,) = [rule for rule in policy["ingress"] if rule["ports"] == [{"port": "admin"}]]
    assert list(admin["from"][0]) == ["namespaceSelector"]
    for peer, component in zip(admin["from"][1:], ("router", None), strict=True):
        assert selects(peer["podSelector"]["matchLabels"], rendered, component)


def test_replicas_tell_each_other_what_changes_where_they_have_a_token(helm3):
    def peers(changed: dict) -> str | list | None:
        return configuration(helm3.render(changed)).get("cluster", {}).get("peers")

    token = {"adminToken": {"existingSecret": "admin"}}
    everybody = "cache-hotset-headless.apps.svc.cluster.local:9001"
    by_variable = {"extraEnv": [{"name": "HOTSET_ADMIN__TOKEN", "value": "made-up-token-of-admin"}]}
    assert peers(BASE) == peers(token) == peers(by_variable) == everybody
    assert peers(token | {"config": {"admin": {"address": "0.0.0.0:9011"}}}) == everybody.replace(
        "9001", "9011"
    )
    assert (
        peers({}) is None
        and peers(token | {"replicas": 1}) is None
        and peers(token | {"mode": "daemonset"}) is None
    )
    assert peers(BASE | {"config": {"cluster": {"peers": []}}}) == []
    assert peers(BASE | {"adminToken": {}, "config": {"cluster": {"peers": []}}}) == []


def test_pods_keep_their_objects_when_their_number_changes(helm3):
    def servers(replicas: int) -> list[str]:
        return re.findall(
            r"^    server (.+)$", haproxy_cfg(helm3.render(BASE | {"replicas": replicas})), re.M
        )

    two, five = servers(2), servers(5)
    assert five[:2] == two and len(five) == 5
    headless = "cache-hotset-headless.apps.svc.cluster.local:9000"
    assert five[4] == f"cache-hotset-4 cache-hotset-4.{headless} id 5"


def test_routers_know_all_pods_that_there_may_be(helm3):
    cfg = haproxy_cfg(helm3.render(values("router-everything")))
    assert len(re.findall("^    server ", cfg, re.M)) == 8


def test_routers_begin_anew_when_their_configuration_changes_and_only_then(helm3):
    def checksum(changed: dict) -> str:
        annotations = workload(helm3.render(BASE | changed), "router")["spec"]["template"]["metadata"][
            "annotations"
        ]
        return annotations["checksum/config"]

    assert checksum({}) == checksum({"config": {"log": {"level": "debug"}}, "service": {"port": 80}})
    assert checksum({}) != checksum({"replicas": 3})
    assert checksum({}) != checksum(
        {"config": {"listen": [{"address": "0.0.0.0:9000", "domains": ["s3.local"]}]}}
    )


def test_a_router_has_the_time_that_its_end_takes(helm3):
    changed = {"router": {"enabled": True, "delay": 5, "grace": 300}}
    rendered = helm3.render(BASE | changed)
    assert workload(rendered, "router")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 315
    assert "    hard-stop-after 300s\n" in haproxy_cfg(rendered)


WRONG = [
    ({"router": {"enabled": True}}, "router.enabled: needs mode: statefulset"),
    ({"mode": "daemonset", "router": {"enabled": True}}, "router.enabled: needs mode: statefulset"),
    (BASE | {"replicas": 1}, "router.enabled: needs replicas: 2 or more"),
    (BASE | {"adminToken": {}}, "router.enabled: needs adminToken.existingSecret"),
    (BASE | {"router": {"enabled": True, "replicas": 1}}, "replicas"),
    (BASE | {"router": {"enabled": True, "balanceFactor": 90}}, "balanceFactor"),
    (BASE | {"router": {"enabled": True, "kind": "envoy"}}, "kind"),
    (BASE | {"router": {"enabled": True, "image": {"tag": "latest"}}}, "router.image.tag: latest"),
    (
        BASE | {"config": {"listen": [{"address": "0.0.0.0:9000"}, {"address": "0.0.0.0:9005"}]}},
        "config.listen must be one listener",
    ),
    (
        BASE | {"config": {"listen": [{"address": "0.0.0.0:9000", "tls": {"cert": "/c", "key": "/k"}}]}},
        "set tls.enabled instead of config.listen[0].tls",
    ),
    (
        BASE
        | {
            "tls": {"enabled": True},
            "config": {
                "listen": [
                    {
                        "address": "0.0.0.0:9000",
                        "tls": {"cert": "/c", "key": "/k", "client_auth": "required", "client_ca": "/a"},
                    }
                ]
            },
        },
        "hotset sees no certificates of clients",
    ),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_router_that_cannot_work_is_refused_by_both_helms(helm3, helm4, wrong, said):
    for helm in (helm3, helm4):
        with pytest.raises(Refused) as refusal:
            helm.render(wrong)
        assert said in str(refusal.value)


# The configuration of HAProxy.


@needs_haproxy
@pytest.mark.parametrize("name", [*ROUTED, "conf"])
def test_haproxy_takes_the_configuration_without_a_warning(helm3, secrets, tmp_path, name):
    text = (
        (ROOT / "conf/router/haproxy.cfg").read_text()
        if name == "conf"
        else haproxy_cfg(helm3.render(values(name)))
    )
    pair = secrets["objects-tls"]
    for file, content in {
        "tls.crt": pair["tls.crt"],
        "tls.crt.key": pair["tls.key"],
        "ca.crt": pair["tls.crt"],
    }.items():
        (tmp_path / file).write_text(content)
    file = tmp_path / "haproxy.cfg"
    file.write_text(text.replace("/etc/router/tls", str(tmp_path)))
    # -dW: warnings are errors.
    done = subprocess.run([HAPROXY, "-dW", "-c", "-f", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_configuration_for_machines_is_that_of_the_chart(helm3):
    """But for names, addresses, sizes and how servers are found."""

    def directives(text: str) -> list[str]:
        own = r"maxconn|nbthread|server |default-server resolvers|acl is_domain|.+set-var\(txn.bucket\)"
        text = re.sub(r"^resolvers .+?(?=^frontend)", "", text, flags=re.MULTILINE | re.DOTALL)
        lines = [line.strip() for line in text.splitlines()]
        return [line for line in lines if line and not line.startswith("#") and not re.match(own, line)]

    machines = (ROOT / "conf/router/haproxy.cfg").read_text()
    chart = haproxy_cfg(helm3.render(BASE | {"replicas": 3, "router": {"enabled": True}}))
    assert directives(machines) == directives(chart)
    assert len(directives(chart)) > 50

    def buckets(text: str, domain: str) -> set[str]:
        found = re.findall(r"set-var\(txn.bucket\) .+", text)
        return {
            line.replace(domain.replace(".", r"\."), "D").replace(domain, "D")
            for line in found
            if domain in line
        }

    assert buckets(machines, "s3.local") == {
        line for line in buckets(chart, "cache-hotset.apps.svc.cluster.local") if "cluster" not in line
    }
    ids = [re.findall(r"^    server \S+-(\d) .* id (\d)$", text, re.M) for text in (machines, chart)]
    assert ids[0] == ids[1] == [("0", "1"), ("1", "2"), ("2", "3")]


def test_the_scripts_of_routers_are_plain_shell():
    subprocess.run(["sh", "-n", CHART / "router/start.sh"], check=True)


# Pods.


@pytest.fixture
def cluster(helm3, program, secrets, tmp_path):
    """A router and two pods of hotset, connected; ended for certain."""
    made = []

    def make(changed: dict) -> tuple[RouterPod, list[Pod]]:
        rendered = helm3.render(BASE | {"config": NOWHERE} | changed)
        folders = [tmp_path / name for name in ("router", "0", "1")]
        for folder in folders:
            folder.mkdir()
        router = RouterPod(folders[0], program, rendered, secrets)
        pods = [Pod(folder, program, rendered, secrets) for folder in folders[1:]]
        made.extend([router, *pods])
        router.start()
        for number, pod in enumerate(pods):
            pod.name = f"cache-hotset-{number}"
            pod.start()
            router.connect(pod, 10 + number)
        for pod in pods:
            pod.started()
        up = 'haproxy_server_status{proxy="hotset",server="cache-hotset-%d",state="UP"} 1'
        router.wait(lambda: all(up % number in metrics(router) for number in (0, 1)), 20)
        return router, pods

    yield make
    for pod in made:
        pod.stop()


def metrics(router: RouterPod) -> str:
    return router.beside(["curl", "--silent", f"http://{ADDRESS}:9101/metrics"]).stdout


def home(pods: list[Pod], mark: str) -> int:
    """The pod whose log names the mark."""
    found = []
    pods[0].wait(lambda: found.extend(n for n, pod in enumerate(pods) if mark in pod.said()) or found, 10)
    return found[0]


@needs_haproxy
@needs_pods
def test_a_router_sends_each_object_to_its_home_wherever_that_lives(cluster):
    router, pods = cluster({})
    assert router.probe("readinessProbe") and router.probe("livenessProbe")

    marks = (f"mark={number}." for number in itertools.count())

    def home_of(key: str, host: str = "cache-hotset", tries: int = 1) -> int:
        for mark in itertools.islice(marks, tries):
            if router.http(9000, f"/{key}?{mark}", "--header", f"Host: {host}"):
                return home(pods, mark)
        raise AssertionError(router.said())

    before = [home_of(f"data/{index}") for index in range(20)]
    assert {*before} == {0, 1}
    for index in range(6):
        assert home_of(f"{index}", "data.cache-hotset.apps.svc:9000") == before[index]
        assert home_of(f"dat%61/%3{index}", "cache-hotset.apps.svc.cluster.local") == before[index]
    # Clients' addresses arrive: these are none of the router's.
    assert f"\n{ADDRESS}:" in pods[0].said() and f"\n{ROUTER}:" not in pods[0].said()

    # A pod dies: all goes to the other one, and nothing fails that was not there.
    moved = before.index(1)
    pods[1].stop()
    assert home_of(f"data/{moved}", tries=2) == 0
    # It comes back under another address, and has its objects again.
    pods[1].start()
    router.connect(pods[1], 20)
    pods[1].started()
    router.wait(lambda: home_of(f"data/{moved}", tries=2) == 1, 20)
    router.wait(lambda: [home_of(f"data/{index}", tries=2) for index in range(20)] == before, 20)


@needs_haproxy
@needs_pods
def test_a_router_ends_tls_reads_new_certificates_and_ends_gently(cluster, secrets):
    router, pods = cluster({"tls": {"enabled": True, "existingSecret": "objects-tls"}})
    name = ["--cacert", "/dev/stdin", "--resolve", f"objects:9000:{ADDRESS}"]

    def ask(certificate: str, *more: str) -> str:
        command = [
            "curl",
            "--silent",
            *name,
            "--write-out",
            "%{http_version} %{http_code}",
            "--output",
            "/dev/null",
        ]
        inside = [
            "nsenter",
            "--target",
            str(router.process.pid),
            "--net",
            *command,
            *more,
            "https://objects:9000/data/k",
        ]
        return subprocess.run(inside, input=certificate, capture_output=True, text=True, timeout=30).stdout

    old = secrets["objects-tls"]["tls.crt"]
    version, status = ask(old, "--http2", "--header", "Host: cache-hotset").split()
    assert version == "2" and int(status) >= 500
    assert home(pods, '"GET /data/k" ') in (0, 1)

    # The Secret changes, as kubelet shows it.
    new = secrets["renewed"]
    folder = router.volume("config") / "tls"
    for file, content in {"tls.crt.key": new["tls.key"], "tls.crt": new["tls.crt"]}.items():
        (folder / file).write_text(content)
    router.wait(lambda: ask(new["tls.crt"]) != "0 000", 20)

    router.process.send_signal(signal.SIGTERM)
    assert ask(new["tls.crt"]) != "0 000"
    assert router.process.wait(20) == 0
