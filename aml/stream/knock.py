"""Asks a broker to let us in, step by step, before any client does.

A client whose password is wrong, or whose certificates do not fit, tries again until its time is over and then says
that nobody answers. This takes a fraction of a second and says which step failed and which setting mends it.
"""

from __future__ import annotations

import socket
import ssl
import struct
from typing import Any, Final

from aml.domain.errors import AmlError
from aml.stream.settings import StreamSettings

SECONDS: Final = 5.0  # that each step may take
_PORT: Final = 9092
_VERSIONS, _METADATA, _HANDSHAKE, _AUTHENTICATE = 18, 3, 17, 36  # the numbers of Kafka's requests
_LARGEST: Final = 1 << 20
_BAD_MECHANISM: Final = 33
_PROTOCOL: Final = "AML_KAFKA__SECURITY_PROTOCOL"
_OTHER_NAME: Final = (62, 64)  # OpenSSL's codes of a certificate for another host, another address
_NO_TOPICS: Final = struct.pack(">i", 0)


def knock(stream: StreamSettings) -> None:
    """Go in at the first broker that answers, and out again.

    Nothing where none answers, or none in time: that may change, and whoever goes in next will say it. Raises AmlError
    where one does answer and does not let us in.
    """
    for broker in stream.brokers.split(","):
        host, port = _address(broker)
        try:
            plain = socket.create_connection((host, port), SECONDS)
        except OSError:
            continue  # the next one may answer
        with plain:
            _enter(stream, broker, host, plain)
        return


def _address(broker: str) -> tuple[str, int]:
    host, colon, port = broker.rpartition(":")
    if not colon or broker.endswith("]"):
        host, port = broker, str(_PORT)
    return host.strip("[]"), int(port)


def _enter(stream: StreamSettings, broker: str, host: str, plain: socket.socket) -> None:
    try:
        if not stream.has_tls:
            _speak(stream, broker, host, plain)
            return
        with _encrypted(stream, broker, host, plain) as line:
            _speak(stream, broker, host, line)
    except TimeoutError:
        return
    except ssl.SSLError as error:
        # What the broker thinks of our certificate it says only when it is spoken to.
        told = f"Kafka at {broker} ends the encrypted connection ({error.reason or error})"
        raise AmlError(f"{told}: mend AML_KAFKA__SSL_CERTIFICATE_LOCATION, our certificate") from error


def _encrypted(stream: StreamSettings, broker: str, host: str, plain: socket.socket) -> ssl.SSLSocket:
    try:
        return stream.ssl_context().wrap_socket(plain, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        why = error.verify_message.rstrip(".")
        mend = "mend AML_KAFKA__SSL_CA_LOCATION"
        if error.verify_code in _OTHER_NAME:
            mend = "let AML_KAFKA__BOOTSTRAP_SERVERS name the host that it is for"
        raise AmlError(f"the certificate of Kafka at {broker} is not trusted ({why}): {mend}") from error
    except (ssl.SSLError, ConnectionError, EOFError) as error:
        without = "sasl_plaintext" if stream.has_sasl else "plaintext"
        told = f"Kafka at {broker} does not speak TLS there"
        raise AmlError(f"{told}: name its other port, or set {_PROTOCOL}={without}") from error


def _speak(stream: StreamSettings, broker: str, host: str, line: socket.socket) -> None:
    """Ask what it can do, which everybody may, and then as who we are."""
    try:
        _ask(line, _VERSIONS, 0, b"")
    except EOFError as error:
        encrypted = "sasl_ssl" if stream.has_sasl else "ssl"
        told = f"Kafka at {broker} does not understand us"
        raise AmlError(f"{told}: if it is encrypted there, set {_PROTOCOL}={encrypted}") from error
    try:
        if stream.has_sasl:
            _authenticate(stream, broker, host, line)
        else:
            _ask(line, _METADATA, 1, _NO_TOPICS)
    except EOFError as error:
        named = "sasl_ssl" if stream.has_tls else "sasl_plaintext"
        told, mend = f"Kafka at {broker} wants to know who we are", f"set {_PROTOCOL}={named}"
        if stream.has_sasl:
            told, mend = f"Kafka at {broker} asks nobody who he is there", f"name its other port, or mend {_PROTOCOL}"
        raise AmlError(f"{told}: {mend}") from error


def _authenticate(stream: StreamSettings, broker: str, host: str, line: socket.socket) -> None:
    from kafka.net.sasl import get_sasl_mechanism

    name = str(stream.sasl_mechanism)
    told = _ask(line, _HANDSHAKE, 1, _text(name))
    (code,) = struct.unpack_from(">h", told)
    if code == _BAD_MECHANISM:
        known = ", ".join(_texts(told[2:]))
        raise AmlError(f"Kafka at {broker} knows {known}, not {name}: mend AML_KAFKA__SASL_MECHANISM")
    options = {name: value for name, value in stream.kafkapython().items() if name.startswith("sasl")}
    mechanism: Any = get_sasl_mechanism(name)(host=host, **options)
    while not mechanism.is_done():
        token = mechanism.auth_bytes()
        answer = _ask(line, _AUTHENTICATE, 0, struct.pack(">i", len(token)) + token)
        code, length = struct.unpack_from(">hh", answer)
        if code:
            why = answer[4 : 4 + max(0, length)].decode(errors="replace")
            raise AmlError(
                f"Kafka at {broker} refuses user {stream.sasl_username} ({why or code}): mend AML_KAFKA__SASL_USERNAME "
                "or AML_KAFKA__SASL_PASSWORD"
            )
        at = 4 + max(0, length)
        (size,) = struct.unpack_from(">i", answer, at)
        mechanism.receive(answer[at + 4 : at + 4 + size])


def _ask(line: socket.socket, number: int, version: int, body: bytes) -> bytes:
    """A request's answer. Raises EOFError where the broker hangs up or says what is no answer, OSError."""
    request = struct.pack(">hhih", number, version, number, -1) + body
    try:
        line.sendall(struct.pack(">i", len(request)) + request)
    except ConnectionError as error:
        raise EOFError from error
    (size,) = struct.unpack(">i", _read(line, 4))
    if not 4 <= size <= _LARGEST:
        raise EOFError
    answer = _read(line, size)
    if struct.unpack_from(">i", answer) != (number,):
        raise EOFError
    return answer[4:]


def _read(line: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        try:
            part = line.recv(size - len(found))
        except ConnectionError as error:
            raise EOFError from error
        if not part:
            raise EOFError
        found += part
    return found


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def _texts(data: bytes) -> list[str]:
    (number,), at, found = struct.unpack_from(">i", data), 4, []
    for _ in range(number):
        (size,) = struct.unpack_from(">h", data, at)
        found.append(data[at + 2 : at + 2 + size].decode())
        at += 2 + size
    return found
