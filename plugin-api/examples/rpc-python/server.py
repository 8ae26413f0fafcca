#!/usr/bin/python3
"""A pod network as a program of its own: gRPC on a unix socket, found by one line on stdout."""
import base64
import json
import os
import signal
import ssl
import sys
import threading
import urllib.request
from concurrent import futures

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

SERVING = b"\x08\x01"  # HealthCheckResponse { status: SERVING }
state = {"file": "", "list": {}}


def describe(_):
    return {"provides": "cni", "needs": {"runner": "runner", "runtime": "runtime"}, "wants": {"kube": "kube"}, "parts": ["health", "replaced"]}


def call_slot(slot, method, *args):
    """Calls a slot of the manifest's needs; the server runs it with the rights that the manifest declares."""
    request = Struct()
    request.update({"slot": slot, "method": method, "args": list(args)})
    with grpc.insecure_channel("unix:" + os.environ["K3SP_HOST"]) as channel:
        call = channel.unary_unary("/k3sp.v1.Host/Call", Struct.SerializeToString, Struct.FromString)
        return MessageToDict(call(request, timeout=10)).get("value")


def apply(path, manifest):
    """Server-side apply, as the ServiceAccount of the kubeconfig. Any Kubernetes client reads that file too."""
    with open(os.environ["KUBECONFIG"], encoding="utf-8") as config:
        kubeconfig = json.load(config)
    cluster = kubeconfig["clusters"][0]["cluster"]
    ca = base64.b64decode(cluster["certificate-authority-data"]).decode()
    headers = {"Authorization": "Bearer " + kubeconfig["users"][0]["user"]["token"], "Content-Type": "application/apply-patch+yaml"}
    url = cluster["server"] + path + "?fieldManager=rpc-python&force=true"
    request = urllib.request.Request(url, json.dumps(manifest).encode(), headers, method="PATCH")
    urllib.request.urlopen(request, timeout=10, context=ssl.create_default_context(cadata=ca)).close()


def start(request):
    subnet = request["config"]["subnet"]
    ipam = {"type": "host-local", "ranges": [[{"subnet": subnet}]]}
    bridge = {"type": "bridge", "bridge": "rpcpython0", "isDefaultGateway": True, "ipam": ipam}
    state["list"] = {"cniVersion": "1.0.0", "name": "rpc-python", "plugins": [bridge]}
    call_slot("runner", "run", "sh", ["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
    if "KUBECONFIG" in os.environ:
        publish(subnet)
    install(request["slots"]["runtime"])
    return {"data": {"confList": state["list"]}, "methods": ["status"]}


def install(runtime):
    """Where the runtime looks, which is another place when another runtime has taken over."""
    folder = runtime["cni"]["confDir"]
    os.makedirs(folder, exist_ok=True)
    uninstall()
    state["file"] = os.path.join(folder, "10-rpc-python.conflist")
    with open(state["file"], "w", encoding="utf-8") as out:
        json.dump(state["list"], out)


def uninstall():
    if state["file"] and os.path.exists(state["file"]):
        os.remove(state["file"])


def replaced(request):
    """Another provider fills a slot that this plugin uses; calls of the slot reach it by themselves."""
    if request["slot"] == "runtime":
        install(request["value"])
    return {}


def publish(subnet):
    """For whoever wants to know. Pods get their addresses without it, so a failure is a line in the log."""
    try:
        apply("/api/v1/namespaces/kube-system/configmaps/rpc-python", {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rpc-python"}, "data": {"subnet": subnet},
        })
    except OSError as error:
        print(f"the subnet is not published: {error}", file=sys.stderr)


def call(request):
    return {"value": {"ready": os.path.exists(state["file"])} if request["method"] == "status" else None}


def health(_):
    if os.path.exists(state["file"]):
        return {"ok": True}
    return {"ok": False, "message": state["file"] + " is gone"}


def stop(_):
    uninstall()
    return {}


def handler(fn):
    def answer(request, _context):
        response = Struct()
        response.update(fn(MessageToDict(request)))
        return response

    return grpc.unary_unary_rpc_method_handler(
        answer, request_deserializer=Struct.FromString, response_serializer=Struct.SerializeToString
    )


def main():
    if "K3SP_PLUGIN" not in os.environ:
        sys.exit("this program is a k3s-p plugin: k3s-p server --plugin ./plugin-api/examples/rpc-python")
    calls = {"Describe": describe, "Start": start, "Call": call, "Health": health, "Replaced": replaced, "Stop": stop,
             "Reconfigure": lambda _: {"answer": "restart"}}
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    check = grpc.unary_unary_rpc_method_handler(lambda _request, _context: SERVING)
    server.add_generic_rpc_handlers((
        grpc.method_handlers_generic_handler("k3sp.v1.Plugin", {name: handler(fn) for name, fn in calls.items()}),
        grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check}),
    ))
    path = os.path.join(os.environ["K3SP_RUN"], "plugin.sock")
    if os.path.exists(path):
        os.remove(path)
    server.add_insecure_port("unix:" + path)
    server.start()
    print(f"k3sp|1|1.0|unix|{path}|grpc", flush=True)
    # The server holds the other end of stdin: it is gone when this one ends.
    threading.Thread(target=lambda: (sys.stdin.read(), os.kill(os.getpid(), signal.SIGTERM)), daemon=True).start()
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    server.stop(0)
    if os.path.exists(path):
        os.remove(path)


signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
main()
