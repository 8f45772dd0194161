"""Checks the manifests and values in `deploy`, and writes the collector's configurations in them to a
folder, each as one file, for `spandrel validate`. What they have mounted is looked for in PLUGINS and KEYS
there, and their registry does not exist.

    deploy.py REPOSITORY PLUGINS KEYS OUT

Kubernetes' own schemas know the kinds of Kubernetes. For the chart and for the Operator the pod is
made here as they make it, with the fields that they take over as they are. Prints the names of what was
written as JSON; anything wrong ends it with a message that has all problems.
"""

import base64
import copy
import json
import pathlib
import re
import sys

import kubernetes_validate
import yaml

# The oldest release that still has patches in the year of the manifests, and the newest known.
RELEASES = ["1.33", "1.37"]
# `binaryData` and `data` of a ConfigMap together.
CONFIG_MAP_BYTES = 1 << 20
# Beyond the deadline of the drain: journals have 3 s, file operations 1 s, and 1 s is to spare.
AFTER_DRAIN_SECONDS = 5
# Of a pod, where nothing else is said.
GRACE_SECONDS = 30

# The first level of what the chart's values and the Operator's resource know.
CHART_KEYS = {
    "autoscaling", "command", "config", "configMap", "extraEnvs", "extraEnvsFrom", "extraVolumeMounts",
    "extraVolumes", "image", "livenessProbe", "mode", "podDisruptionBudget", "podSecurityContext", "ports",
    "presets", "readinessProbe", "replicaCount", "resources", "rollout", "securityContext", "service",
    "serviceAccount", "startupProbe", "statefulset", "tolerations", "topologySpreadConstraints",
    "useGOMEMLIMIT",
}
OPERATOR_KEYS = {
    "additionalContainers", "affinity", "args", "autoscaler", "config", "configVersions", "configmaps",
    "daemonSetUpdateStrategy", "deploymentUpdateStrategy", "env", "envFrom", "hostNetwork", "image",
    "imagePullPolicy", "ingress", "initContainers", "lifecycle", "livenessProbe", "managementState", "mode",
    "nodeSelector", "observability", "podAnnotations", "podDisruptionBudget", "podSecurityContext", "ports",
    "priorityClassName", "readinessProbe", "replicas", "resources", "securityContext", "serviceAccount",
    "shareProcessNamespace", "startupProbe", "targetAllocator", "terminationGracePeriodSeconds",
    "tolerations", "topologySpreadConstraints", "upgradeStrategy", "volumeClaimTemplates", "volumeMounts",
    "volumes",
}
AUTOSCALER_KEYS = {
    "behavior", "maxReplicas", "metrics", "minReplicas", "targetCPUUtilization", "targetMemoryUtilization",
}

# What the chart merges the values into, in the shape of its release 0.170.0.
CHART_CONFIG = yaml.safe_load("""
receivers:
  jaeger:
    protocols:
      grpc: { endpoint: "${env:MY_POD_IP}:14250" }
      thrift_http: { endpoint: "${env:MY_POD_IP}:14268" }
      thrift_compact: { endpoint: "${env:MY_POD_IP}:6831" }
  otlp:
    protocols:
      grpc: { endpoint: "${env:MY_POD_IP}:4317" }
      http: { endpoint: "${env:MY_POD_IP}:4318" }
  prometheus:
    config: { scrape_configs: [{ job_name: self, static_configs: [{ targets: ["${env:MY_POD_IP}:8888"] }] }] }
  zipkin: { endpoint: "${env:MY_POD_IP}:9411" }
processors:
  batch: {}
  memory_limiter: { check_interval: 5s, limit_percentage: 80, spike_limit_percentage: 25 }
exporters: { debug: {} }
extensions: { health_check: { endpoint: "${env:MY_POD_IP}:13133" } }
service:
  extensions: [health_check]
  telemetry:
    resource: { host.name: "${env:MY_POD_IP}" }
    metrics:
      readers: [{ pull: { exporter: { prometheus: { host: "${env:MY_POD_IP}", port: 8888 } } } }]
  pipelines:
    logs: { receivers: [otlp], processors: [memory_limiter, batch], exporters: [debug] }
    metrics: { receivers: [otlp, prometheus], processors: [memory_limiter, batch], exporters: [debug] }
    traces: { receivers: [otlp, jaeger, zipkin], processors: [memory_limiter, batch], exporters: [debug] }
""")

# A path of a volume that a configuration names.
MOUNTED = re.compile(r"(?<![\w/.])/(plugins|keys|conf)/")

problems = []


def check(holds, what):
    if not holds:
        problems.append(what)


def merged(below, above):
    """As Helm merges values: maps by key, `null` removes, anything else takes the place."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return copy.deepcopy(above)
    result = copy.deepcopy(below)
    for key, value in above.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(s|m)", text).groups()
    return int(number) * {"s": 1, "m": 60}[unit]


def validated(name, document):
    for release in RELEASES:
        try:
            kubernetes_validate.validate(document, release, strict=True)
        except Exception as error:  # each kind of error of the package is a finding
            problems.append(f"{name}: {document.get('kind')}, Kubernetes {release}: {error}")


def container_of(pod):
    return pod["containers"][0]


def check_pod(name, pod, config, has_endpoint_rules=True):
    """What must hold of every pod, whoever made it."""
    container = container_of(pod)
    security, pod_security = container["securityContext"], pod["securityContext"]
    check(pod_security.get("runAsNonRoot") is True, f"{name}: may run as root")
    check(isinstance(pod_security.get("runAsUser"), int), f"{name}: no numeric user")
    check(pod_security.get("seccompProfile") == {"type": "RuntimeDefault"}, f"{name}: no seccomp profile")
    check(security.get("readOnlyRootFilesystem") is True, f"{name}: the root can be written")
    check(security.get("allowPrivilegeEscalation") is False, f"{name}: privileges may grow")
    check(security.get("capabilities") == {"drop": ["ALL"]}, f"{name}: has capabilities")
    check("lifecycle" not in container, f"{name}: a preStop hook is not needed")
    check("memory" in container["resources"]["limits"], f"{name}: memory_limiter has no limit to measure by")
    check("command" not in container, f"{name}: the entry point is the image's")

    service = config["service"]
    drain, delay = seconds(service.get("drain_timeout", "25s")), seconds(service.get("drain_delay", "0s"))
    grace = pod.get("terminationGracePeriodSeconds", GRACE_SECONDS)
    check(drain + AFTER_DRAIN_SECONDS <= grace, f"{name}: {grace} s are too short for a drain of {drain} s")
    check(0 < delay < drain, f"{name}: endpoints need a moment to propagate: drain_delay is {delay} s")

    for pipeline, parts in service["pipelines"].items():
        check(parts["processors"][0] == "memory_limiter", f"{name}: {pipeline} has no memory limiter in front")
        directory = parts.get("durability", {}).get("dir")
        if directory:
            mounts = [mount for mount in container["volumeMounts"] if mount["mountPath"] == directory]
            check(len(mounts) == 1, f"{name}: no volume at {directory}")
            check("fsGroup" in pod_security, f"{name}: the volume would be root's")

    # What the configuration needs is mounted, and not by `subPath`, which hides changes.
    mounts = container.get("volumeMounts", [])
    check(not any("subPath" in mount for mount in mounts), f"{name}: a subPath is never updated")
    paths = [mount["mountPath"] for mount in mounts]
    for folder in MOUNTED.findall(json.dumps(config)):
        check(f"/{folder}" in paths, f"{name}: nothing is mounted at /{folder}")
    volumes = {volume["name"] for volume in pod.get("volumes", [])}
    for mount in mounts:
        check(mount["name"] in volumes | {"journal"}, f"{name}: there is no volume {mount['name']}")

    health = config["extensions"]["health_check"]["endpoint"]
    host, _, port = health.rpartition(":")
    check(host not in ("localhost", "127.0.0.1", ""), f"{name}: probes cannot reach {health}")
    check("health_check" in service["extensions"], f"{name}: nothing answers probes")
    named = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    probes = {"livenessProbe": "/livez", "readinessProbe": "/readyz", "startupProbe": "/readyz"}
    for probe, path in probes.items():
        if probe in container:
            get = container[probe]["httpGet"]
            check(get["path"] == path, f"{name}: {probe} asks {get['path']}")
            check(named.get(get["port"], get["port"]) == int(port), f"{name}: {probe} asks another port")
    if has_endpoint_rules:
        receiver = config["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"]
        check(named.get("otlp-grpc") == int(receiver.rpartition(":")[2]), f"{name}: otlp-grpc is another port")
        check("startupProbe" in container, f"{name}: a long start would be killed")


def write(out, name, text):
    places = dict(zip(("plugins", "keys"), sys.argv[2:4]))
    text = MOUNTED.sub(lambda found: places[found[1]] + "/", text)
    (out / f"{name}.yaml").write_text(text.replace("registry.example.com", "registry.invalid"))


def workload(kind, pod, labels, more=None):
    spec = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
        **(more or {}),
    }
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "rendered"}, "spec": spec}


def check_manifests(folder, plugins, out):
    documents = []
    for file in sorted(folder.glob("*.yaml")):
        if file.name != "kustomization.yaml":
            documents += [(file.name, document) for document in yaml.safe_load_all(file.read_text())]
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    check(set(kustomization["resources"]) == {name for name, _ in documents}, "kustomization: not all files")

    generated = []
    for generator in kustomization["configMapGenerator"]:
        data = {}
        for file in generator["files"]:
            file = pathlib.Path(file).name
            data[file] = base64.b64encode((plugins / file).read_bytes()).decode()
        size = sum(len(base64.b64decode(value)) for value in data.values())
        check(size < CONFIG_MAP_BYTES, f"ConfigMap {generator['name']} has {size} bytes")
        metadata = {"name": generator["name"]}
        generated.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": data})
    documents += [("generated", document) for document in generated]

    maps, labelled = {}, {}
    for name, document in documents:
        validated(name, document)
        kind = document["kind"]
        if kind == "ConfigMap":
            maps[document["metadata"]["name"]] = document
        if kind in ("Deployment", "DaemonSet", "StatefulSet"):
            labelled[document["metadata"]["name"]] = document
            metadata = document["spec"]["template"]["metadata"]
            check(document["spec"]["selector"]["matchLabels"] == metadata["labels"], f"{name}: selector")

    names = []
    for name, document in labelled.items():
        pod = document["spec"]["template"]["spec"]
        container = container_of(pod)
        known = {image["name"]: image["newTag"] for image in kustomization["images"]}
        image, _, tag = container["image"].partition(":")
        check(known.get(image) == tag, f"{name}: {container['image']} is not what kustomization sets")
        (argument,) = container["args"]
        path = pathlib.Path(argument.removeprefix("--config="))
        volume = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}[str(path.parent)]
        sources = {volume["name"]: volume for volume in pod["volumes"]}
        text = maps[sources[volume]["configMap"]["name"]]["data"][path.name]
        for source in sources.values():
            if "configMap" in source:
                check(source["configMap"]["name"] in maps, f"{name}: no ConfigMap {source['configMap']}")
        check_pod(name, pod, yaml.safe_load(text))
        write(out, name, text)
        names.append(name)

    for name, document in documents:
        kind, spec = document["kind"], document.get("spec", {})
        pods = [of["spec"]["template"] for of in labelled.values()]
        if kind == "Service":
            chosen = [pod for pod in pods if spec["selector"].items() <= pod["metadata"]["labels"].items()]
            check(len(chosen) == 1, f"{name}: service {document['metadata']['name']} chooses {len(chosen)}")
            ports = {port["name"] for port in container_of(chosen[0]["spec"])["ports"]}
            check({port["targetPort"] for port in spec["ports"]} <= ports, f"{name}: unknown target port")
        if kind == "PodDisruptionBudget":
            wanted = spec["selector"]["matchLabels"]
            check(any(wanted == pod["metadata"]["labels"] for pod in pods), f"{name}: a budget of nobody")
        if kind == "HorizontalPodAutoscaler":
            target = labelled.get(spec["scaleTargetRef"]["name"], {})
            check(target.get("kind") == spec["scaleTargetRef"]["kind"], f"{name}: nothing to scale")
            check("replicas" not in target.get("spec", {}), f"{name}: replicas fight with the autoscaler")
            requests = container_of(target["spec"]["template"]["spec"])["resources"]["requests"]
            check("cpu" in requests, f"{name}: utilization of no request")
            check(spec["minReplicas"] >= 2, f"{name}: one replica is none during a roll-out")
    return names


def check_chart(folder, out):
    base = yaml.safe_load((folder / "values.yaml").read_text())
    durable = yaml.safe_load((folder / "values-durable.yaml").read_text())
    cases = {
        "helm": base,
        "helm-durable": merged(base, durable),
        "helm-agent": yaml.safe_load((folder / "values-agent.yaml").read_text()),
    }
    for name, values in cases.items():
        check(set(values) <= CHART_KEYS, f"{name}: the chart knows no {set(values) - CHART_KEYS}")
        check("tag" in values["image"], f"{name}: without a tag it would be the chart's own")
        kind = {"deployment": "Deployment", "daemonset": "DaemonSet", "statefulset": "StatefulSet"}[values["mode"]]
        config = merged(CHART_CONFIG, values["config"])
        container = {
            "name": "collector",
            "image": f"{values['image']['repository']}:{values['image']['tag']}",
            "args": ["--config=/conf/relay.yaml"],
            "resources": values["resources"],
            "securityContext": values["securityContext"],
            "livenessProbe": values["livenessProbe"],
            "readinessProbe": values["readinessProbe"],
            "volumeMounts": values.get("extraVolumeMounts", []),
        }
        pod = {
            "containers": [container],
            "securityContext": values["podSecurityContext"],
            "tolerations": values.get("tolerations", []),
            "volumes": values.get("extraVolumes", []),
        }
        more = {}
        if kind == "StatefulSet":
            stateful = dict(values["statefulset"])
            retention = dict(stateful.pop("persistentVolumeClaimRetentionPolicy"))
            check(retention.pop("enabled"), f"{name}: the retention policy is off")
            more = {**stateful, "persistentVolumeClaimRetentionPolicy": retention, "serviceName": "rendered"}
            check(not values["autoscaling"]["enabled"], f"{name}: an autoscaler leaves volumes behind")
        validated(name, workload(kind, pod, {"app": "rendered"}, more))
        check_pod(name, pod, config, has_endpoint_rules=False)
        write(out, name, yaml.safe_dump(config))
    return list(cases)


def check_operator(file, out):
    name, (document,) = "operator", yaml.safe_load_all(file.read_text())
    check(document["apiVersion"] == "opentelemetry.io/v1beta1", f"{name}: another version")
    check(document["kind"] == "OpenTelemetryCollector", f"{name}: another kind")
    spec = document["spec"]
    check(set(spec) <= OPERATOR_KEYS, f"{name}: the resource knows no {set(spec) - OPERATOR_KEYS}")
    check(set(spec["autoscaler"]) <= AUTOSCALER_KEYS, f"{name}: autoscaler")
    container = {
        "name": "otc-container",
        "image": spec["image"],
        "args": ["--config=/conf/collector.yaml"],
        "resources": spec["resources"],
        "securityContext": spec["securityContext"],
        "volumeMounts": spec["volumeMounts"],
    }
    pod = {
        "containers": [container],
        "securityContext": spec["podSecurityContext"],
        "terminationGracePeriodSeconds": spec["terminationGracePeriodSeconds"],
        "volumes": spec["volumes"],
    }
    validated(name, workload("Deployment", pod, {"app": "rendered"}))
    check_pod(name, pod, spec["config"], has_endpoint_rules=False)
    write(out, name, yaml.safe_dump(spec["config"]))
    return [name]


def main():
    repository, plugins, _, out = map(pathlib.Path, sys.argv[1:])
    deploy = repository / "deploy"
    names = check_manifests(deploy / "kubernetes", plugins, out)
    names += check_chart(deploy / "helm", out)
    names += check_operator(deploy / "operator/collector.yaml", out)
    if problems:
        sys.exit("\n".join(problems))
    json.dump(names, sys.stdout)


main()
