"""What a person follows while agents learn: TensorBoard curves, texts, figures, and a progress bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recenv.core.progress import bar
from recenv.core.runs import Run
from recenv.core.tags import check_tag

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from recenv.agents.base import Policy

Figures = Mapping[str, float]


class Board:
    """A TensorBoard run: one folder of event files.

    Args:
        path: the folder.
    """

    def __init__(self, path: str | Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(path))

    def scalars(self, step: int, values: Figures) -> None:
        """Points of the curves; raises InputError on a tag that is not listed."""
        for tag, value in values.items():
            self._writer.add_scalar(check_tag(tag), float(value), int(step))

    def flat(self, steps: int, values: Figures, points: int = 2) -> None:
        """The same value over all steps: policies without training as lines beside the learners' curves."""
        for k in range(points):
            self.scalars(round(steps * k / (points - 1)), values)

    def text(self, tag: str, text: str, step: int = 0) -> None:
        """A text, shown as it is written."""
        self._writer.add_text(tag, "".join(f"    {line}\n" for line in text.splitlines()), step)

    def figure(self, tag: str, figure: Figure, step: int = 0) -> None:
        """A matplotlib figure, which is closed."""
        self._writer.add_figure(tag, figure, step, close=False)

    def hparams(self, settings: Mapping[str, Any], results: Figures) -> None:
        """A row of the HParams table: settings and what came of them."""
        plain = {k: v if isinstance(v, (bool, int, float, str)) else str(v) for k, v in settings.items()}
        from torch.utils.tensorboard.summary import hparams

        # Written into this run's own event file; `add_hparams` would start another run for it.
        for summary in hparams(plain, {f"hparam/{tag}": float(value) for tag, value in results.items()}):
            self._writer._get_file_writer().add_summary(summary)
        self.scalars_of_results(results)

    def scalars_of_results(self, results: Figures) -> None:
        """The results under the names by which the HParams table finds them."""
        for tag, value in results.items():
            self._writer.add_scalar(f"hparam/{check_tag(tag)}", float(value), 0)

    def close(self) -> None:
        """Write everything out."""
        self._writer.close()


class RunLog:
    """`TrainLog` of a run folder: event files, `progress.csv`, a bar, evaluations and checkpoints when due.

    Args:
        run: the folder. board: its TensorBoard run. steps: environment steps in all.
        evaluate: figures of a policy by tag. save: writes a checkpoint. evaluations: how often, evenly over the steps.
        label: name beside the bar; empty for no bar.
    """

    def __init__(
        self,
        run: Run,
        board: Board,
        steps: int,
        evaluate: Callable[[Policy], Figures] | None = None,
        save: Callable[[Policy, int], None] | None = None,
        evaluations: int = 8,
        label: str = "",
    ) -> None:
        self.run, self.board, self.steps = run, board, steps
        self._evaluate, self._save = evaluate, save
        self._every = max(steps // max(evaluations, 1), 1)
        self._next = self._every
        self._bar = bar(label, steps, "step", bool(label), leave=False)
        self._began = time.monotonic()
        self._paused = 0.0
        self.last: dict[str, float] = {}

    def log(self, step: int, values: Figures) -> None:
        """Scalars of training; `time/fps` is added."""
        spent = time.monotonic() - self._began - self._paused
        self._write(step, {**values, "time/fps": step / spent} if spent > 0 and step else values)

    def checkpoint(self, step: int, policy: Policy) -> None:
        """Move the bar; evaluate and save where that is due."""
        self._bar.update(min(step, self.steps) - self._bar.n)
        if step < self._next:
            return
        while self._next <= step:
            self._next += self._every
        began = time.monotonic()
        if self._evaluate is not None:
            self.last = dict(self._evaluate(policy))
            self._write(step, self.last)
        if self._save is not None:
            self._save(policy, step)
        # Evaluation is not training: it does not count in steps per second.
        self._paused += time.monotonic() - began

    def _write(self, step: int, values: Figures) -> None:
        self.run.progress(step, values)
        self.board.scalars(step, values)

    def close(self) -> None:
        """End the bar."""
        self._bar.close()
