"""`recenv evaluate`: the value of a run's policy, and of policies that need no training, on the test slice of a log."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recenv.agents.base import entry
from recenv.agents.export_run import policy_of_run
from recenv.agents.training import make_policy
from recenv.core.errors import InputError
from recenv.env.options import EnvOptions
from recenv.trust.log_problem import read_problem
from recenv.trust.off_policy import SLATE, gain_level, on_policy, value_policies
from recenv.trust.ope import PROPENSITIES_WRONG
from recenv.trust.problem import Choose, Settings
from recenv.trust.session_value import session_values
from recenv.world import World

if TYPE_CHECKING:
    from recenv.agents.base import Policy

RUN = "the run's policy"
PER_DECISION = "reward per decision, in the states that the logging policy led to"


@dataclass(frozen=True)
class Request:
    """What is to be valued.

    Args:
        data: folder of `recenv prepare`. run: folder of a trained policy, or None. world: the world's folder; the run's
            own if None. agents: names of policies that need no training. settings: see there; its reward is chosen
            from what the run was trained for where `reward` is None.
    """

    data: Path
    run: Path | None
    world: Path | None
    agents: tuple[str, ...]
    reward: str | None
    settings: Settings


def evaluate_off_policy(request: Request) -> dict[str, Any]:
    """Value every policy asked for; reads the test slice once, and counts it.

    Returns:
        JSON-able: `policies` (see `Evaluated.as_dict`), `logged`, `audit`, `seen`, `sessions`, `test_reads`, ...

    Raises:
        InputError: nothing asked for, an agent that must be trained, data of another catalogue, no such response, no
            test slice. UnsupportedError: a log without single decisions. ArtefactError: damaged run, world or data.
    """
    world, env, policies = _policies(request)
    reward = request.reward or _objective(env)
    settings = replace(request.settings, reward=reward)
    read = read_problem(request.data, world, settings, _expected(world, reward))
    problem, found = read.problem, read.problem.found
    chosen = {name: (policy.observation, policy.probabilities) for name, policy in policies.items()}
    evaluated = value_policies(problem, chosen)
    logged = on_policy(problem)
    report = {
        "data": str(request.data),
        "run": None if request.run is None else str(request.run),
        "split": "test",
        "test_reads": read.meta["test_reads"],
        "seen": [*read.seen, *_policy_saw(request.run)],
        "reward": reward,
        "unit": PER_DECISION,
        "decisions": len(found),
        "weight": float(found.weight.sum()),
        "set_aside": found.aside,
        "slates": found.slates,
        "positions_missing": int((~found.placed).sum()),
        "propensity": {"known": problem.behaviour.known, "how": problem.behaviour.how},
        "causal": read.causal,
        "audit": None if problem.audit is None else problem.audit.as_dict(),
        "logged": logged.as_dict(),
        "policies": [e.as_dict() for e in evaluated],
        "interval": settings.interval,
        "multiplicity": _multiplicity(settings.level, len(evaluated)),
        "groups": problem.groups.how if "mips" in settings.estimators else None,
        "asked": list(settings.estimators),
        "sessions": session_values(problem, chosen),
        "assumed": list(read.meta["assumed"]),
    }
    return {key: _finite(value) for key, value in report.items()}


def _multiplicity(level: float, policies: int) -> str:
    if policies == 1:
        return f"One policy: its gain over logged is at {100 * level:.3g} %"
    each = 100 * gain_level(level, policies)
    return (
        f"{policies} policies: each gain over logged (interval and Lambda) is at {each:.4g} %, so that all hold at "
        f"once with {100 * level:.3g} % (Bonferroni); the intervals of the values are each policy's own, at "
        f"{100 * level:.3g} %, and nothing corrects for evaluating again on the same slice"
    )


def _finite(value: Any) -> Any:
    """The value with null for numbers that JSON does not have (an unbounded hyper-parameter, say)."""
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _policies(request: Request) -> tuple[World, EnvOptions, dict[str, Policy]]:
    """The world, the environment's options and every policy by its name in the table."""
    policies: dict[str, Policy] = {}
    if request.run is not None:
        policy, world, env, _ = policy_of_run(request.run, request.world)
        policies[f"{policy.name} ({RUN})"] = policy
    elif request.world is not None:
        world = World.load(request.world)
        env = EnvOptions().resolve(world)
    else:
        raise InputError("evaluate", "needs --run or --world", "Give a trained run, or a world with --agents.")
    for name in request.agents:
        if entry(name).trainable:
            raise InputError("agents", f"{name!r} has to be trained", "Give its run by --run.")
        shown = "logged (fitted)" if name == "logged" else name
        policies[shown] = make_policy(name, world, env, {}, request.settings.seed)
    if not policies:
        raise InputError("evaluate", "no policy to value", "Give --run, or names by --agents.")
    return world, env, policies


def _objective(env: EnvOptions) -> str:
    """The response that the policy was trained for: what weighs most in its reward, revenue before the others."""
    if env.w_revenue:
        return "revenue"
    return "purchase" if (env.w_purchase or 0) >= (env.w_click or 0) and env.w_purchase else "click"


def _expected(world: World, reward: str) -> Choose | None:
    """Expected reward of each action by the world's response model; None where it does not model this response."""
    if reward not in world.responses:
        return None
    weights = {f"w_{name}": float(name == reward) for name in world.responses}
    policy = make_policy("model-greedy", world, EnvOptions(), {"reward": "gross", **weights}, 0)
    values: Choose = policy.values
    return values


def _policy_saw(run: Path | None) -> list[str]:
    if run is None:
        return []
    return ["The run's policy was trained in that world alone: on simulated responses, from start states of train"]


def table(report: dict[str, Any]) -> list[list[str]]:
    """Rows of the table: policy, value, interval, over what was logged, effective sample size, verdict."""
    rows = [["policy", f"{report['reward']} per decision", "interval", "over logged", "ESS", "verdict"]]
    rows.append(["logged, as it was", *_figures(report["logged"]), "", *_worth(report["logged"])])
    for policy in report["policies"]:
        best = next(e for e in policy["estimates"] if e["name"] == policy["estimator"])
        best = best | {"verdict": policy["verdict"]}
        rows.append([policy["name"], *_figures(best), _gain(policy, best), *_worth(best)])
    return rows


def _figures(e: dict[str, Any]) -> list[str]:
    if e["verdict"] != "OK":
        return [e["verdict"], "-"]
    return [f"{e['value']:.4g}", f"{e['low']:.4g} to {e['high']:.4g}"]


def _worth(e: dict[str, Any]) -> list[str]:
    return [f"{e['ess']:,.0f} of {e['n']:,}", e["verdict"]]


def _gain(policy: dict[str, Any], best: dict[str, Any]) -> str:
    gain = policy["gain"]
    if gain is None or best["verdict"] != "OK":
        return "-"
    return f"{gain['gain_low']:+.4g} ({gain['gain_low_limit']:+.4g} to {gain['gain_high_limit']:+.4g})"


def text(report: dict[str, Any], markdown: bool = False) -> str:
    """The report for people: what was valued on what, the table, and what each figure rests on."""
    rows = table(report)
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    if markdown:
        lines = [f"| {line} |" for line in lines]
        lines.insert(1, "|" + "---|" * len(rows[0]))
    head = [
        f"Off-policy value on the test slice of {report['data']}: {report['decisions']:,} decisions; read no. "
        f"{report['test_reads']}",
        *_weighted(report),
        f"Unit: {report['unit']}",
        f"Propensities: {report['propensity']['how']}",
        f"Intervals of values: {report['interval']}, clustered by user; of 'over logged': doubly robust, normal",
        report["multiplicity"],
    ]
    if report["groups"]:
        head.append(f"Groups of mips: {report['groups']}")
    head.append(f"Causal verdict: {report['causal']['verdict']}. {' '.join(report['causal']['why'])}")
    bullets = [*head, *report["seen"], *_words(report), *report["sessions"]["words"]]
    if report["set_aside"]:
        bullets.append("Set aside: " + ", ".join(f"{reason} {n:,}" for reason, n in report["set_aside"].items()))
    bullets += _places(report)
    start = "- " if markdown else "  "
    return "\n".join([*lines, "", *(start + bullet for bullet in bullets)]) + "\n"


def _weighted(report: dict[str, Any]) -> list[str]:
    if report["weight"] == report["decisions"]:
        return []
    return [f"Rows carry weights: the {report['decisions']:,} rows stand for {report['weight']:,.0f} decisions"]


def _places(report: dict[str, Any]) -> list[str]:
    """What is assumed of places in a slate."""
    found = []
    if report["slates"]:
        found.append(f"Slates: every figure {SLATE}; what places do to one another is left out")
    if missing := report["positions_missing"]:
        found.append(f"{missing:,} of {report['decisions']:,} decisions have no position: taken as the first place")
    return found


def _asked(policy: dict[str, Any], names: Sequence[str]) -> list[str]:
    """Estimates that were asked for by name, beside the one that is quoted."""
    if policy["verdict"] == PROPENSITIES_WRONG:
        return []
    others = [e for e in policy["estimates"] if e["name"] in names and e["name"] != policy["estimator"]]
    return [f"{policy['name']}, by {e['name']}: {e['headline']}" for e in others]


def _words(report: dict[str, Any]) -> Sequence[str]:
    found = [f"{policy['name']}: {policy['headline']}" for policy in report["policies"]]
    found += [line for policy in report["policies"] for line in _asked(policy, report["asked"])]
    sure = [p for p in report["policies"] if p["robust"] is not None and p["verdict"] == "OK"]
    found += [f"{p['name']}: {p['robust']['words']}" for p in sure]
    found += [f"{p['name']}: {p['overlap']['words']}" for p in report["policies"] if not p["overlap"]["enough"]]
    return found
