"""Client of python-socketio in the namespace /tricast: connects, subscribes with an acknowledgement, pushes a value and receives it.

usage: socketio_client.py sync|async polling|websocket|upgrade URL
"""

import asyncio
import json
import sys
import threading
import urllib.request

import socketio

KIND, TRANSPORT, URL = sys.argv[1:]
TRANSPORTS = {"polling": ["polling"], "websocket": ["websocket"], "upgrade": ["polling", "websocket"]}[TRANSPORT]
NAMESPACE = "/tricast"


def push():
    body = json.dumps({"channel": "metrics.python", "data": {"of": KIND + TRANSPORT}}).encode()
    urllib.request.urlopen(urllib.request.Request(URL + "/api/metrics", body, {"Content-Type": "application/json"}))


def sync_client():
    client = socketio.Client()
    received = threading.Event()

    @client.on("metric", namespace=NAMESPACE)
    def metric(message):  # one argument, without an offset
        if message["data"] == {"of": KIND + TRANSPORT}:
            received.set()

    client.connect(URL, namespaces=[NAMESPACE], transports=TRANSPORTS)
    reply = client.call("subscribe", {"channels": ["metrics.python"]}, namespace=NAMESPACE)
    assert reply["status"] == "ok", reply
    push()
    assert received.wait(10), "no metric"
    client.disconnect()


async def async_client():
    client = socketio.AsyncClient()
    received = asyncio.Event()

    @client.on("metric", namespace=NAMESPACE)
    async def metric(message):
        if message["data"] == {"of": KIND + TRANSPORT}:
            received.set()

    await client.connect(URL, namespaces=[NAMESPACE], transports=TRANSPORTS)
    reply = await client.call("subscribe", {"channels": ["metrics.python"]}, namespace=NAMESPACE)
    assert reply["status"] == "ok", reply
    await asyncio.to_thread(push)
    await asyncio.wait_for(received.wait(), 10)
    await client.disconnect()


sync_client() if KIND == "sync" else asyncio.run(async_client())
print("ok")
