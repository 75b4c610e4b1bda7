"""View of a measurement."""

from migrator.bench import BenchResult
from migrator.cli.output import View
from migrator.cli.progress import duration
from migrator.cli.views.text import counted, table


def measured(result: BenchResult) -> View:
    """All figures, and the design's ratios with what they should reach."""
    return View(document=_document(result), lines=_lines(result))


def _document(result: BenchResult) -> dict[str, object]:
    forecast = result.forecast
    return {
        "schema": "migrator.bench/1",
        "database": result.database,
        "key_service": result.key_service,
        "cores": result.cores,
        "messages": result.messages,
        "conversations": result.conversations,
        "mean_bytes": round(result.mean_bytes, 1),
        "per_second": {
            "aes_gcm": round(result.aes_gcm_per_second),
            "opening": round(result.opening_per_second),
            "planning": round(result.planning_per_second),
            "wraps": round(result.wraps_per_second, 1),
            "unwraps": round(result.unwraps_per_second, 1),
            "insert_select": round(result.messages / result.insert_select_seconds),
            "obvious_script": round(result.obvious_script_per_second),
            "aws_encryption_sdk": None
            if result.aws_encryption_sdk_per_second is None
            else round(result.aws_encryption_sdk_per_second),
        },
        "pipelines": [
            {
                "workers": found.workers,
                "messages_per_second": round(found.messages_per_second),
                "seconds": round(found.seconds, 3),
                "against_insert_select": round(found.seconds / result.insert_select_seconds, 2),
                "cpu_us_per_message": round(found.cpu_us_per_message, 2),
                "machine_cpu_us_per_message": _rounded(found.machine_cpu_us_per_message),
                "busy_share": _rounded(found.busy_share),
                "peak_memory_mib": round(found.peak_memory_mib),
            }
            for found in result.pipelines
        ],
        "ratios": [
            {"name": ratio.name, "measured": round(ratio.measured, 2), "reach": ratio.reach, "reached": ratio.reached}
            for ratio in result.ratios()
        ],
        "plan": None
        if forecast is None
        else {
            "plan_id": forecast.plan_id,
            "conversations": forecast.conversations,
            "messages": forecast.messages,
            "seconds": round(forecast.seconds),
            "key_service_calls": forecast.key_service_calls,
        },
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _lines(result: BenchResult) -> list[str]:
    sdk = result.aws_encryption_sdk_per_second
    parts = [
        ("AES-256-GCM alone, one core", f"{result.aes_gcm_per_second:,.0f}"),
        ("the scheme's opening alone, one core", f"{result.opening_per_second:,.0f}"),
        (f"{result.database}'s own INSERT … SELECT", f"{result.messages / result.insert_select_seconds:,.0f}"),
        ("the obvious script", f"{result.obvious_script_per_second:,.0f}"),
        ("aws-encryption-sdk, a message at a time", "not installed" if sdk is None else f"{sdk:,.0f}"),
        ("planning, conversations", f"{result.planning_per_second:,.0f}"),
        ("key service: wraps", f"{result.wraps_per_second:,.0f}"),
        ("key service: unwraps", f"{result.unwraps_per_second:,.0f}"),
    ]
    runs = [
        (
            found.workers, f"{found.messages_per_second:,.0f}", f"{found.seconds / result.insert_select_seconds:.1f}",
            f"{found.cpu_us_per_message:.1f} µs",
            "?" if found.busy_share is None else f"{100 * found.busy_share:.0f} %",
            f"{found.peak_memory_mib:.0f} MiB",
        )
        for found in result.pipelines
    ]  # fmt: skip
    reached = [
        (ratio.name, f"{ratio.measured:,.2f}", f"{ratio.reach:,g}", "reached" if ratio.reached else "not reached")
        for ratio in result.ratios()
    ]
    what = (
        f"{result.messages:,} messages of {result.mean_bytes:.0f} bytes in {result.conversations:,} conversations, "
        f"{result.database}, {result.cores} cores, {result.key_service}"
    )
    lines = [
        what,
        "",
        *table(["a second", "items"], parts),
        "",
        *table(["workers", "messages/s", "to INSERT … SELECT", "CPU a message", "machine busy", "peak memory"], runs),
        "",
        *table(["figure", "measured", "to reach", ""], reached),
    ]
    if result.forecast is not None:
        plan = result.forecast
        what = f"{counted(plan.messages, 'message')} in {counted(plan.conversations, 'conversation')}"
        calls = counted(plan.key_service_calls, "call")
        lines += [
            "",
            f"plan {plan.plan_id}: {what} would take about {duration(plan.seconds)} and {calls} to the key service",
        ]
    return lines
