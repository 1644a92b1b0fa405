"""The follower without a network: commands in, results back."""

from __future__ import annotations

import json
import random
import unittest

from tricast import Ended, Event, Gap, TricastError, Value
from tricast._follow import Close, Deliver, Follower, Lost, Open, Read, Reply, Sleep
from tricast._position import Position
from tricast._sse import Parser

STREAM = {"content-type": "text/event-stream"}


def block(name: str, body: object, cursor: str | None = None) -> bytes:
    identifier = f"id: {cursor}\n" if cursor else ""
    return f"event: {name}\n{identifier}data: {json.dumps(body)}\n\n".encode()


def connected(cursor: str = "e:1", resume: str = "live", **more: str) -> bytes:
    return block("connected", {"cursor": cursor, "resume": resume, **more})


def event(number: int, epoch: str = "e", channel: str = "deploys") -> bytes:
    body = {"channel": channel, "event": "released", "data": number, "timestamp": None}
    return block("released", body, f"{epoch}:{number}")


def value(channel: str, number: int, cursor: str) -> bytes:
    return block("metric", {"channel": channel, "data": {"v": number}, "timestamp": None}, cursor)


class Script:
    """Runs a follower with given results, and records its requests and updates."""

    def __init__(self, follower: Follower, results: list[object]) -> None:
        self.opened: list[Open] = []
        self.updates: list[object] = []
        self.slept: list[float] = []
        steps, result = follower.run(), None
        while True:
            command = steps.send(result)
            result = None
            if isinstance(command, Deliver):
                self.updates.append(command.update)
            elif isinstance(command, Sleep):
                self.slept.append(command.seconds)
            elif isinstance(command, (Open, Read)):
                if isinstance(command, Open):
                    self.opened.append(command)
                if not results:
                    return
                result = results.pop(0)
            else:
                assert isinstance(command, Close)


class Following(unittest.TestCase):
    def test_a_stream_delivers_values_and_events_in_order(self) -> None:
        chunk = connected() + value("metrics.a", 1, "e:2") + event(3) + value("metrics.a", 2, "e:4")
        script = Script(Follower(["metrics.a", "deploys"]), [Reply(200, STREAM), chunk])
        self.assertEqual(
            script.updates,
            [
                Value("metrics.a", {"v": 1}, None, "e:2"),
                Event("deploys", "released", 3, None, "e:3"),
                Value("metrics.a", {"v": 2}, None, "e:4"),
            ],
        )

    def test_a_cut_stream_is_resumed_from_its_cursor_and_repeats_nothing(self) -> None:
        results = [
            Reply(200, STREAM), connected() + value("metrics.a", 1, "e:2") + event(3), Lost("cut"),
            Reply(200, STREAM), connected("e:3", "replayed") + value("metrics.a", 1, "e:2") + event(3) + event(4),
        ]  # fmt: skip
        script = Script(Follower(["metrics.a", "deploys"]), results)
        self.assertEqual(script.opened[1].query["since"], "e:3")
        self.assertEqual([update.data for update in script.updates], [{"v": 1}, 3, 4])

    def test_a_silent_stream_falls_back_to_a_long_poll_and_then_to_a_poll(self) -> None:
        start = Reply(200, {}, json.dumps({"cursor": "e:1"}).encode())
        results = [Lost("late", was_silent=True), start, Lost("late", was_silent=True), Reply(304, {})]
        script = Script(Follower(["metrics.a"]), results)
        self.assertEqual([opened.path for opened in script.opened], ["events", *["api/metrics"] * 4])
        self.assertEqual(script.opened[2].query["since"], "e:1.0")

    def test_an_unreachable_server_is_tried_again_without_changing_the_transport(self) -> None:
        script = Script(Follower(["metrics.a"]), [Lost("refused"), Lost("refused"), Lost("refused")])
        self.assertEqual({opened.path for opened in script.opened}, {"events"})
        self.assertEqual(len(script.slept), 3)

    def test_a_better_transport_is_tried_again(self) -> None:
        now = iter(range(0, 10_000, 20))
        follower = Follower(["metrics.a"], since="e:1", clock=lambda: next(now))
        idle = Reply(304, {})
        script = Script(follower, [Lost("late", was_silent=True), idle])
        self.assertEqual(script.opened[-1].path, "events")

    def test_a_gap_precedes_fresh_values_and_ends_channels_that_are_not_sent_again(self) -> None:
        body = {"channels": {"metrics.a": {"v": 2}}, "events": [], "cursor": "f:1", "timestamp": None, "gap": True}
        results = [
            Reply(200, STREAM), connected() + value("metrics.a", 1, "e:2") + value("metrics.b", 1, "e:3"), Lost("cut"),
            Lost("late", was_silent=True), Reply(200, {}, json.dumps(body).encode()),
        ]  # fmt: skip
        script = Script(Follower(["metrics.*"]), results)
        self.assertEqual(
            script.updates[2:],
            [Gap("too_old"), Value("metrics.a", {"v": 2}, None, "f:1"), Ended("metrics.b", "unknown", None, None)],
        )

    def test_a_refusal_that_stays_raises_an_error(self) -> None:
        problem = json.dumps({"code": "FORBIDDEN", "detail": "may not read orders"}).encode()
        with self.assertRaises(TricastError) as raised:
            Script(Follower(["orders"]), [Reply(403, {}, problem)])
        self.assertEqual((raised.exception.code, raised.exception.status), ("FORBIDDEN", 403))

    def test_a_refused_token_is_replaced_a_bounded_number_of_times(self) -> None:
        refused = Reply(401, {}, json.dumps({"code": "UNAUTHORIZED", "detail": "expired"}).encode())
        with self.assertRaises(TricastError):
            Script(Follower(["orders"]), [refused])
        with self.assertRaises(TricastError):
            Script(Follower(["orders"], has_new_tokens=True), [refused] * 9)
        script = Script(
            Follower(["orders"], has_new_tokens=True), [refused, Reply(200, STREAM), connected() + event(3)]
        )
        self.assertEqual(len(script.updates), 1)

    def test_a_proxy_that_refuses_streams_leads_to_polls_and_a_wrong_url_to_an_error(self) -> None:
        script = Script(Follower(["orders"], since="e:1"), [Reply(403, {}, b"<html>"), Reply(304, {})])
        self.assertEqual(script.opened[1].path, "api/metrics")
        with self.assertRaises(TricastError) as raised:
            Script(Follower(["orders"]), [Reply(404, {}, b"<html>"), Reply(404, {}, b"<html>")])
        self.assertEqual(raised.exception.code, "NOT_TRICAST")

    def test_retry_after_is_respected(self) -> None:
        busy = Reply(503, {"retry-after": "7"}, json.dumps({"code": "BEHIND", "detail": "behind"}).encode())
        script = Script(Follower(["orders"]), [busy])
        self.assertGreaterEqual(script.slept[0], 7)


class Streams(unittest.TestCase):
    def test_blocks_do_not_depend_on_how_the_bytes_arrive(self) -> None:
        text = ": comment\n\nretry: 10\n\n".encode() + value("metrics.ä", 1, "e:1") + event(2)
        whole = list(Parser().feed(text))
        self.assertEqual([found.id for found in whole], ["e:1", "e:2"])
        chance = random.Random(1)
        for _ in range(200):
            parser, found, rest = Parser(), [], text
            while rest:
                size = chance.randint(1, 40)
                found += parser.feed(rest[:size])
                rest = rest[size:]
            self.assertEqual(found, whole)

    def test_an_event_without_an_end_is_bounded(self) -> None:
        parser = Parser(limit=100)
        with self.assertRaises(ValueError):
            for _ in range(9):
                list(parser.feed(b"data: " + b"x" * 20))


class Positions(unittest.TestCase):
    def test_a_stored_event_of_another_epoch_is_a_duplicate(self) -> None:
        position = Position()
        self.assertTrue(position.admits("orders", "e:1", ("order_created", {"orderId": "a"})))
        self.assertFalse(position.admits("orders", "f:1", ("order_created", {"orderId": "a"})))
        self.assertTrue(position.admits("orders", "f:2", ("order_created", {"orderId": "b"})))
        self.assertTrue(position.admits("deploys", "e:1", ("released", 1)))
        self.assertTrue(position.admits("deploys", "f:1", ("released", 1)))


if __name__ == "__main__":
    unittest.main()
