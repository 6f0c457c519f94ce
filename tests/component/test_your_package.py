"""What a user of the engine is told to do works: the page, the examples, the pipeline.

On the deployed engine of the sandbox, as its user alice, who owns the processes `hello` and `clip`
here.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from ansible_collections.eoepca.oapip.plugins.module_utils._s3 import Store
from ansible_collections.eoepca.oapip.plugins.modules import (
    keycloak_client,
    keycloak_protect,
    oapip_job,
    oapip_job_info,
    oapip_process,
    oapip_process_info,
)
from tests.harness import ROOT, PlaybookRun, run_playbook
from tests.keycloak_realm import Realm
from tests.page import Reader, Shell, blocks, commands

PAGE = ROOT / "docs" / "run-your-package.md"
EXAMPLES = ROOT / "examples"
JWT = re.compile(r"eyJ[\w-]{10,}\.")
PLACES = {
    "zoo": "https://zoo.example.org",
    "auth": "https://auth.example.org",
    "s3": "https://s3.example.org",
}

Sandbox = dict[str, Any]


def hosts(sandbox: Sandbox) -> dict[str, str]:
    """What stands for the hosts of the documentation."""
    gateway: str = sandbox["clusters"][0]["gateway_url"]
    keycloak, s3 = sandbox["keycloak"]["url"], sandbox["s3"]["endpoint"]
    return {PLACES["zoo"]: gateway, PLACES["auth"]: keycloak, PLACES["s3"]: s3}


def token_url(sandbox: Sandbox) -> str:
    issuer: str = sandbox["keycloak"]["issuer"]
    return f"{issuer}/protocol/openid-connect/token"


@pytest.fixture
def token(sandbox: Sandbox) -> Iterator[str]:
    """A token of alice, whose context has no process `hello` or `clip` before and after."""
    account = {"grant_type": "password", "client_id": sandbox["token_client"], "scope": "openid"}
    account |= {"username": "alice", "password": sandbox["users"]["alice"]["password"]}

    def ask() -> str:
        answer = requests.post(
            token_url(sandbox), data=account, verify=sandbox["ca_file"], timeout=10
        )
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def undeploy(bearer: str) -> None:
        headers = {"Authorization": f"Bearer {bearer}"}
        for name in ("hello", "clip"):
            url = f"{sandbox['clusters'][0]['gateway_url']}/alice/ogc-api/processes/{name}"
            answer = requests.delete(url, headers=headers, verify=sandbox["ca_file"], timeout=30)
            assert answer.status_code in (204, 404), answer.text

    bearer = ask()
    undeploy(bearer)
    yield bearer
    undeploy(ask())


@pytest.fixture(scope="module", autouse=True)
def clean(sandbox: Sandbox) -> Iterator[None]:
    """Take the results of the jobs away: undeploying and dismissing leave them in the bucket."""
    store, bucket = Store({**sandbox["s3"], "ca_path": sandbox["ca_file"]}), "eoepca"
    before = {one["Key"] for one in store.objects(bucket)}
    yield
    for key in {one["Key"] for one in store.objects(bucket)} - before:
        store.delete(bucket, key)


def environment(sandbox: Sandbox, home: Path) -> dict[str, str]:
    """The environment of a new user, who trusts the sandbox's authority."""
    return {
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "LANG": "C.UTF-8",
        "ANSIBLE_NOCOLOR": "1",
        "OAPIP_CA_PATH": sandbox["ca_file"],
        "CURL_CA_BUNDLE": sandbox["ca_file"],
    }


def test_the_page_shows_the_shipped_files() -> None:
    shown = blocks(PAGE, "yaml")
    for name in ("hello.cwl", "run.yml"):
        assert (EXAMPLES / name).read_text() in shown, name


@pytest.mark.usefixtures("token")
def test_each_command_of_the_page_says_what_the_page_shows(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "ansible-collection-oapip").symlink_to(ROOT)
    password = sandbox["users"]["alice"]["password"]
    shell = Shell(tmp_path, {**environment(sandbox, tmp_path), "OAPIP_PASSWORD": password})
    reader = Reader(shell, hosts(sandbox))
    try:
        for command in commands(PAGE):
            reader.follow(command)
    finally:
        shell.close()
    assert re.search(
        r"^\[localhost\] hello \w{8}\.\.\.: running \d+ %$", shell.output, re.MULTILINE
    )
    assert password not in shell.output
    assert not JWT.search(shell.output)


@pytest.fixture
def pipeline(sandbox: Sandbox) -> Iterator[dict[str, str]]:
    """A client with a role and a context, as the page has the operator make them."""
    name = f"pipeline{secrets.token_hex(3)}"
    server = sandbox["keycloak"]
    account = {"auth_username": server["admin_user"], "auth_password": server["admin_password"]}
    trusted = {"server_url": server["url"], "ca_path": sandbox["ca_file"], **account}
    realm = Realm(server["realm"], {**trusted, "realm": server["realm"]})
    text = blocks(PAGE, "yaml")[-3].replace("pipeline", name)
    client, context = (list(task.values())[1] | trusted for task in yaml.safe_load(text))
    realm.kc.request("POST", "roles", body={"name": name})
    try:
        made = realm.call(keycloak_client, **client, return_secret=True)
        realm.call(keycloak_protect, **context)
        yield {"pipeline": name, "secret": made["secret"]}
    finally:
        realm.call(keycloak_protect, **context, state="absent")
        realm.call(keycloak_client, **client, state="absent")
        realm.kc.request("DELETE", "roles", name)


def test_the_jobs_of_the_page_run_in_a_pipeline(
    sandbox: Sandbox, tmp_path: Path, pipeline: dict[str, str]
) -> None:
    gitlab, github = (yaml.safe_load(text) for text in blocks(PAGE, "yaml")[-2:])
    job, other = gitlab["hello"], github["jobs"]["hello"]
    steps = [step["run"] for step in other["steps"] if "run" in step]
    assert steps[:2] == job["script"][:2]
    assert job["variables"].items() <= other["env"].items()
    given = yaml.safe_dump({**other["env"], "OAPIP_CLIENT_SECRET": pipeline["secret"]})
    places = {**hosts(sandbox), "pipeline": pipeline["pipeline"]}
    for page, real in places.items():
        given = given.replace(page, real)
    env = {**environment(sandbox, tmp_path), **yaml.safe_load(given)}
    env |= {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".sandbox" / "collections")}
    env |= {"CI_PROJECT_NAME": "floods", "GITHUB_REF_NAME": "main"}
    for name in ("hello.cwl", "run.yml"):
        (tmp_path / name).write_text((EXAMPLES / name).read_text())
    shell = Shell(tmp_path, env)
    try:
        said = "\n".join(shell.type(f"{job['script'][2]} -e seconds=1 -vvvv"))
        assert shell.type("echo $?")[0] == "0", said
        again = "\n".join(shell.type(f"{steps[2]} -e seconds=90"))
        assert shell.type("echo $?")[0] == "2", again
        shell.type(
            "ansible localhost -m eoepca.oapip.oapip_process -a 'process_id=hello state=absent"
            ' token_url="$OAPIP_TOKEN_URL" client_id="$OAPIP_CLIENT_ID"'
            """ client_secret="{{ lookup("ansible.builtin.env", "OAPIP_CLIENT_SECRET") }}"'"""
        )
    finally:
        shell.close()
    assert (tmp_path / "hello.results.json").exists()
    assert "changed=2" in said
    assert "it failed: " in again
    assert pipeline["secret"] not in shell.output
    assert not JWT.search(shell.output)


def tasks_of(module: Any, sandbox: Sandbox) -> list[dict[str, Any]]:
    """The tasks of a module's EXAMPLES, with the sandbox for the hosts they name."""
    text: str = module.EXAMPLES
    for page, real in hosts(sandbox).items():
        text = text.replace(page, real)
    tasks: list[dict[str, Any]] = yaml.safe_load(text)
    return tasks


@pytest.fixture(params=["in the worker", "sent"])
def examples(
    request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path, token: str
) -> PlaybookRun:
    """All examples of the four modules in one playbook, run at full verbosity."""
    first, certain, undeploy = tasks_of(oapip_process, sandbox)
    run, clip, start, wait, fetch, remove = tasks_of(oapip_job, sandbox)
    fetch["eoepca.oapip.oapip_job"]["storage"]["ca_path"] = sandbox["ca_file"]
    clip["register"] = "clipped"
    place = {name: clip["eoepca.oapip.oapip_job"][name] for name in ("url", "token")}
    made = {"job_id": "{{ clipped.job_id }}", "assets_dest": "made", "dest": "made.json"}
    clips = [
        {"name": "Clip", "eoepca.oapip.oapip_process": {**place, "src": "clip.cwl"}},
        clip,
        {"name": "Made", "eoepca.oapip.oapip_job": {**fetch["eoepca.oapip.oapip_job"], **made}},
    ]
    infos = tasks_of(oapip_process_info, sandbox)
    jobs = tasks_of(oapip_job_info, sandbox)  # one of them lists what runs, while it runs
    play = {
        "name": "Examples",
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "environment": {"OAPIP_TEST_SENT": "1"} if request.param == "sent" else {},
        "vars": {"ansible_python_interpreter": sys.executable},
        "module_defaults": {"group/eoepca.oapip.oapip": {"ca_path": sandbox["ca_file"]}},
        "tasks": [first, certain, *infos, *clips, run, start, *jobs, wait, fetch, remove, undeploy],
    }
    playbook = tmp_path / "play" / "examples.yml"
    playbook.parent.mkdir()
    playbook.write_text(yaml.safe_dump([play], sort_keys=False))
    for name in ("hello.cwl", "clip.cwl", "area.geojson", "style.sld"):
        (playbook.parent / name).write_text((EXAMPLES / name).read_text())
    given = tmp_path / "given.yml"
    given.touch(mode=0o600)
    password = sandbox["users"]["alice"]["password"]
    keys = {f"s3_{name}": sandbox["s3"][name] for name in ("access_key", "secret_key")}
    given.write_text(yaml.safe_dump({"token": token, "alice_password": password, **keys}))
    done = run_playbook(playbook, tmp_path, "-i", "localhost,", "-e", f"@{given}", "-vvvv")
    for secret in (token, password, keys["s3_secret_key"]):
        assert secret not in done.output
    assert not JWT.search(done.output)
    return done


def test_examples_run_as_pasted_and_do_what_they_say(examples: PlaybookRun, tmp_path: Path) -> None:
    assert examples.code == 0, examples.output[-6000:]

    def of(task: str) -> dict[str, Any]:
        return examples.of(task).result

    assert of("Deploy a process")["changes"][0]["action"] == "create"
    assert of("Deploy a certain workflow of a package")["process_id"] == "hello"
    assert of("Deploy a certain workflow of a package")["changes"] == []
    assert [one["id"] for one in of("Read one process")["processes"]] == ["hello"]
    backup = {
        one["id"]: one.get("package")
        for one in of("Back up all packages of a context")["processes"]
    }
    assert backup["hello"].strip() == (EXAMPLES / "hello.cwl").read_text().strip()
    job = of("Run a process and wait for its results")
    assert job["job"]["status"] == "successful"
    assert (tmp_path / "play" / "results.json").exists()
    assert of("Read one job")["job_results"] == job["job_results"]
    clip = of("Run a process with a bounding box, a list and files by value")
    assert clip["job"]["status"] == "successful"
    clipped = tmp_path / "play" / "made" / "clipped" / "clipped"
    area, item = (
        json.loads((clipped / name).read_text()) for name in ("area.geojson", "clipped.json")
    )
    assert area == json.loads((EXAMPLES / "area.geojson").read_text())
    assert (clipped / "style.sld").read_text() == (EXAMPLES / "style.sld").read_text()
    assert item["bbox"] == [10.0, 46.5, 11.5, 47.5]
    assert (clipped / "nir.txt").read_text() == "nir in 10.0, 46.5, 11.5, 47.5\n"
    started = of("Start a job now")["job_id"]
    listed = of("List the jobs of a process that are not over")["jobs"]
    assert started in [one["jobID"] for one in listed]
    assert of("Wait for it later")["job"]["status"] == "successful"
    found = of("Fetch the files of its results too")["assets"]
    assert "hello.txt" in [Path(one["path"]).name for one in found]
    assert (tmp_path / "play/results/greeting/greeting/hello.txt").read_text() == "Hello, Ada!\n"
    assert of("Remove it with its results")["changes"][0]["name"] == started
    assert of("Undeploy it")["changes"][0]["action"] == "delete"
