import gfl.register  # noqa: F401  before mmdet: it supplies mmcv's operators

# isort: split
from mmengine.runner import get_priority

from gfl.training.checkpoint import ExactCheckpointHook
from gfl.training.session import SpeedHook


def test_the_speed_is_measured_while_there_is_a_checkpoint_to_go_on_from():
    assert get_priority(SpeedHook.priority) < get_priority(ExactCheckpointHook.priority)
