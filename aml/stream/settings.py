"""How the brokers are reached and what topics and groups are called: AML_KAFKA__* variables, under librdkafka's names.

What operations pastes from another client's configuration works: `sasl.username` is AML_KAFKA__SASL_USERNAME. Each
client is told in its own words.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aml.domain.errors import USAGE, AmlError
from aml.settings import KAFKA, SECRET, nearest, variable
from aml.stream.client import CLIENTS, Connection

BROKERS: Final = "127.0.0.1:9092"
BANK: Final = "aml.transactions.v1"
DEAD: Final = f"{BANK}.dlq"
PARTIES: Final = "aml.parties.v1"
MANIFESTS: Final = "aml.manifests.v1"
LEGS: Final = "aml.legs.v1"
RECORDS: Final = "aml.records.v1"
ALERTS: Final = "aml.alerts.v1"
INTAKES: Final = "aml-intake"
WORKERS: Final = "aml-worker"
HIDDEN: Final = "********"
_PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
# librdkafka's option -> kafka-python's.
_OPTIONS: Final[Mapping[str, str]] = {
    "security.protocol": "security_protocol",
    "sasl.mechanism": "sasl_mechanism",
    "sasl.username": "sasl_plain_username",
    "sasl.password": "sasl_plain_password",
    "ssl.ca.location": "ssl_cafile",
    "ssl.certificate.location": "ssl_certfile",
    "ssl.key.location": "ssl_keyfile",
    "ssl.key.password": "ssl_password",
    "ssl.endpoint.identification.algorithm": "ssl_check_hostname",
}
_OWN: Final = ("bootstrap.servers", "client", "prefix")
_KNOWN: Final = {f"{KAFKA}{variable(option)}": option for option in (*_OWN, *_OPTIONS, "sasl.mechanisms")}


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """options: by librdkafka's names, those that are set. prefix: before all topics and groups, so that deployments
    share brokers. bank: the topic of the bank's payments, as it is called there."""

    brokers: str = BROKERS
    client: str = CLIENTS[0]
    prefix: str = ""
    bank: str = BANK
    options: Mapping[str, str] = field(default_factory=dict)

    def topic(self, name: str) -> str:
        """What one of our topics is called here; dead letters lie beside the bank's, however it is called."""
        return name.replace(BANK, self.bank) if name in (BANK, DEAD) else f"{self.prefix}{name}"

    def group(self, name: str) -> str:
        """What a group is called here."""
        return f"{self.prefix}{name}"

    @property
    def connection(self) -> Connection:
        """The brokers, for either client."""
        return Connection(self.brokers, self.client, self.kafkapython(), self.librdkafka())

    @property
    def has_tls(self) -> bool:
        """Whether the brokers are reached encrypted."""
        return self.security_protocol.endswith("SSL")

    @property
    def has_sasl(self) -> bool:
        """Whether they ask who we are."""
        return self.security_protocol.startswith("SASL")

    @property
    def security_protocol(self) -> str:
        """PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
        return self.options.get("security.protocol", _PROTOCOLS[0])

    @property
    def sasl_mechanism(self) -> str:
        """PLAIN unless told otherwise."""
        return self.options.get("sasl.mechanism", _MECHANISMS[0])

    @property
    def sasl_username(self) -> str:
        """Empty where none is set."""
        return self.options.get("sasl.username", "")

    def kafkapython(self) -> dict[str, Any]:
        """kafka-python's options beside the brokers."""
        told: dict[str, Any] = {_OPTIONS[name]: value for name, value in self.options.items()}
        if "ssl_check_hostname" in told:
            told["ssl_check_hostname"] = told["ssl_check_hostname"] == "https"
        return told

    def aiokafka(self) -> dict[str, Any]:
        """aiokafka's options beside the brokers, for Faust. Raises AmlError where a certificate cannot be read."""
        told = {
            _OPTIONS[name]: self.options[name]
            for name in ("security.protocol", "sasl.mechanism", "sasl.username", "sasl.password")
            if name in self.options
        }
        return {**told, "ssl_context": self.ssl_context()} if self.has_tls else told

    def librdkafka(self) -> dict[str, str]:
        """librdkafka's options, the brokers too."""
        return {"bootstrap.servers": self.brokers, **self.options}

    def ssl_context(self) -> ssl.SSLContext:
        """Whom we trust and who we are. Raises AmlError where a certificate cannot be read."""
        certificate = self.options.get("ssl.certificate.location")
        try:
            context = ssl.create_default_context(cafile=self.options.get("ssl.ca.location"))
            if certificate:
                key, password = self.options.get("ssl.key.location"), self.options.get("ssl.key.password")
                context.load_cert_chain(certificate, key, password)
        except OSError as error:
            raise AmlError(f"certificates of AML_KAFKA__SSL_*: {error}: mend the paths", USAGE) from error
        context.check_hostname = self.options.get("ssl.endpoint.identification.algorithm", "https") == "https"
        return context

    def shown(self) -> dict[str, str]:
        """Every setting by its variable's name, for people; secrets are hidden."""
        held = {**self.librdkafka(), "client": self.client, "prefix": self.prefix}
        return {
            name: HIDDEN if name in SECRET and held.get(option) else held.get(option, "")
            for name, option in _KNOWN.items()
            if option != "sasl.mechanisms"
        }


def load_stream_settings(environment: Mapping[str, str] | None = None) -> StreamSettings:
    """The settings of this process, or of the given environment. Raises AmlError for a name or value that is not
    known."""
    found = os.environ if environment is None else environment
    told: dict[str, str] = {}
    for name, text in found.items():
        if not name.startswith(KAFKA) or not text or name.endswith("_FILE"):
            continue
        if name not in _KNOWN:
            raise AmlError(f"{name}: is not known{nearest(name, _KNOWN)}", USAGE)
        told[_KNOWN[name]] = text
    if mechanisms := told.pop("sasl.mechanisms", None):
        told.setdefault("sasl.mechanism", mechanisms)
    if "security.protocol" in told:
        told["security.protocol"] = told["security.protocol"].upper()
    _one_of(told, "security.protocol", _PROTOCOLS)
    _one_of(told, "sasl.mechanism", _MECHANISMS)
    _one_of(told, "ssl.endpoint.identification.algorithm", ("https", "none"))
    prefix = told.pop("prefix", "")
    return StreamSettings(
        told.pop("bootstrap.servers", BROKERS), told.pop("client", CLIENTS[0]), prefix,
        found.get("AML_TOPIC") or f"{prefix}{BANK}", told,
    )  # fmt: skip


def _one_of(told: Mapping[str, str], option: str, known: tuple[str, ...]) -> None:
    if option in told and told[option] not in known:
        raise AmlError(f"{KAFKA}{variable(option)}={told[option]}: is none of {', '.join(known)}", USAGE)
