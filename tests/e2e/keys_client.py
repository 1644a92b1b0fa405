"""Uses a machine key with requests and websocket-client, and prints how its stream ends.

usage: keys_client.py URL KEY
"""

import json
import sys

import requests
import websocket

url, key = sys.argv[1:]
value = {"channel": "metrics.ci.build", "data": {"seconds": 93}}
read = url + "api/metrics/metrics.ci.build"

for arguments in ({"auth": ("ci", key)}, {"headers": {"X-API-Key": key}}, {"headers": {"Authorization": "Token " + key}}):
    assert requests.post(url + "api/metrics", json=value, timeout=10, **arguments).status_code == 202, arguments
    assert requests.get(read, timeout=10, **arguments).json()["data"] == value["data"], arguments
    other = dict(value, channel="metrics.other")
    refused = requests.post(url + "api/metrics", json=[value, other], timeout=10, **arguments).json()
    assert [line["status"] for line in refused["results"]] == [202, 403], refused

stream = websocket.create_connection(url.replace("http", "ws") + "ws", header={"X-API-Key": key}, timeout=20)
stream.send(json.dumps({"type": "subscribe", "channels": ["metrics.ci.*"]}))
while json.loads(stream.recv())["type"] != "metric":
    pass
print("open", flush=True)
opcode, data = stream.recv_data()
while opcode != websocket.ABNF.OPCODE_CLOSE:
    opcode, data = stream.recv_data()
print("closed", int.from_bytes(data[:2], "big"))
print(requests.get(read, auth=("ci", key), timeout=10).status_code)
