"""What a run makes of servers that go wrong: it ends right, or says which server and which step.

In the short form single modules meet each fault of each server, at their first write and at the
first read when there is nothing left to do. With `--full` whole runs of site.yml meet each fault at
a write of every stage: from nothing, run again until all is there, and on a converged cluster.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.eoepca.oapip.plugins.module_utils._http import RETRY_SECONDS
from ansible_collections.eoepca.oapip.plugins.module_utils._kube import Kube, url_of
from ansible_collections.eoepca.oapip.plugins.module_utils._module import (
    Context,
    OapipError,
    unexpected,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._rollout import Rollout
from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Deadline
from tests import writes
from tests.faults.dump import difference, dump
from tests.faults.fault import KINDS, SERVERS, Fault
from tests.faults.proxy import Proxy
from tests.harness import ROOT, run_playbook
from tests.keycloak_realm import options_for

NAME = "faults-x"
ASKING = "faults-asking"
WATCHED = "faults-watched"
BUCKET = "eoepca"  # it is there where something is deployed
WORDS = {
    "keycloak": "Keycloak",
    "s3": "S3",
    "kubernetes": "Kubernetes API",
    "gateway": "",  # its URL is its name
}
WRITE = "^(POST|PUT|PATCH|DELETE) (?!.*/token$)(?!.*reviews)"
READ = "^(GET|HEAD) "
MEDDLING = re.compile(r"dryRun=All|reviews|/leases|/token")


@dataclass(frozen=True)
class Outcome:
    """One call of a module: its changes, or its message, and how long it took."""

    changes: list[str] = field(default_factory=list)
    message: str = ""
    seconds: float = 0.0


def call(module: str, given: Mapping[str, Any]) -> Outcome:
    """Run a module as Ansible's worker does; a failure has to be one that we foresaw."""
    code = importlib.import_module(f"ansible_collections.eoepca.oapip.plugins.modules.{module}")
    checked = ArgumentSpecValidator(argument_spec=code.SPEC["argument_spec"]).validate(given)
    assert not checked.error_messages, checked.error_messages
    begun = time.monotonic()
    try:
        done = code.run(checked.validated_parameters, Context())
    except OapipError as error:
        return Outcome(message=str(error), seconds=time.monotonic() - begun)
    except Exception as error:
        pytest.fail(f"{module}: {unexpected(error)}")
    made = [f"{change['action']} {change['kind']}" for change in done["changes"]]
    return Outcome(made, seconds=time.monotonic() - begun)


def failures(outcomes: list[Outcome]) -> list[str]:
    """Return the messages of what failed."""
    return [one.message for one in outcomes if one.message]


class Bench:
    """One server behind a proxy, the modules that write to it or ask it, and the way back."""

    def __init__(self, sandbox: dict[str, Any], proxy: Proxy, name: str = "") -> None:
        self.sandbox, self.proxy, self.server = sandbox, proxy, proxy.server
        make: Callable[[], tuple[list[Any], list[Any]]]
        make = getattr(self, f"_{name or self.server}")
        self.steps, self.undo = make()

    def reset(self) -> list[str]:
        """Take away what the modules made, nothing goes wrong meanwhile; return what it was."""
        self.proxy.breaks()
        outcomes = [call(module, given) for module, given in self.undo]
        assert not failures(outcomes)
        return [change for outcome in outcomes for change in outcome.changes]

    def run(self, *faults: Fault) -> list[Outcome]:
        """Call the modules one after the other until one fails."""
        self.proxy.breaks(*faults)
        outcomes: list[Outcome] = []
        for module, given in self.steps:
            outcomes.append(call(module, given))
            if outcomes[-1].message:
                break
        return outcomes

    def writes(self) -> list[str]:
        """Return the requests since the last run that changed something on the server."""
        lines = [f"{seen.method} {seen.path}" for seen in self.proxy.requests]
        return [line for line in lines if re.search(WRITE, line) and not MEDDLING.search(line)]

    # ---------------------------------------------------------------- modules and their options

    def _keycloak(self) -> tuple[list[Any], list[Any]]:
        common = {
            **options_for(self.sandbox, self.sandbox["keycloak"]["realm"]),
            "server_url": self.proxy.url,
            "client_id": NAME,
            "marker": NAME,
        }
        client = {"authorization": True, "service_accounts": True, "audience": [NAME], **common}
        contexts = [{"name": "alice"}, {"name": "bob"}]
        protect = {"contexts": contexts, **common}
        undo = [
            (module, {**common, "state": "absent"})
            for module in ("keycloak_protect", "keycloak_client")
        ]
        return [("keycloak_client", client), ("keycloak_protect", protect)], undo

    def _s3(self) -> tuple[list[Any], list[Any]]:
        common = self._store()
        buckets = {"buckets": [NAME], **common}
        picture = {"bucket": NAME, "key": "picture.png", **common}
        undo = [("oapip_storage", {**buckets, "state": "absent", "purge": True})]
        return [("oapip_storage", buckets), ("oapip_sample", picture)], undo

    def _kubernetes(self) -> tuple[list[Any], list[Any]]:
        common = {"kubeconfig": str(self.proxy.kubeconfig()), "namespace": NAME}
        lock = {**common, "holder": NAME, "record": {"proved": NAME}}
        route = {
            **common,
            "host": f"{NAME}.example.org",
            "open_access": True,
            "probe": False,
            "tls": {
                "mode": "supplied",
                "certificate": Path(self.sandbox["tls"]["certificate"]).read_text(),
                "private_key": Path(self.sandbox["tls"]["private_key"]).read_text(),
            },
        }
        absent = {**route, "state": "absent"}
        released = {**lock, "state": "released"}
        steps = [("oapip_lock", lock), ("oapip_route", route), ("oapip_lock", released)]
        return steps, [("oapip_route", absent), ("oapip_lock", {**released, "forget": ["proved"]})]

    def _gateway(self) -> tuple[list[Any], list[Any]]:
        known = self.sandbox["keycloak"]
        common = {
            "url": f"{self.proxy.url}/alice/ogc-api",
            "ca_path": self.sandbox["ca_file"],
            "token_url": f"{known['url']}/realms/{known['realm']}/protocol/openid-connect/token",
            "client_id": self.sandbox["token_client"],
            "username": "alice",
            "password": self.sandbox["users"]["alice"]["password"],
        }
        package = (ROOT / "roles/validation/templates/convert-url.cwl.j2").read_text()
        content = re.sub(r"\{\{.*?\}\}", "image", package).replace("convert-url", NAME)
        process = {"content": content, **common}
        return [("oapip_process", process)], [("oapip_process", {**process, "state": "absent"})]

    # ---------------------------------------------------------------- who asks a server on the way

    def _store(self) -> dict[str, Any]:
        keys = {name: self.sandbox["s3"][name] for name in ("access_key", "secret_key")}
        return {"endpoint": self.proxy.url, "ca_path": self.sandbox["ca_file"], **keys}

    def _elsewhere(self) -> dict[str, Any]:
        return {"kubeconfig": self.sandbox["clusters"][0]["kubeconfig"], "namespace": ASKING}

    def _route(self) -> tuple[list[Any], list[Any]]:
        keycloak = options_for(self.sandbox, self.sandbox["keycloak"]["realm"])
        route = {
            **self._elsewhere(),
            "host": f"{ASKING}.example.org",
            "oidc": {**keycloak, "server_url": self.proxy.url, "client_id": ASKING},
            "contexts": [{"name": "alice"}],
            "probe": False,
        }
        return [("oapip_route", route)], [("oapip_route", {**route, "state": "absent"})]

    def _preflight(self) -> tuple[list[Any], list[Any]]:
        given = {
            **self._elsewhere(),
            "helm_binary": self.sandbox["bin"]["helm"],
            "storage": [{**self._store(), "role": "stage_out", "bucket": BUCKET}],
        }
        return [("oapip_cluster_info", given)], []

    def _probe(self) -> tuple[list[Any], list[Any]]:
        given = {**self._elsewhere(), "storage": [{**self._store(), "bucket": BUCKET}]}
        return [("oapip_probe", given)], [("oapip_probe", {**given, "state": "absent"})]


@pytest.fixture(scope="module")
def benches(
    sandbox: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Bench]]:
    """A bench for each server, and a namespace for what goes to the API server."""
    admin = Kube.connect(sandbox["clusters"][0]["admin_kubeconfig"])
    admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME}})
    try:
        with contextlib.ExitStack() as stack:
            proxies = [Proxy(sandbox, name, tmp_path_factory.mktemp(name)) for name in SERVERS]
            made = {one.server: Bench(sandbox, stack.enter_context(one)) for one in proxies}
            yield made
            for bench in made.values():
                bench.reset()
    finally:
        admin.delete(url_of("Namespace", name=NAME))
        admin.close()


def secrets_of(sandbox: Mapping[str, Any]) -> list[str]:
    """Return the secrets that a message might give away."""
    key = Path(sandbox["tls"]["private_key"]).read_text().splitlines()[1]
    users = [user["password"] for user in sandbox["users"].values()]
    return [sandbox["keycloak"]["admin_password"], sandbox["s3"]["secret_key"], key, *users, "eyJ"]


def check_message(message: str, proxy: Proxy, sandbox: Mapping[str, Any]) -> None:
    """A failure names the server and what was being done, in words and without secrets."""
    assert proxy.url in message, message
    assert WORDS[proxy.server] in message, message
    doing = r"[a-z]\w+ing \S|[A-Z][^:]+: \S|\d+ things? ha(s|ve) to be mended before .*:\n- \S"
    assert re.match(doing, message), message
    for foul in ("Traceback", "Error(", "object at 0x", "<html", *secrets_of(sandbox)):
        assert foul not in message, message


def check_retry_after(proxy: Proxy, fault: Fault) -> int:
    """No request is repeated before the time that the server asked for; return how many were."""
    count = 0
    for number, seen in enumerate(proxy.requests):
        if seen.fault != fault.kind or "Retry-After" not in KINDS[fault.kind]:
            continue
        same = (seen.method, seen.path, seen.headers)
        later = [
            other.at
            for other in proxy.requests[number + 1 :]
            if (other.method, other.path, other.headers) == same
        ]
        # a date has whole seconds only
        asked = fault.retry_after - (1 if fault.kind == "429-date" else 0)
        assert not later or later[0] - seen.at >= asked, proxy.requests
        count += bool(later)
    return count


# the short form has each fault at two of the servers
CELLS = [
    pytest.param(server, kind, marks=[pytest.mark.full] * ((row + column) % 2))
    for row, server in enumerate(SERVERS)
    for column, kind in enumerate(KINDS)
]


@pytest.mark.parametrize(("server", "kind"), CELLS)
def test_one_fault(
    benches: dict[str, Bench], sandbox: dict[str, Any], server: str, kind: str, full: bool
) -> None:
    """At the first write of a first call, then at the first read of a call with nothing to do."""
    bench = benches[server]
    bench.reset()
    for match in (WRITE, READ):
        fault = Fault(kind, match, times=1, seconds=30.0 if full else 2.0, retry_after=2)
        outcomes = bench.run(fault)
        assert bench.proxy.struck, bench.proxy.requests
        if failure := outcomes[-1].message:
            check_message(failure, bench.proxy, sandbox)
        repeated = check_retry_after(bench.proxy, fault)
        if "Retry-After" in KINDS[kind]:
            assert not failure
            assert repeated == 1
        assert not failures(bench.run())
        # all is there now, once, and nothing is left to be done
        assert [one.changes for one in bench.run()] == [[]] * len(bench.steps)
        assert bench.writes() == []


ASKERS = {
    "route": ("keycloak", ("^POST .*/token$", "^GET .*/clients[?]")),
    "preflight": ("s3", ("^GET /",)),
    "probe": ("s3", (f"^HEAD /{BUCKET}", "^PUT ", "^GET ", "^DELETE ")),
}
"""Who asks which server on the way to another one, or on the way to nothing, and for what."""
PAIRS = [(asker, place) for asker, (_, places) in ASKERS.items() for place in places]
# the short form has each fault once
QUESTIONS = [
    pytest.param(*pair, kind, marks=[pytest.mark.full] * (column % len(PAIRS) != row))
    for row, pair in enumerate(PAIRS)
    for column, kind in enumerate(KINDS)
]


@pytest.fixture(scope="module")
def askers(sandbox: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A bench for each that asks, with what it needs to be there."""
    admin = Kube.connect(sandbox["clusters"][0]["admin_kubeconfig"])
    admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ASKING}})
    common = options_for(sandbox, sandbox["keycloak"]["realm"])
    client = {**common, "client_id": ASKING, "marker": ASKING}
    try:
        assert not call("keycloak_client", {**client, "service_accounts": True}).message
        with contextlib.ExitStack() as stack:
            made = {}
            for name, (server, _places) in ASKERS.items():
                proxy = stack.enter_context(Proxy(sandbox, server, tmp_path_factory.mktemp(name)))
                made[name] = Bench(sandbox, proxy, name)
            yield made
            for bench in made.values():
                bench.reset()
    finally:
        call("keycloak_client", {**client, "state": "absent"})
        admin.delete(url_of("Namespace", name=ASKING))
        admin.close()


@pytest.mark.parametrize(("asker", "place", "kind"), QUESTIONS)
def test_one_fault_at_a_question(
    askers: dict[str, Bench],
    sandbox: dict[str, Any],
    asker: str,
    place: str,
    kind: str,
    full: bool,
) -> None:
    """Of a server that a stage needs on its way, and in what is only looked at or tried."""
    bench = askers[asker]
    bench.reset()
    fault = Fault(kind, place, times=1, seconds=30.0 if full else 2.0)
    (outcome,) = bench.run(fault)
    assert bench.proxy.struck, bench.proxy.requests
    repeated = check_retry_after(bench.proxy, fault)
    if "Retry-After" in KINDS[kind]:
        assert not outcome.message
        assert repeated == 1
    if outcome.message:
        check_message(outcome.message, bench.proxy, sandbox)
        # what cannot be known is not guessed; an object that could not be deleted may be left
        assert asker == "probe" or bench.reset() == []
    assert not failures(bench.run())
    assert bench.run()[0].changes == []
    assert asker == "route" or bench.reset() == []


@pytest.fixture(scope="module")
def watched(
    sandbox: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Kube, Proxy]]:
    """A namespace for Deployments, and the API server behind a proxy."""
    admin = Kube.connect(sandbox["clusters"][0]["admin_kubeconfig"])
    admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": WATCHED}})
    try:
        with Proxy(sandbox, "kubernetes", tmp_path_factory.mktemp("watched")) as proxy:
            yield admin, proxy
    finally:
        admin.delete(url_of("Namespace", name=WATCHED))
        admin.close()


# a run finds its workloads ready at once where kwok plays the nodes: no whole one watches them
WATCHES = [
    pytest.param(kind, marks=[pytest.mark.full] * (kind not in ("429", "silence", "truncated")))
    for kind in KINDS
]


@pytest.mark.parametrize("kind", WATCHES)
def test_a_rollout_is_seen_through_a_watch_that_breaks(
    watched: tuple[Kube, Proxy], sandbox: dict[str, Any], kind: str, full: bool
) -> None:
    """It begins a second later, so that somebody has to wait for it."""
    admin, proxy = watched
    name = f"x-{kind}"
    labels = {"app": name}
    pod = {"containers": [{"name": "x", "image": "x"}], "terminationGracePeriodSeconds": 0}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": WATCHED},
    }
    spec = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    fault = Fault(kind, "^GET .*watch=true", times=1, seconds=30.0 if full else 2.0)
    kube = Kube.connect(str(proxy.kubeconfig()))
    told: list[str] = []
    admin.apply({**deployment, "spec": {**spec, "paused": True}})
    begins = threading.Timer(1.0, admin.apply, [{**deployment, "spec": {**spec, "paused": False}}])
    proxy.breaks(fault)
    begins.start()
    try:
        Rollout(kube, WATCHED, {("Deployment", name)}, Deadline(90), told.append).wait()
    except OapipError as error:
        assert kind == "expired"  # nothing else stands for longer than a moment
        check_message(str(error), proxy, sandbox)
    else:
        assert told[-1] == f"Deployment {name}: ready 1/1"
    finally:
        begins.join()
        kube.close()
        admin.delete(url_of("Deployment", WATCHED, name))
    assert fault.hits, proxy.requests
    assert told[0] == f"Deployment {name}: waiting 0/1"
    check_retry_after(proxy, fault)


@pytest.mark.parametrize("server", SERVERS)
def test_an_answer_is_lost_at_every_write(
    benches: dict[str, Bench], sandbox: dict[str, Any], server: str
) -> None:
    """Whichever write it was that happened without our knowing: the next run carries on."""
    bench = benches[server]
    bench.reset()
    bench.run()
    count = len(bench.writes())
    assert count
    for number in range(1, count + 1):
        bench.reset()
        if failure := bench.run(Fault("lost", WRITE, nth=number))[-1].message:
            check_message(failure, bench.proxy, sandbox)
        assert not failures(bench.run())
        assert [one.changes for one in bench.run()] == [[]] * len(bench.steps)
        assert bench.writes() == []


@pytest.mark.parametrize("kind", ["429", "503-after"])
def test_a_login_waits_as_long_as_it_is_told(benches: dict[str, Bench], kind: str) -> None:
    bench = benches["keycloak"]
    fault = Fault(kind, "/token$", times=1, retry_after=3)
    assert not failures(bench.run(fault))
    assert check_retry_after(bench.proxy, fault) == 1


def test_a_token_that_ends_on_its_way_is_renewed(
    sandbox: dict[str, Any], admin: requests.Session, tmp_path: Path
) -> None:
    """Keycloak itself refuses a token that was good when it was sent."""
    realm = f"{sandbox['keycloak']['url']}/admin/realms/master"
    before = admin.get(realm, timeout=20).json()["accessTokenLifespan"]
    with Proxy(sandbox, "keycloak", tmp_path) as proxy:
        bench = Bench(sandbox, proxy)
        try:
            admin.put(realm, json={"accessTokenLifespan": 2}, timeout=20).raise_for_status()
            outcomes = bench.run(Fault("silence", "^GET /admin", times=1, seconds=3.0))
        finally:
            admin.put(realm, json={"accessTokenLifespan": before}, timeout=20).raise_for_status()
        statuses = [seen.status for seen in proxy.requests]
        bench.reset()
    assert 401 in statuses
    assert not failures(outcomes)


PATIENCE = {"keycloak": 2, "s3": 2, "gateway": 2, "kubernetes": 60}
"""Seconds that one attempt may take; for the API server it is no option."""


def test_nobody_waits_for_a_silent_server_for_ever(
    sandbox: dict[str, Any], tmp_path: Path, full: bool
) -> None:
    """All servers at once, as it takes its time: attempts begin within 30 s, and each ends."""
    servers = [server for server in SERVERS if full or PATIENCE[server] < RETRY_SECONDS]

    def wait(server: str) -> tuple[str, Outcome]:
        folder = tmp_path / server
        folder.mkdir()
        with Proxy(sandbox, server, folder) as proxy:
            bench = Bench(sandbox, proxy)
            module, given = bench.steps[0]
            patience = {} if server == "kubernetes" else {"timeout": PATIENCE[server]}
            proxy.breaks(Fault("silence", seconds=300))
            outcome = call(module, {**given, **patience})
            check_message(outcome.message, proxy, sandbox)
        return server, outcome

    with ThreadPoolExecutor(len(servers)) as pool:
        for server, outcome in pool.map(wait, servers):
            assert outcome.seconds <= RETRY_SECONDS + PATIENCE[server] + 5, server


# ---------------------------------------------------------------------- whole runs

PLACES = {
    "keycloak": (
        "^POST .*/realms/master/.*/token$",
        "^GET .*/clients",
        "^POST .*/clients$",
        "^POST .*/client-scopes$",
        "^PUT .*/default-client-scopes/",
        "^POST .*/authz/resource-server/import",
        "^PUT .*/users/.*/groups/",
    ),
    "s3": ("^HEAD ", "^PUT /eoepca/?$", "^PUT .*[.]png", "^GET .*list-type", "^DELETE "),
    "kubernetes": (
        "^POST .*/leases",
        "^GET .*/storageclasses",
        "^PATCH .*/namespaces/processing[?]",
        "^PATCH .*/networkpolicies/",
        "^POST .*/secrets$",  # helm's record
        "^(POST|PATCH) .*/deployments",
        "^PUT .*/secrets/sh[.]helm",
        "^POST .*/apisixroutes[?]fieldManager=eoepca.oapip$",
        "^DELETE .*/leases/",
    ),
    "gateway": (
        "^GET /alice/ogc-api/jobs",
        "^GET /ogc-api/conformance$",
        "^POST .*/processes[?]",
        "^POST .*/execution",
        "^GET .*/jobs/",
        "^DELETE .*/processes/",
    ),
}
"""Requests of a first run, in the order in which they come: a read and a write of each stage."""

SITE = ROOT / "site.yml"
REMOVE = ROOT / "playbooks" / "remove.yml"
HOST = "sandbox-1"


def play(playbook: Path, folder: Path, *options: str) -> tuple[int, str, str, float]:
    """Run a playbook; return its exit code, the reason in its report, its output and seconds."""
    report = folder / "reports" / f"{HOST}.json"
    report.unlink(missing_ok=True)
    begun = time.monotonic()
    place = f"oapip_report_dir={report.parent}"
    done = run_playbook(playbook, folder, "-l", HOST, "-e", place, *options, timeout=900)
    reason = json.loads(report.read_text()).get("reason") or "" if report.exists() else ""
    return done.code, reason, done.output, time.monotonic() - begun


@pytest.fixture(scope="module")
def clean(
    sandbox: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], float]:
    """Return the state after a first run without faults, and how long that takes."""
    folder = tmp_path_factory.mktemp("clean")
    assert play(REMOVE, folder)[0] == 0
    code, _reason, output, seconds = play(SITE, folder)
    assert code == 0, output[-4000:]
    return dump(sandbox, HOST), seconds


def settle(
    proxy: Proxy, sandbox: dict[str, Any], clean: tuple[dict[str, Any], float], folder: Path
) -> None:
    """Run until all is well, at most once for each fault, and compare with a clean run."""
    state, usual = clean
    faults = len(PLACES[proxy.server])
    told = []
    for _ in range(faults + 1):
        before = len(proxy.struck)
        code, reason, output, seconds = play(SITE, folder, *proxy.options, *prove(proxy))
        struck = proxy.struck[before:]
        told.append(f"{'ok' if not code else reason} [{seconds:.0f} s, {len(struck)} faults]")
        # each struck request may take an attempt's 60 s and the 30 s of further attempts
        assert seconds <= 2 * usual + 60 + 90 * len(struck), told
        assert not [secret for secret in secrets_of(sandbox)[:-1] if secret in output]
        assert "Traceback" not in output
        if not code:
            break
        assert struck, told  # what went wrong in this run is the proxy's doing
        check_message(reason, proxy, sandbox)
    print(f"\n{proxy.server}: " + "\n    ".join(told))
    assert not code, told
    check_mended(sandbox, state, folder)


def check_struck(proxy: Proxy, kind: str) -> None:
    """Something did go wrong, and who was asked to wait came again, not too early."""
    assert proxy.struck
    repeated = check_retry_after(proxy, Fault(kind))
    if "Retry-After" in KINDS[kind]:
        assert repeated == len(proxy.struck)


def prove(proxy: Proxy) -> tuple[str, ...]:
    """Return the option that has a run use what is behind the proxy."""
    always = proxy.server in ("gateway", "s3")
    return ("-e", "oapip_prove=always" if always else "oapip_prove=never")


def check_mended(sandbox: dict[str, Any], state: dict[str, Any], folder: Path) -> None:
    """One run more, without faults, mends what is left; then nothing is to be done."""
    code, _reason, output, _seconds = play(SITE, folder)
    assert code == 0, output[-4000:]
    assert difference(state, dump(sandbox, HOST)) == []
    servers = writes.Servers(sandbox)
    mark = servers.mark()
    assert play(SITE, folder)[0] == 0
    assert [write.line() for write in servers.since(mark)] == []


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("server", SERVERS)
def test_a_first_run(
    sandbox: dict[str, Any],
    clean: tuple[dict[str, Any], float],
    tmp_path: Path,
    server: str,
    kind: str,
) -> None:
    """From nothing, with the fault at one request of each place."""
    code, _reason, output, _seconds = play(REMOVE, tmp_path, "-e", "oapip_purge_buckets=true")
    assert code == 0, output[-4000:]
    faults = [Fault(kind, place, times=1) for place in PLACES[server]]
    with Proxy(sandbox, server, tmp_path) as proxy:
        proxy.breaks(*faults)
        settle(proxy, sandbox, clean, tmp_path)
        # a run that broke off early leaves the later places to the next one
        assert [fault.match for fault in faults if not fault.hits] == []
        check_struck(proxy, kind)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("server", SERVERS)
def test_a_converged_run(
    sandbox: dict[str, Any],
    clean: tuple[dict[str, Any], float],
    tmp_path: Path,
    server: str,
    kind: str,
) -> None:
    """Every fifth request, for as many as there are places; not what the job itself downloads."""
    every, match = (2, "^(?!GET .*X-Amz-Signature)") if server == "s3" else (5, "")
    with Proxy(sandbox, server, tmp_path) as proxy:
        proxy.breaks(Fault(kind, match, every=every, times=len(PLACES[server])))
        settle(proxy, sandbox, clean, tmp_path)
        check_struck(proxy, kind)
