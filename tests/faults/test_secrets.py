"""No run, whatever becomes of it, shows or leaves a secret where it does not belong."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import secrets as random_secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.faults.drift import TABLE, Hands
from tests.faults.secrets import ALLOWED, Ear, Needles, Scan, Scanner, forms, passwords
from tests.faults.watch import Files, Processes, walk
from tests.harness import ROOT

HOST = "sandbox-1"
SAMPLES = 30
"""A second, at least: 49 where there is a processor to be had, 36 to 47 where 17 wait for two."""
LOOK = 0.005
"""Seconds of a processor that one may cost, at most: then 20 ms are kept where there is one."""
ANSIBLE = str(Path(sys.executable).parent / "ansible-playbook")


def made_up() -> str:
    """Return a random secret with what YAML, JSON, URLs and shells write otherwise."""
    return f"{random_secrets.token_hex(8)}\"'/+&%é{random_secrets.token_hex(8)}"


# -- the scan can fail -----------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["", "a", "ab", "user:"])
def test_a_secret_is_found_in_every_form(before: str) -> None:
    secret = made_up()
    needles = Needles({"it": secret})
    text = f"{before}{secret} and more"
    shown = [
        text,
        json.dumps(text),
        json.dumps(text, ensure_ascii=False),
        json.dumps(json.dumps(text)),
        repr(text),
        quote(text, safe=""),
        text.encode().hex(),
        base64.b64encode(text.encode()).decode(),
        base64.urlsafe_b64encode(text.encode()).decode(),
    ]
    assert [form for form in shown if needles.found(form.encode()) != {"it"}] == []
    assert needles.found(b"nothing of it") == set()
    assert len(forms(secret)) >= 8


def test_a_token_and_a_signed_url_are_found_by_their_looks() -> None:
    token = ".".join(["eyJhbGciOiJSUzI1NiJ9", "eyJzdWIiOiJhbGljZSJ9", "c2lnbmF0dXJl"])
    needles = Needles({})
    assert needles.found(f"Bearer {token}".encode()) == {"a token"}
    assert needles.found(b"?X-Amz-Signature=0123456789abcdef0123") == {"a signed URL"}


def test_the_sampler_sees_an_argument_of_a_fraction_of_a_second(tmp_path: Path) -> None:
    planted, hidden = random_secrets.token_hex(16), random_secrets.token_hex(16)
    inner = f"X={hidden} setsid sh -c 'sleep 0.2; : {planted}'"
    process = subprocess.Popen(["sh", "-c", f"sleep 0.2; {inner}; sleep 0.2"])
    with Processes(process.pid) as processes:
        process.wait(timeout=30)
    shown = [row for seen in processes.seen.values() for row in seen.items()]
    assert any(planted.encode() in arguments for arguments, _ in shown)
    assert any(hidden.encode() in environment for _, environment in shown)
    assert processes.samples >= SAMPLES * processes.seconds
    assert processes.work <= LOOK * processes.samples


def test_what_is_new_elsewhere_is_seen_while_it_is_there_and_when_it_is_left(
    tmp_path: Path,
) -> None:
    tree, top = tmp_path / "tree", tmp_path / "top"
    for place in (tree, top):
        (place / "deep").mkdir(parents=True)
        for name in ("old", "changed", "deep/old"):
            (place / name).write_text(name)
    own = top / "own"
    own.mkdir()
    with Files(own, [tree], [top]) as files:
        for place in (tree, top):
            (place / "short").write_text("a while only")
            (place / "changed").write_text("it is")
            (place / "deep" / "new").touch(mode=0o600)
            (place / "made").mkdir()
            (place / "made" / "within").touch()
        (own / "mine").touch()
        until = time.monotonic() + 10
        while {place / "short" for place in (tree, top)} - {*files.open}:
            assert time.monotonic() < until
            time.sleep(0.01)
        for place in (tree, top):
            (place / "short").unlink()
    assert files.open[top / "short"] == b"a while only"
    there = {str(path.relative_to(tmp_path)) for path in files.new()}
    assert there == {"tree/changed", "tree/deep/new", "tree/made/within", "top/made/within"}


def test_passwords_that_pass_are_heard() -> None:
    grant = b"grant_type=password&username=proof1a&password=s3cr%2Ft+&client_id=x"
    assert passwords("POST /realms/x/protocol/openid-connect/token", grant) == {
        "password of proof1a, who logged in": "s3cr/t "
    }
    value = {"type": "password", "value": "s3cr/t", "temporary": False}
    made = json.dumps({"username": "proof1a", "credentials": [value]}).encode()
    assert passwords("POST /admin/realms/x/users", made) == {"password given to proof1a": "s3cr/t"}
    line = "PUT /admin/realms/x/users/1234/reset-password"
    assert passwords(line, json.dumps(value).encode()) == {"password given to 1234": "s3cr/t"}
    assert passwords("GET /admin/realms/x/users", b"") == {}


def test_the_scan_finds_what_a_careless_command_shows_and_leaves(
    tmp_path: Path, sandbox: dict[str, Any]
) -> None:
    planted = random_secrets.token_hex(16)
    script = tmp_path / "careless.sh"
    script.write_text(
        "read secret < $1\n"
        "echo $secret | base64\n"
        "mkdir -m 700 $TMPDIR/closed; echo $secret > $TMPDIR/closed/a; echo $secret > $TMPDIR/b\n"
        "sh -c 'sleep 0.3; :' $secret\n"
        "rm -r $TMPDIR/closed; echo $secret > $HOME/c; chmod 600 $HOME/c\n"
    )
    given = tmp_path / "given"
    given.write_text(f"{planted}\n")
    scan = Scanner(sandbox, {"planted": planted}).run(
        ["sh", str(script), str(given)], tmp_path / "scan"
    )
    places = {hit.place for hit in scan.hits if hit.secret == "planted"}
    assert "output" in places
    assert "arguments of sh" in places
    assert {"file that others may read b", "file left behind b", "file left behind c"} <= places
    assert not [place for place in places if place.endswith(" a")]


def test_files_below_a_closed_folder_are_closed(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "a").touch(mode=0o644)
    (tmp_path / "b").touch(mode=0o644)
    open_to_others = {path.name for path, mode in walk(tmp_path) if mode & 0o044}
    assert open_to_others == {"b"}


# -- the product does not --------------------------------------------------------------------------


def loud_chart(folder: Path) -> Path:
    """Return a copy of the chart that fails and prints all its values while it does."""
    chart = ROOT / "sandbox" / "chart" / "zoo-project-dru-0.10.3"
    copy = shutil.copytree(chart, folder / "zoo-project-dru-0.10.3")
    (copy / "templates" / "loud.yaml").write_text(
        "{{ fail (printf `%v %s` .Values (toJson .Values)) }}"
    )
    return copy


@dataclass(frozen=True)
class Way:
    """A way to run the product, and how it must end."""

    options: Sequence[str] = ()
    variables: tuple[tuple[str, Any], ...] = ()
    playbook: str = "site.yml"
    code: int = 0
    says: str = ""
    proves: bool = False
    """Whether the proof is made, with a password that is to be looked for too."""
    killed_in: Sequence[str] = ()


WRONG = made_up()  # a password that is nobody's, and still nobody's business

QUICK = {
    "converged": Way(("--diff",), (("oapip_prove", "never"),)),
    "a wrong password": Way(
        variables=(("oapip_keycloak_admin_password", WRONG),),
        code=2,
        says="oapip_keycloak_admin_password",
    ),
    "a wrong key": Way(variables=(("oapip_s3_secret_key", WRONG),), code=2, says="oapip_s3_secret"),
}
WHOLE = {
    "check mode": Way(("--check", "--diff")),
    "S3 is down": Way(
        variables=(("oapip_s3_endpoint", "https://localhost:1"),), code=2, says="localhost:1"
    ),
    "Keycloak is down": Way(
        variables=(("oapip_keycloak_url", "https://localhost:1"),), code=2, says="localhost:1"
    ),
    "a variable is wrong": Way(variables=(("oapip_contexts", WRONG),), code=2, says="oapip_cont"),
    "a job fails": Way(
        variables=(("oapip_prove", "always"), ("oapip_convert_image", "nowhere/none:1")),
        code=2,
        says="nowhere/none:1",
        proves=True,
    ),
    "removal, dry": Way(("--check", "--diff"), playbook="playbooks/remove.yml"),
}


class Rig:
    """Playbooks under the scanner, with secrets planted in the inventory."""

    def __init__(self, sandbox: dict[str, Any]) -> None:
        self.sandbox = sandbox
        self.value, self.user = made_up(), made_up()
        planted = {"a user's value": self.value, "lab user's password": self.user, "wrong": WRONG}
        self.scanner = Scanner(sandbox, planted)
        self.planted: dict[str, Any] = {
            "oapip_values": {"zoofpm": {"note": self.value, "notes": [f"a {self.value}"]}},
            "oapip_lab_users": [{"username": "carol", "password": self.user}],
        }

    def run(self, folder: Path, way: Way) -> Scan:
        """Run a playbook as loud as it can be, and look through all that can be seen."""
        folder.mkdir(exist_ok=True)
        reports, extra = folder / "reports", folder / "extra.json"
        extra.touch(mode=0o600)
        variables = {**self.planted, "oapip_report_dir": str(reports), **dict(way.variables)}
        command = [ANSIBLE, "-vvvv", "-l", HOST, "-e", f"@{extra}", *way.options]
        with contextlib.ExitStack() as stack:
            ear = stack.enter_context(Ear(self.sandbox, folder)) if way.proves else None
            extra.write_text(json.dumps({**variables, **(ear.proof() if ear else {})}))
            scan = self.scanner.run(
                [*command, str(ROOT / way.playbook)],
                folder / "scan",
                reports,
                {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
                ear,
                way.killed_in,
            )
        assert scan.code == way.code, scan.output[-6000:]
        assert way.says in " ".join(scan.output.split())  # warnings are wrapped
        if ear:  # the proof's owner and its stranger
            users = [name for name in ear.heard if re.search("given to proof[0-9a-f]+ab?$", name)]
            assert len(users) == 2, sorted(ear.heard)
        return scan


def spotless(scan: Scan) -> None:
    """Expect that nothing was seen, and that one had looked."""
    print(scan.line())
    assert [f"{hit.secret} in {hit.place}" for hit in sorted(scan.hits)] == []
    assert scan.samples >= SAMPLES * scan.seconds
    assert scan.work <= LOOK * scan.samples
    assert scan.processes >= 3
    assert [path for path in scan.left if not path.startswith("home/.kube/cache/")] == []


@pytest.fixture(scope="module")
def rig(sandbox: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Nothing is deployed at first; at the end all is again as without the planted secrets."""
    made = Rig(sandbox)
    folder = tmp_path_factory.mktemp("scan")
    spotless(made.run(folder / "removed", Way(("--diff",), playbook="playbooks/remove.yml")))
    yield made
    made.planted = {}
    made.run(folder / "after", Way())
    hands = Hands(sandbox)
    for user in hands.keycloak("GET", "users", username="carol", exact="true"):
        hands.keycloak("DELETE", f"users/{user['id']}")


def test_a_first_run_with_its_proof_shows_and_leaves_nothing(rig: Rig, tmp_path: Path) -> None:
    spotless(rig.run(tmp_path / "first", Way(("--diff",), proves=True)))


def test_plain_manifests_hold_what_the_chart_forces_into_them_and_no_more(rig: Rig) -> None:
    after = rig.scanner.servers()
    assert after.places > 10_000
    found = {(hit.secret, hit.place) for hit in after.hits}
    assert found == ALLOWED


def test_what_may_stand_in_plain_manifests_is_documented() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    for _secret, place in ALLOWED:
        kind, name, where = place.split(" ", 2)
        row = f"| {kind} | `{name}` | `{where}` |"
        assert row in page
    assert page.count("| Pod |") == len([p for _, p in ALLOWED if p.startswith("Pod ")])


def test_repairs_show_nothing(rig: Rig, tmp_path: Path) -> None:
    hands = Hands(rig.sandbox)
    for name in ("deployment-arguments", "secret-storage", "secret-database", "login-secret"):
        TABLE[name].make(hands)
    spotless(rig.run(tmp_path / "repaired", Way(("--diff",), (("oapip_prove", "never"),))))


def test_a_chart_that_prints_its_values_when_it_fails(rig: Rig, tmp_path: Path) -> None:
    given: tuple[tuple[str, Any], ...] = (
        ("oapip_chart_ref", str(loud_chart(tmp_path))),
        ("oapip_node_selector", {}),
    )
    scan = rig.run(
        tmp_path / "loud", Way(("--diff",), given, code=2, says="upgrading Helm release")
    )
    spotless(scan)


def test_an_upgrade_that_is_killed_leaves_no_secret_on_the_disk(rig: Rig, tmp_path: Path) -> None:
    """Nobody tidies up after a SIGKILL: what helm was given in files has to be no secret."""
    selector: tuple[tuple[str, Any], ...] = (("oapip_node_selector", {}), ("oapip_prove", "never"))
    words = ("helm", "upgrade")
    killed = rig.run(tmp_path / "killed", Way(("--diff",), selector, code=-9, killed_in=words))
    print(killed.line(), *killed.left, sep="\n  ")
    assert [f"{hit.secret} in {hit.place}" for hit in sorted(killed.hits)] == []
    assert [path for path in killed.left if re.match("tmp/oapip-.*/patches.json$", path)]
    spotless(rig.run(tmp_path / "mended", Way((), (("oapip_prove", "never"),), says="taken over")))


def test_a_task_that_is_sent_as_a_process_shows_and_leaves_nothing(
    rig: Rig, tmp_path: Path
) -> None:
    keycloak = rig.sandbox["keycloak"]
    login = {
        "server_url": keycloak["url"],
        "realm": keycloak["realm"],
        "auth_username": keycloak["admin_user"],
        "auth_password": "{{ oapip_keycloak_admin_password }}",
        "ca_path": rig.sandbox["ca_file"],
    }
    password = "{{ oapip_lab_users[0].password }}"
    user = {"username": "carol", "password": password, "email": "carol@proof.invalid"}
    client = {"client_id": "oapip-cli", "public": False, "secret": password}
    tasks: list[dict[str, Any]] = [
        {"eoepca.oapip.keycloak_user": {**login, **user}},
        {"eoepca.oapip.keycloak_user": {**login, **user, "email": "c@proof.invalid"}},
        {"eoepca.oapip.keycloak_client": {**login, **client}, "check_mode": True},
    ]
    sent: dict[str, Any] = {"environment": {"SENT": "1"}, "name": "Sent"}
    play = {"hosts": HOST, "gather_facts": False, "tasks": [{**sent, **task} for task in tasks]}
    playbook = tmp_path / "sent.yml"
    playbook.write_text(json.dumps([play]))
    scan = rig.run(tmp_path / "sent", Way(("--diff",), playbook=str(playbook)))
    spotless(scan)
    assert "AnsiballZ_keycloak_user.py" in scan.output


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A few ways in the short form, all in the full one."""
    if "way" in metafunc.fixturenames:
        ways = {**QUICK, **(WHOLE if metafunc.config.getoption("--full") else {})}
        metafunc.parametrize("way", ways.values(), ids=ways)


def test_a_later_run_shows_and_leaves_nothing(way: Way, rig: Rig, tmp_path: Path) -> None:
    spotless(rig.run(tmp_path / "later", way))
