"""Both clients against a server, directly and through proxies that misbehave."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import unittest
from collections.abc import AsyncIterator, Iterator
from unittest import mock

from support import Proxy, Rule, Server

from tricast import AsyncClient, Client, Ended, Event, History, TricastError, Update, Value, _follow


def setUpModule() -> None:
    global server
    server = Server()


def tearDownModule() -> None:
    server.stop()


def publish(client: Client, channel: str, count: int) -> None:
    """Publishes numbered events in the background."""

    def run() -> None:
        for number in range(count):
            client.push_event(channel, "step", number=number)

    threading.Thread(target=run, daemon=True).start()


def numbers(updates: Iterator[Update], count: int) -> list[int]:
    return [update.data["number"] for update in itertools.islice((u for u in updates if isinstance(u, Event)), count)]


class Calls(unittest.TestCase):
    def setUp(self) -> None:
        self.client = Client(server.url)
        self.addCleanup(self.client.close)

    def test_values_are_pushed_merged_read_and_deleted(self) -> None:
        self.client.push("metrics.py.calls", latency=180, carts=3)
        self.client.push("metrics.py.calls", {"carts": 4}, merge=True)
        self.assertEqual(self.client.get("metrics.py.calls")["data"], {"latency": 180, "carts": 4})
        self.assertIn("metrics.py.calls", [channel["channel"] for channel in self.client.channels()])
        self.assertEqual(self.client.get()["custom"]["py.calls"]["carts"], 4)
        self.client.delete("metrics.py.calls")
        with self.assertRaises(TricastError) as raised:
            self.client.get("metrics.py.calls")
        self.assertEqual(raised.exception.status, 410)

    def test_samples_are_recorded(self) -> None:
        self.client.sample("py.samples.time", 12.5, "timing", {"region": "eu"})
        self.assertEqual(self.client.get("metrics.py.samples")["data"]["time"]["max"], 12.5)

    def test_many_lines_report_the_refused_ones(self) -> None:
        lines = [{"channel": "metrics.py.many", "data": {"v": 1}}, {"channel": "not a name", "data": {}}]
        reply = self.client.push_many(lines)
        self.assertEqual((reply["accepted"], reply["refused"]), (1, 1))

    def test_a_refused_push_raises_the_error_of_the_server(self) -> None:
        with self.assertRaises(TricastError) as raised:
            self.client.push("metrics.api", v=1)
        self.assertEqual((raised.exception.code, raised.exception.status), ("FORBIDDEN", 403))

    def test_a_server_that_is_down_is_unreachable(self) -> None:
        with self.assertRaises(TricastError) as raised:
            Client("http://127.0.0.1:9/").get()
        self.assertEqual(raised.exception.code, "UNREACHABLE")

    def test_a_url_with_credentials_is_refused(self) -> None:
        for url in ("http://user:secret@localhost/", "ftp://localhost/", "localhost:8080", "http://localhost/?token=x"):
            with self.assertRaises(ValueError):
                Client(url)

    def test_history_is_delivered_before_the_values(self) -> None:
        follow = self.client.follow("metrics.py.history")
        self.client.push("metrics.py.history", v=1)
        self.assertIsInstance(next(follow), Value)
        self.client.push("metrics.py.history", v=2)
        self.assertEqual(next(follow).data, {"v": 2})
        first, second = itertools.islice(self.client.follow("metrics.py.history", backfill="15m"), 2)
        self.assertIsInstance(first, History)
        self.assertIsInstance(second, Value)
        self.assertIsInstance(self.client.history("metrics.py.history", "v", interval="raw")["v"], list)

    def test_the_end_of_a_channel_is_delivered(self) -> None:
        self.client.push("metrics.py.ended", v=1)
        follow = self.client.follow("metrics.py.ended")
        next(follow)
        self.client.delete("metrics.py.ended")
        ended = next(follow)
        self.assertEqual((type(ended), ended.reason), (Ended, "deleted"))


class Transports(unittest.TestCase):
    def follow_through(self, channel: str, rule: Rule, count: int) -> list[str]:
        """Follows numbered events through a proxy, checks that each comes once and in order, and returns the requests."""
        proxy = Proxy(server.url, rule)
        self.addCleanup(proxy.stop)
        with Client(server.url) as source, Client(proxy.url) as client:
            since = source.push_event(channel, "start")
            publish(source, channel, count)
            self.assertEqual(numbers(client.follow(channel, since=since), count), list(range(count)))
        return proxy.requests

    def test_each_event_comes_once_over_connections_that_are_cut(self) -> None:
        chance = random.Random(2)
        with mock.patch.object(_follow, "backoff", return_value=0.01):
            self.follow_through("py-cut", lambda line: chance.choice(["cut", "cut", "pass"]), 60)

    def test_a_proxy_that_refuses_streams_is_passed_by_polls(self) -> None:
        requests = self.follow_through("py-refused", lambda line: "refuse" if "/events" in line else "pass", 20)
        self.assertTrue(any("/api/metrics" in line for line in requests))

    def test_a_proxy_that_holds_streams_back_is_passed_by_polls(self) -> None:
        with mock.patch.multiple(_follow, OPENING=1.0, QUIET=1.0):
            for action in ("hang", "swallow"):
                with self.subTest(action):
                    self.follow_through(f"py-{action}", lambda line: action if "/events" in line else "pass", 20)

    def test_a_proxy_that_cuts_held_polls_is_passed_by_plain_polls(self) -> None:
        def rule(line: str) -> str:
            return "hang" if "/events" in line or "wait=" in line else "pass"

        with mock.patch.multiple(_follow, OPENING=0.5, HOLD=1, REPLY=1.0):
            self.follow_through("py-plain", rule, 20)


class Asyncio(unittest.IsolatedAsyncioTestCase):
    async def test_updates_are_followed_while_values_are_pushed(self) -> None:
        async with AsyncClient(server.url) as client:
            await client.push("metrics.py.async", v=0)

            async def push() -> None:
                for number in range(1, 4):
                    await client.push("metrics.py.async", v=number)

            async def last(updates: AsyncIterator[Update]) -> None:
                async for update in updates:
                    if isinstance(update, Value) and update.data == {"v": 3}:
                        return

            follow = client.follow("metrics.py.async")
            await asyncio.wait_for(asyncio.gather(push(), last(follow)), 30)
            await client.delete("metrics.py.async")

    async def test_a_cancelled_follow_closes_its_connection(self) -> None:
        proxy = Proxy(server.url, lambda line: "pass")
        self.addCleanup(proxy.stop)
        async with AsyncClient(proxy.url) as client:
            updates = client.follow("metrics.api", "system")
            await anext(updates)
            task = asyncio.ensure_future(anext(updates))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await updates.aclose()
            self.assertTrue((await client.get("metrics.api"))["data"])

    async def test_refusals_and_unreachable_servers_raise_the_same_errors(self) -> None:
        async with AsyncClient(server.url) as client:
            with self.assertRaises(TricastError):
                await client.get("metrics.none")
            with self.assertRaises(ValueError):
                client.follow()
        async with AsyncClient("http://127.0.0.1:9/") as client:
            with self.assertRaises(TricastError):
                await client.push("metrics.x", v=1)


if __name__ == "__main__":
    unittest.main()
