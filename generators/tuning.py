"""Reward tuning of a transformer: keep the best of what it writes and learn that, or policy gradient on a leash.

Both end at a gate against reward hacking: the tuned model takes the base model's place only if its lines pass the
guard as often, and are not more alike, than the base model's. What was measured is in the report either way.

Both act on the transformer alone (`TransformerGenerator.alone`): what is tuned, what it is compared with, and what is
handed back where the gate accepts it have no n-grams. The generator given is handed back where it refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from recenv.core import rng
from recenv.core.checks import check_seed, check_type, check_whole
from recenv.core.errors import InputError
from recenv.generators.corpus import Line
from recenv.generators.known_lines import Group
from recenv.generators.quality import self_bleu, unique_rate
from recenv.generators.torch_session import torch_session
from recenv.generators.transformer import TransformerGenerator
from recenv.generators.transformer_data import Batch
from recenv.generators.transformer_fit import drawn_logs, fit_model, twin
from recenv.generators.transformer_sample import sample
from recenv.generators.vocabulary import Condition

Score = Callable[[Sequence[Line]], NDArray[np.float64]]
"""Lines -> (n,) reward of each, higher is better."""
Guard = Callable[[Sequence[Line]], NDArray[np.bool_]]
"""Lines -> (n,) whether each would be let through."""


OWN, GIVEN = "own checks", "guard"


@dataclass(frozen=True)
class TuningConfig:
    """Reward tuning.

    Attributes:
        rounds: of sampling and learning. samples: lines drawn a style and round. keep: share of them, the best that
            pass the guard, that rejection sampling learns from. epochs: passes over them and the training lines.
        fresh: share of a pass that kept lines have (each is repeated as often as that takes), training lines the rest.
        learning_rate: AdamW's. leash: beta, reward lost per nat by which a line is likelier than under the base model.
        batch: lines a style and step of the policy gradient; `rounds` are its steps. temperature: of sampling.
        judged: lines a style on which the gate measures. more_alike: most rise of self-BLEU.
        less_safe: most fall of the pass rate, for the noise of counting.
    """

    rounds: int = 2
    samples: int = 64
    keep: float = 0.25
    epochs: int = 6
    fresh: float = 0.5
    learning_rate: float = 3e-4
    leash: float = 0.1
    batch: int = 16
    temperature: float = 1.0
    judged: int = 60
    more_alike: float = 0.05
    less_safe: float = 0.01

    def __post_init__(self) -> None:
        for name, annotation in self.__annotations__.items():
            check_type("TuningConfig", name, annotation, getattr(self, name))
        for name in ("rounds", "samples", "epochs", "batch"):
            check_whole(name, getattr(self, name))
        check_whole("judged", self.judged, 2)
        if not 0.0 < self.keep <= 1.0:
            raise InputError("option keep", f"{self.keep}", "Give a share above 0, at most 1.")
        if not 0.0 < self.fresh < 1.0:
            raise InputError("option fresh", f"{self.fresh}", "Give a share between 0 and 1.")
        if self.learning_rate <= 0 or self.temperature <= 0 or min(self.leash, self.more_alike, self.less_safe) < 0:
            raise InputError("TuningConfig", "a rate, leash or limit is out of range", "Give positive numbers.")


@dataclass(frozen=True)
class Measured:
    """What the gate looks at, on lines drawn with the constraints: pass rate, self-BLEU, unique rate, mean reward."""

    passed: float
    self_bleu: float
    unique: float
    reward: float


@dataclass(frozen=True)
class Gate:
    """The verdict.

    Attributes:
        before, after: base and tuned model. reasons: why the tuned one was refused; empty if it was taken.
        history: one entry a round. method: `rejection` or `reinforce`. checked_by: whose pass rate it is,
            `own checks` of the generator (grammar above all) or `guard`, the one that was given.
    """

    method: str
    before: Measured
    after: Measured
    reasons: tuple[str, ...]
    history: tuple[dict[str, float], ...]
    checked_by: str

    @property
    def accepted(self) -> bool:
        """Whether the tuned model took the base model's place."""
        return not self.reasons

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self) | {"accepted": self.accepted}


def own_guard(generator: TransformerGenerator) -> Guard:
    """The generator's own checks: slots, claims, digits, and pairs of tokens that training lines have."""

    def passes(lines: Sequence[Line]) -> NDArray[np.bool_]:
        groups = {(g.style, tuple(sorted(g.needs))): g for s in generator.styles for g in generator.groups(s)}
        found = []
        for line in lines:
            group = groups.get((line.style, tuple(sorted(line.needs))), generator.groups(line.style)[0])
            plan = generator.plan(group, generator.slots, Condition.of(line))
            found.append(generator.offered(line.text, True, plan))
        return np.array(found, bool)

    return passes


def judge(before: Measured, after: Measured, config: TuningConfig, checked_by: str = OWN) -> tuple[str, ...]:
    """Why a tuned model is refused: pass rate of what it was `checked_by` down, `self-BLEU` up by more than allowed, no
    more `reward`."""
    checks = {
        f"{checked_by}: pass rate {before.passed:.3f} -> {after.passed:.3f}": after.passed
        < before.passed - config.less_safe,
        f"self-BLEU {before.self_bleu:.3f} -> {after.self_bleu:.3f}": after.self_bleu
        > before.self_bleu + config.more_alike,
        f"reward {before.reward:.4f} -> {after.reward:.4f}": not after.reward > before.reward,
    }
    return tuple(reason for reason, bad in checks.items() if bad)


def measure(generator: TransformerGenerator, score: Score, guard: Guard, config: TuningConfig, seed: int) -> Measured:
    """Pass rate, likeness and mean reward of fresh lines of all styles."""
    lines = _draw(generator, config.judged, seed, config.temperature)
    texts = [line.text for line in lines]
    return Measured(
        float(np.mean(guard(lines))), self_bleu(texts), unique_rate(texts), float(np.mean(_scores(score, lines)))
    )


def rejection_tune(
    generator: TransformerGenerator,
    score: Score,
    config: TuningConfig | None = None,
    seed: int = 0,
    guard: Guard | None = None,
) -> tuple[TransformerGenerator, Gate]:
    """Sample, verify with the guard, score, keep the best of each style, learn these beside the training lines.

    (Best-of-n distillation: Dong et al., "RAFT: reward ranked finetuning for generative foundation model alignment",
    TMLR 2023, algorithm 1; the training lines stay in, as the leash.)

    Returns:
        (the tuned generator, or the one given where the gate refuses it; the verdict).

    Raises:
        InputError: not fitted, or scores that are not finite or of another number than the lines.
    """
    trial = _start(generator, score, config, seed, guard)
    config, guard, base = trial.config, trial.guard, trial.base
    tuned, history = base, list[dict[str, float]]()
    options = replace(base.config, epochs=config.epochs, learning_rate=config.learning_rate, patience=config.epochs)
    for k in range(config.rounds):
        lines = _draw(tuned, config.samples, rng.word(f"rejection {seed} {k}") % 2**31, config.temperature)
        best, reward = _best(lines, score, guard, config.keep)
        with torch_session(seed + k, base.config.threads):
            model = twin(tuned.model)
            for parameter in model.parameters():
                parameter.requires_grad_(True)
            repeats = round(config.fresh / (1.0 - config.fresh) * len(base.known.lines) / len(best))
            rows = [*base.known.lines, *best * max(1, repeats)]
            fit_model(model, rows, [], base.codec, options, seed + k, progress=False)
            tuned = base.with_model(model)
        history.append({"round": k, "kept": len(best), "kept_reward": reward})
    return trial.decide("rejection", generator, tuned, history)


def reinforce_tune(
    generator: TransformerGenerator,
    score: Score,
    config: TuningConfig | None = None,
    seed: int = 0,
    guard: Guard | None = None,
) -> tuple[TransformerGenerator, Gate]:
    """REINFORCE with a leash: gradient of E[R], R = r(line) / sd(r) - beta log(p(line) / p_base(line)).

    r is the score where the guard passes the line, else the lowest score of the batch less 1 standard deviation; sd(r)
    is that of the whole batch, so beta is in standard deviations of reward a nat. The mean of R over the lines of one
    style on the same evidence is the baseline. p is the distribution that the lines were drawn from: the transformer's
    at `config.temperature`, without constraints.
    (Williams, "Simple statistical gradient-following algorithms", 1992; the leash as in Ziegler et al., "Fine-tuning
    language models from human preferences", 2019, section 2.)

    Returns, raises: as `rejection_tune`; `history` has reward and divergence (nats a line) of each step.
    """
    trial = _start(generator, score, config, seed, guard)
    config, guard, base = trial.config, trial.guard, trial.base
    history: list[dict[str, float]] = []
    with torch_session(seed, base.config.threads):
        policy = twin(base.model)
        for parameter in policy.parameters():
            parameter.requires_grad_(True)
        optimiser = torch.optim.AdamW(policy.parameters(), lr=config.learning_rate, weight_decay=0.0)
        for k in range(config.rounds):
            history.append({"round": float(k)} | _step(base, policy, optimiser, score, guard, config))
        for parameter in policy.parameters():
            parameter.requires_grad_(False)
    return trial.decide("reinforce", generator, base.with_model(policy), history)


def _step(
    generator: TransformerGenerator,
    policy: PreTrainedModel,
    optimiser: torch.optim.Optimizer,
    score: Score,
    guard: Guard,
    config: TuningConfig,
) -> dict[str, float]:
    codec, lines, rows, prefixes = generator.codec, list[Line](), list[list[int]](), list[list[int]]()
    for group in _groups(generator):
        condition = Condition(group.style, group.needs)
        plan = generator.plan(group, generator.slots, condition)
        drawn = sample(
            policy, codec, plan, config.batch, config.temperature, generator.config.max_tokens, constrained=False
        )
        rows += drawn
        prefixes += [codec.prefix(condition)] * len(drawn)
        lines += [Line(group.style, codec.decode(ids), group.needs) for ids in drawn]
    reward = _scores(score, lines)
    reward = np.where(guard(lines), reward, reward.min() - (reward.std() or 1.0))
    batch = Batch.of(prefixes, rows, rows, codec.pad)
    policy.eval()
    logs = drawn_logs(policy, batch, codec, config.temperature)
    with torch.no_grad():
        apart = (logs - drawn_logs(generator.model, batch, codec, config.temperature)).numpy().astype(np.float64)
    gain = reward / (reward.std() or 1.0) - config.leash * apart
    gain -= np.repeat(gain.reshape(-1, config.batch).mean(1), config.batch)
    loss = -(logs * torch.from_numpy(gain).to(logs.dtype)).mean()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
    optimiser.step()
    return {"reward": float(reward.mean()), "divergence": float(apart.mean())}


def _groups(generator: TransformerGenerator) -> list[Group]:
    return [g for style in generator.styles for g in generator.groups(style) if g.always <= generator.slots]


def _draw(generator: TransformerGenerator, count: int, seed: int, temperature: float) -> list[Line]:
    """`count` lines of each style."""
    return [line for style in generator.styles for line in generator.draw(style, count, seed, temperature)]


def _best(lines: list[Line], score: Score, guard: Guard, share: float) -> tuple[list[Line], float]:
    """(distinct lines that pass, the best `share` of each style's; their mean reward)."""
    passed = [line for line, good in zip(lines, guard(lines)) if good]
    distinct = list({line.text: line for line in passed}.values())
    if not distinct:
        raise InputError("tuning", "the guard passed no line", "Train the generator longer, or mend the guard")
    reward = _scores(score, distinct)
    kept: list[int] = []
    for style in dict.fromkeys(line.style for line in distinct):
        own = [i for i, line in enumerate(distinct) if line.style == style]
        own.sort(key=lambda i: -reward[i])
        kept += own[: max(1, round(share * len(own)))]
    return [distinct[i] for i in kept], float(reward[kept].mean())


def _scores(score: Score, lines: Sequence[Line]) -> NDArray[np.float64]:
    found = np.asarray(score(lines), np.float64)
    if found.shape != (len(lines),) or not np.isfinite(found).all():
        what = f"shape {found.shape} for {len(lines)} lines, {int((~np.isfinite(found)).sum())} not finite"
        raise InputError("tuning score", what, "Return one finite number for each line")
    return found


@dataclass(frozen=True)
class _Trial:
    """What both methods begin with; `base` has no n-grams."""

    base: TransformerGenerator
    config: TuningConfig
    guard: Guard
    checked_by: str
    before: Measured
    score: Score
    seed: int

    def decide(
        self,
        method: str,
        given: TransformerGenerator,
        tuned: TransformerGenerator,
        history: list[dict[str, float]],
    ) -> tuple[TransformerGenerator, Gate]:
        after = measure(tuned, self.score, self.guard, self.config, _judging(self.seed))
        reasons = judge(self.before, after, self.config, self.checked_by)
        gate = Gate(method, self.before, after, reasons, tuple(history), self.checked_by)
        return (tuned if gate.accepted else given), gate


def _start(
    generator: TransformerGenerator, score: Score, config: TuningConfig | None, seed: int, guard: Guard | None
) -> _Trial:
    if not generator.fitted:
        raise InputError("tuning", "the generator has not been trained", "Call fit first")
    check_seed(seed)
    config, base, checked_by = config or TuningConfig(), generator.alone(), GIVEN if guard else OWN
    guard = guard or own_guard(base)
    before = measure(base, score, guard, config, _judging(seed))
    return _Trial(base, config, guard, checked_by, before, score, seed)


def _judging(seed: int) -> int:
    """A seed of lines on which nothing was tuned."""
    return rng.word(f"gate {seed}") % 2**31
