"""`transformer`: a small causal model mixed with n-grams writes lines with slots, under constraints."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from recenv.core import rng
from recenv.core.checks import check_seed
from recenv.core.errors import InputError
from recenv.generators.base import Request, Variant, check_asked, digest
from recenv.generators.corpus import Line
from recenv.generators.guard_claims import claim_words
from recenv.generators.known_lines import Group, Known
from recenv.generators.templates import check_slots
from recenv.generators.torch_session import torch_session
from recenv.generators.transformer_config import TransformerConfig
from recenv.generators.transformer_data import Codec, Examples, lines_to_fit
from recenv.generators.transformer_files import load_weights, read_mixture, read_settings, weight_bytes
from recenv.generators.transformer_fit import fit_model, token_logs_of
from recenv.generators.transformer_mixture import Mixture, mixture_logs
from recenv.generators.transformer_mixture import choose as choose_mixture
from recenv.generators.transformer_pools import PoolKey, choose, variant
from recenv.generators.transformer_sample import Plan, line_reasons, neighbours, sample
from recenv.generators.vocabulary import Condition, Vocabulary

FORMAT = "recenv-transformer-2"
SHARPER = 0.8
"""Factor of the temperature where a mixture writes lines to offer. Smoothed counts give every word its share, as they
should to foretell a line; of lines so drawn fewer than half as many have grammar that training lines have."""


class TransformerGenerator:
    """Lines sampled from a mixture of a causal transformer, given style, evidence, category, segment and channel, and
    of n-grams of the training lines, given the style (`recenv.generators.transformer_mixture.Mixture`).

    The transformer alone is a better model of unseen lines than those n-grams, the mixture a better one than both. Its
    share and temperature are chosen in `fit` on the lines that stop training. `alone` is the same without n-grams.

    For each style, evidence and set of slots lines are sampled in pools whose random stream is keyed by these and the
    seed; a request draws from the pools by its own key. So what it gets depends on no other request. A line is
    offered if it is finished, has its slots right, says no claim word without the evidence, and has no more than
    `TransformerConfig.unseen` neighbouring tokens that no training line has.

    Args:
        slots: facts that lines may ask for, as in `TemplateGenerator`. config: see `TransformerConfig`.
        claims: words that no line says unless lines of the corpus on the same evidence do; those of the guard if None.

    Raises:
        InputError: unknown slot, or `product` not among the slots.
    """

    name = "transformer"
    mixes = True
    """Whether `fit` makes a mixture with n-grams."""

    def __init__(
        self,
        slots: Iterable[str] = ("product", "size", "price"),
        config: TransformerConfig | None = None,
        claims: Iterable[str] | None = None,
    ) -> None:
        self.slots = check_slots(slots)
        self.config = config or TransformerConfig()
        self.claims = frozenset(claim_words() if claims is None else claims)
        self.fitted = False
        self.mixture: Mixture | None = None
        self.hash = ""
        self._pools: dict[PoolKey, list[tuple[str, float]]] = {}

    @property
    def styles(self) -> tuple[str, ...]:
        """Styles of the training lines; none before `fit`."""
        return self.known.styles if self.fitted else ()

    def fit(
        self, rows: Sequence[Line], validation: Sequence[Line] = (), seed: int = 0, progress: bool = True
    ) -> dict[str, Any]:
        """Train on `rows` until the perplexity of `validation` rises; a tenth of `rows` is set aside if there is none.

        Returns:
            lines, validation (counts), vocabulary, epochs, perplexity (of validation lines), alone (the transformer's),
            mixture (its share of n-grams and temperature; empty where there is none), history.

        Raises:
            InputError: no line, or fewer than 20 to set a tenth of aside.
        """
        check_seed(seed)
        lines, held = lines_to_fit(self.name, rows, validation)
        with torch_session(seed, self.config.threads):
            codec, model = self._begin(lines)
            model, history = self._train(model, codec, lines, held, seed, progress)
            self.mixture = choose_mixture(model, lines, held, codec, self.config) if self.mixes else None
            self._settle(model, codec, lines)
        perplexity = self.perplexity(held)
        alone = self.alone().perplexity(held) if self.mixture else perplexity
        return {
            "lines": len(lines),
            "validation": len(held),
            "vocabulary": len(codec),
            "epochs": len(history),
            "perplexity": perplexity,
            "alone": alone,
            "mixture": self.mixture.to_json() if self.mixture else {},
            "history": history,
        }

    def generate(self, requests: Sequence[Request], n: int, seed: int, temperature: float = 1.0) -> list[Variant]:
        """See `Generator.generate`; fewer than `n` where the pools hold no more that fit the item.

        Raises:
            InputError: not fitted, n below 1, a bad seed or temperature, or an unknown style.
        """
        self._check_fitted()
        check_asked(n, seed, temperature)
        heat = float(temperature)
        return [
            variant(self, request, line, seed, heat)
            for request in requests
            for line in choose(self, request, n, seed, heat)
        ]

    def log_prob(self, lines: Sequence[Line]) -> NDArray[np.float64]:
        """(n,) log p(text, end | style), every other control "any", no constraint; -inf for words it does not know."""
        self._check_fitted()
        bare = [Line(line.style, line.text) for line in lines]
        found = np.array([logs.sum() for logs in self.token_logs(bare)], np.float64)
        strange = [self.codec.unknown in self.codec.encode(line.text) for line in lines]
        return np.where(np.array(strange, bool), -np.inf, found)

    def perplexity(self, lines: Sequence[Line], known_words: bool = False, temperature: float = 1.0) -> float:
        """Per token of its own vocabulary, given each line's whole condition; `known_words` leaves unknown ones out.

        Of p^(1 / temperature) over its sum: a temperature chosen on other lines corrects a model that is too sure.

        Raises:
            InputError: not fitted, or no line.
        """
        logs = self.token_logs(lines, known_words, temperature)
        if not logs:
            raise InputError("perplexity", "no line", "Give at least one")
        return math.exp(-float(np.concatenate(logs).mean()))

    def token_logs(
        self, lines: Sequence[Line], known_words: bool = False, temperature: float = 1.0
    ) -> list[NDArray[np.float64]]:
        """For each line log p of its tokens and its end, given its whole condition, without constraints."""
        self._check_fitted()
        skip = self.codec.unknown if known_words else None
        examples = Examples(lines, self.codec, self.config)
        with torch_session(0, self.config.threads):
            if self.mixture is None:
                return token_logs_of(self.model, examples, skip, temperature)
            return mixture_logs(self.model, examples, self.mixture, skip, temperature)

    def alone(self) -> TransformerGenerator:
        """The same generator without n-grams: its transformer at temperature 1; itself where there are none."""
        self._check_fitted()
        if self.mixture is None:
            return self
        made = copy.copy(self)
        made.mixture, made.config = None, replace(self.config, ngram_share=0.0)
        made._settle(self.model, self.codec, list(self.known.lines))
        return made

    def draw(
        self,
        style: str,
        count: int,
        seed: int,
        temperature: float = 1.0,
        constrained: bool = True,
        verified: bool = False,
    ) -> list[Line]:
        """`count` lines of a style as sampled, for an item that has all evidence; groups in turn by evidence.

        A line's `needs` are the evidence that it was asked to rest on. `verified` draws as `generate` does (`SHARPER`)
        and leaves out what it would not offer, so fewer may come.

        Raises:
            InputError: not fitted, an unknown style, a bad seed or temperature.
        """
        self._check_fitted()
        check_asked(count, seed, temperature)
        drawn, heat = list[Line](), temperature * (self._sharp if verified else 1.0)
        groups = [g for g in self.groups(style) if g.always <= self.slots]
        for k, group in enumerate(groups):
            share = (count - k + len(groups) - 1) // len(groups)
            plan = self.plan(group, self.slots, Condition(style, group.needs))
            with torch_session(rng.word(f"draw {style} {k} {seed}") % 2**31, self.config.threads):
                rows = self._sample(plan, share, heat, constrained) if share else []
            kept = [text for text, ended in rows if not verified or self.offered(text, ended, plan)]
            drawn += [Line(style, text, group.needs) for text in kept]
        return drawn

    def groups(self, style: str) -> tuple[Group, ...]:
        """Groups of a style by evidence.

        Raises:
            InputError: the training lines did not have the style.
        """
        if style not in self.known.groups:
            raise InputError("styles", f"unknown style {style}", f"Choose among {', '.join(self.styles)}")
        return self.known.groups[style]

    def known_condition(self, condition: Condition) -> Condition:
        """The condition with values that training lines never had left out, so that pools are shared."""
        known = {f: {getattr(line, f) for line in self.known.lines} for f in ("category", "segment", "channel")}
        left_out: dict[str, Any] = {f: "" for f, values in known.items() if getattr(condition, f) not in values}
        return replace(condition, **left_out)

    def plan(self, group: Group, slots: frozenset[str], condition: Condition) -> Plan:
        """What a pool may hold; an earlier price only where it is the group's evidence."""
        kept = slots if "was_price" in group.needs else slots - {"was_price"}
        return Plan(group, kept, condition, self.claims)

    def offered(self, text: str, ended: bool, plan: Plan) -> bool:
        """Whether a sampled line passes this generator's own checks (the guard has more)."""
        bad = line_reasons(text, ended, plan.slots, plan.group.always, plan.barred)
        strange = self.known.off_style(text, plan.group.style)
        return not bad and not strange and self.known.unseen(text) <= self.config.unseen

    def pool(self, key: PoolKey) -> list[tuple[str, float]]:
        """Distinct offered lines of one pool with their log-probabilities, in the order drawn; made when first asked.

        The same whatever was asked before: the random stream is keyed by the pool alone.
        """
        if key not in self._pools:
            plan = self.plan(key.group, key.slots, key.condition)
            with torch_session(rng.word(key.text) % 2**31, self.config.threads):
                rows = self._sample(plan, self.config.pool, self._sharp * key.temperature, True)
            texts = list(dict.fromkeys(text for text, ended in rows if self.offered(text, ended, plan)))
            logs = self.log_prob([Line(key.group.style, text) for text in texts])
            self._pools[key] = list(zip(texts, (float(x) for x in logs)))
        return self._pools[key]

    def save(self, directory: Path) -> None:
        """Write `model.safetensors` and `generator.json` (config, tokenizer, training lines, hash).

        Raises:
            InputError: not fitted.
        """
        self._check_fitted()
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "model.safetensors").write_bytes(self._weights())
        text = json.dumps(self._settings() | {"hash": self.hash}, indent=1, ensure_ascii=False) + "\n"
        (directory / "generator.json").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> TransformerGenerator:
        """The inverse of `save`.

        Raises:
            ArtefactError: a file is missing, changed, or of another format.
        """
        saved = read_settings(directory, FORMAT)
        made = cls(saved.slots, saved.config, saved.claims)
        codec = saved.read(lambda entries: Vocabulary.from_json(entries["vocabulary"]))
        with torch_session(0, made.config.threads):
            model = made._model(codec)
            load_weights(model, directory / "model.safetensors")
        made.mixture = read_mixture(saved, codec)
        made._settle(model, codec, saved.lines)
        saved.check_hash(made.hash)
        return made

    def with_model(self, model: PreTrainedModel) -> TransformerGenerator:
        """The same generator with other weights (of a tuned model); the mixture keeps its share."""
        made = copy.copy(self)
        made._settle(model, self.codec, list(self.known.lines))
        return made

    def _begin(self, lines: Sequence[Line]) -> tuple[Codec, PreTrainedModel]:
        codec = Vocabulary.train(lines)
        return codec, self._model(codec)

    def _train(
        self,
        model: PreTrainedModel,
        codec: Codec,
        lines: Sequence[Line],
        held: Sequence[Line],
        seed: int,
        progress: bool,
    ) -> tuple[PreTrainedModel, list[dict[str, float]]]:
        return model, fit_model(model, lines, held, codec, self.config, seed, progress)

    def _model(self, codec: Codec) -> PreTrainedModel:
        c = self.config
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=len(codec), n_positions=c.max_tokens + 16, n_embd=c.width, n_layer=c.layers, n_head=c.heads,
                resid_pdrop=c.dropout, embd_pdrop=c.dropout, attn_pdrop=c.dropout, bos_token_id=None,
                eos_token_id=codec.end, pad_token_id=codec.pad,
            )
        )  # fmt: skip

    def _settle(self, model: PreTrainedModel, codec: Codec, lines: Sequence[Line]) -> None:
        self.model, self.codec, self.known = model.eval(), codec, Known(lines)
        self._beside, self._sharp = neighbours(codec, self.known), SHARPER if self.mixture else 1.0
        self.fitted = True
        self._pools = {}
        self.hash = digest(self._weights() + json.dumps(self._settings(), sort_keys=True).encode())[:16]

    def _sample(self, plan: Plan, count: int, temperature: float, constrained: bool) -> list[tuple[str, bool]]:
        """(text, whether it ended) of lines as sampled; within a session."""
        c = self.config
        rows = sample(
            self.model, self.codec, plan, count, temperature, c.max_tokens, self._beside, constrained, self.mixture
        )
        return [(self.codec.decode(ids), ids[-1:] == [self.codec.end]) for ids in rows]

    def _weights(self) -> bytes:
        return weight_bytes(self.model)

    def _settings(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "slots": sorted(self.slots),
            "config": asdict(self.config),
            "claims": sorted(self.claims),
            "mixture": self.mixture.to_json() if self.mixture else None,
            "vocabulary": self.codec.to_json(),
            "lines": [asdict(replace(line, needs=tuple(line.needs))) for line in self.known.lines],
        }

    def _check_fitted(self) -> None:
        if not self.fitted:
            raise InputError(self.name, "has not been trained", "Call fit with lines of the corpus, or load one")
