"""The Helm chart, rendered by Helm: what it refuses, and what Kubernetes and a worker make of it.

Needs `helm` (`make .cache/bin/helm`) and the schemas (`make .cache/schemas/installed`).
"""

import json
import math
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.optional import built, schemas
from worker import chart_reference
from worker.config_file import load_settings
from worker.errors import ConfigurationError
from worker.memory_limits import effective_mb, worker_limits
from worker.settings import Settings, setting_fields
from worker.settings_reference import shown
from worker.watchdog import UNCHANGED_CHECKS_MAX

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "poste-restante"
CHECKS = (CHART / "templates" / "_checks.tpl").read_text()
#: Settings whose values are secrets: the chart takes files instead.
SECRETS = {"kafka.sasl_plain_password", "kafka.ssl_password", "receipt_keys"}
#: Versions of Kubernetes whose schemas the chart is held to.
VERSIONS = ("1.34.0", "1.37.0")
MIB = 1024 * 1024

MINIMAL: dict[str, Any] = {
    "image": {"repository": "registry.example/poste-restante"},
    "aws": {"region": "eu-central-1"},
    "settings": {"kafka": {"bootstrap_servers": "kafka:9092"}},
}
#: Every setting that the chart takes, each with another value than its default.
SETTINGS: dict[str, Any] = {
    "retention_days": 14.5, "dead_letters_consecutive_max": 500, "drain_s": 30.5, "leave_s": 10,
    "stalled_s": 95, "unready_after_s": 20, "transaction_warn_s": 90, "memory_mb": 768,
    "freshness_s": 2.5,
    "log_level": "WARNING", "log_format": "json", "tracing": True,
    "kafka": {
        "bootstrap_servers": "kafka-0.kafka:9093,[fd00::1]:9093", "topic": "chat.undelivered",
        "dead_letters_topic": "chat.dead", "group": "chat & co <mailboxes>",
        "group_instance_id": "poste-{hostname}", "client_id": "a$(HOME)'\"b",
        "client_rack": "eu-central-1a", "start": "2026-01-31T00:00:00Z", "partitions_max": 32,
        "session_timeout_s": 20, "heartbeat_s": 2, "commit_interval_s": 2.5,
        "security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "worker", "sasl_oauth_token_provider": "worker.kafka.msk_iam:token",
        "ssl_check_hostname": False,
    },
    "batch": {"records_max": 1_000_000, "bytes_max": 16_777_216, "linger_s": 15},
    "bundle": {"messages_max": 50, "bytes_max": 32_768},
    "dynamodb": {
        "table": "chat", "calls_in_flight_max": 8, "timeout_s": 3,
        "write_units_per_s_max": 100_000_000,
    },
    "http": {"host": "::", "port": 7077},
}  # fmt: skip
FILES: dict[str, Any] = {
    "kafka": {
        "sasl_plain_password_file": {"secret": "kafka-user", "key": "password"},
        "ssl_cafile": {"configMap": "kafka-ca", "key": "ca.crt"},
        "ssl_certfile": {"secret": "kafka-user", "key": "user.crt"},
        "ssl_keyfile": {"secret": "kafka-user", "key": "user.key"},
        "ssl_password_file": {"secret": "kafka-user", "key": "user.password"},
    },
    "receipt_keys_file": {"secret": "receipts", "key": "keys"},
}
FULL: dict[str, Any] = {
    **MINIMAL,
    "image": {"repository": "registry.example/poste-restante", "digest": f"sha256:{'0' * 64}"},
    "settings": SETTINGS,
    "files": FILES,
    "env": [{"name": "AWS_ENDPOINT_URL_DYNAMODB", "value": "http://dynamodb:8000"}],
    "resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/worker"}},
    "init": {"enabled": True, "check": True},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "keda": {"enabled": True, "authenticationRef": "kafka"},
    "podLabels": {"team": "chat"},
    "podAnnotations": {"team": "chat"},
    "imagePullSecrets": [{"name": "registry"}],
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "chat", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    ],
    "priorityClassName": "high",
}


def changed(path: str, value: Any, base: Mapping[str, Any] = MINIMAL) -> dict[str, Any]:
    """The values with one more: `path` has `/` between its parts."""
    values = deepcopy(dict(base))
    *parts, last = path.split("/")
    inner = values
    for part in parts:
        inner = inner.setdefault(part, {})
    inner[last] = value
    return values


SASL = changed("settings/kafka/security_protocol", "SASL_SSL")
VARIANTS = {
    "minimal": MINIMAL,
    "full": FULL,
    "stateful set": changed("kind", "StatefulSet"),
    "full stateful set": changed("kind", "StatefulSet", FULL),
    "init": changed("init", {"enabled": True, "partitions": 8, "replicationFactor": 1}),
    "user from a secret": changed(
        "env",
        [{"name": "POSTE_KAFKA__SASL_PLAIN_USERNAME",
          "valueFrom": {"secretKeyRef": {"name": "kafka-user", "key": "username"}}}],
        changed("files/kafka/sasl_plain_password_file", {"secret": "u", "key": "p"}, SASL),
    ),
    "msk": changed(
        "keda", {"enabled": True, "authenticationRef": "msk"},
        changed("settings/kafka", {
            "bootstrap_servers": "msk:9098", "security_protocol": "SASL_SSL",
            "sasl_mechanism": "OAUTHBEARER",
            "sasl_oauth_token_provider": "worker.kafka.msk_iam:token",
        }),
    ),
}  # fmt: skip


def helm(directory: Path, command: str, values: Mapping[str, Any]) -> tuple[int, str, str]:
    """Run Helm on the chart; exit status, output and errors."""
    path = directory / "values.json"
    path.write_text(json.dumps(values))
    name = ["mail"] if command == "template" else []
    done = subprocess.run(
        [built("helm"), *command.split(), *name, CHART, "--values", path, "--namespace", "chat",
         "--kube-version", VERSIONS[0]],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def rendered(directory: Path, values: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    """The resources of a release, by kind and name."""
    status, output, errors = helm(directory, "template", values)
    assert status == 0, errors
    return {
        (resource["kind"], resource["metadata"]["name"]): resource
        for resource in yaml.safe_load_all(output)
    }


def workload(resources: Mapping[tuple[str, str], Any]) -> Any:
    (found,) = (resources[key] for key in resources if key[0] in {"Deployment", "StatefulSet"})
    return found


def pod(resources: Mapping[tuple[str, str], Any]) -> Any:
    return workload(resources)["spec"]["template"]["spec"]


def environment(spec: Mapping[str, Any]) -> dict[str, str]:
    """The container's variables, as Kubernetes passes them."""
    (container,) = spec["containers"]
    given = {v["name"]: v.get("value", "from-a-secret") for v in container["env"]}
    assert len(given) == len(container["env"]), "a variable is there twice"
    assert not any(re.search(r"(?<!\$)\$\(", value) for value in given.values())
    return {name: value.replace("$$(", "$(") for name, value in given.items()}


def settings_of(spec: Mapping[str, Any]) -> Settings:
    return load_settings(None, environment(spec))


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[tuple[str, str], Any]]:
    """Every variant, rendered."""
    directory = tmp_path_factory.mktemp("chart")
    return {name: rendered(directory, values) for name, values in VARIANTS.items()}


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= {f"{key}.{inner}": of for inner, of in value.items()}
        else:
            found[key] = value
    return found


# ---- what is generated


def test_the_generated_parts_are_current() -> None:
    """Run `python -m worker.chart_reference deploy/helm/poste-restante` when this fails."""
    text = (CHART / "values.schema.json").read_text()

    assert text == chart_reference.as_json(chart_reference.generated(json.loads(text)))
    defaults = (CHART / "files" / "defaults.json").read_text()
    assert defaults == chart_reference.as_json(chart_reference.defaults())


def test_every_setting_is_a_value_a_file_or_a_secret() -> None:
    """No setting is out of the chart's reach, and the chart has none that does not exist."""
    settings = chart_reference.settings_schema()["properties"]
    files = chart_reference.files_schema()["properties"]
    names = {
        f"{name}.{key}" if "properties" in schema else name
        for part in (settings, files)
        for name, schema in part.items()
        for key in schema.get("properties", [""])
    }

    assert names.isdisjoint(SECRETS)
    assert names | SECRETS == {name for name, _ in setting_fields()}


def test_the_chart_has_the_version_of_the_worker() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert chart["version"] == chart["appVersion"] == project["version"]


# ---- what Kubernetes makes of it


@pytest.fixture(scope="module")
def refused() -> Iterator[Callable[[Iterable[Any], str], list[str]]]:
    """What the schemas of a version say of resources: a text for each that they refuse. One
    process for all questions, since its packages take seconds to import."""
    with subprocess.Popen(
        [sys.executable, ROOT / "tests" / "kubernetes_schemas.py"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={"PYTHONPATH": str(schemas())},
    ) as process:  # fmt: skip
        questions, answers = process.stdin, process.stdout
        assert questions is not None
        assert answers is not None

        def ask(resources: Iterable[Any], version: str) -> list[str]:
            question = [version.rpartition(".")[0], list(resources)]
            print(json.dumps(question), file=questions, flush=True)
            answer: list[str] = json.loads(answers.readline())
            return answer

        yield ask
        questions.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_and_the_operators_know_every_field(
    releases: dict[str, dict[tuple[str, str], Any]],
    refused: Callable[[Iterable[Any], str], list[str]],
    version: str,
) -> None:
    """By their own schemas; strict: a field that they do not know is an error."""
    resources = [resource for release in releases.values() for resource in release.values()]

    assert {resource["kind"] for resource in resources} == {
        "Deployment", "StatefulSet", "Service", "ServiceAccount", "PodDisruptionBudget", "Job",
        "ScaledObject", "ServiceMonitor",
    }  # fmt: skip
    assert refused(resources, version) == []


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", "spec/template/spec/enableServiceLink", False),
        ("Deployment", "spec/template/spec/terminationGracePeriodSeconds", "40"),
        ("PodDisruptionBudget", "spec/maxUnavailable", {}),
        ("ScaledObject", "spec/maxReplicas", 8),
        ("ScaledObject", "spec/maxReplicaCount", "many"),
        ("ServiceMonitor", "spec/endpoint", []),
        ("ServiceMonitor", "spec/endpoints", None),
    ],
)
def test_the_schemas_refuse_what_they_do_not_know(
    releases: dict[str, dict[tuple[str, str], Any]],
    refused: Callable[[Iterable[Any], str], list[str]],
    kind: str, path: str, value: Any,
) -> None:  # fmt: skip
    """Else the test above would show nothing."""
    right = releases["full"][kind, "mail-poste-restante"]

    (reason,) = refused([changed(path, value, right)], VERSIONS[0])
    assert reason.startswith(f"{kind}: ")


def test_helm_has_nothing_to_say(tmp_path: Path) -> None:
    status, output, errors = helm(tmp_path, "lint --strict", FULL)
    assert status == 0, output + errors
    assert "[WARNING]" not in output


# ---- what a worker makes of it


def test_every_setting_arrives_as_it_was_given(
    releases: dict[str, dict[tuple[str, str], Any]],
) -> None:
    """No number in a notation that a setting does not take, no text that a shell, YAML or
    Kubernetes has changed."""
    settings = flat(shown(settings_of(pod(releases["full"]))))

    for name, value in flat(SETTINGS).items():
        assert settings[name] == value, name
    assert set(flat(SETTINGS)) == set(chart_reference.defaults())


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_environment_is_a_configuration(
    releases: dict[str, dict[tuple[str, str], Any]], variant: str
) -> None:
    """The product takes it, of workers and of `poste init`."""
    release = releases[variant]
    specs = [pod(release)]
    specs += [r["spec"]["template"]["spec"] for (k, _), r in release.items() if k == "Job"]

    for spec in specs:
        settings = settings_of(spec)
        (container,) = spec["containers"]
        servers = VARIANTS[variant]["settings"]["kafka"]["bootstrap_servers"]
        assert settings.kafka.bootstrap_servers == servers
        assert environment(spec)["AWS_DEFAULT_REGION"] == "eu-central-1"
        assert container["args"][0] in {"worker", "init"}
        mounted = {
            item["path"]
            for volume in spec.get("volumes", [])
            for source in volume["projected"]["sources"]
            for part in source.values()
            for item in part["items"]
        }
        named = {
            Path(value).name for name, value in environment(spec).items() if name.endswith("FILE")
        }
        assert mounted == named


def test_secrets_are_files_of_secrets_and_nothing_else(
    releases: dict[str, dict[tuple[str, str], Any]],
) -> None:
    """Mounted whole, without subPath, so that they can be rotated; readable for the worker's group
    alone."""
    spec = pod(releases["full"])
    (volume,) = spec["volumes"]
    (mount,) = spec["containers"][0]["volumeMounts"]
    sources = {
        item["path"]: (kind, part["name"], item["key"])
        for source in volume["projected"]["sources"]
        for kind, part in source.items()
        for item in part["items"]
    }

    assert sources == {
        name: ("secret" if "secret" in of else "configMap", of.get("secret", of.get("configMap")),
               of["key"])
        for name, of in {"receipt_keys_file": FILES["receipt_keys_file"],
                         **{f"kafka.{k}": v for k, v in FILES["kafka"].items()}}.items()
    }  # fmt: skip
    assert volume["projected"]["defaultMode"] == 0o440
    assert mount == {"name": volume["name"], "mountPath": "/etc/poste/files", "readOnly": True}
    assert not any(kind == "Secret" for release in releases.values() for kind, _ in release)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_worker_may_drain_before_it_is_killed(
    releases: dict[str, dict[tuple[str, str], Any]], variant: str
) -> None:
    """The grace period covers the drain limit and leaving after it (G1, G8)."""
    spec = pod(releases[variant])
    settings = settings_of(spec)

    assert (
        spec["terminationGracePeriodSeconds"] == math.ceil(settings.drain_s + settings.leave_s) + 5
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_probes_ask_the_health_endpoints(
    releases: dict[str, dict[tuple[str, str], Any]], variant: str
) -> None:
    """At the pod's own address; a stalled worker ends itself first, and says why."""
    spec = pod(releases[variant])
    settings = settings_of(spec)
    (container,) = spec["containers"]
    (port,) = container["ports"]
    probes = {k: container[f"{k}Probe"] for k in ("startup", "liveness", "readiness")}

    assert settings.http.host in {"0.0.0.0", "::"}
    assert port == {"name": "http", "containerPort": settings.http.port}
    assert {k: probe["httpGet"] for k, probe in probes.items()} == {
        "startup": {"path": "/healthz", "port": "http"},
        "liveness": {"path": "/healthz", "port": "http"},
        "readiness": {"path": "/readyz", "port": "http"},
    }
    alive = probes["liveness"]
    assert alive["failureThreshold"] * alive["periodSeconds"] > settings.stalled_s * (
        1 + 1 / UNCHANGED_CHECKS_MAX
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_memory_limit_fits_memory_mb(
    releases: dict[str, dict[tuple[str, str], Any]], variant: str
) -> None:
    """What the worker bounds itself to is what the kernel allows (G8)."""
    spec = pod(releases[variant])
    text = spec["containers"][0]["resources"]["limits"]["memory"]
    limit = int(text[:-2]) * (1024 if text.endswith("Gi") else 1) * MIB

    assert 128 * MIB <= effective_mb(settings_of(spec).memory_mb, limit) * MIB <= limit


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_pod_may_do_no_more_than_it_needs(
    releases: dict[str, dict[tuple[str, str], Any]], variant: str
) -> None:
    """The restricted profile of Kubernetes, a read-only root, no token of the API server, and no
    variables of other Services."""
    release = releases[variant]
    specs = [
        r["spec"]["template"]["spec"] for r in release.values() if "template" in r.get("spec", {})
    ]

    assert specs
    for spec in specs:
        (container,) = spec["containers"]
        assert spec["enableServiceLinks"] is False
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
    uid = re.search(r"(?m)^USER (\d+)$", (ROOT / "Dockerfile").read_text())
    assert uid is not None
    assert pod(release)["securityContext"]["runAsUser"] == int(uid[1])


# ---- roll-outs, scaling, monitoring


def test_a_stateful_set_has_static_members(releases: dict[str, dict[tuple[str, str], Any]]) -> None:
    """Each pod an id of its own; one that was given is kept."""
    plain, full = (settings_of(pod(releases[n])) for n in ("stateful set", "full stateful set"))

    assert plain.kafka.group_instance_id == "{hostname}"
    assert full.kafka.group_instance_id == "poste-{hostname}"
    assert settings_of(pod(releases["minimal"])).kafka.group_instance_id == ""
    spec = workload(releases["stateful set"])["spec"]
    assert ("Service", spec["serviceName"]) in releases["stateful set"]


def test_workers_are_restarted_one_by_one(
    releases: dict[str, dict[tuple[str, str], Any]],
) -> None:
    """By a roll-out, and by the draining of nodes; unready ones hold up no node."""
    release = releases["minimal"]
    update = workload(release)["spec"]["strategy"]["rollingUpdate"]
    budget = release["PodDisruptionBudget", "mail-poste-restante"]["spec"]

    assert update == {"maxUnavailable": 1, "maxSurge": 0}
    assert budget["maxUnavailable"] == 1
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_selectors_find_the_workers_and_not_init(
    releases: dict[str, dict[tuple[str, str], Any]],
) -> None:
    release = releases["full"]
    labels = workload(release)["spec"]["template"]["metadata"]["labels"]
    of_init = release["Job", "mail-poste-restante-init"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        workload(release)["spec"]["selector"]["matchLabels"],
        release["Service", "mail-poste-restante"]["spec"]["selector"],
        release["PodDisruptionBudget", "mail-poste-restante"]["spec"]["selector"]["matchLabels"],
    ]

    for selector in selectors:
        assert selector.items() <= labels.items()
        assert not selector.items() <= of_init.items()


def test_prometheus_finds_the_metrics(releases: dict[str, dict[tuple[str, str], Any]]) -> None:
    """Of unready workers too: those are the ones to look at."""
    release = releases["full"]
    service = release["Service", "mail-poste-restante"]
    monitor = release["ServiceMonitor", "mail-poste-restante"]["spec"]
    (endpoint,) = monitor["endpoints"]
    (port,) = service["spec"]["ports"]

    selected = monitor["selector"]["matchLabels"]
    assert selected.items() <= service["metadata"]["labels"].items()
    assert (endpoint["port"], endpoint["path"]) == (port["name"], "/metrics")
    assert port["targetPort"] == "http"
    assert service["spec"]["publishNotReadyAddresses"] is True


def test_keda_scales_by_the_lag_of_the_group(
    releases: dict[str, dict[tuple[str, str], Any]],
) -> None:
    """And alone sets the number of workers."""
    for name in ("full", "full stateful set"):
        release = releases[name]
        kafka = settings_of(pod(release)).kafka
        scaled = release["ScaledObject", "mail-poste-restante"]["spec"]
        (trigger,) = scaled["triggers"]
        said = trigger["metadata"]

        assert "replicas" not in workload(release)["spec"]
        assert scaled["scaleTargetRef"]["kind"] == workload(release)["kind"]
        assert scaled["scaleTargetRef"]["name"] == workload(release)["metadata"]["name"]
        assert said["bootstrapServers"] == kafka.bootstrap_servers
        assert (said["consumerGroup"], said["topic"]) == (kafka.group, kafka.topic)
        assert (said["tls"], said["sasl"]) == ("enable", "scram_sha512")
        assert all(isinstance(value, str) for value in said.values())
    (trigger,) = releases["msk"]["ScaledObject", "mail-poste-restante"]["spec"]["triggers"]
    assert trigger["metadata"]["saslTokenProvider"] == "aws_msk_iam"
    assert workload(releases["minimal"])["spec"]["replicas"] == 2


def test_init_has_a_role_of_its_own_and_comes_first(
    releases: dict[str, dict[tuple[str, str], Any]],
) -> None:
    """A worker's role may not create tables."""
    release = releases["init"]
    job = release["Job", "mail-poste-restante-init"]
    account = release["ServiceAccount", job["spec"]["template"]["spec"]["serviceAccountName"]]

    assert pod(release)["serviceAccountName"] != account["metadata"]["name"]
    for resource in (job, account):
        hooks = resource["metadata"]["annotations"]["helm.sh/hook"]
        assert hooks == "pre-install,pre-upgrade"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["init", "--partitions=8", "--replication-factor=1"]
    (checking,) = releases["full"]["Job", "mail-poste-restante-init"]["spec"]["template"]["spec"][
        "containers"
    ]
    assert "--check" in checking["args"]


# ---- what is refused

KAFKA = "settings/kafka"
#: Values that cannot work, and what is said. worker: the worker would refuse them too.
REFUSED: list[tuple[str, Any, str]] = [
    ("image", {}, "/image/repository"),
    ("image/repository", "Poste Restante", "/image/repository"),
    ("image/digest", "sha256:12", "/image/digest"),
    ("image/tags", "1", "/image"),
    ("aws/region", "", "/aws/region"),
    ("aws/region", "Frankfurt", "/aws/region"),
    ("kind", "DaemonSet", "/kind"),
    ("replicas", 0, "/replicas"),
    ("replica", 3, "additional properties 'replica' not allowed"),
    ("settings/topic", "x", "/settings"),
    (KAFKA, {}, "missing property 'bootstrap_servers'"),
    (f"{KAFKA}/topik", "x", "additional properties 'topik' not allowed"),
    (f"{KAFKA}/sasl_plain_password", "secret", "'sasl_plain_password' not allowed"),
    (f"{KAFKA}/ssl_cafile", "/etc/ca.crt", "'ssl_cafile' not allowed"),
    ("settings/http/host", "127.0.0.1", "/settings/http/host"),
    ("settings/http/port", 0, "/settings/http/port"),
    ("files/kafka/ssl_keyfile", {"configMap": "x", "key": "y"}, "/files/kafka/ssl_keyfile"),
    ("files/kafka/ssl_cafile", {"secret": "x"}, "/files/kafka/ssl_cafile"),
    ("files/kafka/ssl_cafile", {"secret": "x", "configMap": "x", "key": "y"}, "/files/kafka"),
    ("files/kafka/topic", {"secret": "x", "key": "y"}, "/files/kafka"),
    ("env", [{"name": "POSTE_KAFKA__TOPIK", "value": "x"}], "/env/0/name"),
    ("env", [{"name": "poste_kafka__topik", "value": "x"}], "/env/0/name"),
    ("env", [{"name": "POSTE_KAFKA__SASL_PLAIN_PASSWORD", "value": "x"}], "/env/0/name"),
    ("env", [{"name": "POSTE_HTTP__PORT", "value": "1"}], "/env/0/name"),
    ("env", [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {}}}], "/env/0"),
    ("env", [{"name": "A", "value": "x"}, {"name": "A", "value": "y"}], "env has A twice"),
    ("env", [{"name": "AWS_REGION", "value": "x"}], "use aws.region"),
    (
        "env",
        [{"name": "POSTE_KAFKA__BOOTSTRAP_SERVERS", "value": "x:1"}],
        "POSTE_KAFKA__BOOTSTRAP_SERVERS is in env and in settings or files",
    ),
    ("resources/limits", {"memory": None}, "/resources/limits"),
    ("resources/limits/memory", "0.5Gi", "/resources/limits/memory"),
    ("resources/limits/memory", "100Mi", "a worker needs 128Mi"),
    ("resources/limits/memroy", "1Gi", "/resources/limits"),
    ("resources/requests/memory", "1Gi", "above resources.limits.memory"),
    ("terminationGracePeriodSeconds", 35, "a worker takes up to drain_s + leave_s"),
    ("terminationGracePeriodSeconds", -1, "/terminationGracePeriodSeconds"),
    ("podDisruptionBudget/maxUnavailable", 0, "/podDisruptionBudget/maxUnavailable"),
    ("podDisruptionBudget/maxUnavailable", "0%", "/podDisruptionBudget/maxUnavailable"),
    ("podLabels", {"app.kubernetes.io/name": "x"}, "/podLabels"),
    ("serviceMonitor/interval", "often", "/serviceMonitor/interval"),
    ("init/partitions", 0, "/init/partitions"),
    ("keda", {"enabled": True, "minReplicas": 0}, "/keda/minReplicas"),
    ("keda", {"enabled": True, "minReplicas": 9}, "keda.minReplicas is above keda.maxReplicas"),
    ("keda", {"enabled": True, "lagThreshold": 0}, "/keda/lagThreshold"),
    ("fullnameOverride", "Mail", "/fullnameOverride"),
    ("fullnameOverride", "1mail", "/fullnameOverride"),
    (f"{KAFKA}/group_instance_id", "poste-7", "must contain {hostname}"),
    ("settings/drain_s", "20", "/settings/drain_s"),
    ("settings/memory_mb", 513, "settings.memory_mb is 513"),
]
#: The same for values that a worker refuses at its start.
REFUSED_BY_WORKERS: list[tuple[str, Any, str]] = [
    ("settings/drain_s", -1, "/settings/drain_s"),
    ("settings/memory_mb", 100, "/settings/memory_mb"),
    ("settings/log_level", "TRACE", "/settings/log_level"),
    ("settings/tracing", 7, "/settings/tracing"),
    ("settings/stalled_s", 10, "settings.stalled_s must be above 10"),
    ("settings/batch/linger_s", 150, "settings.stalled_s must be above 150"),
    ("settings/dynamodb/timeout_s", 60, "settings.stalled_s must be above 120"),
    ("settings/dynamodb/table", "a", "/settings/dynamodb/table"),
    ("settings/bundle/bytes_max", 500_000, "/settings/bundle/bytes_max"),
    (f"{KAFKA}/bootstrap_servers", "kafka", "/settings/kafka/bootstrap_servers"),
    (f"{KAFKA}/bootstrap_servers", "kafka:0", "/settings/kafka/bootstrap_servers"),
    (f"{KAFKA}/topic", "a b", "/settings/kafka/topic"),
    (f"{KAFKA}/topic", "", "/settings/kafka/topic"),
    (f"{KAFKA}/dead_letters_topic", "undelivered-messages", "must differ from"),
    (f"{KAFKA}/dead_letters_topic", "a b", "/settings/kafka/dead_letters_topic"),
    (f"{KAFKA}/group_instance_id", "{hostname} b", "/settings/kafka/group_instance_id"),
    (f"{KAFKA}/start", "yesterday", "/settings/kafka/start"),
    (f"{KAFKA}/start", "2026-01-31T00:00:00", "/settings/kafka/start"),
    (f"{KAFKA}/heartbeat_s", 4, "settings.kafka.heartbeat_s must be at most a third"),
    (f"{KAFKA}/session_timeout_s", 2, "settings.kafka.heartbeat_s must be at most a third"),
    (f"{KAFKA}/security_protocol", "SASL_SSL", "needs settings.kafka.sasl_plain_username"),
    (f"{KAFKA}/sasl_oauth_token_provider", "token", "/settings/kafka/sasl_oauth_token_provider"),
    (
        "files/kafka/ssl_keyfile",
        {"secret": "x", "key": "y"},
        "files.kafka.ssl_keyfile needs files.kafka.ssl_certfile",
    ),
]


def refusals() -> Iterator[tuple[dict[str, Any], str]]:
    for path, value, said in (*REFUSED, *REFUSED_BY_WORKERS):
        yield changed(path, value), said
    user = changed(f"{KAFKA}/sasl_plain_username", "worker", SASL)
    yield user, "needs files.kafka.sasl_plain_password_file"
    yield changed(f"{KAFKA}/sasl_mechanism", "OAUTHBEARER", SASL), "OAUTHBEARER needs"
    password = changed("files/kafka/sasl_plain_password_file", {"secret": "u", "key": "p"}, user)
    yield changed("keda/enabled", True, password), "needs keda.authenticationRef"


@pytest.mark.parametrize(
    ("values", "said"), list(refusals()), ids=lambda v: v if isinstance(v, str) else ""
)
def test_values_that_cannot_work_are_refused(
    tmp_path: Path, values: dict[str, Any], said: str
) -> None:
    """Where it is rendered, not at three in the morning; the line names the value."""
    status, output, errors = helm(tmp_path, "template", values)

    assert status != 0, output
    assert said in errors.replace('\\"', '"')


@pytest.mark.parametrize(("path", "value", "said"), REFUSED_BY_WORKERS)
def test_a_worker_refuses_them_too(path: str, value: Any, said: str) -> None:
    """The chart forbids nothing that would work, and the rules are the worker's own."""
    section, _, rest = path.partition("/")
    if section != "settings":
        environ = {"POSTE_KAFKA__SSL_KEYFILE": "key.pem"}
    else:
        text = value if isinstance(value, str) else json.dumps(value)
        environ = {f"POSTE_{rest.replace('/', '__').upper()}": text}
    with pytest.raises(ConfigurationError):
        worker_limits(load_settings(None, environ).memory_mb, None)


def test_a_release_whose_name_no_service_can_have_is_refused(tmp_path: Path) -> None:
    (tmp_path / "values.json").write_text(json.dumps(MINIMAL))
    done = subprocess.run(
        [built("helm"), "template", "1mail", CHART, "--values", tmp_path / "values.json",
         "--kube-version", VERSIONS[0]],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert done.returncode != 0
    assert "must begin with a letter" in done.stderr


def test_every_check_is_tried() -> None:
    """Each `fail` of the chart has values above that reach it."""
    formats = re.findall(r'fail (?:\(printf )?"((?:[^"\\]|\\.)*)"', CHECKS)
    tried = [said for _, said in refusals()] + ["must begin with a letter"]
    missed = []
    for text in formats:
        parts = [part for part in re.split(r"%[svd]", text) if len(part) > 5]
        if not any(said in part or part in said for part in parts for said in tried):
            missed.append(text)

    assert len(formats) > 15
    assert missed == []
