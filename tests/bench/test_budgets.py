"""The budgets that hold on any machine, however busy: ratios of one run, and counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.bench import contexts, converged, modules
from tests.bench.measure import Budget, Cost, by_turns, table


def test_a_noop_task_in_the_worker_costs_a_quarter_of_a_child_process(
    sandbox: dict[str, Any], tmp_path: Path
) -> None:
    rows = list(modules.measure(sandbox, tmp_path, rounds=2))
    assert len(rows) == len(modules.MODULES)
    assert [row.what for row in rows if not row.kept] == [], table(rows)


def test_a_converged_run_has_few_tasks_and_requests_and_no_write(
    sandbox: dict[str, Any], tmp_path: Path
) -> None:
    rows = list(converged.counts(sandbox, tmp_path))
    assert [row.what for row in rows if not row.kept] == [], table(rows)
    # a counter that sees nothing would keep every budget
    tasks, requests, _writes = (row.value for row in rows)
    assert tasks > 5
    assert requests > 20


def test_five_hundred_contexts_take_few_requests(sandbox: dict[str, Any], tmp_path: Path) -> None:
    rows = [row for row in contexts.many(sandbox, tmp_path) if not row.unit]
    assert [row.what for row in rows if not row.kept] == [], table(rows)
    made = next(row for row in rows if row.what.endswith("created: writes"))
    assert made.value > 0


def test_the_table_says_which_budget_is_not_kept() -> None:
    text = table([Budget("one", 1.0, "s", 2.0), Budget("two", 3.0, "s", 2.0), Budget("three", 4.0)])
    assert [line.split()[-1] for line in text.splitlines()[1:]] == ["ok", "OVER", "4"]


def test_turns_alternate() -> None:
    order: list[str] = []

    def measured(name: str) -> Cost:
        order.append(name)
        return Cost(float(len(order)), 0.0, 0.0)

    first, second = by_turns(3, lambda: measured("a"), lambda: measured("b"))
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert (first.wall, second.wall) == (3.0, 4.0)
