"""The names of a model's rules, as asset checks; nothing heavy is imported to know them."""

from __future__ import annotations

import re

from liminal_assets.language.models import Model, Rule

__all__ = ["rule_names", "rule_sentence"]


def rule_names(model: Model) -> list[tuple[str, Rule]]:
    """Each rule with a name of its own: ``roc_auc_at_least``, ``roc_auc_beats_champion``,
    ``roc_auc_by_origin_at_least``, ``integrity``."""
    named: list[tuple[str, Rule]] = []
    taken: set[str] = set()
    for rule in model.validate_:
        base = re.sub(r"\W", "_", _name(rule))
        name, number = base, 1
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name)
        named.append((name, rule))
    return named


def _name(rule: Rule) -> str:
    if rule.integrity is not None:
        return "integrity"
    by = f"_by_{rule.slice}" if rule.slice else ""
    if rule.beats_champion_by is not None:
        return f"{rule.metric}{by}_beats_champion"
    return f"{rule.metric}{by}_" + ("at_least" if rule.at_least is not None else "at_most")


def rule_sentence(rule: Rule) -> str:
    """What a rule asks, for people."""
    if rule.integrity is not None:
        return (
            "The registered model, loaded again, answers as it did in training, always the same, "
            "with no NaN and in time."
        )
    of = f"{rule.metric} of every slice by {rule.slice}" if rule.slice else f"{rule.metric}"
    if rule.beats_champion_by is not None:
        asked = rule.beats_champion_by
        than = f"better than the champion by {asked:g}" if asked else "as good as the champion's"
        return f"{of} on the same rows is at least {than}."
    if rule.at_least is not None:
        return f"{of} is at least {rule.at_least:g}."
    return f"{of} is at most {rule.at_most:g}."
