from collections.abc import Iterator

import pytest
import slurm_cluster
from slurm_cluster import SlurmCluster


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    """A real Slurm for this module's tests, which its commands then speak to."""
    if why := slurm_cluster.unavailable():
        pytest.skip(f"no Slurm for this test: {why}")
    cluster = SlurmCluster(tmp_path_factory.mktemp("slurm"))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("SLURM_CONF", "PATH"):
            patch.setenv(name, cluster.environment[name])
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
