# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The operator's variables, as the roles' defaults and argument specs declare them."""

from __future__ import annotations

import difflib
import re
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.eoepca.oapip.plugins.module_utils._deps import require, yaml

NAME = re.compile(r"(?<![.\w])oapip_[a-z0-9_]+\b")
DIRECT = re.compile(r"^\{\{ (oapip_[a-z0-9_]+)(?P<default> \| default\(.*\))? \}\}$")
KEYCLOAK = ("oapip_keycloak_url", "oapip_keycloak_admin_user", "oapip_keycloak_admin_password")


@dataclass
class Settings:
    """What the roles and playbooks know: names, the spec of each, and which must be given."""

    known: t.Set[str] = field(default_factory=set)
    specs: t.Dict[str, t.Dict[str, t.Any]] = field(default_factory=dict)
    required: t.Set[str] = field(default_factory=set)


def read(roles: str, playbooks: str) -> Settings:
    """Read the names and types from the folders of the roles and of the playbooks."""
    require("PyYAML")
    settings = Settings()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast
    for defaults in sorted(Path(roles).glob("*/defaults/main.yml")):
        texts = [path.read_text("utf-8") for path in (defaults, _spec_beside(defaults))]
        declared, specs = (yaml.load(text, loader) for text in texts)  # a safe loader, see above
        options = specs["argument_specs"]["main"]["options"]
        _collect(declared, options, settings)
    for playbook in sorted(Path(playbooks).glob("**/*.yml")):
        settings.known |= set(NAME.findall(playbook.read_text(encoding="utf-8")))
    return settings


def _spec_beside(defaults: Path) -> Path:
    return defaults.parents[1] / "meta" / "argument_specs.yml"


def _collect(
    declared: t.Mapping[str, t.Any], options: t.Mapping[str, t.Any], settings: Settings
) -> None:
    for key, template in declared.items():
        spec = options.get(key, {})
        if isinstance(template, t.Mapping):
            _collect(template, spec.get("options", {}), settings)
            continue
        names = NAME.findall(str(template))
        settings.known |= set(names)
        direct = DIRECT.match(str(template))
        if direct:
            settings.specs[direct.group(1)] = _plain_spec(spec)
            if direct.group("default") is None:
                settings.required.add(direct.group(1))


def _plain_spec(spec: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """Return the part of an option's spec that checks a value which is given."""
    kept = {k: v for k, v in spec.items() if k in ("type", "elements", "choices")}
    if "options" in spec:
        kept["options"] = {
            name: {k: v for k, v in sub.items() if k != "description"}
            for name, sub in spec["options"].items()
        }
    return kept


def unknown(names: t.Iterable[str], settings: Settings) -> t.List[str]:
    """Return a mistake for each variable that nobody reads."""
    mistakes = []
    for name in sorted(set(names) - settings.known):
        near = difflib.get_close_matches(name, sorted(settings.known), n=1, cutoff=0.75)
        meant = f" (did you mean {near[0]}?)" if near else ""
        mistakes.append(f"{name}: no such variable{meant}")
    return mistakes


def missing(names: t.Iterable[str], settings: Settings) -> t.List[str]:
    """Return a mistake for each variable that must be given and is not."""
    given = set(names)
    mistakes = [f"{name}: must be set" for name in sorted(settings.required - given)]
    if not given & {"oapip_domain", "oapip_host"}:
        mistakes.append("oapip_domain: must be set (or oapip_host)")
    return mistakes


def wrong(values: t.Mapping[str, t.Any], settings: Settings) -> t.List[str]:
    """Return a mistake for each value of a wrong type or outside its choices."""
    mistakes = []
    for name in sorted(set(values) & set(settings.specs)):
        spec = settings.specs[name]
        checked = ArgumentSpecValidator({name: spec}).validate({name: values[name]})
        mistakes += [f"{name}: {message}" for message in checked.error_messages]
    return mistakes


def incomplete(names: t.Iterable[str], values: t.Mapping[str, t.Any]) -> t.List[str]:
    """Return a mistake for each variable of Keycloak that is missing while OIDC is on."""
    given = set(names)
    if str(values.get("oapip_oidc_enabled", True)).lower() in ("false", "no", "0", "off"):
        return []
    off = "or oapip_oidc_enabled: false"
    mistakes = []
    if values.get("oapip_gateway") == "ingress":
        mistakes.append(f"oapip_gateway: an Ingress cannot ask Keycloak: use apisix ({off})")
    needed = list(KEYCLOAK)
    if "oapip_keycloak_admin_client_secret" in given:
        needed = needed[:1]
    return mistakes + [f"{name}: must be set ({off})" for name in needed if name not in given]


def shared(host: str, lines: t.Iterable[str]) -> t.List[str]:
    """Return a mistake where another cluster has our client in our realm.

    :param lines: host, client, server, realm of each cluster, and whether Keycloak is asked there.
    """
    # without a server there is a word less
    rows = [line.split() for line in lines if len(line.split()) == 5]
    clients = {row[0]: row[1:4] for row in rows if row[4].lower() == "true"}
    twins = sorted(name for name in clients if name != host and clients[name] == clients.get(host))
    if not twins:
        return []
    return [f"oapip_client_id: {clients[host][0]} is also the client of {', '.join(twins)}"]
