"""What differs between the chart versions, as data; nothing else here names a version."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Flavour:
    """Quirks of one kernel.

    Attributes:
        chart: version of the chart that ships the kernel.
        any_prefix: `(.*)` instead of `\\w+` before `/ogc-api`.
        verifies_tokens: signature, issuer and audience of a token are checked.
        status_has_id: statusInfo carries `id` beside `jobID`.
        result_by_output: `/jobs/{id}/results/{output}` exists.
        answers_head: HEAD works as GET.
        describes_missing: description of a process without `doc`.
        refuses_separators: ids with `,` `;` `$q$` `$$` are refused with 400.
        original_schema: inputs carry `original-schema` and `metadata` (cwl2ogc).
        reports_broker: a broker that is down is a 500, not a job that hangs.
        links_header: answers carry `Link` and the headers of main.cfg's `[headers]`.
        anonymous_status: status without a token where one is wanted.
    """

    chart: str
    any_prefix: bool = True
    verifies_tokens: bool = True
    status_has_id: bool = True
    result_by_output: bool = True
    answers_head: bool = True
    describes_missing: str = ""
    refuses_separators: bool = True
    original_schema: bool = True
    reports_broker: bool = True
    links_header: bool = True
    anonymous_status: int = 401


NEWEST = Flavour("0.10.3")
_FLAVOURS = (
    NEWEST,
    Flavour("0.9.1", verifies_tokens=False),
    Flavour(
        "0.3.22",
        any_prefix=False,
        verifies_tokens=False,
        status_has_id=False,
        result_by_output=False,
        answers_head=False,
        describes_missing="None",
        refuses_separators=False,
        original_schema=False,
        reports_broker=False,
        links_header=False,
        anonymous_status=403,
    ),
)
_BY_CHART = {flavour.chart: flavour for flavour in _FLAVOURS}
_BY_COMMIT = {"8b3d76c": "0.10.3", "62e3700": "0.9.1", "228b328": "0.3.22"}


def flavour_of(chart_label: str, image: str) -> Flavour:
    """Choose the flavour from label `helm.sh/chart`, else from the image's tag `dru-<commit>`."""
    version = chart_label.rpartition("-")[2]
    if version not in _BY_CHART:
        version = _BY_COMMIT.get(image.rpartition(":dru-")[2][:7], NEWEST.chart)
    return _BY_CHART[version]
