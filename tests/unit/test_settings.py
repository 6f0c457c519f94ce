"""The check of the operator's variables, on the roles and playbooks as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils import _settings

ROOT = Path(__file__).parents[2]
MINIMAL = {
    "oapip_domain": "example.org",
    "oapip_shared_storage_class": "nfs",
    "oapip_block_storage_class": "local",
    "oapip_s3_endpoint": "https://s3.example.org",
    "oapip_s3_access_key": "key",
    "oapip_s3_secret_key": "value",
    "oapip_keycloak_url": "https://auth.example.org",
    "oapip_keycloak_admin_user": "admin",
    "oapip_keycloak_admin_password": "value",
}


@pytest.fixture(scope="module")
def settings() -> _settings.Settings:
    return _settings.read(str(ROOT / "roles"), str(ROOT / "playbooks"))


def mistakes(values: dict[str, object], settings: _settings.Settings) -> list[str]:
    return [
        *_settings.unknown(values, settings),
        *_settings.missing(values, settings),
        *_settings.wrong(values, settings),
        *_settings.incomplete(values, values),
    ]


def test_a_minimal_inventory_is_enough(settings: _settings.Settings) -> None:
    assert mistakes(dict(MINIMAL), settings) == []


@pytest.mark.parametrize("name", sorted(MINIMAL))
def test_each_variable_of_the_minimal_inventory_is_needed(
    name: str, settings: _settings.Settings
) -> None:
    found = mistakes({k: v for k, v in MINIMAL.items() if k != name}, settings)
    assert len(found) == 1
    assert found[0].startswith(f"{name}: must be set")


def test_a_lab_user_without_password_is_told(settings: _settings.Settings) -> None:
    (found,) = mistakes({**MINIMAL, "oapip_lab_users": [{"username": "carol"}]}, settings)
    assert found.startswith("oapip_lab_users: missing required arguments: password")


def test_keycloak_is_not_needed_without_oidc(settings: _settings.Settings) -> None:
    values = {k: v for k, v in MINIMAL.items() if "keycloak" not in k}
    assert mistakes({**values, "oapip_oidc_enabled": False}, settings) == []


def test_an_ingress_cannot_ask_keycloak(settings: _settings.Settings) -> None:
    found = mistakes({**MINIMAL, "oapip_gateway": "ingress"}, settings)
    assert found[0].startswith("oapip_gateway: an Ingress cannot ask Keycloak")
    values = {**MINIMAL, "oapip_gateway": "ingress", "oapip_oidc_enabled": False}
    assert mistakes(values, settings) == []


def test_an_unknown_name_is_told_with_the_one_that_was_meant(
    settings: _settings.Settings,
) -> None:
    found = mistakes({**MINIMAL, "oapip_kubconfig": "/x"}, settings)
    assert found == ["oapip_kubconfig: no such variable (did you mean oapip_kubeconfig?)"]


def test_module_names_are_not_variables(settings: _settings.Settings) -> None:
    assert "oapip_release" not in settings.known
    assert "oapip_release_name" in settings.known


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("oapip_contexts", "alice"),
        ("oapip_contexts", [{"nam": "alice"}]),
        ("oapip_contexts", [{"name": "alice", "mode": "open"}]),
        ("oapip_https_port", "many"),
        ("oapip_prove", "sometimes"),
        ("oapip_node_selector", ["a"]),
    ],
)
def test_a_wrong_value_names_its_variable(
    name: str, value: object, settings: _settings.Settings
) -> None:
    found = mistakes({**MINIMAL, name: value}, settings)
    assert found
    assert all(mistake.startswith(f"{name}: ") for mistake in found)


def test_text_that_means_a_number_is_fine(settings: _settings.Settings) -> None:
    assert mistakes({**MINIMAL, "oapip_https_port": "8443"}, settings) == []


def test_two_clusters_may_not_share_a_client() -> None:
    lines = [
        "a oapip-engine https://auth.example.org eoepca True",
        " b oapip-engine https://auth.example.org eoepca True",
        " c oapip-engine https://auth.example.org other True",
        " d oapip-engine https://auth.example.org eoepca False",
        " e oapip-engine  eoepca True",
        " f oapip-engine  eoepca True",
        " ",
    ]
    assert _settings.shared("a", lines) == ["oapip_client_id: oapip-engine is also the client of b"]
    assert [_settings.shared(host, lines) for host in "cdex"] == [[], [], [], []]
