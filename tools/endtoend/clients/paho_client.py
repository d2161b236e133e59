"""Eclipse Paho's client through a proxy in front of a broker cluster. Started by tests/mqtt_clients.rs.

    paho_client.py checks TCP_PORT WEBSOCKET_PORT    every exchange once per version and transport; a line for each
    paho_client.py hold TCP_PORT WEBSOCKET_PORT      subscribers that must lose nothing until standard input ends

Exit code 1 and a line "failed NAME: WHY" when something is not as it should be. PYTHONPATH names the folder of paho-mqtt.
"""

import queue
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PATIENCE_S = 20
VERSIONS = {"v311": mqtt.MQTTv311, "v5": mqtt.MQTTv5}
# mosquitto 2.0's WebSocket listener stalls by itself, without any proxy, on messages of 256 KiB.
LARGE = {"tcp": 1 << 20, "websockets": 32 << 10}


class Client:
    """A connected client that keeps what it receives."""

    def __init__(self, transport, port, version, name, clean=True, will=None):
        self.version = version
        self.messages = queue.Queue()
        self.connects = 0
        self.acknowledged = threading.Event()
        self.subscribed = threading.Event()
        options = {"clean_session": clean} if version == mqtt.MQTTv311 else {}
        self.inner = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, name, protocol=version, transport=transport, **options)
        self.inner.on_connect = self.on_connect
        self.inner.on_subscribe = lambda *_: self.subscribed.set()
        self.inner.on_message = lambda _client, _data, message: self.messages.put(message)
        if will:
            self.inner.will_set(will, b"gone " + name.encode(), qos=1)
        options = {}
        if version == mqtt.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if clean else 300
            properties.UserProperty = [("site", "plant"), ("site", "again")]
            options = {"clean_start": clean, "properties": properties}
        self.inner.connect("127.0.0.1", port, keepalive=30, **options)
        self.inner.loop_start()
        if not self.acknowledged.wait(PATIENCE_S):
            raise TimeoutError(f"no CONNACK for {name}")

    def on_connect(self, _client, _data, flags, reason, _properties):
        self.connects += 1
        self.session_present = flags.session_present
        if not reason.is_failure:
            self.acknowledged.set()

    def subscribe(self, topic, qos):
        self.subscribed.clear()
        self.inner.subscribe(topic, qos)
        if not self.subscribed.wait(PATIENCE_S):
            raise TimeoutError(f"no SUBACK for {topic}")

    def publish(self, topic, payload, qos, retain=False, properties=None):
        self.inner.publish(topic, payload, qos, retain, properties).wait_for_publish(PATIENCE_S)

    def receive(self):
        return self.messages.get(timeout=PATIENCE_S)

    def leave(self):
        self.inner.disconnect()
        self.inner.loop_stop()

    def die(self):
        """The connection ends without a DISCONNECT."""
        self.inner.on_disconnect = lambda client, *_: client.loop_stop()
        self.inner.reconnect_delay_set(PATIENCE_S, PATIENCE_S)
        self.inner.socket().close()


def same(what, got, wanted):
    if got != wanted:
        raise AssertionError(f"{what}: got {got!r:.80}, not {wanted!r:.80}")


class Checks:
    """One transport and version."""

    def __init__(self, transport, port, label):
        self.transport, self.port, self.version = transport, port, VERSIONS[label]
        self.prefix = f"paho-{transport}-{label}"
        self.topic = f"t/{self.prefix}"

    def client(self, name, **options):
        return Client(self.transport, self.port, self.version, f"{self.prefix}-{name}", **options)

    def qualities(self):
        """Each quality of service, from one client to another that may be on another broker."""
        reader, writer = self.client("reader"), self.client("writer")
        for qos in range(3):
            topic = f"{self.topic}/qos{qos}"
            reader.subscribe(topic, qos)
            for turn in range(3):
                writer.publish(topic, f"{turn}", qos)
                message = reader.receive()
                same("message", (message.payload, message.qos), (f"{turn}".encode(), qos))
        reader.leave()
        writer.leave()

    def large(self):
        payload = bytes(index * 7 % 251 for index in range(LARGE[self.transport]))
        reader, writer = self.client("large-reader"), self.client("large-writer")
        reader.subscribe(f"{self.topic}/large", 2)
        for qos in range(3):
            writer.publish(f"{self.topic}/large", payload, qos)
            same("large payload", reader.receive().payload, payload)
        reader.leave()
        writer.leave()

    def retained(self):
        writer, topic = self.client("keeper"), f"{self.topic}/kept"
        witness = self.client("witness")
        witness.subscribe(topic, 1)
        writer.publish(topic, b"kept", 1, retain=True)
        same("live", witness.receive().payload, b"kept")
        # On the witness's broker the message is kept now.
        late = Client(self.transport, self.port, self.version, f"{self.prefix}-late")
        late.subscribe(topic, 1)
        message = late.receive()
        same("payload", message.payload, b"kept")
        writer.publish(topic, b"", 1, retain=True)
        same("cleared", late.receive().payload, b"")
        for client in (writer, witness, late):
            client.leave()

    def will(self):
        watcher, topic = self.client("watcher"), f"{self.topic}/will"
        watcher.subscribe(topic, 1)
        victim = self.client("victim", will=topic)
        victim.die()
        same("will", watcher.receive().payload, b"gone " + f"{self.prefix}-victim".encode())
        polite = self.client("polite", will=topic)
        polite.leave()
        watcher.publish(topic, b"after", 1)
        same("no will of who says goodbye", watcher.receive().payload, b"after")
        watcher.leave()

    def session(self):
        """A session that waits on its broker: only a client that comes back to the same one finds it."""
        writer, topic = self.client("sender"), f"{self.topic}/session"
        for _ in range(3):
            sleeper = self.client("sleeper", clean=False)
            sleeper.subscribe(topic, 1)
            sleeper.leave()
            writer.publish(topic, b"while away", 1)
            sleeper = self.client("sleeper", clean=False)
            same("session present", bool(sleeper.session_present), True)
            same("message", sleeper.receive().payload, b"while away")
            sleeper.leave()
        writer.leave()

    def properties(self):
        reader, writer = self.client("property-reader"), self.client("property-writer")
        reader.subscribe(f"{self.topic}/properties", 1)
        properties = Properties(PacketTypes.PUBLISH)
        properties.UserProperty = [("a", "1"), ("a", "2"), ("ü", "ö")]
        properties.ContentType = "text/plain"
        properties.ResponseTopic = f"{self.topic}/answer"
        properties.CorrelationData = b"\x00\x01"
        writer.publish(f"{self.topic}/properties", b"", 1, properties=properties)
        got = reader.receive().properties
        same("user properties", got.UserProperty, [("a", "1"), ("a", "2"), ("ü", "ö")])
        same("others", (got.ContentType, got.CorrelationData), ("text/plain", b"\x00\x01"))
        reader.leave()
        writer.leave()

    def run(self, failures):
        checks = [self.qualities, self.large, self.retained, self.will]
        # Stick rules are for the plain port: behind WebSocket frames nothing sees a client id.
        checks += [self.session] if self.transport == "tcp" else []
        checks += [self.properties] if self.version == mqtt.MQTTv5 else []
        for check in checks:
            try:
                check()
                print(f"ok {self.prefix} {check.__name__}", flush=True)
            except Exception as error:  # whatever it is, it is the verdict
                failures.append(f"failed {self.prefix} {check.__name__}: {type(error).__name__} {error}")


def every(ports):
    failures = []
    checks = [Checks(transport, port, label) for transport, port in ports.items() for label in VERSIONS]
    threads = [threading.Thread(target=each.run, args=(failures,)) for each in checks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def hold(ports):
    """Numbers flow until standard input ends; each subscriber must have them all, in order, over one connection."""
    stop, failures, pairs = threading.Event(), [], []
    for transport, port in ports.items():
        for label, version in VERSIONS.items():
            name = f"paho-hold-{transport}-{label}"
            reader = Client(transport, port, version, f"{name}-reader")
            reader.subscribe(f"t/{name}", 1)
            pairs.append((name, reader, Client(transport, port, version, f"{name}-writer")))
    sent = 0

    def write():
        nonlocal sent
        while not stop.is_set():
            for name, _, writer in pairs:
                writer.publish(f"t/{name}", f"{sent}", 1)
            sent += 1
            if sent == 20:
                print("ready", flush=True)

    thread = threading.Thread(target=write)
    thread.start()
    sys.stdin.read()
    stop.set()
    thread.join()
    for name, reader, writer in pairs:
        got = [int(reader.receive().payload) for _ in range(sent)]
        if got != list(range(sent)) or not reader.messages.empty():
            failures.append(f"failed {name}: {len(got)} of {sent} messages in order")
        if (reader.connects, writer.connects) != (1, 1):
            failures.append(f"failed {name}: connected {reader.connects} and {writer.connects} times")
        reader.leave()
        writer.leave()
    print(f"held {sent}", flush=True)
    return failures


def main():
    mode, tcp, websocket = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    ports = {"tcp": tcp, "websockets": websocket}
    failures = every(ports) if mode == "checks" else hold(ports)
    for failure in failures:
        print(failure, flush=True)
    sys.exit(1 if failures else 0)


main()
