#!/usr/bin/python3
"""A pod network as a program of its own: gRPC on a unix socket, found by one line on stdout."""
import json
import os
import signal
import sys
import tempfile
import threading
from concurrent import futures

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

SERVING = b"\x08\x01"  # HealthCheckResponse { status: SERVING }
state = {"file": ""}


def describe(_):
    return {"provides": "cni", "needs": {"runtime": "runtime"}, "parts": ["health"]}


def start(request):
    subnet = request["config"]["subnet"]
    ipam = {"type": "host-local", "ranges": [[{"subnet": subnet}]]}
    bridge = {"type": "bridge", "bridge": "rpcpython0", "isDefaultGateway": True, "ipam": ipam}
    conf_list = {"cniVersion": "1.0.0", "name": "rpc-python", "plugins": [bridge]}
    folder = request["slots"]["runtime"]["cni"]["confDir"]
    os.makedirs(folder, exist_ok=True)
    state["file"] = os.path.join(folder, "10-rpc-python.conflist")
    with open(state["file"], "w", encoding="utf-8") as out:
        json.dump(conf_list, out)
    return {"data": {"confList": conf_list}, "methods": ["status"]}


def call(request):
    return {"value": {"ready": os.path.exists(state["file"])} if request["method"] == "status" else None}


def health(_):
    if os.path.exists(state["file"]):
        return {"ok": True}
    return {"ok": False, "message": state["file"] + " is gone"}


def stop(_):
    if state["file"] and os.path.exists(state["file"]):
        os.remove(state["file"])
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
    calls = {"Describe": describe, "Start": start, "Call": call, "Health": health, "Stop": stop,
             "Reconfigure": lambda _: {"answer": "restart"}}
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    check = grpc.unary_unary_rpc_method_handler(lambda _request, _context: SERVING)
    server.add_generic_rpc_handlers((
        grpc.method_handlers_generic_handler("k3sp.v1.Plugin", {name: handler(fn) for name, fn in calls.items()}),
        grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check}),
    ))
    path = os.path.join(tempfile.gettempdir(), f"k3sp-rpc-python-{os.getpid()}.sock")
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
