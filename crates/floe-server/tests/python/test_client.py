"""The Python client of Fluvio (PyPI `fluvio`) against `floe serve`.

Run by .ci/python-client, which installs the client; FLOE names the binary.
"""

import contextlib
import io
import itertools
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import unittest

from fluvio import (
    ConsumerConfigExtBuilder,
    Fluvio,
    FluvioAdmin,
    FluvioConfig,
    Offset,
    OffsetManagementStrategy,
    TopicSpec,
)

# No wait is longer.
LIMIT_SECONDS = 60


class Server:
    """A `floe serve` on free ports, with topics in a folder of its own."""

    def __init__(self, folder):
        self.process = subprocess.Popen(
            [os.environ.get("FLOE", "floe"), "serve", "--output", "jsonl", "--data", folder]
            + [
                part
                for listener in ("fluvio-sc", "fluvio-spu", "walrus", "http")
                for part in (f"--{listener}", "127.0.0.1:0")
            ],
            stdout=subprocess.PIPE,
        )
        self.addresses = json.loads(self.process.stdout.readline())

    def config(self):
        return FluvioConfig.new(self.addresses["fluvio_sc"])

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        code = self.process.wait(LIMIT_SECONDS)
        self.process.stdout.close()
        return code


def producer(fluvio, topic):
    """The client learns of new topics by and by."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        try:
            return fluvio.topic_producer(topic)
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def read(fluvio, topic, start, count, consumer=None):
    builder = ConsumerConfigExtBuilder(topic)
    builder.offset_start(start)
    if consumer is not None:
        builder.offset_consumer(consumer)
        builder.offset_strategy(OffsetManagementStrategy.MANUAL)
    records = fluvio.consumer_with_config(builder.build())
    seen = list(itertools.islice(records, count))
    if consumer is not None:
        records.offset_commit()
        records.offset_flush()
    return seen


class ClientTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.server = Server(self.folder.name)
        self.addCleanup(self.kill)
        self.fluvio = Fluvio.connect_with_config(self.server.config())
        self.admin = FluvioAdmin.connect_with_config(self.server.config())

    def kill(self):
        if self.server.process.poll() is None:
            self.server.stop(signal.SIGKILL)

    def test_topics(self):
        self.admin.create_topic("one")
        self.admin.create_topic("many", TopicSpec.create().with_partitions(3).build())
        names = sorted(topic.name() for topic in self.admin.all_topics())
        self.assertEqual(names, ["many", "one"])
        self.assertEqual(len(self.admin.list_partitions([])), 4)
        with self.assertRaises(Exception) as refused:
            self.admin.create_topic("one")
        self.assertIn("already exists", str(refused.exception))
        self.admin.delete_topic("many")
        self.assertEqual([topic.name() for topic in self.admin.all_topics()], ["one"])

    def test_the_pages_show_what_works(self):
        for number, page in enumerate(["README.md", "docs/server.md"]):
            text = (pathlib.Path(__file__).parents[4] / page).read_text()
            snippets = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
            self.assertEqual(len(snippets), 1, page)
            # Each page creates the same topic, and on another port.
            code = snippets[0].replace("127.0.0.1:9003", self.server.addresses["fluvio_sc"])
            code = code.replace('"orders"', f'"orders-{number}"')
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(code, page, "exec"), {})
            self.assertEqual(printed.getvalue(), "one coffee\n", page)

    def test_records_come_back(self):
        self.admin.create_topic("records")
        sender = producer(self.fluvio, "records")
        for number in range(200):
            sender.send(f"key {number}".encode(), f"value {number}".encode())
        sender.flush()
        sender.send_all([(b"", bytes(range(256))), (b"last", b"")])
        sender.flush()
        seen = read(self.fluvio, "records", Offset.beginning(), 202)
        self.assertEqual([record.offset() for record in seen], list(range(202)))
        for number, record in enumerate(seen[:200]):
            self.assertEqual(record.key_string(), f"key {number}")
            self.assertEqual(record.value_string(), f"value {number}")
        self.assertEqual(bytes(seen[200].value()), bytes(range(256)))
        self.assertEqual(bytes(seen[201].value()), b"")
        late = read(self.fluvio, "records", Offset.absolute(150), 10)
        self.assertEqual([record.offset() for record in late], list(range(150, 160)))

    def test_a_consumer_goes_on_where_it_stopped(self):
        self.admin.create_topic("stored")
        sender = producer(self.fluvio, "stored")
        for number in range(10):
            sender.send_string(str(number))
        sender.flush()
        for expected in (["0", "1", "2"], ["3", "4"]):
            seen = read(self.fluvio, "stored", Offset.beginning(), len(expected), "reader")
            self.assertEqual([record.value_string() for record in seen], expected)
        stored = self.fluvio.consumer_offsets()
        rows = [(row.consumer_id, row.topic, row.partition, row.offset) for row in stored]
        self.assertEqual(rows, [("reader", "stored", 0, 4)])
        self.fluvio.delete_consumer_offset("reader", "stored", 0)
        self.assertEqual(self.fluvio.consumer_offsets(), [])

    def test_acknowledged_records_survive_a_kill(self):
        self.admin.create_topic("kept")
        sender = producer(self.fluvio, "kept")
        for number in range(500):
            sender.send_string(str(number))
        sender.flush()
        self.server.stop(signal.SIGKILL)
        self.server = Server(self.folder.name)
        fluvio = Fluvio.connect_with_config(self.server.config())
        seen = read(fluvio, "kept", Offset.beginning(), 500)
        self.assertEqual([record.value_string() for record in seen], [str(number) for number in range(500)])

    def test_a_polite_end(self):
        self.assertEqual(self.server.stop(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
