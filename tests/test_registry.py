from pathlib import Path

import mlflow
import pandas as pd
import pytest

from workbench import registry
from workbench.errors import SettingsError
from workbench.records import Interval


def test_a_fit_is_recorded_with_its_parameters_metrics_and_curve(root: Path) -> None:
    curve = pd.DataFrame({"step": [10, 20], "train_loss": [2.0, 1.0], "valid_wer": [0.5, float("nan")]})
    run_id = registry.track("mine", "train", parameters={"base": "nothing"}, metrics={"wer": Interval(0.1, 0.05, 0.2)},
                            curve=curve)
    client = mlflow.MlflowClient(registry.tracking_url())
    found = client.get_run(run_id)
    assert found.info.run_name == "mine/train" and found.data.params == {"base": "nothing"}
    assert found.data.metrics["wer_high"] == 0.2
    assert [m.value for m in client.get_metric_history(run_id, "train_loss")] == [2.0, 1.0]
    assert len(client.get_metric_history(run_id, "valid_wer")) == 1
    assert (root / "data" / "mlflow.db").is_file()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "postgresql://me@127.0.0.1:9/mlflow", "sqlite:////proc/no.db"])
def test_a_tracking_store_that_does_not_answer_is_named(
    url: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("WORKBENCH_TRACKING_URL", url)  # nothing listens there
    with pytest.raises(SettingsError, match="WORKBENCH_TRACKING_URL"):
        registry.track("mine", "train", parameters={}, metrics={})
