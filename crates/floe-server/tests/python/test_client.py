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
    Compression,
    ConsumerConfig,
    ConsumerConfigExtBuilder,
    Fluvio,
    FluvioAdmin,
    FluvioConfig,
    Offset,
    OffsetManagementStrategy,
    PartitionMap,
    TopicProducerConfigBuilder,
    TopicSpec,
)

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures"

# Longest wait of these tests.
LIMIT_SECONDS = 60


class Server:
    """A `floe serve` on free ports, with topics in the given folder."""

    def __init__(self, folder, *options):
        self.process = subprocess.Popen(
            [os.environ.get("FLOE", "floe"), "serve", "--output", "jsonl", "--data", folder, *options]
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
    """Retries until the client has learned of the topic."""
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


class ServerTest(unittest.TestCase):
    """Starts a server that is killed after the test."""

    def start(self, *options):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.server = Server(self.folder.name, *options)
        self.addCleanup(self.kill)

    def kill(self):
        if self.server.process.poll() is None:
            self.server.stop(signal.SIGKILL)


class ClientTest(ServerTest):
    def setUp(self):
        self.start()
        self.fluvio = Fluvio.connect_with_config(self.server.config())
        self.admin = FluvioAdmin.connect_with_config(self.server.config())

    def fill(self, topic, count, partitions=1):
        """Creates a topic with the numbers as keys and values."""
        self.admin.create_topic(topic, TopicSpec.create().with_partitions(partitions).build())
        sender = producer(self.fluvio, topic)
        for number in range(count):
            sender.send(str(number).encode(), str(number).encode())
        sender.flush()

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

    def test_settings_of_topics(self):
        spec = (
            TopicSpec.create()
            .with_partitions(2)
            .with_retention_time(86400)
            .with_segment_size("32 MiB")
            .with_max_partition_size("1 GiB")
        )
        self.admin.create_topic("set", spec.build())
        # `with_assignment` expects the inner objects and does not unwrap them itself.
        replicas = [PartitionMap.new(number, [5001])._inner for number in (0, 1)]
        self.admin.create_topic("assigned", TopicSpec.create().with_assignment(replicas).build())
        self.assertEqual(len(self.admin.list_partitions([])), 4)
        self.assertEqual([topic.name() for topic in self.admin.list_topics(["se"])], ["set"])
        self.assertEqual([topic.name() for topic in self.admin.list_topics_with_params(["ass"], True)], ["assigned"])
        for refused in (
            TopicSpec.create().with_partitions(0),
            TopicSpec.create().with_replications(2),
            TopicSpec.create().with_retention_time(1),
        ):
            with self.assertRaises(Exception):
                self.admin.create_topic("refused", refused.build())
        with self.assertRaises(Exception) as missing:
            self.admin.delete_topic("missing")
        self.assertIn("not found", str(missing.exception).lower())
        self.assertEqual(len(self.admin.all_topics()), 2)

    def test_watch_reports_topics(self):
        watch = self.admin.watch_topic()
        self.assertEqual([topic.name() for topic in next(watch).all()], ["consumer-offset"])
        self.admin.create_topic("seen")
        changes = next(watch).changes()
        self.assertEqual([change.metadata_topic_spec().name() for change in changes], ["seen"])
        self.assertTrue(changes[0].is_update())
        self.admin.delete_topic("seen")
        self.assertTrue(next(watch).changes()[0].is_delete())

    def test_smartmodules(self):
        module = str(FIXTURES / "upper.wasm")
        self.admin.create_smartmodule("upper", module, False)
        self.admin.create_smartmodule("dry", module, True)
        self.assertEqual([found.name() for found in self.admin.list_smartmodules([])], ["upper"])
        self.admin.create_topic("letters")
        sender = producer(self.fluvio, "letters")
        for value in ("ant", "bee", "cat"):
            sender.send_string(value)
        sender.flush()
        for by in ({"name": "upper"}, {"path": module}):
            config = ConsumerConfig()
            config.smartmodule(**by)
            stream = self.fluvio.partition_consumer("letters", 0).stream_with_config(Offset.beginning(), config)
            seen = [record.value_string() for record in itertools.islice(stream, 3)]
            self.assertEqual(seen, ["ANT", "BEE", "CAT"], by)
        self.admin.delete_smartmodule("upper")
        self.assertEqual(self.admin.list_smartmodules([]), [])

    def test_documented_snippets_run(self):
        for number, page in enumerate(["README.md", "docs/server.md"]):
            text = (pathlib.Path(__file__).parents[4] / page).read_text()
            snippets = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
            self.assertEqual(len(snippets), 1, page)
            # Both pages create the same topic, and connect to the default port.
            code = snippets[0].replace("127.0.0.1:9003", self.server.addresses["fluvio_sc"])
            code = code.replace('"orders"', f'"orders-{number}"')
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(code, page, "exec"), {})
            self.assertEqual(printed.getvalue(), "one coffee\n", page)

    def test_records_round_trip(self):
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

    def test_send_returns_offsets(self):
        self.admin.create_topic("single")
        sender = producer(self.fluvio, "single")
        for expected in range(5):
            place = sender.send_string(f"value {expected}").wait()
            self.assertEqual((place.offset(), place.partition_id()), (expected, 0))
        places = [output.wait() for output in sender.send_all([(b"a", b"1"), (b"b", b"2")])]
        self.assertEqual([place.offset() for place in places], [5, 6])

    def test_every_codec(self):
        for codec in (Compression.Gzip, Compression.Snappy, Compression.Lz4, Compression.Zstd):
            topic = f"codec-{codec}".split(".")[-1].lower()
            self.admin.create_topic(topic)
            # Waits until the client knows the topic.
            producer(self.fluvio, topic)
            config = TopicProducerConfigBuilder().compression(codec).build()
            sender = self.fluvio.topic_producer_with_config(topic, config)
            expected = [f"{number} {'x' * 50}" for number in range(100)]
            for value in expected:
                sender.send_string(value)
            sender.flush()
            seen = read(self.fluvio, topic, Offset.beginning(), 100)
            self.assertEqual([record.value_string() for record in seen], expected, topic)

    def test_every_kind_of_start(self):
        self.fill("starts", 20)
        for start, first in (
            (Offset.beginning(), 0),
            (Offset.from_beginning(3), 3),
            (Offset.absolute(12), 12),
            (Offset.from_end(4), 16),
        ):
            expected = [str(number) for number in range(first, 20)]
            seen = read(self.fluvio, "starts", start, len(expected))
            self.assertEqual([record.value_string() for record in seen], expected, first)
            older = self.fluvio.partition_consumer("starts", 0).stream(start)
            seen = itertools.islice(older, len(expected))
            self.assertEqual([record.value_string() for record in seen], expected, first)
        late = self.fluvio.partition_consumer("starts", 0).stream(Offset.end())
        sender = producer(self.fluvio, "starts")
        sender.send_string("late")
        sender.flush()
        self.assertEqual(next(late).value_string(), "late")

    def test_read_to_the_end(self):
        self.fill("ends", 50)
        config = ConsumerConfig()
        config.disable_continuous()
        stream = self.fluvio.partition_consumer("ends", 0).stream_with_config(Offset.beginning(), config)
        self.assertEqual([int(record.value_string()) for record in stream], list(range(50)))

    def test_many_partitions(self):
        self.fill("wide", 200, partitions=5)
        self.fill("other", 10)
        numbers = {str(number) for number in range(200)}
        seen = read(self.fluvio, "wide", Offset.beginning(), 200)
        self.assertEqual({record.value_string() for record in seen}, numbers)
        together = self.fluvio.multi_partition_consumer("wide").stream(Offset.beginning())
        self.assertEqual({record.value_string() for record in itertools.islice(together, 200)}, numbers)
        places = [("wide", partition) for partition in range(5)] + [("other", 0)]
        both = self.fluvio.multi_topic_partition_consumer(places).stream(Offset.beginning())
        self.assertEqual(len(list(itertools.islice(both, 210))), 210)

    def test_consumer_resumes_at_its_offset(self):
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

    def test_graceful_shutdown(self):
        self.assertEqual(self.server.stop(), 0)


class TlsTest(ServerTest):
    """Uses certificates that exist for these tests only."""

    tls = FIXTURES / "tls"

    def config(self):
        return FluvioConfig.new(self.server.addresses["fluvio_sc"])

    def verified(self, client, authority="server"):
        config = self.config()
        files = (f"{client}-key.pem", f"{client}.pem", f"{authority}-ca.pem")
        config.set_tls_file_paths("streams.example", *(str(self.tls / name) for name in files))
        return config

    def works(self, config):
        FluvioAdmin.connect_with_config(config).create_topic("t")
        fluvio = Fluvio.connect_with_config(config)
        sender = producer(fluvio, "t")
        sender.send_string("encrypted")
        sender.flush()
        self.assertEqual(read(fluvio, "t", Offset.beginning(), 1)[0].value_string(), "encrypted")

    def refused(self, config):
        with self.assertRaises(Exception):
            Fluvio.connect_with_config(config)

    def serve(self, *options):
        self.start("--tls-cert", str(self.tls / "server.pem"), "--tls-key", str(self.tls / "server-key.pem"), *options)

    def test_client_verifies_the_server(self):
        self.serve()
        self.works(self.verified("client"))
        self.refused(self.verified("client", authority="client"))
        self.refused(self.config())
        # The client sends address and port as the server name, which TLS does not allow.
        anonymous = self.config()
        anonymous.set_anonymous_tls()
        self.refused(anonymous)
        # Other clients still connect.
        Fluvio.connect_with_config(self.verified("client"))

    def test_server_verifies_its_clients(self):
        # Walrus has no certificates, so that it must be asked for.
        self.serve("--tls-client-ca", str(self.tls / "client-ca.pem"), "--allow-plain", "walrus")
        self.works(self.verified("client"))
        self.refused(self.verified("stranger"))
        anonymous = self.config()
        anonymous.set_anonymous_tls()
        self.refused(anonymous)


if __name__ == "__main__":
    unittest.main(verbosity=2)
