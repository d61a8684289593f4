"""A cell behind an MQTT broker, against a real mosquitto, its own clients, and brokers that are none."""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from drivers.sorters import messages as wire
from drivers.sorters.interface import Outcome, Result, SorterError
from drivers.sorters.mqtt import MqttSettings, MqttSorter
from drivers.sorters.mqtt.words import LONGEST, NoMessageError, decode, encode, name_of
from tests.waiting import PATIENCE_S, wait_for

pytest.importorskip("paho")

TOPIC = "plant/cell-4"
Make = Callable[..., MqttSorter]


@pytest.fixture
def sorters() -> Iterator[Make]:
    made: list[MqttSorter] = []

    def make(broker: Any, **settings: object) -> MqttSorter:
        port = broker if isinstance(broker, int) else broker.port
        values = {"host": "127.0.0.1", "port": port, "topic": TOPIC, "reopen_max_s": 0.2} | settings
        made.append(MqttSorter(MqttSettings(**values), "station 4"))  # type: ignore[arg-type]
        made[-1].open()
        return made[-1]

    yield make
    for sorter in made:
        sorter.close()


def publish(broker: Any, topic: str, payload: str, *options: str) -> None:
    subprocess.run(
        ["mosquitto_pub", "-p", str(broker.port), "-V", "5", "-t", topic, "-m", payload, *options], check=True
    )


def listen(broker: Any, topic: str, *options: str) -> subprocess.Popen[str]:
    command = ["mosquitto_sub", "-p", str(broker.port), "-V", "5", "-q", "1", "-v", "-t", topic, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


# ---------------------------------------------------------------------- the words

texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=32)
numbers, byte = st.integers(0, 2**32 - 1), st.integers(0, 255)
bodies = st.one_of(
    st.builds(wire.Hello, st.sampled_from(wire.Role), texts),
    st.builds(wire.Heartbeat, st.booleans(), st.sampled_from(wire.EndState), texts),
    st.builds(wire.TriggerBody, numbers, texts.map(lambda text: text.replace(";", "")), texts),
    st.builds(wire.TriggerAck, numbers, numbers),
    st.builds(wire.TriggerRefused, numbers, numbers, st.sampled_from(wire.RefusalCode), texts),
    st.builds(wire.AcquisitionDone, numbers, numbers),
    st.builds(wire.JobBody, texts),
    st.builds(wire.JobAnswer, numbers, st.sampled_from(wire.JobCode), texts),
    st.builds(wire.ResultBody, numbers, numbers, st.sampled_from(wire.WireOutcome), byte, byte, texts),
    st.builds(wire.ResultAck, numbers, numbers, st.sampled_from(wire.Sorted), byte),
    st.builds(wire.Fault, st.sampled_from(wire.FaultCode), texts),
)
sessions = st.integers(1, 65535)
every_message = st.builds(wire.Message, sessions, sessions, numbers, bodies, st.sampled_from((1, 2, 3))).map(
    lambda message: replace(message, version=max(message.version, wire.first_version(message.body)))
)


@given(every_message)
def test_every_message_is_read_as_it_was_written(message: wire.Message) -> None:
    assert decode(name_of(message.body), encode(message)) == message


SPOILED = ["missing", None, [], {}, 1.5, -1, 2**40, "\u00e4", "x" * 65, "more"]


@given(every_message, st.data())
def test_a_message_with_one_field_spoiled_is_no_message(message: wire.Message, data: st.DataObject) -> None:
    words = json.loads(encode(message))
    field = data.draw(st.sampled_from(sorted(words)))
    spoiled = data.draw(st.sampled_from(SPOILED))
    if spoiled == "missing":
        del words[field]
    elif spoiled == "more":
        words["more"] = 1
    else:
        words[field] = spoiled
    with pytest.raises(NoMessageError):
        decode(name_of(message.body), json.dumps(words).encode())


@given(st.binary(max_size=80), st.sampled_from(["trigger", "result-ack", "hello", "", "x" * 99]))
def test_bytes_of_any_kind_are_no_message_and_no_error_of_another_kind(payload: bytes, name: str) -> None:
    with pytest.raises(NoMessageError):
        decode(name, payload)


def test_true_is_no_number_and_one_is_not_true() -> None:
    message = wire.Message(1, 2, 3, wire.Heartbeat(True, wire.EndState.READY))
    words = json.loads(encode(message))
    for field, value in (("ready", 1), ("sequence", True), ("state", 1)):
        with pytest.raises(NoMessageError, match=field):
            decode("heartbeat", json.dumps(words | {field: value}).encode())
    with pytest.raises(NoMessageError, match="at most"):
        decode("heartbeat", b" " * (LONGEST + 1))


# ---------------------------------------------------------------------- the settings


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"topic": "plant/#"}, r"with #, \+ or \$"),
        ({"topic": "plant/+/x"}, r"with #, \+ or \$"),
        ({"topic": "/plant"}, "an empty level"),
        ({"topic": "$SYS"}, r"with #, \+ or \$"),
        ({"password_file": "/tmp/p"}, "though there is a password_file"),
        ({"ca_file": "/tmp/ca.pem"}, "is set without `tls`"),
        ({"tls": True, "cert_file": "/tmp/c.pem"}, "certificate and key belong together"),
        ({"host": "mqtt://broker"}, "host"),
        ({"port": 0}, "port"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_their_key(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        MqttSettings(**{"host": "broker", "topic": "a/b"} | settings)


def test_files_that_cannot_be_used_are_refused_before_the_line_starts(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    for settings, said in (
        ({"tls": True, "ca_file": bad}, "bad.pem cannot be used"),
        ({"tls": True, "ca_file": tmp_path / "none"}, "none cannot be used"),
        ({"user": "station", "password_file": tmp_path / "none"}, "none cannot be read"),
    ):
        with pytest.raises(SorterError, match=said):
            MqttSorter(MqttSettings(host="127.0.0.1", topic="a/b", **settings)).open()  # type: ignore[arg-type]


# ---------------------------------------------------------------------- a part by the broker's own clients


def test_a_part_is_inspected_for_a_cell_made_of_the_brokers_own_clients(broker: Any, sorters: Make) -> None:
    heard = listen(broker, f"{TOPIC}/to-cell/+")
    wait_for(lambda: f"{TOPIC}/to-cell/+" in (broker.folder / "mosquitto.log").read_text())
    sorter = sorters(broker)
    sorter.set_ready(True)
    assert heard.stdout is not None

    def next_of(name: str) -> dict[str, Any]:
        for line in heard.stdout:  # type: ignore[union-attr]
            topic, _, payload = line.partition(" ")
            if topic == f"{TOPIC}/to-cell/{name}":
                return dict(json.loads(payload))
        raise AssertionError(name)

    station = next_of("hello")["sender"]
    count = 0

    def say(kind: str, **words: object) -> None:
        nonlocal count
        count += 1
        header = {"version": 2, "sender": 77, "receiver": station, "sequence": count}
        publish(broker, f"{TOPIC}/to-station/{kind}", json.dumps(header | words), "-q", "1")

    say("hello", role="cell", name="clients")
    say("heartbeat", ready=True, state="ready", reason="")
    assert next_of("heartbeat")["ready"] is True
    say("trigger", part_id=41, recipe="")
    trigger = sorter.wait_trigger(PATIENCE_S)
    assert trigger is not None
    sorter.acknowledge(trigger)
    assert next_of("trigger-ack") | {"sequence": 0, "sender": 0} == {
        "version": 2, "sender": 0, "receiver": 77, "sequence": 0, "trigger": 3, "part_id": 41,
    }  # fmt: skip
    sorter.send(Result(41, Outcome.REJECT, 3, 2, "scratch"))
    result = next_of("result")
    assert (result["outcome"], result["bin"], result["class_index"]) == ("reject", 3, 2)
    say("result-ack", trigger=3, part_id=41, status="in-bin", bin=3)
    receipt = sorter.wait_receipt(PATIENCE_S)
    assert receipt is not None
    assert (receipt.acknowledged, receipt.bin) == (True, 3)
    heard.kill()
    heard.wait()
    heard.stdout.close()


def test_a_message_of_a_later_version_is_answered_with_a_fault_in_version_1(
    broker: Any, sorters: Make
) -> None:
    command = ["mosquitto_sub", "-p", str(broker.port), "-t", f"{TOPIC}/to-cell/fault", "-C", "1", "-W", "10"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as heard:
        wait_for(lambda: f"{TOPIC}/to-cell/fault" in (broker.folder / "mosquitto.log").read_text())
        sorter = sorters(broker)
        wait_for(lambda: sorter.health().sent > 0)
        hello = {"version": 9, "sender": 77, "receiver": 0, "sequence": 1, "role": "cell", "colour": "blue"}
        publish(broker, f"{TOPIC}/to-station/hello", json.dumps(hello))
        assert heard.stdout is not None
        fault = json.loads(heard.stdout.read())
    assert (fault["version"], fault["receiver"], fault["code"]) == (1, 0, "protocol-version")
    assert fault["reason"] == "this station speaks versions 1 to 3"
    assert "version 9" in sorter.health().last_error


def test_birth_and_last_will_are_kept_by_the_broker(broker: Any, sorters: Make) -> None:
    sorter = sorters(broker)
    wait_for(lambda: sorter.health().sent > 0)

    def kept() -> dict[str, Any]:
        command = ["mosquitto_sub", "-p", str(broker.port), "-t", f"{TOPIC}/station", "-C", "1", "-W", "5"]
        return dict(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))

    born = kept()
    assert born["online"] is True
    assert born["name"] == "station 4"
    sorter._client.socket().shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
    wait_for(lambda: sorter.health().reconnects == 1)
    wait_for(lambda: kept()["online"] is True)
    sorter.close()
    assert kept() == {"online": False, "session": born["session"]}


# ---------------------------------------------------------------------- fail closed


@pytest.mark.parametrize("wire", ["mqtt"], indirect=True)
def test_a_cell_that_lost_its_power_is_known_by_its_last_will(wire: Any) -> None:
    before = time.monotonic()
    wire.cell.hears = False
    wire.cell.spoil = lambda message: []
    wire.cell.vanish()
    wait_for(lambda: not wire.sorter.health().connected)
    assert time.monotonic() - before < 2.5  # the link's own time is 3 s
    assert "offline" in wire.sorter.health().last_error


def test_a_result_that_nobody_is_subscribed_to_is_not_delivered_and_says_so(
    broker: Any, sorters: Make
) -> None:
    sorter = sorters(broker, ack_timeout_ms=600.0)
    sorter.set_ready(True)
    wait_for(lambda: sorter.health().sent > 0)
    station = sorter._session.link.session
    header = {"version": 2, "sender": 9, "receiver": station}
    for number, (name, words) in enumerate(
        (
            ("hello", {"role": "cell", "name": "deaf"}),
            ("heartbeat", {"ready": True, "state": "ready", "reason": ""}),
            ("trigger", {"part_id": 5, "recipe": ""}),
        ),
        start=1,
    ):
        publish(broker, f"{TOPIC}/to-station/{name}", json.dumps(header | {"sequence": number} | words))
    trigger = sorter.wait_trigger(PATIENCE_S)
    assert trigger is not None
    sorter.acknowledge(trigger)
    sorter.send(Result(5, Outcome.ACCEPT, 0, 0, ""))
    receipt = sorter.wait_receipt(PATIENCE_S)
    assert receipt is not None
    assert not receipt.acknowledged
    wait_for(lambda: "nobody is subscribed to plant/cell-4/to-cell/+" in sorter.health().last_error)


@pytest.mark.parametrize("wire", ["mqtt"], indirect=True)
def test_a_trigger_that_the_broker_kept_starts_nothing(wire: Any, broker: Any) -> None:
    station = wire.sorter._session.link.session
    words = {"version": 2, "sender": 7, "receiver": station, "sequence": 900, "part_id": 66, "recipe": ""}
    publish(broker, f"{TOPIC}/to-station/trigger", json.dumps(words), "-r", "-q", "1")
    # To those who listen it is a message like others.
    assert wire.sorter.wait_trigger(PATIENCE_S).part_id == 66
    wire.sorter._client.socket().shutdown(socket.SHUT_RDWR)
    wait_for(lambda: wire.sorter.health().reconnects == 1)
    wait_for(lambda: wire.sorter.health().garbled == 1)
    assert wire.sorter.wait_trigger(0.2) is None
    assert "a message that the broker keeps lies on plant/cell-4/to-station/trigger" in (
        wire.sorter._session.handshake.problem
    )


@pytest.mark.parametrize("wire", ["mqtt"], indirect=True)
def test_nonsense_and_ten_megabytes_on_our_topic_cost_nothing(wire: Any, broker: Any, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"7" * 10_000_000)
    for topic, options in (
        (f"{TOPIC}/to-station/trigger", ["-f", str(large)]),
        (f"{TOPIC}/to-station/trigger", ["-m", "{}"]),
        (f"{TOPIC}/to-station/trigger", ["-m", "[" * 900]),
        (f"{TOPIC}/to-station/nonsense", ["-m", "x"]),
        (f"{TOPIC}/cell", ["-m", "[1]"]),
        (f"{TOPIC}/cell", ["-m", '{"online": false, "session": 1234}']),
    ):
        subprocess.run(
            ["mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", topic, *options], check=True
        )
    wait_for(lambda: wire.sorter.health().garbled == 3)
    wire.cell.place(1)
    assert wire.sorter.wait_trigger(PATIENCE_S).part_id == 1
    assert wire.sorter.health().reconnects == 0


@pytest.mark.parametrize("wire", ["mqtt"], indirect=True)
def test_messages_that_are_too_large_do_not_use_up_the_way_of_the_others(
    wire: Any, broker: Any, tmp_path: Path
) -> None:
    """At quality of service 1, mosquitto counts each one that it drops as under way, and sends 20 at most."""
    large = tmp_path / "large"
    large.write_bytes(b"7" * 8192)
    command = ["mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", f"{TOPIC}/to-station/trigger"]
    for _ in range(25):
        subprocess.run([*command, "-f", str(large)], check=True)
    wire.cell.place(1)
    assert wire.sorter.wait_trigger(PATIENCE_S).part_id == 1
    assert wire.sorter.health().reconnects == 0


def test_no_call_waits_for_a_broker_that_is_away_silent_or_slow(sorters: Make) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        sorter = sorters(silent.getsockname()[1], connect_timeout_s=0.5)
        took = []
        for ready in (True, False) * 20:
            before = time.monotonic()
            sorter.set_ready(ready, "x")
            sorter.prepare(f"recipe-{ready}")
            sorter.send(Result(1, Outcome.ACCEPT, 0, 0, ""))
            took.append(time.monotonic() - before)
        assert max(took) < 0.1
        wait_for(lambda: "does not answer as a broker; check host and port" in sorter.health().last_error)
        assert not sorter.health().connected
    assert all(not sorter.wait_receipt(1.0).acknowledged for _ in range(40))  # type: ignore[union-attr]


def test_a_broker_that_is_not_there_is_named_and_waited_for(broker: Any, sorters: Make) -> None:
    broker.kill()
    sorter = sorters(broker)
    wait_for(lambda: "cannot be reached" in sorter.health().last_error)
    assert "check broker and network" in sorter.health().last_error
    broker.start()
    wait_for(lambda: sorter.health().sent > 0)


@pytest.mark.parametrize("wire", ["mqtt"], indirect=True)
def test_the_way_from_verdict_to_acknowledgement_takes_milliseconds(wire: Any) -> None:
    took = []
    for part_id in range(1, 101):
        wire.cell.place(part_id)
        wire.sorter.acknowledge(wire.sorter.wait_trigger(PATIENCE_S))
        before = time.perf_counter()
        wire.sorter.send(Result(part_id, Outcome.ACCEPT, 0, 0, ""))
        assert wire.sorter.wait_receipt(PATIENCE_S).acknowledged
        took.append(1000 * (time.perf_counter() - before))
    took.sort()
    print(f"verdict to acknowledgement: {took[50]:.1f} ms median, {took[98]:.1f} ms p99 of 100 parts")
    assert took[50] < 25  # 40 where a message waits for the next one


# ---------------------------------------------------------------------- users and certificates


def test_a_user_with_a_wrong_password_is_refused_by_name_and_one_with_the_right_one_is_not(
    brokers: Callable[..., Any], sorters: Make, tmp_path: Path
) -> None:
    users, good, bad = tmp_path / "users", tmp_path / "good", tmp_path / "bad"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(users), "station", "secret"], check=True)
    users.chmod(0o644)
    good.write_text("secret\n")
    bad.write_text("guess")
    broker = brokers("allow_anonymous false", f"password_file {users}")
    refused = sorters(broker, user="station", password_file=bad)
    wait_for(lambda: "refuses the connection (Not authorized)" in refused.health().last_error)
    welcome = sorters(broker, user="station", password_file=good, topic="plant/cell-5")
    wait_for(lambda: welcome.health().sent > 0)


class Authority:
    """Certificates for one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
        self.file = self._write("ca", self._sign(self._name, self._key, 30, ca=True), None)[0]

    def _sign(self, name: x509.Name, key: Any, days: int, *, ca: bool = False) -> x509.Certificate:
        now = datetime.now(UTC)
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        usage = x509.KeyUsage(True, *[False] * 4, ca, ca, False, False)
        return (
            x509.CertificateBuilder()
            .subject_name(name).issuer_name(self._name).public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=60)).not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(usage, critical=True).add_extension(names, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )  # fmt: skip

    def certificate(self, name: str, days: int = 30) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        return self._write(name, self._sign(subject, key, days), key)

    def _write(self, name: str, certificate: x509.Certificate, key: Any) -> tuple[Path, Path]:
        pem, secret = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        if key is not None:
            secret.write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.TraditionalOpenSSL,
                    serialization.NoEncryption(),
                )
            )
        return pem, secret


def test_tls_with_the_stations_own_certificate_carries_a_part_and_a_stranger_is_kept_out(
    brokers: Callable[..., Any], sorters: Make, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    (server, key), (own, own_key) = authority.certificate("broker"), authority.certificate("station")
    broker = brokers(
        f"cafile {authority.file}", f"certfile {server}", f"keyfile {key}",
        "require_certificate true", "use_identity_as_username true", "allow_anonymous false",
    )  # fmt: skip
    secure = {"host": "localhost", "tls": True, "ca_file": authority.file}
    sorter = sorters(broker, cert_file=own, key_file=own_key, **secure)
    wait_for(lambda: sorter.health().sent > 0)
    assert "by TLS" in sorter.health().description
    stranger = sorters(broker, topic="plant/cell-5", **secure)
    wait_for(lambda: stranger.health().last_error)
    assert not stranger.health().sent


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho leaves its socket
@pytest.mark.parametrize(
    ("days", "ours", "said"),
    [(-1, True, "certificate has expired"), (30, False, "unable to get local issuer certificate")],
)
def test_a_broker_without_a_valid_certificate_is_not_spoken_to(
    brokers: Callable[..., Any], sorters: Make, tmp_path: Path, days: int, ours: bool, said: str
) -> None:
    (tmp_path / "other").mkdir()
    authority, other = Authority(tmp_path), Authority(tmp_path / "other")
    server, key = authority.certificate("broker", days)
    broker = brokers(f"certfile {server}", f"keyfile {key}", "allow_anonymous true")
    ca_file = authority.file if ours else other.file
    sorter = sorters(broker, host="localhost", tls=True, ca_file=ca_file)
    wait_for(lambda: f"has no valid certificate ({said})" in sorter.health().last_error)
    assert "renew it or correct `ca_file`" in sorter.health().last_error


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho leaves its socket
def test_a_port_without_tls_is_told_apart_from_one_with_it(broker: Any, sorters: Make) -> None:
    sorter = sorters(broker, host="localhost", tls=True)
    wait_for(lambda: sorter.health().last_error)
    assert any(word in sorter.health().last_error for word in ("TLS", "reached"))


def test_the_service_goes_on_after_an_error_of_this_software(broker: Any, sorters: Make) -> None:
    sorter = sorters(broker)
    wait_for(lambda: sorter.health().sent > 0)
    broken = threading.Event()
    tick = sorter._session.tick

    def once(now_ns: int) -> list[Any]:
        if not broken.is_set():
            broken.set()
            raise RuntimeError("a mistake")
        return list(tick(now_ns))

    sorter._session.tick = once  # type: ignore[method-assign]
    wait_for(lambda: sorter.health().failures == 1)
    wait_for(lambda: sorter.health().reconnects == 1)
