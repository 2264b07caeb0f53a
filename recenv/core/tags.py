"""Every TensorBoard tag, once, with meaning and unit. The x axis is environment steps unless a tag says otherwise."""

from __future__ import annotations

from dataclasses import dataclass

from recenv.core.errors import InputError


@dataclass(frozen=True)
class Tag:
    """One series: its meaning and unit."""

    meaning: str
    unit: str


TAGS: dict[str, Tag] = {
    "rollout/ep_rew_mean": Tag("mean return of the last training episodes", "reward per session"),
    "rollout/ep_len_mean": Tag("mean length of the last training episodes", "slots"),
    "rollout/exploration_rate": Tag("probability of an exploring action", "share"),
    "time/fps": Tag("environment steps per second of training", "1/s"),
    "train/loss": Tag("training loss of the agent", "agent's own"),
    "train/learning_rate": Tag("step size of the optimiser", "1"),
    "train/n_updates": Tag("gradient steps so far", "count"),
    "train/q_mean": Tag("mean value of the chosen actions in a batch", "reward"),
    "train/grad_norm": Tag("norm of the gradient before clipping", "1"),
    "train/masked_share": Tag("training actions that were masked and showed nothing", "share of slots"),
    "eval/mean_reward": Tag("mean return on validation users, in the environment's reward", "reward per session"),
    "eval/mean_ep_length": Tag("mean length of a session on validation users", "slots"),
    "shop/gross_value_per_session": Tag("expected reward of all responses, less cost", "reward per session"),
    "shop/incremental_value_per_session": Tag("expected reward that showing adds, less cost", "reward per session"),
    "shop/ctr": Tag("clicks per exposure, sampled", "share"),
    "shop/purchase_rate": Tag("purchases per exposure, sampled", "share"),
    "shop/revenue_per_session": Tag("revenue, sampled", "currency per session"),
    "shop/incremental_revenue_per_session": Tag("expected revenue that showing adds", "currency per session"),
    "shop/item_coverage": Tag("items shown at least once", "share of the catalogue"),
    "shop/exposure_gini": Tag("inequality of exposures over items: 0 even, towards 1 one item has all", "1"),
    "shop/recall_at_k": Tag("bought items among the k best of the policy, on logged visits", "share"),
    "shop/ndcg_at_k": Tag("discounted gain of bought items among the k best of the policy, on logged visits", "share"),
    "shop/copy_entropy": Tag("entropy of the styles shown, as a share of its maximum", "share"),
    "shop/top_style_share": Tag("decisions that show the commonest style", "share"),
    "shop/copy_gain_per_session": Tag("gross value over the best constant style", "reward per session"),
    "shop/leave_rate": Tag("sessions that the user left before the horizon", "share"),
    "shop/masked_share": Tag("actions that were masked and showed nothing", "share of slots"),
    "shop/nothing_share": Tag("slots in which nothing was shown", "share of slots"),
    "response/train_loss": Tag("weighted log-loss of the response model in training; x axis epochs", "nats"),
    "response/validation_loss": Tag("weighted log-loss on validation; x axis epochs", "nats"),
    "response/auc": Tag("weighted area under the ROC curve on validation", "1"),
    "response/calibration_ratio": Tag("predicted over real responses", "1"),
    "copy/templates_kept": Tag("templates that passed the guardrails", "count"),
    "copy/rejected": Tag("lines that the guardrails refused", "count"),
    "gan/generator_loss": Tag("loss of the copy generator; x axis updates", "nats"),
    "gan/discriminator_loss": Tag("loss of the copy discriminator; x axis updates", "nats"),
    "gan/anchor_loss": Tag("maximum-likelihood part of the generator's loss; x axis updates", "nats per token"),
    "gan/adversarial_loss": Tag("adversarial part of the generator's loss; x axis updates", "nats"),
    "gan/discriminator_accuracy": Tag("P(a real held-out line scores above a generated one); x axis updates", "share"),
    "gan/validation_nll": Tag("loss of validation lines; x axis updates", "nats per token"),
    "gan/score": Tag(
        "entropy - reference_nll - validation_nll, which chooses the checkpoint; x axis updates", "nats per token"
    ),
    "gan/reference_nll": Tag("loss of samples to n-grams of real lines; x axis updates", "nats per token"),
    "gan/entropy": Tag("loss of samples to the generator itself; x axis updates", "nats per token"),
    "gan/bleu": Tag("likeness of samples to validation lines; x axis updates", "1"),
    "gan/self_bleu": Tag("likeness of samples to each other; x axis updates", "1"),
    "gan/distinct_2": Tag("distinct pairs of tokens in samples; x axis updates", "share"),
    "gan/oracle_nll": Tag("how unlikely samples are to the synthetic oracle; x axis updates", "nats per token"),
}


def check_tag(tag: str) -> str:
    """The tag itself.

    Raises:
        InputError: it is not listed: a misspelt tag would make a series that nobody finds.
    """
    if tag not in TAGS:
        raise InputError(f"tag {tag!r}", "is not listed", "Add it, with its meaning and unit, to recenv/core/tags.py.")
    return tag
