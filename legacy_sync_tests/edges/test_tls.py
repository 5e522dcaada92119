"""Whom do we talk to over TLS, and what is said when the certificate is not to be trusted?"""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from four_d_setup import build_store, read_all
from rest_setup import WebService
from tls_setup import authority, behind_tls, server_context

from legacy_sync.cli.transport import stays_here
from legacy_sync.demo.four_d_server import FourDServer
from legacy_sync.demo.postgres import EmbeddedPostgres
from legacy_sync.erp.database import connect
from legacy_sync.erp.transport import describe_transport
from legacy_sync.errors import ErpRefused, SettingsInvalid, SourceRefused
from legacy_sync.mapping.source_files import four_d_spec
from legacy_sync.settings import read_settings
from legacy_sync.sources.base import Scope
from legacy_sync.sources.four_d.source import FourDSource
from legacy_sync.sources.registry import open_source


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, str]:
    return authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def context(ca: tuple[trustme.CA, str], request: pytest.FixtureRequest) -> ssl.SSLContext:
    return server_context(ca[0], **getattr(request, "param", {}))


@pytest.fixture
def secure(context: ssl.SSLContext) -> Iterator[FourDServer]:
    with FourDServer(build_store(), tls=context) as server:
        yield server


def four_d(url: str, folder: Path, **environ: str) -> FourDSource:
    said = {"LEGACY_API_URL": url, "LEGACY_SYNC_LANDING": str(folder / "landing"), **environ}
    source = open_source(four_d_spec(retry={"attempts": 3, "first_pause": "1ms"}), read_settings(said))
    assert isinstance(source, FourDSource)
    return source


EXPIRED, OTHER_HOST = {"expired": True}, {"host": "erp.example"}
wrong = pytest.mark.parametrize(
    ("context", "said"), [(EXPIRED, "it has expired"), (OTHER_HOST, "made out for another host")], indirect=["context"]
)


def test_4d_is_read_over_tls_with_the_authority_that_is_set(
    secure: FourDServer, ca: tuple[trustme.CA, str], tmp_path: Path
) -> None:
    rows, _ = read_all(four_d(secure.url, tmp_path, LEGACY_API_CA=ca[1]))
    assert len(rows) == 25


def test_an_unknown_authority_is_refused_at_once_and_the_message_says_how_to_trust_it(
    secure: FourDServer, tmp_path: Path
) -> None:
    with pytest.raises(SourceRefused, match="nobody we trust has issued it") as refusal:
        read_all(four_d(secure.url, tmp_path))
    assert "LEGACY_API_CA" in refusal.value.next_step
    assert not secure.log


@wrong
def test_a_wrong_certificate_of_4d_is_refused_with_its_reason(
    secure: FourDServer, ca: tuple[trustme.CA, str], tmp_path: Path, said: str
) -> None:
    with pytest.raises(SourceRefused, match=said):
        read_all(four_d(secure.url, tmp_path, LEGACY_API_CA=ca[1]))


def test_a_server_without_tls_is_told_apart_from_a_wrong_certificate(tmp_path: Path) -> None:
    with (
        FourDServer(build_store()) as server,
        pytest.raises(SourceRefused, match="does not speak TLS"),
    ):
        read_all(four_d(server.url.replace("http:", "https:"), tmp_path))


@pytest.mark.parametrize(("content", "said"), [(None, "does not exist"), ("no certificate", "no certificate in PEM")])
def test_a_file_of_certificates_that_is_none_is_told_before_anything_is_asked(
    tmp_path: Path, content: str | None, said: str
) -> None:
    if content:
        (tmp_path / "ca.pem").write_text(content)
    with pytest.raises(SettingsInvalid, match=said):
        four_d("https://127.0.0.1:9", tmp_path, LEGACY_API_CA=str(tmp_path / "ca.pem"))


@wrong
def test_a_wrong_certificate_of_a_service_is_refused_with_its_reason(
    context: ssl.SSLContext, ca: tuple[trustme.CA, str], said: str
) -> None:
    with (
        WebService(lambda _: [{"a": 1}], tls=context) as service,
        pytest.raises(SourceRefused, match=said),
    ):
        list(service.source(ca_file=ca[1]).fetch(Scope("t")))


def test_a_service_is_read_over_tls_with_its_own_authority(context: ssl.SSLContext, ca: tuple[trustme.CA, str]) -> None:
    with WebService(lambda _: [{"a": 1}], tls=context) as service:
        assert [b.num_rows for b in service.source(ca_file=ca[1]).fetch(Scope("t"))] == [1]
        with pytest.raises(SourceRefused, match="nobody we trust has issued it") as refusal:
            list(service.source().fetch(Scope("t")))
    assert "ca_file" in refusal.value.next_step


# --- PostgreSQL


@pytest.fixture
def secure_erp(postgres: EmbeddedPostgres, context: ssl.SSLContext) -> Iterator[str]:
    """The URL of the server behind TLS."""
    url = postgres.url("postgres")
    port = url.rsplit(":", 1)[1].split("/")[0]
    with behind_tls(int(port), context) as other:
        yield url.replace(f":{port}/", f":{other}/")


def test_the_erp_database_is_reached_over_tls_and_its_certificate_is_checked(
    secure_erp: str, ca: tuple[trustme.CA, str]
) -> None:
    with connect(f"{secure_erp}?sslmode=verify-full&sslrootcert={ca[1]}") as connection:
        assert describe_transport(connection) == ("127.0.0.1", True, True)
    with connect(f"{secure_erp}?sslmode=require") as connection:
        assert describe_transport(connection) == ("127.0.0.1", True, False)


def test_the_embedded_database_is_not_encrypted(postgres: EmbeddedPostgres) -> None:
    with connect(postgres.url("postgres")) as connection:
        assert describe_transport(connection) == ("127.0.0.1", False, False)
    with (
        pytest.raises(ErpRefused, match="offers no encryption"),
        connect(postgres.url("postgres") + "?sslmode=require"),
    ):
        pass


@pytest.mark.parametrize(
    ("context", "said"),
    [(EXPIRED, "expired, or nobody"), (OTHER_HOST, "made out for another host")],
    indirect=["context"],
)
def test_a_wrong_certificate_of_the_erp_database_is_refused_with_its_reason(
    secure_erp: str, ca: tuple[trustme.CA, str], said: str
) -> None:
    with pytest.raises(ErpRefused, match=said), connect(f"{secure_erp}?sslmode=verify-full&sslrootcert={ca[1]}"):
        pass


def test_an_erp_database_of_an_unknown_authority_is_refused(secure_erp: str, tmp_path: Path) -> None:
    _, other = authority(tmp_path)
    with (
        pytest.raises(ErpRefused, match="nobody we trust has issued it") as refusal,
        connect(f"{secure_erp}?sslmode=verify-full&sslrootcert={other}"),
    ):
        pass
    assert "sslrootcert" in refusal.value.next_step
    with (
        pytest.raises(ErpRefused, match="cannot be read"),
        connect(f"{secure_erp}?sslmode=verify-full&sslrootcert={tmp_path}/none.pem"),
    ):
        pass


@pytest.mark.parametrize("host", ["", "localhost", "127.0.0.1", "127.8.8.8", "::1", "/var/run", "x.localhost"])
def test_this_machine_is_known_by_its_names(host: str) -> None:
    assert stays_here(host)


@pytest.mark.parametrize("host", ["erp", "10.0.0.1", "fe80::1", "127.0.0.1.example", "localhost.example"])
def test_others_are_not(host: str) -> None:
    assert not stays_here(host)
