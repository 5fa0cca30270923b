"""What `kubectl apply -k` and `helm install` would hand to a cluster, held against Kubernetes and against the agent.

manifests.py KUBECTL LONGSHORE    exit 0 if all of it holds
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time

import yaml
from kubernetes_validate import ValidationError, validate
from kubernetes_validate.utils import all_versions, major_minor

try:
    import helm_python
except ImportError:
    helm_python = None

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CHART = f"{TOP}/deploy/helm/longshore"
OLDEST = "1.28"
# What the cluster gives to variables, and webhooks to pods.
GIVEN = {
    "url": "https://logs.example/rows",
    "metrics_url": "https://prometheus.example/api/v1/write",
    "endpoint": "https://rule-x1y2.westeurope-1.ingest.monitor.azure.com",
    "dcr": "dcr-00000000000000000000000000000001",
    "status.hostIP": "192.0.2.1",
}
# What every pod has of its cluster.
CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
ACCOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
# Kinds that are no part of Kubernetes, with what is asked of them here: {kind: (apiVersion, keys)}.
CUSTOM = {
    "PrometheusRule": ("monitoring.coreos.com/v1", {"apiVersion", "kind", "metadata", "spec"}),
    "PodMonitor": ("monitoring.coreos.com/v1", {"apiVersion", "kind", "metadata", "spec"}),
    "SecurityContextConstraints": ("security.openshift.io/v1", {
        "apiVersion", "kind", "metadata", "users", "groups", "allowHostDirVolumePlugin", "volumes", "runAsUser",
        "supplementalGroups", "fsGroup", "allowedCapabilities", "requiredDropCapabilities", "defaultAddCapabilities",
        "seLinuxContext", "seccompProfiles", "readOnlyRootFilesystem", "allowPrivilegedContainer", "allowPrivilegeEscalation",
        "defaultAllowPrivilegeEscalation", "allowHostIPC", "allowHostNetwork", "allowHostPID", "allowHostPorts", "priority"}),
}
# What Helm adds to whatever it installs.
HELM_LABELS = {"app.kubernetes.io/managed-by", "helm.sh/chart"}
# Every switch of the chart away from its default, so that every branch of the templates is seen.
ALL_VALUES = """
config: {node: "${NODE_NAME}", admin: {listen: "0.0.0.0:9700"}, sinks: {main: {type: stdout}}}
rollOnConfigChange: true
secret: {create: true, name: other, data: {url: https://logs.example/rows, token: x}}
image: {repository: registry.example/longshore, digest: "sha256:%s", pullPolicy: Always}
imagePullSecrets: [{name: registry}]
fullnameOverride: agent
serviceAccount: {name: somebody, annotations: {a: b}}
podSecurityContext: {seccompProfile: {type: Unconfined}}
securityContext: {runAsUser: 0}
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [
    {key: pool, operator: In, values: [a]}]}]}}}
priorityClassName: system-node-critical
podAnnotations: {a: b}
podLabels: {team: platform}
hostNetwork: true
dnsConfig: {options: [{name: ndots, value: "2"}]}
hostAliases: [{ip: 192.0.2.1, hostnames: [logs.example]}]
hostPaths: {state: /mnt/longshore}
docker: {enabled: true}
openShift: {enabled: true}
port: 9700
service: {annotations: {a: b}}
networkPolicy: {from: [{namespaceSelector: {matchLabels: {name: monitoring}}}]}
podMonitor: {enabled: true, labels: {release: prometheus}, metricRelabelings: [{action: labeldrop, regex: x}]}
prometheusRule: {enabled: true, labels: {release: prometheus}}
dashboards: {enabled: true, labels: {grafana_dashboard: "yes"}, annotations: {grafana_folder: Nodes}}
extraEnv: [{name: CLUSTER_NAME, value: blue}]
envFrom: [{configMapRef: {name: more}}]
extraVolumes: [{name: ca, configMap: {name: ca}}]
extraVolumeMounts: [{name: ca, mountPath: /etc/ca, readOnly: true}]
extraInitContainers: [{name: wait, image: busybox}]
extraContainers: [{name: beside, image: busybox}]
""" % ("0" * 64)
NONSENSE = [{"preset": "everything"}, {"resource": {}}, {"port": 0}, {"image": {"repository": ""}}, {"tolerations": {}},
            {"podMonitor": {"interval": 15}}, {"dashboards": {"labels": {"grafana_dashboard": 1}}}]

problems = []
# Documents that have been held against the schemas: most are the same in every overlay.
validated = set()


def problem(where, what):
    problems.append(f"{where}: {what}")


def name_of(document):
    return f"{document['kind']} {document['metadata']['name']}"


def container_of(documents, kind="containers"):
    (found,) = documents["DaemonSet longshore"]["spec"]["template"]["spec"][kind]
    return found


def by_name(where, text):
    found = {}
    for document in yaml.safe_load_all(text):
        if document:
            if name_of(document) in found:
                problem(where, f"{name_of(document)} is there twice")
            found[name_of(document)] = document
    return found


# --- Kubernetes -----------------------------------------------------------------------------------------------------

def check_custom(where, documents, document):
    version, keys = CUSTOM[document["kind"]]
    if document["apiVersion"] != version or not document.keys() <= keys:
        problem(where, f"{name_of(document)}: {document['apiVersion']}, {sorted(document.keys() - keys)} is unknown")
    if document["kind"] == "PodMonitor":
        (daemon_set,) = [found for found in documents.values() if found["kind"] == "DaemonSet"]
        template = daemon_set["spec"]["template"]
        labels = document["spec"]["selector"]["matchLabels"]
        ports = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
        if not labels.items() <= template["metadata"]["labels"].items():
            problem(where, f"{name_of(document)} selects other pods: {labels}")
        if not {endpoint["port"] for endpoint in document["spec"]["podMetricsEndpoints"]} <= ports:
            problem(where, f"{name_of(document)} asks for another port than {ports}")
        for endpoint in document["spec"]["podMetricsEndpoints"]:
            named = {rule["targetLabel"] for rule in endpoint.get("relabelings", [])
                     if rule.get("sourceLabels") == ["__meta_kubernetes_pod_node_name"]}
            if named != {"node", "instance"}:
                problem(where, f"{name_of(document)} gives the node's name to {sorted(named)} alone")
    if document["kind"] == "PrometheusRule":
        alerts = [rule["alert"] for group in document["spec"]["groups"] for rule in group["rules"]]
        if not alerts or len(alerts) != len(set(alerts)):
            problem(where, f"{name_of(document)} has the alerts {alerts}")


def check_schemas(where, documents, versions):
    for document in documents.values():
        if document["kind"] in CUSTOM:
            check_custom(where, documents, document)
            continue
        text = json.dumps(document, sort_keys=True)
        if text in validated:
            continue
        validated.add(text)
        for version in versions:
            try:
                validate(document, version, strict=True)
            except ValidationError as error:
                path = ".".join(map(str, error.path))
                problem(where, f"{name_of(document)}, Kubernetes {version}, {path}: {error.message}")


def check_names(where, documents):
    """What one object says of another is there."""
    (daemon_set,) = [found for found in documents.values() if found["kind"] == "DaemonSet"]
    template, kinds = daemon_set["spec"]["template"], {document["kind"]: document for document in documents.values()}
    labels = template["metadata"]["labels"]
    for kind, path in (("Service", ["selector"]), ("NetworkPolicy", ["podSelector", "matchLabels"])):
        selector = kinds[kind]["spec"]
        for key in path:
            selector = selector[key]
        if not selector.items() <= labels.items():
            problem(where, f"{kind} selects other pods: {selector}")
    spec = template["spec"]
    if spec["serviceAccountName"] != kinds["ServiceAccount"]["metadata"]["name"]:
        problem(where, "the pods have another service account")
    subject, = kinds["ClusterRoleBinding"]["subjects"]
    account = kinds["ServiceAccount"]["metadata"]
    if (subject["name"], subject["namespace"]) != (account["name"], account["namespace"]):
        problem(where, f"the role is bound to {subject}")
    volumes = {volume["name"] for volume in spec["volumes"]}
    mounted = {mount["name"] for container in spec["containers"] + spec["initContainers"]
               for mount in container.get("volumeMounts", [])}
    if volumes != mounted:
        problem(where, f"volumes {sorted(volumes)}, mounted {sorted(mounted)}")
    for mount in spec["containers"][0]["volumeMounts"]:
        if mount["name"] != "state" and not mount.get("readOnly"):
            problem(where, f"{mount['mountPath']} can be written to")


# --- The agent ------------------------------------------------------------------------------------------------------

def variables(container):
    found = dict(CLUSTER)
    for variable in container["env"]:
        source = variable.get("valueFrom", {})
        key = source.get("fieldRef", {}).get("fieldPath") or source.get("secretKeyRef", {}).get("key")
        found[variable["name"]] = variable.get("value") or GIVEN.get(key, "x")
    return found


def secret_files(node):
    if isinstance(node, dict):
        if node.keys() == {"file"}:
            yield node["file"]
        for value in node.values():
            yield from secret_files(value)
    elif isinstance(node, list):
        for value in node:
            yield from secret_files(value)


def check_rights(where, documents, kubernetes):
    """What the config asks the API server for, the account may ask."""
    if kubernetes["source"] != "api":
        return
    wanted = {"pods"} | {kind for kind, key in (("nodes", "node_object"), ("namespaces", "namespace_labels"))
                         if kubernetes[key]}
    spec = documents["DaemonSet longshore"]["spec"]["template"]["spec"]
    if not spec.get("automountServiceAccountToken"):
        problem(where, "the config asks the API server, and the pod has no token")
    granted = {}
    for rule in documents["ClusterRole longshore"]["rules"]:
        for resource in rule["resources"]:
            granted.setdefault(resource, set()).update(rule["verbs"])
    for resource in sorted(wanted):
        if granted.get(resource) != {"list", "watch"}:
            problem(where, f"the config has {resource} listed and watched, the role grants {granted.get(resource)}")


def check_config(where, documents, longshore):
    """The config loads with the container's variables and no others; what it names is mounted; its memory suffices."""
    container = container_of(documents)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(documents["ConfigMap longshore"]["data"]["longshore.yaml"])
        file.flush()
        done = subprocess.run([longshore, "check", "--config", file.name], env=variables(container), capture_output=True,
                              text=True)
    if done.returncode:
        return problem(where, f"longshore check: {done.stderr}")
    config = yaml.safe_load(done.stdout)
    paths = [config["logs"]["pod_logs"], config["logs"]["container_links"], config["state_dir"], *secret_files(config)]
    if config["metrics"]["enabled"]:
        paths += [config["metrics"][root] for root in ("proc", "sys")]
        # Where no mount is measured nothing is asked of the node's root.
        if config["metrics"]["filesystem_mounts_exclude"] != ".":
            paths.append(config["metrics"]["root"])
    check_rights(where, documents, config["kubernetes"])
    mounts = [ACCOUNT_PATH] + [mount["mountPath"] for mount in container["volumeMounts"]]
    for path in paths:
        if not any(path == mount or path.startswith(f"{mount}/") for mount in mounts):
            problem(where, f"{path} of the config is not mounted")
    used = set(re.findall(r"(?<!\$)\$\{(\w+)\}", documents["ConfigMap longshore"]["data"]["longshore.yaml"]))
    if missing := used - variables(container).keys():
        problem(where, f"the config wants {sorted(missing)}, which the pod has not")
    needed = int(re.search(r"^#   all together +(\d+) MiB", done.stdout, re.M)[1])
    limit = container["resources"]["limits"]["memory"]
    if not limit.endswith("Mi") or needed > int(limit[:-2]):
        problem(where, f"the config may need {needed} MiB, the limit is {limit}")
    if config["shutdown_grace_ms"] >= 1000 * documents["DaemonSet longshore"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]:
        problem(where, "the drain may take longer than the grace period")
    return print(f"  {where}: {len(documents)} objects, at most {needed} MiB of {limit}")


# --- The chart ------------------------------------------------------------------------------------------------------

def without_helm(document):
    """A copy without what Helm adds, and with lists that have no order in theirs by name."""
    if isinstance(document, dict):
        return {key: without_helm(value) for key, value in document.items() if key not in HELM_LABELS}
    if isinstance(document, list):
        items = [without_helm(item) for item in document]
        key = lambda item: str(item.get("mountPath") or item.get("name")) if isinstance(item, dict) else ""
        return sorted(items, key=key) if items and all(map(key, items)) else items
    return document


def differences(path, left, right):
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted(left.keys() | right.keys()):
            yield from differences(f"{path}.{key}", left.get(key), right.get(key))
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for at, pair in enumerate(zip(left, right)):
            yield from differences(f"{path}[{at}]", *pair)
    elif left != right:
        yield f"{path}: {str(left)[:100]!r} in the kustomization, {str(right)[:100]!r} in the chart"


def rendered(chart, values):
    """{name: document} and the hooks of one release."""
    documents, hooks = {}, {}
    for path, text in chart.render(values, name="longshore", namespace="longshore").items():
        if not path.endswith((".yaml", ".yml")):
            continue
        for name, document in by_name(path, text).items():
            is_hook = "helm.sh/hook" in document["metadata"].get("annotations", {})
            (hooks if is_hook else documents)[name] = document
    return documents, hooks


def check_chart(kustomized, versions, longshore):
    lint = helm_python.lint(CHART)
    # 1 is information: a chart without an icon.
    for finding in [found for found in lint["messages"] if found["severity"] > 1] + lint["errors"]:
        problem("helm lint", finding)
    with helm_python.Chart.load(CHART) as chart:
        for overlay, documents in kustomized.items():
            values = {}
            if overlay != "base":
                with open(f"{CHART}/ci/{overlay}-values.yaml") as file:
                    values = yaml.safe_load(file)
            chart.validate_schema(values)
            found, hooks = rendered(chart, values)
            # Helm makes the namespace of a release, or it is there.
            wanted = {name: document for name, document in documents.items() if document["kind"] != "Namespace"}
            for name in sorted(wanted.keys() | found.keys()):
                pair = without_helm(wanted.get(name)), without_helm(found.get(name))
                for difference in differences(name, *pair):
                    problem(f"chart, {overlay}", difference)
            check_schemas(f"chart, {overlay}", {**found, **hooks}, versions)
        values = yaml.safe_load(ALL_VALUES)
        chart.validate_schema(values)
        found, hooks = rendered(chart, values)
        check_schemas("chart, all values", {**found, **hooks}, versions)
        check_names("chart, all values", {**found})
        for values in NONSENSE:
            try:
                chart.validate_schema(values)
                problem("values.schema.json", f"takes {values}")
            except helm_python.HelmError:
                pass
        print(f"  chart: {len(kustomized)} sets of values give what the kustomizations give, by Helm {helm_python.helm_sdk_version()}")


def main(kubectl, longshore):
    began = time.monotonic()
    versions = [version for version in map(major_minor, all_versions())
                if tuple(map(int, str(version).split("."))) >= tuple(map(int, OLDEST.split(".")))]
    versions = list(map(str, versions))
    overlays = sorted(os.listdir(f"{TOP}/deploy/overlays"))
    kustomized = {}
    for overlay in ["base", *overlays]:
        directory = f"{TOP}/deploy" if overlay == "base" else f"{TOP}/deploy/overlays/{overlay}"
        done = subprocess.run([kubectl, "kustomize", directory], capture_output=True, text=True)
        if done.returncode or done.stderr:
            sys.exit(f"kubectl kustomize {directory}: {done.stderr}")
        kustomized[overlay] = by_name(overlay, done.stdout)
    print(f"Kubernetes {versions[0]} to {versions[-1]}, strictly:")
    for overlay, documents in kustomized.items():
        check_schemas(overlay, documents, versions)
        check_names(overlay, documents)
        check_config(overlay, documents, longshore)
    with open(f"{TOP}/deploy/secret.yaml") as file:
        check_schemas("secret.yaml", by_name("secret.yaml", file.read()), versions)
    with tempfile.TemporaryDirectory() as directory:
        above = os.path.relpath(f"{os.path.realpath(TOP)}/deploy", os.path.realpath(directory))
        with open(f"{directory}/kustomization.yaml", "w") as file:
            yaml.safe_dump({"resources": [f"{above}/base"], "components": [f"{above}/components/docker"]}, file)
        done = subprocess.run([kubectl, "kustomize", directory], capture_output=True, text=True, check=True)
        documents = by_name("docker", done.stdout)
        check_schemas("docker", documents, versions)
        check_names("docker", documents)
    if helm_python:
        check_chart(kustomized, versions, longshore)
    else:
        print("  SKIPPED the chart: Helm's engine is not there; try: tests/deploy/run --install")
    for text in problems[:40]:
        print(f"WRONG: {text}")
    print(f"{len(problems)} problems, {time.monotonic() - began:.0f} s")
    sys.exit(1 if problems else 0)


main(*sys.argv[1:])
