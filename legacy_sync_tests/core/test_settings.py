"""Which environment is refused, and what does the refusal say?"""

import pytest

from legacy_sync.errors import SettingsInvalid
from legacy_sync.settings import mask_url, read_settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LEGACY_API_URL", "ftp://host"),
        ("LEGACY_API_URL", "http://host:abc"),
        ("LEGACY_API_URL", "http://host:99999"),
        ("ERP_DATABASE_URL", "postgresql://a:se%cret@[::1/x"),
        ("ERP_DATABASE_URL", "mysql://host/db"),
    ],
)
def test_url_that_cannot_be_used_is_refused_without_its_secret(name: str, value: str):
    with pytest.raises(SettingsInvalid) as refusal:
        read_settings({name: value})
    assert name in refusal.value.where
    assert "se%cret" not in str(refusal.value)


def test_missing_servers_are_asked_for_only_where_they_are_needed():
    settings = read_settings({})
    with pytest.raises(SettingsInvalid, match="no legacy server is set"):
        settings.require_api_url()
    with pytest.raises(SettingsInvalid, match="no ERP database is set"):
        settings.require_erp_url()


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://u:secret@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:sec@ret@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:sec/ret@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:12#secret@h/d", "postgresql://u:***@h/d"),
        ("u:secret@h/d", "u:***@h/d"),
        ("postgresql://h/d?sslmode=require&password=secret", "postgresql://h/d?sslmode=require&password=***"),
        ("https://h/x?api_key=secret&page=1", "https://h/x?api_key=***&page=1"),
        ("s3://key:secret@bucket/x", "s3://key:***@bucket/x"),
    ],
)
def test_passwords_and_keys_are_masked(url: str, masked: str):
    assert mask_url(url) == masked


@pytest.mark.parametrize("url", ["http://h:8080/rest", "sqlite:////data/a@b.db", "http://[::1]:80/x?page=2", "/data/x"])
def test_what_holds_no_secret_is_shown_as_it_is(url: str):
    assert mask_url(url) == url


@pytest.mark.parametrize("password", ["sec@ret", "1#sec@ret"])
def test_a_login_that_others_would_read_otherwise_is_refused(password: str):
    with pytest.raises(SettingsInvalid, match="ambiguous") as refusal:
        read_settings({"ERP_DATABASE_URL": f"postgresql://u:{password}@h/d"})
    assert "sec" not in str(refusal.value).replace("second", "")


def test_settings_do_not_show_secrets():
    environ = {"LEGACY_API_URL": "http://u:secret@h", "ERP_DATABASE_URL": "postgresql://u:secret@h/d"}
    assert "secret" not in repr(read_settings({**environ, "LEGACY_API_PASSWORD": "secret"}))


def test_server_name_has_no_password():
    assert read_settings({"LEGACY_API_URL": "http://u:secret@h:8080/rest/"}).server_name == "h:8080/rest"


def test_sessions_lie_beside_a_local_landing(tmp_path):
    settings = read_settings({"LEGACY_SYNC_LANDING": str(tmp_path / "landing")})
    assert settings.sessions == tmp_path / "sessions"


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_a_folder_that_no_file_system_can_have_is_not_there(name):
    with pytest.raises(SettingsInvalid, match="does not exist"):
        read_settings({"LEGACY_SYNC_MAPPINGS": name})


def test_missing_mappings_folder_is_named(tmp_path):
    with pytest.raises(SettingsInvalid, match="does not exist"):
        read_settings({"LEGACY_SYNC_MAPPINGS": str(tmp_path / "none")})
