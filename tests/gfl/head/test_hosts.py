"""Hosts' records: one a name, free of torch, and all that an assigner needs to be another one."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, get_args

import gfl.register  # noqa: F401  before mmdet

# isort: split
import pytest
import torch
from torch import Tensor

from gfl import assign, hosts
from gfl.assign import Outputs, Scene
from gfl.boxes import DIRACS
from gfl.experiment import Experiment
from gfl.hosts import ABLATED_HOSTS, HOSTS, Dense, HostName

ablated = pytest.mark.parametrize("host", ABLATED_HOSTS)


def test_every_name_has_a_record():
    assert tuple(HOSTS) == get_args(HostName)
    assert all(Experiment(host=name, quality="none").host == name for name in HOSTS)


@ablated
def test_a_records_names_are_known_to_the_head(host):
    record = hosts.dense(host)
    assert record.assigner in assign.ASSIGNERS
    assert record.dirac in DIRACS


def test_a_host_with_a_head_of_mmdets_is_no_host_of_ours():
    for name in ("retinanet", "nothing"):
        with pytest.raises(ValueError, match=f"host '{name}': expected one of atss, fcos"):
            hosts.dense(name)


def test_a_host_is_looked_up_without_torch():
    code = "import sys, gfl.hosts, gfl.config; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@ablated
def test_an_assigner_is_given_what_the_head_predicts(make_head, make_batch, monkeypatch, host):
    """Logits, decoded boxes and quality of every location, and no gradient through them."""
    head = make_head(host=host)
    features, samples = make_batch((4, 0, 7))
    logits, raw, quality = head(features)
    given: list[tuple[Scene, Outputs, bool, dict[str, Any]]] = []
    assigner = assign.ASSIGNERS[hosts.dense(host).assigner]

    def observed(scene: Scene, outputs: Outputs, **settings: Any) -> Tensor:
        given.append((scene, outputs, torch.is_grad_enabled(), settings))
        return assigner(scene, outputs, **settings)

    monkeypatch.setitem(assign.ASSIGNERS, hosts.dense(host).assigner, observed)
    objects, metas = [s.gt_instances for s in samples], [s.metainfo for s in samples]
    head.loss_by_feat(logits, raw, quality, objects, metas)
    ((scene, outputs, has_gradient, settings),) = given
    assert not has_gradient
    assert settings == hosts.dense(host).assignment
    for image, sample in enumerate(samples):
        count = len(sample.gt_instances)
        assert scene.real[image].sum() == count
        assert torch.equal(scene.boxes[image, :count], sample.gt_instances.bboxes)
        assert torch.equal(scene.labels[image, :count], sample.gt_instances.labels)
    start, boxes = 0, outputs.boxes(scene.priors)
    for level, size in enumerate(scene.level_sizes):
        here, at = slice(start, start + size), raw[level].shape[-2:]
        priors = scene.priors[here].view(*at, 4)
        for image in range(len(samples)):
            of_image = logits[level][image].permute(1, 2, 0).flatten(0, 1)
            assert torch.equal(outputs.logits[image, here], of_image)
            decoded = head.representation.decode(raw[level][image].permute(1, 2, 0), priors)
            assert torch.equal(boxes[image, here], decoded.flatten(0, 1))
            assert torch.equal(outputs.quality[image, here], quality[level][image].flatten())
        start += size
    assert start == len(scene.priors)


def test_an_assigner_may_choose_by_what_is_predicted(make_head, make_batch, monkeypatch):
    """The location whose box overlaps an object most: of the highest label there is."""

    def nearest(scene: Scene, outputs: Outputs, topk: int) -> Tensor:
        boxes = outputs.boxes(scene.priors)
        matched = torch.full(boxes.shape[:2], -1)
        for image, (real, objects) in enumerate(zip(scene.real, scene.boxes, strict=True)):
            for index in real.nonzero().flatten():
                gt = objects[index].expand_as(boxes[image])
                matched[image, assign.iou(boxes[image], gt).argmax()] = index
        return matched

    head = make_head(quality="iou-branch")
    features, samples = make_batch((1, 0, 1))
    outputs = head(features)
    objects, metas = [s.gt_instances for s in samples], [s.metainfo for s in samples]
    usual = head.loss_by_feat(*outputs, objects, metas)
    monkeypatch.setitem(assign.ASSIGNERS, "atss", nearest)
    best = head.loss_by_feat(*outputs, objects, metas)
    # One positive an object, N_pos one an image; no other location's GIoU loss is as small.
    assert best["loss_bbox"] < usual["loss_bbox"]
    sum(best.values()).backward()
    assert all(p.grad is not None for p in head.gfl_reg.parameters())


def test_settings_of_the_configuration_replace_the_records(make_head, make_batch, monkeypatch):
    found: list[int] = []

    def counted(scene: Scene, outputs: Outputs, topk: int) -> Tensor:
        found.append(topk)
        return torch.full(outputs.logits.shape[:2], -1)

    monkeypatch.setitem(assign.ASSIGNERS, "atss", counted)
    head = make_head()
    features, samples = make_batch((2,))
    head.loss(features, samples)
    head.train_cfg = {"topk": 5}
    head.loss(features, samples)
    assert found == [9, 5]


def test_a_new_host_is_one_record_and_one_assigner(make_head, make_batch, monkeypatch):
    """A copy of ATSS under another name trains as ATSS does."""
    atss = hosts.dense("atss")
    features, samples = make_batch((4, 0, 7))
    expected = make_head().loss(features, samples)
    copy = Dense(**{name: getattr(atss, name) for name in atss.__dataclass_fields__})
    monkeypatch.setattr(hosts, "HOSTS", {**HOSTS, "other": copy})
    found = make_head(host="other").loss(features, samples)
    assert {name: value.item() for name, value in found.items()} == {
        name: value.item() for name, value in expected.items()
    }
