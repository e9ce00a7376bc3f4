"""What one would write by hand: Dagster, DuckDB, Great Expectations, scikit-learn and MLflow."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from benchmarks.run.project import CATEGORICAL, EXPECTATIONS, NUMERIC

__all__ = ["assets_of"]

FEATURES = [*NUMERIC, *CATEGORICAL]
REQUIREMENTS = ["scikit-learn", "pandas", "numpy", "skops"]
TRUSTED = [
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
]
"""Types of the pipeline that skops, MLflow's own way to write it, asks about."""


def assets_of(folder: Path) -> list[dg.AssetsDefinition]:
    """The assets, reading and writing below ``folder``."""
    data = folder / "plain"
    data.mkdir(exist_ok=True)
    return [
        _raw(folder, data),
        _clean(data),
        _features(data),
        _model(folder, data),
        _champion(folder, data),
        _scores(folder, data),
        _watch(data),
    ]


def _key(name: str) -> list[str]:
    return ["shop", name]


def _written(relation: Any, path: Path) -> dict[str, Any]:
    """Writes rows beside, moves them in place, and tells of them."""
    import duckdb

    beside = path.with_suffix(".new")
    relation.write_parquet(str(beside), compression="zstd")
    beside.replace(path)
    rows = duckdb.connect().read_parquet(str(path))
    head = rows.limit(5)
    return {
        "dagster/row_count": rows.aggregate("count(*)").fetchall()[0][0],
        "dagster/column_schema": dg.TableSchema(
            [
                dg.TableColumn(name, str(kind))
                for name, kind in zip(rows.columns, rows.types, strict=True)
            ]
        ),
        "preview": dg.MetadataValue.table(
            [
                dg.TableRecord(
                    {name: str(cell) for name, cell in zip(head.columns, row, strict=True)}
                )
                for row in head.fetchall()
            ],
            schema=dg.TableSchema([dg.TableColumn(name) for name in head.columns]),
        ),
    }


def _raw(folder: Path, data: Path) -> dg.AssetsDefinition:
    @dg.asset(key=_key("sales_raw"), group_name="fetch")
    def sales_raw() -> dg.MaterializeResult:
        import duckdb

        rows = duckdb.connect().read_csv(str(folder / "sales.csv"))
        return dg.MaterializeResult(metadata=_written(rows, data / "sales_raw.parquet"))

    return sales_raw


def _clean(data: Path) -> dg.AssetsDefinition:
    checks = [
        dg.AssetCheckSpec(f"{name}_{arguments['column']}", asset=_key("sales"), blocking=True)
        for name, arguments in EXPECTATIONS
    ]

    @dg.asset(key=_key("sales"), group_name="clean", deps=[_key("sales_raw")], check_specs=checks)
    def sales() -> dg.MaterializeResult:
        import duckdb

        rows = duckdb.connect().sql(
            f"""SELECT DISTINCT * REPLACE (
                id::BIGINT AS id, sold_at::TIMESTAMP AS sold_at, amount::DOUBLE AS amount,
                returned::BOOLEAN AS returned
            ) FROM '{data / "sales_raw.parquet"}'"""
        )
        metadata = _written(rows, data / "sales.parquet")
        results = _expectations(duckdb.connect().read_parquet(str(data / "sales.parquet")).df())
        return dg.MaterializeResult(
            metadata=metadata,
            check_results=[
                dg.AssetCheckResult(
                    passed=result.success,
                    check_name=spec.name,
                    metadata={"unexpected": result.result.get("unexpected_count", 0)},
                )
                for spec, result in zip(checks, results, strict=True)
            ],
        )

    return sales


def _expectations(frame: Any) -> list[Any]:
    import great_expectations as gx
    from great_expectations.expectations import registry

    context = gx.get_context(mode="ephemeral")
    batch = (
        context.data_sources.add_pandas("pandas")
        .add_dataframe_asset("sales")
        .add_batch_definition_whole_dataframe("all")
        .get_batch(batch_parameters={"dataframe": frame})
    )
    suite = gx.ExpectationSuite(
        "sales",
        [registry.get_expectation_impl(name)(**arguments) for name, arguments in EXPECTATIONS],
    )
    return list(batch.validate(suite).results)


def _features(data: Path) -> dg.AssetsDefinition:
    @dg.asset(key=_key("sale_features"), group_name="prepare", deps=[_key("sales")])
    def sale_features() -> dg.MaterializeResult:
        import duckdb

        columns = ", ".join(["id", "sold_at", *FEATURES, "returned"])
        rows = duckdb.connect().sql(f"SELECT {columns} FROM '{data / 'sales.parquet'}'")
        return dg.MaterializeResult(metadata=_written(rows, data / "sale_features.parquet"))

    return sale_features


def _frame(data: Path) -> Any:
    import duckdb

    return duckdb.connect().read_parquet(str(data / "sale_features.parquet")).order("sold_at").df()


def _model(folder: Path, data: Path) -> dg.AssetsDefinition:
    checks = [
        dg.AssetCheckSpec(name, asset=_key("returned"), blocking=True)
        for name in ("roc_auc_at_least", "integrity")
    ]

    @dg.asset(
        key=_key("returned"), group_name="train", deps=[_key("sale_features")], check_specs=checks
    )
    def returned() -> dg.MaterializeResult:
        from sklearn.compose import ColumnTransformer
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import OrdinalEncoder

        frame = _frame(data)
        cut = int(len(frame) * 0.8)
        learn, test = frame[:cut], frame[cut:]
        encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        prepare = ColumnTransformer(
            [("numeric", "passthrough", list(NUMERIC)), ("categorical", encoder, list(CATEGORICAL))]
        )
        booster = HistGradientBoostingClassifier(max_iter=60, random_state=0)
        pipeline = Pipeline([("prepare", prepare), ("estimator", booster)])
        pipeline.fit(learn[FEATURES], learn["returned"])
        report = _report(pipeline, test)
        version, again = _registered(folder, pipeline, test, report["metrics"])
        test.assign(probability=report["probability"]).to_parquet(data / "reference.parquet")
        return dg.MaterializeResult(
            metadata={**report["metrics"], **report["plots"], "version": version},
            check_results=[
                dg.AssetCheckResult(
                    passed=bool(report["metrics"]["roc_auc"] >= 0.6), check_name="roc_auc_at_least"
                ),
                dg.AssetCheckResult(
                    passed=bool((again == report["probability"]).all()), check_name="integrity"
                ),
            ],
        )

    return returned


def _report(pipeline: Any, test: Any) -> dict[str, Any]:
    from sklearn.inspection import permutation_importance
    from sklearn.metrics import brier_score_loss, f1_score, roc_auc_score

    truth = test["returned"].to_numpy()
    probability = pipeline.predict_proba(test[FEATURES])[:, 1]
    label = probability >= 0.5
    metrics = {
        "roc_auc": float(roc_auc_score(truth, probability)),
        "f1": float(f1_score(truth, label)),
        "brier": float(brier_score_loss(truth, probability)),
    }
    for channel, part in test.assign(p=probability).groupby("channel"):
        metrics[f"roc_auc_{channel}"] = float(roc_auc_score(part["returned"], part["p"]))
    importance = permutation_importance(
        pipeline,
        test[FEATURES][:5000],
        truth[:5000],
        scoring="roc_auc",
        n_repeats=3,
        random_state=0,
    )
    return {
        "metrics": metrics,
        "probability": probability,
        "plots": dict(_plots(truth, probability, label, importance.importances_mean)),
    }


def _plots(truth: Any, probability: Any, label: Any, importance: Any) -> Iterator[tuple[str, Any]]:
    from sklearn.calibration import CalibrationDisplay
    from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay

    def bars(ax: Any) -> None:
        ax.barh(FEATURES, importance)

    drawn: dict[str, Callable[[Any], Any]] = {
        "roc": lambda ax: RocCurveDisplay.from_predictions(truth, probability, ax=ax),
        "calibration": lambda ax: CalibrationDisplay.from_predictions(truth, probability, ax=ax),
        "confusion": lambda ax: ConfusionMatrixDisplay.from_predictions(truth, label, ax=ax),
        "importance": bars,
    }
    for name, draw in drawn.items():
        yield name, _picture(draw)


def _picture(draw: Callable[[Any], Any]) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4))
    FigureCanvasAgg(figure)
    draw(figure.subplots())
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return dg.MetadataValue.md(
        f"![plot](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})"
    )


def _track(folder: Path) -> Any:
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}/.liminal/mlflow/mlflow.db")
    return mlflow


def _registered(
    folder: Path, pipeline: Any, test: Any, metrics: dict[str, float]
) -> tuple[int, Any]:
    """Logs and registers the model; its version, and what it answers when loaded again."""
    mlflow = _track(folder)
    from mlflow.models import infer_signature

    artifacts = folder / "plain" / "mlflow"
    if mlflow.get_experiment_by_name("shop") is None:
        mlflow.create_experiment("shop", artifact_location=artifacts.as_uri())
    mlflow.set_experiment("shop")
    with mlflow.start_run():
        mlflow.log_params({"max_iter": 60, "rows": len(test)})
        mlflow.log_metrics(metrics)
        logged = mlflow.sklearn.log_model(
            pipeline,
            name="model",
            signature=infer_signature(test[FEATURES], pipeline.predict(test[FEATURES][:5])),
            input_example=test[FEATURES][:2],
            pip_requirements=REQUIREMENTS,
            registered_model_name="shop.returned",
            skops_trusted_types=TRUSTED,
        )
    version = int(logged.registered_model_version)
    again = mlflow.sklearn.load_model(f"models:/shop.returned/{version}")
    return version, again.predict_proba(test[FEATURES])[:, 1]


def _champion(folder: Path, data: Path) -> dg.AssetsDefinition:
    @dg.asset(key=_key("returned__champion"), group_name="deploy", deps=[_key("returned")])
    def champion() -> dg.MaterializeResult:
        client = _track(folder).MlflowClient()
        versions = client.search_model_versions("name = 'shop.returned'")
        newest = max(int(version.version) for version in versions)
        client.set_registered_model_alias("shop.returned", "champion", str(newest))
        return dg.MaterializeResult(metadata={"version": newest})

    return champion


def _scores(folder: Path, data: Path) -> dg.AssetsDefinition:
    @dg.asset(
        key=_key("returned_scores"),
        group_name="inference",
        deps=[_key("returned__champion"), _key("sale_features")],
    )
    def scores() -> dg.MaterializeResult:
        import duckdb

        pipeline = _track(folder).sklearn.load_model("models:/shop.returned@champion")
        frame = _frame(data)
        probability = pipeline.predict_proba(frame[FEATURES])[:, 1]
        scored = frame.assign(probability=probability, prediction=probability >= 0.5)
        rows = duckdb.connect().from_df(scored)
        return dg.MaterializeResult(metadata=_written(rows, data / "scores.parquet"))

    return scores


def _watch(data: Path) -> dg.AssetsDefinition:
    checks = [
        dg.AssetCheckSpec(f"drift_{name}", asset=_key("returned_watch"))
        for name in (*FEATURES, "probability")
    ]

    @dg.asset(
        key=_key("returned_watch"),
        group_name="monitor",
        deps=[_key("returned_scores")],
        check_specs=checks,
    )
    def watch() -> dg.MaterializeResult:
        import pandas as pd

        reference = pd.read_parquet(data / "reference.parquet")
        current = pd.read_parquet(data / "scores.parquet")
        found = {name: _psi(reference[name], current[name]) for name in (*FEATURES, "probability")}
        return dg.MaterializeResult(
            metadata=found,
            check_results=[
                dg.AssetCheckResult(
                    passed=bool(value < 0.25), check_name=f"drift_{name}", metadata={"psi": value}
                )
                for name, value in found.items()
            ],
        )

    return watch


def _psi(reference: Any, current: Any) -> float:
    import numpy as np

    if reference.dtype == object:
        shares = [part.value_counts(normalize=True) for part in (reference, current)]
        kinds = shares[0].index.union(shares[1].index)
        expected, actual = (part.reindex(kinds).fillna(0).to_numpy() for part in shares)
    else:
        edges = np.unique(np.quantile(reference, np.linspace(0, 1, 11)))[1:-1]
        expected, actual = (
            np.bincount(np.searchsorted(edges, part, side="right"), minlength=len(edges) + 1)
            / len(part)
            for part in (reference, current)
        )
    expected, actual = expected + 1e-4, actual + 1e-4
    return float(((actual - expected) * np.log(actual / expected)).sum())
