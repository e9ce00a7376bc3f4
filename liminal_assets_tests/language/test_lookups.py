"""What a project says of the online store and of lookups: overlays, short forms, mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from liminal_assets.cli.validate import find_mistakes
from liminal_assets.language.loading import load_project
from liminal_assets.storage.online import online_url

YAML = """\
name: shop
env: {STORE: 'redis://localhost/3'}
datasets:
  - {dataset: sales, fetch: {file: sales.csv}}
features:
  - {feature: kept, from: sales, entity: id, timestamp: at, online: true}
  - {feature: timeless, from: sales, entity: id, online: {keep: 7d}}
  - {feature: offline, from: sales, entity: id}
models:
  - {model: one, features: kept, target: y, estimator: sklearn.linear_model.LinearRegression}
  - {model: two, features: offline, target: y, estimator: sklearn.linear_model.LinearRegression}
  - {model: three, features: timeless, target: y, estimator: sklearn.linear_model.LinearRegression}
environments:
  prod:
    storage: {online: '{{ env.STORE }}'}
deployments:
  - {deployment: api, model: one, serve: SERVE}
"""


def written(folder: Path, serve: str = "{}") -> Path:
    (folder / "sales.csv").write_text("id,at,y\n")
    file = folder / "liminal.yml"
    file.write_text(YAML.replace("SERVE", serve))
    return file


def test_an_environment_says_where_the_store_is(tmp_path: Path) -> None:
    file = written(tmp_path)
    assert online_url(load_project(file)) == f"sqlite:///{tmp_path}/.liminal/online.db"
    assert online_url(load_project(file, environment="prod")) == "redis://localhost/3"


def test_a_relative_file_starts_at_the_project(tmp_path: Path) -> None:
    file = written(tmp_path)
    file.write_text(file.read_text() + "storage: {online: 'sqlite:///kept/rows.db'}\n")
    assert online_url(load_project(file)) == f"sqlite:///{tmp_path}/kept/rows.db"


def test_lookups_are_on_and_off_in_a_word(tmp_path: Path) -> None:
    def said(serve: str) -> object:
        found = load_project(written(tmp_path, serve)).spec.deployments[0].serve
        assert found is not None
        return found.features and found.features.model_dump()

    assert said("{}") == said("{features: true}") == said("{features: {}}")
    assert said("{features: false}") is None
    assert said("{features: {missing: null}}") == said("{features: {missing: 'null'}}")


MISTAKES = {
    "no feature online": (
        "model: one,",
        "model: two,",
        "{features: {max_age: 1h}}",
        "isn't in the",
    ),
    "no timestamp": ("model: one,", "model: three,", "{features: {max_age: 1h}}", "no timestamp"),
    "the defaults are none": ("model: one,", "model: two,", "{features: {missing: refuse}}", None),
    "stale without an age": ("", "", "{features: {stale: answer}}", "'stale' goes with"),
    "too short": ("", "", "{features: {timeout: 1ms}}", "between 5ms and 10s"),
}


@pytest.mark.parametrize(("before", "after", "serve", "said"), MISTAKES.values(), ids=MISTAKES)
def test_what_cannot_work_is_told(
    tmp_path: Path, before: str, after: str, serve: str, said: str | None
) -> None:
    file = written(tmp_path, serve)
    text = file.read_text()
    file.write_text(text.replace(f"api, {before}", f"api, {after}") if before else text)
    _, mistakes = find_mistakes(file, None)
    assert len(mistakes) == (said is not None)
    assert all(str(said) in mistake.message for mistake in mistakes)


def test_a_store_that_there_is_not_is_told_without_its_password(tmp_path: Path) -> None:
    file = written(tmp_path)
    file.write_text(file.read_text() + "storage: {online: 'mango://me:hunter2@host/x'}\n")
    _, (mistake,) = find_mistakes(file, None)
    assert (mistake.location.line, mistake.code) == (18, "online-store")
    assert "mango://host/x" in mistake.message
    assert "hunter2" not in str(mistake)


def test_how_long_rows_are_kept_needs_a_timestamp(tmp_path: Path) -> None:
    file = written(tmp_path)
    file.write_text(file.read_text().replace("{keep: 7d}", "{expire_after: 7d}"))
    _, (mistake,) = find_mistakes(file, None)
    assert "'expire_after' needs the feature's 'timestamp'" in mistake.message
