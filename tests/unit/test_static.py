"""Static features of series: how windows show them, what the network reads, and what is new in prediction."""

from functools import partial

import numpy as np
import polars as pl
import pytest
import torch

from cellstate.backbone import GRU
from cellstate.data import DataSpec
from cellstate.data.files.series import SeriesData
from cellstate.errors import CellstateWarning, RequestError
from cellstate.model import Forecaster

WINDOW, HORIZON, ROWS = 6, 2, 60
SHOPS = {"a": ("north", 4.0), "b": ("south", 8.0), "c": ("north", 6.0)}


def frame_of(shops=SHOPS, rows=ROWS):
    parts = []
    for number, (shop, (region, size)) in enumerate(shops.items()):
        y = np.random.default_rng(number).normal(size=rows).cumsum() + 10
        parts.append(pl.DataFrame({"shop": [shop] * rows, "y": y, "region": [region] * rows, "size": [size] * rows}))
    return pl.concat(parts)


def static_data(folder, frame=None, name="shops.csv", **options):
    path = folder / name
    (frame_of() if frame is None else frame).write_csv(path)
    options = {"static": ["region", "size"], "ids": 3, **options}
    return SeriesData(path=str(path), target="y", id="shop", window=WINDOW, horizon=HORIZON, batch_size=8, **options)


def forecaster(spec, **options):
    torch.manual_seed(0)
    options = {"id_embedding": 3, **options}
    return Forecaster(spec, partial(GRU, hidden_size=8), segment=2, **options).eval()


def test_every_step_ends_with_category_number_and_series(tmp_path):
    data = static_data(tmp_path)
    spec = data.spec
    assert (spec.static, spec.categories, spec.ids) == (("region", "size"), (("north", "south"), ()), ("a", "b", "c"))
    sizes = np.array([4.0, 8.0, 6.0])
    scaled = (sizes - sizes.mean()) / sizes.std()
    for split, samples in data.prepared.splits.items():
        owners = data.windows.owners(split)
        inputs = samples.batch(torch.arange(len(samples))).inputs
        assert inputs.shape[-1] == spec.input_size == 4
        expected = np.column_stack([np.array([0, 1, 0])[owners], scaled[owners], owners])
        np.testing.assert_allclose(inputs[..., 1:].numpy(), expected[:, None].repeat(WINDOW, 1), rtol=1e-6, atol=1e-6)
    assert DataSpec.from_dict(spec.as_dict()) == spec
    with pytest.raises(RequestError, match="categories do not match 2 static"):
        DataSpec.from_dict({**spec.as_dict(), "categories": [[]]})


def test_a_series_in_another_region_is_other_data(tmp_path):
    moved = frame_of({**SHOPS, "b": ("north", 8.0), "c": ("south", 6.0)})
    one, other = static_data(tmp_path), static_data(tmp_path, moved, "moved.csv")
    assert one.spec == other.spec
    assert one.fingerprint != other.fingerprint


def test_a_feature_that_changes_within_a_series_is_rejected_by_line(tmp_path):
    frame = frame_of().with_columns(
        region=pl.when(pl.int_range(pl.len()) == ROWS + 7).then(pl.lit("east")).otherwise("region")
    )
    with pytest.raises(RequestError, match=rf"line {ROWS + 9}: column 'region'.*'south' to 'east' of series 'b'"):
        _ = static_data(tmp_path, frame).prepared
    with pytest.raises(RequestError, match=r"'y' is in both data\.target and data\.static"):
        _ = static_data(tmp_path, static=["y"]).prepared


def test_the_file_that_continues_the_series_need_not_repeat_their_features(tmp_path):
    later = frame_of(rows=8).drop("region", "size")
    later.write_csv(tmp_path / "later.csv")
    data = static_data(tmp_path, test_path=str(tmp_path / "later.csv"))
    test = data.prepared.splits["test"]
    assert test.batch(torch.arange(len(test))).inputs[:, 0, 3].tolist() == data.windows.owners("test").tolist()


@pytest.mark.parametrize("targets", [{}, {"channels": "separate"}])
def test_predicting_from_names_is_what_the_windows_give(tmp_path, targets):
    data = static_data(tmp_path)
    model = forecaster(data.spec, **targets)
    samples = data.prepared.splits["test"]
    batch = samples.batch(torch.tensor([0]))
    shop = list(SHOPS)[data.windows.owners("test")[0]]
    start = data.windows.starts("test")[0]
    history = data.whole_series.values[start - WINDOW : start, 0]
    region, size = SHOPS[shop]
    found = model.predict(history, static={"region": region, "size": size, "id": shop})
    with torch.no_grad():
        expected = model(batch.inputs)[0, :, 0].double() * data.spec.std[0] + data.spec.mean[0]
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-6)
    for other in ({"region": "south"}, {"size": 9.0}, {"id": "c"}):
        assert not np.allclose(
            model.predict(history, static={"region": region, "size": size, "id": shop, **other}), found
        )


def test_what_is_new_gets_the_mean_of_all_embeddings(tmp_path):
    data = static_data(tmp_path)
    model = forecaster(data.spec)
    history = np.arange(WINDOW) % 3 + 9.0
    new = model.predict(history, static={"region": "west", "size": 5.0})
    with torch.no_grad():
        for table in (model.static.tables[0], model.static.tables[2]):
            table.weight.copy_(table.weight.mean(0, keepdim=True).expand_as(table.weight))
    known = model.predict(history, static={"region": "south", "size": 5.0, "id": "b"})
    np.testing.assert_allclose(new, known, rtol=1e-6)


def test_a_file_with_new_series_and_categories_is_forecast_and_says_so(tmp_path):
    data = static_data(tmp_path)
    model = forecaster(data.spec)
    frame_of({"b": ("south", 8.0), "new": ("west", 5.0)}).write_csv(tmp_path / "new.csv")
    with pytest.warns(CellstateWarning) as warned:
        table = model.predict_file(data, str(tmp_path / "new.csv"))
    said = [str(one.message) for one in warned]
    assert len(said) == 2
    assert "region 'west' did not occur in training" in said[0]
    assert "1 of 2 series ('new')" in said[1]
    history = frame_of({"b": ("south", 8.0)})["y"].to_list()
    expected = model.predict(history, static={"region": "south", "size": 8.0, "id": "b"})
    np.testing.assert_allclose(table.filter(pl.col("shop") == "b")["y"].to_numpy(), expected, rtol=1e-6)
    frame_of({"b": ("south", 8.0)}).with_columns(size=pl.lit("large")).write_csv(tmp_path / "text.csv")
    with pytest.raises(RequestError, match="'size' is 'large', but the model was trained on numbers"):
        model.predict_file(data, str(tmp_path / "text.csv"))


def test_what_a_model_needs_of_static_features_is_asked_for(tmp_path):
    data = static_data(tmp_path)
    model = forecaster(data.spec)
    for static in (None, {"region": "north"}, {"region": "north", "size": 1.0, "owner": "me"}, []):
        with pytest.raises(RequestError, match="give region, size, id"):
            model.predict(np.zeros(WINDOW), static=static)
    with pytest.raises(RequestError, match=r"model\.id_embedding=3: the data does not have the ids"):
        forecaster(static_data(tmp_path, ids=0).spec)
    plain = forecaster(static_data(tmp_path, static=None, ids=0).spec, id_embedding=0)
    assert not [name for name in plain.state_dict() if name.startswith("static")]


def test_only_a_model_that_embeds_the_series_reads_which_one_it_is(tmp_path):
    data = static_data(tmp_path, static=None)
    batch = data.prepared.splits["train"].batch(torch.tensor([0]))
    other = batch.inputs.clone()
    other[..., -1] = 2
    for size, same in ((0, True), (3, False)):
        model = forecaster(data.spec, id_embedding=size)
        with torch.no_grad():
            assert torch.equal(model(batch.inputs), model(other)) is same
