"""Writes points with a client library of InfluxDB 1 or 2, and reads the errors that it reports.

usage: influx_client.py influxdb|influxdb-client PORT
"""

import sys
import time

LIBRARY, PORT = sys.argv[1], int(sys.argv[2])


def version_1():
    from influxdb import InfluxDBClient
    from influxdb.exceptions import InfluxDBClientError

    client = InfluxDBClient("127.0.0.1", PORT, database="telegraf", gzip=True)
    assert client.ping().startswith("1.8")
    client.create_database("telegraf")
    point = {"measurement": "cpu", "tags": {"host": "a b"}, "fields": {"idle": 98.5, "note": 'x "y"'}}
    assert client.write_points([point])
    assert client.write_points([{**point, "time": int(time.time())}], time_precision="s")
    try:
        client.write("cpu idle=", {"db": "telegraf"}, protocol="line")
        raise AssertionError("not refused")
    except InfluxDBClientError as error:
        assert error.code == 400 and "missing field value" in str(error.content), error


def version_2():
    from influxdb_client import InfluxDBClient, Point
    from influxdb_client.client.write_api import SYNCHRONOUS
    from influxdb_client.rest import ApiException

    with InfluxDBClient(f"http://127.0.0.1:{PORT}", token="t", org="o", enable_gzip=True) as client:
        assert client.ping() and client.health().status == "pass"
        point = Point("cpu").tag("host", "a b").field("idle", 98.5).field("note", 'x "y"')
        client.write_api(write_options=SYNCHRONOUS).write("bucket", record=[point, point.time(time.time_ns())])
        with client.write_api() as batching:
            batching.write("bucket", record=point)
        try:
            client.write_api(write_options=SYNCHRONOUS).write("bucket", record="cpu idle=")
            raise AssertionError("not refused")
        except ApiException as error:
            assert error.status == 400 and "missing field value" in error.message, error


version_1() if LIBRARY == "influxdb" else version_2()
print("ok")
