"""Settings of the streaming processes: librdkafka's names, from variables, a file and files of secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from aml.domain.errors import USAGE, AmlError
from aml.settings import with_files
from aml.stream.settings import BANK, LEGS, StreamSettings, load_stream_settings


def test_nothing_set_is_a_broker_on_this_machine():
    settings = load_stream_settings({"AML_KAFKA__PREFIX": ""})
    assert settings == StreamSettings()
    assert (settings.topic(BANK), settings.topic(LEGS), settings.kafkapython()) == (BANK, LEGS, {})


def test_each_client_is_told_in_its_own_words():
    settings = load_stream_settings({
        "AML_KAFKA__BOOTSTRAP_SERVERS": "a:1,b:2", "AML_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "AML_KAFKA__SASL_MECHANISMS": "SCRAM-SHA-512", "AML_KAFKA__SASL_USERNAME": "aml",
        "AML_KAFKA__SASL_PASSWORD": "hush", "AML_KAFKA__SSL_ENDPOINT_IDENTIFICATION_ALGORITHM": "none",
    })  # fmt: skip
    assert settings.connection.brokers == "a:1,b:2"
    assert settings.kafkapython() == {
        "security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": "aml",
        "sasl_plain_password": "hush", "ssl_check_hostname": False,
    }  # fmt: skip
    assert settings.aiokafka() == {
        "security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": "aml",
        "sasl_plain_password": "hush",
    }  # fmt: skip


def test_a_prefix_is_before_all_but_a_topic_that_is_named():
    settings = load_stream_settings({"AML_KAFKA__PREFIX": "test.", "AML_TOPIC": "payments"})
    assert (settings.topic(BANK), settings.topic(LEGS)) == ("payments", "test.aml.legs.v1")
    assert settings.group("g") == "test.g"
    assert load_stream_settings({"AML_KAFKA__PREFIX": "test."}).bank == "test.aml.transactions.v1"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("AML_KAFKA__SASL_PASWORD", "x", "did you mean AML_KAFKA__SASL_PASSWORD"),
        ("AML_KAFKA__SECURITY_PROTOCOL", "TLS", "is none of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"),
        ("AML_KAFKA__SASL_MECHANISM", "GSSAPI", "is none of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"),
    ],
)
def test_what_is_not_known_is_refused(name, value, told):
    with pytest.raises(AmlError, match=told) as caught:
        load_stream_settings({name: value})
    assert caught.value.exit_code == USAGE


def test_certificates_that_are_not_there():
    settings = StreamSettings(options={"security.protocol": "SSL", "ssl.ca.location": "/nowhere/ca.pem"})
    with pytest.raises(AmlError, match="certificates of AML_KAFKA__SSL_"):
        settings.aiokafka()


def test_a_file_and_files_of_secrets_become_variables_and_the_environment_wins(tmp_path: Path):
    (tmp_path / "secret").write_text("hush\n")
    (tmp_path / "db").write_text("postgresql://aml:pw@db/aml\n")
    (tmp_path / "aml.toml").write_text(
        f'state = "/var/aml"\nprofile = "ca"\n[kafka]\nbootstrap.servers = "b:9093"\n"security.protocol" = "SASL_SSL"\n'
        f'sasl.username = "aml"\nsasl.password.file = "{tmp_path}/secret"\n'
    )
    given = {"AML_CONFIG": f"{tmp_path}/aml.toml", "AML_PROFILE": "us", "AML_DB_FILE": f"{tmp_path}/db"}
    assert with_files(given) == {
        "AML_STATE": "/var/aml", "AML_DB": "postgresql://aml:pw@db/aml", "AML_KAFKA__BOOTSTRAP_SERVERS": "b:9093",
        "AML_KAFKA__SECURITY_PROTOCOL": "SASL_SSL", "AML_KAFKA__SASL_USERNAME": "aml",
        "AML_KAFKA__SASL_PASSWORD": "hush",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "told"),
    [("stat = 1", "stat is not known: did you mean AML_STATE"), ("state = ", "aml.toml: "), (None, "cannot be read")],
)
def test_a_file_that_is_wrong(tmp_path: Path, text, told):
    path = tmp_path / "aml.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(AmlError, match=told):
        with_files({"AML_CONFIG": str(path)})
