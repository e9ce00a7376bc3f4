"""When to train again, and when to take a version back: a pure decision over judgements, the same
live and in a replay.

Time here is the data's: a window's end, never the clock of the machine. Lengths of time are
counted on the wall clock of the partitions' time zone, so that a day is a day when clocks change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from liminal_assets.language.monitors import Monitor
from liminal_assets.language.retraining import Retrain
from liminal_assets.steps.decision import Decision, Reason, Retraining, Situation, TakingBack
from liminal_assets.steps.judgement import Cause, Judgement, Window
from liminal_assets.steps.memory import PolicyState, latest, moment_of, version_number

__all__ = ["decide"]


def decide(
    monitor: Monitor,
    state: PolicyState,
    judgements: Iterable[Judgement],
    situation: Situation | None = None,
) -> Decision:
    """Takes note of judgements and decides what the monitor's policy asks for.

    Several reasons lead to one retraining. A breach that can't be answered now is held, and
    answered when it can, unless a later window of the same or a newer model version turns out
    well until then. One in a partition that the model learned from, or that a retraining already
    reached, needs no other: there is nothing new to learn from.

    Args:
        monitor: says when to train again (``retrain``).
        state: what :func:`decide` gave before.
        judgements: new ones, in any order; of a window judged several times the last counts.
    """
    now = situation or Situation()
    policy = monitor.policy or Retrain(model="model", when=())
    in_order = sorted(judgements, key=moment_of)
    new = list({judgement.key: judgement for judgement in in_order}.values())
    state = state.seeing(in_order, latest(state.last, *now.learned.values()))
    state, news = _held(policy, state, new, now)
    if state.first is None:
        state = replace(state, first=_moment(state, now))
    rollback, waits = _rollback(monitor, policy, state, now)
    if rollback:
        # what the next windows of the version before say decides whether to train
        kept = tuple(b for b in state.held if b.model_version != rollback.version)
        answered = (b.key for b in state.held if b.model_version == rollback.version)
        state = replace(state, held=kept, handled=(*state.handled, *answered))
        return Decision(None, rollback.reason, state, rollback)
    reasons = list(_reasons(policy, state, now))
    if not reasons:
        why = _not_in_a_row(policy, state) or news.reason(bool(new))
        return Decision(None, "; ".join(filter(None, [why, waits])), state)
    retraining = _retraining(monitor, state, reasons, now)
    if obstacle := now.busy or _obstacle(policy, state, retraining, now):
        return Decision(None, f"{_named(retraining, state)} waits: {obstacle}", state)
    keys = [breach.key for breach in retraining.breaches]
    state = state.trained(retraining.window.until, keys)
    return Decision(retraining, f"trains again: {retraining.cause}", state)


def _held(
    policy: Retrain, state: PolicyState, new: Sequence[Judgement], now: Situation
) -> tuple[PolicyState, _News]:
    """The state with the breaches that are to be answered, and what came of the others."""
    good = [judgement for judgement in new if judgement.judged and not _bad(policy, judgement)]
    counted = (breach for breach in state.held if _counted(policy, breach))
    waiting = (b for b in counted if not any(_recovered(b, later) for later in good))
    held = {breach.key: breach for breach in waiting if breach.key not in state.handled}
    news = _News()
    for judgement in new:
        key, window = judgement.key, judgement.window
        reached = latest(state.last, now.learned.get(judgement.model_version or ""))
        if not judgement.breach:
            news.good.append(window.key)
        elif not _counted(policy, judgement):
            news.ignored.append(window.key)
        elif key in state.handled:
            news.known.append(window.key)
        elif window.partition and reached and window.until and window.until <= reached:
            news.reached.append(window.key)
        else:
            held[key] = judgement
    return replace(state, held=tuple(sorted(held.values(), key=moment_of))), news


def _bad(policy: Retrain, judgement: Judgement) -> bool:
    """Whether a window doesn't show that all is well again: of broken rows nobody knows."""
    quality = any(cause.check == "quality" for cause in judgement.causes)
    return quality or bool(_counted(policy, judgement))


def _counted(policy: Retrain, judgement: Judgement) -> list[Cause]:
    """The broken bounds of a window that are a reason to train."""
    trigger = policy.trigger("breach")
    return [cause for cause in judgement.causes if trigger and trigger.counts(cause.check)]


class _News:
    """Why new judgements lead to nothing."""

    def __init__(self) -> None:
        self.good: list[str] = []
        self.known: list[str] = []
        self.reached: list[str] = []
        self.ignored: list[str] = []

    def reason(self, any_new: bool) -> str:
        if not any_new:
            return "no window was judged since the last look"
        said = [
            _listed(self.good, "is within bounds", "are within bounds"),
            _listed(self.known, "is a breach already answered", "are breaches already answered"),
            _listed(
                self.reached,
                "is a breach in data that was already learned from",
                "are breaches in data that was already learned from",
            ),
            _listed(self.ignored, "is a breach, which", "are breaches, which", "'when' leaves out"),
        ]
        return "nothing to do: " + "; ".join(text for text in said if text)


def _listed(windows: Sequence[str], one: str, several: str, more: str = "") -> str:
    if not windows:
        return ""
    shown = ", ".join(windows[-5:]) + (f" and {len(windows) - 5} more" if windows[5:] else "")
    return f"{shown} {one if len(windows) == 1 else several} {more}".rstrip()


def _recovered(breach: Judgement, good: Judgement) -> bool:
    """Whether a window that turned out well makes an earlier breach obsolete."""
    if breach.key == good.key:
        return True
    newer = version_number(good.model_version) >= version_number(breach.model_version)
    return moment_of(good) > moment_of(breach) and newer


def _reasons(policy: Retrain, state: PolicyState, now: Situation) -> Iterator[Reason]:
    """What asks for a retraining, in the order in which the policy names it."""
    since = state.reached or state.first
    after = f" since {_shown(since, now)}" if since else ""
    for trigger in policy.when:
        if trigger.breach and state.held and _in_a_row(state) >= policy.consecutive:
            yield _breached(policy, state.held)
        elif trigger.labels and (count := state.new_labels()) >= trigger.labels:
            text = f"labels: {count:,} new ones{after}, of {trigger.labels:,} asked for"
            yield Reason("labels", text, {"labels": count, "asked": trigger.labels})
        elif (
            trigger.every
            and since
            and _wall(_moment(state, now), now) >= trigger.every.after(_wall(since, now))
        ):
            text = f"every {trigger.every}: the model last learned up to {_shown(since, now)}"
            yield Reason("every", text, {"every": str(trigger.every), "since": since.isoformat()})
        elif trigger.fresh and since and len(new := _fresh(since, now)) >= trigger.fresh:
            text = f"fresh: {_listed(new, 'is a new partition', 'are new partitions')}{after}"
            yield Reason("fresh", text, {"partitions": new, "asked": trigger.fresh})


def _breached(policy: Retrain, held: Sequence[Judgement]) -> Reason:
    text = "; ".join(
        f"{breach.window.key}: {', '.join(map(str, _counted(policy, breach)))}"
        for breach in reversed(held)
    )
    evidence = {
        "causes": [breach.id for breach in held],
        "windows": [breach.window.key for breach in held],
    }
    return Reason("breach", text, evidence)


def _fresh(since: datetime, now: Situation) -> list[str]:
    """The partitions that end after a moment, in order."""
    found = [(end, key) for key, end in now.partitions.items() if end > since]
    return [key for _, key in sorted(found)]


def _in_a_row(state: PolicyState) -> int:
    """The most windows in a row, since the last retraining, that were breaches and are held."""
    held = {breach.window.key for breach in state.held}
    longest = run = 0
    for seen in state.each_window():
        if seen.judged:
            run = run + 1 if seen.window in held else 0
            longest = max(longest, run)
    return longest


def _not_in_a_row(policy: Retrain, state: PolicyState) -> str | None:
    if not state.held:
        return None
    names = ", ".join(breach.window.key for breach in state.held)
    return (
        f"the breach in {names} waits: {_in_a_row(state)} of {policy.consecutive} windows in a row"
    )


def _retraining(
    monitor: Monitor, state: PolicyState, reasons: Sequence[Reason], now: Situation
) -> Retraining:
    """The one retraining for some reasons."""
    breaches = state.held if any(reason.kind == "breach" for reason in reasons) else ()
    windows = [breach.window for breach in breaches[-1:]]
    if any(reason.kind != "breach" for reason in reasons):
        windows += [seen.as_window() for seen in state.each_window()[-1:]]
        windows += [Window(key, None, end, key) for key, end in now.partitions.items()]
    window = max(windows, key=lambda w: w.until.timestamp() if w.until else 0.0)
    if breaches:
        key = breaches[-1].key
    else:
        since = state.reached or state.first
        key = f"{monitor.name}:{reasons[0].kind}:{since.isoformat() if since else 'first'}"
    return Retraining(key, tuple(reasons), breaches, window)


def _obstacle(
    policy: Retrain, state: PolicyState, retraining: Retraining, now: Situation
) -> str | None:
    """Why a retraining must wait, in words."""
    moment = latest(state.newest, retraining.window.until)
    if moment and policy.cooldown and state.last:
        until = _wall(state.last, now) + policy.cooldown
        if _wall(moment, now) < until:
            shown = until.isoformat(sep=" ", timespec="minutes")
            return f"the cooldown of the last retraining lasts until a window ends at {shown}"
    if moment and (rate := policy.at_most):
        recent = [m for m in state.asked if _wall(m, now) + rate.every > _wall(moment, now)]
        if len(recent) >= rate.count:
            return f"there were {len(recent)} retrainings lately, and at most {rate} are allowed"
    if policy.min_rows and (rows := state.new_rows()) < policy.min_rows:
        return f"{rows:,} of {policy.min_rows:,} rows have come since the model last learned"
    return None


def _named(retraining: Retraining, state: PolicyState) -> str:
    if retraining.breaches:
        return f"the breach in {', '.join(breach.window.key for breach in state.held)}"
    return f"the retraining ({retraining.cause})"


def _rollback(
    monitor: Monitor, policy: Retrain, state: PolicyState, now: Situation
) -> tuple[TakingBack | None, str]:
    """Whether the version in use goes back to the one before; or why that must wait."""
    rule, promotion, spec = policy.rollback, now.promotion, monitor.performance
    if rule is None or promotion is None or spec is None:
        return None, ""
    live = state.scored(promotion.version, now.learned.get(promotion.version))[-rule.windows :]
    if rule.below == "validation":
        good, what = promotion.validation.get(spec.metric), "on the rows held out"
    else:
        earlier = state.scored(promotion.previous, now.learned.get(promotion.previous))
        earlier = [seen for seen in earlier if seen.window not in {s.window for s in live}]
        scores = [seen.score or 0.0 for seen in earlier[-rule.windows :]]
        good = sum(scores) / len(scores) if scores else None
        what = f"of version {promotion.previous} before it"
    if good is None or len(live) < rule.windows:
        return None, ""
    sign = 1 if spec.at_least is not None else -1
    if not all(sign * (good - (seen.score or 0.0)) > rule.by for seen in live):
        return None, ""
    shown = ", ".join(f"{seen.score:.4g} in {seen.window}" for seen in live)
    reason = (
        f"version {promotion.version} does worse than asked: {spec.metric} {shown}; {what} it is "
        f"{good:.4g}, and {rule.by:g} worse is allowed"
    )
    if now.canary:
        return None, f"the rollback of version {promotion.version} waits: {now.canary}"
    evidence = {
        "metric": spec.metric,
        "windows": {seen.window: seen.score for seen in live},
        rule.below: good,
        "allowed": rule.by,
    }
    return TakingBack(promotion.version, promotion.previous, reason, evidence), ""


def _moment(state: PolicyState, now: Situation) -> datetime | None:
    """The present, in the time of the data."""
    return latest(state.newest, *now.partitions.values())


def _wall(moment: datetime | None, now: Situation) -> datetime:
    """A moment on the wall clock; the beginning of time for none."""
    if moment is None:
        return datetime.min
    return moment.astimezone(now.zone).replace(tzinfo=None) if moment.tzinfo else moment


def _shown(moment: datetime, now: Situation) -> str:
    return _wall(moment, now).isoformat(sep=" ", timespec="minutes")
