"""A real Slurm of two nodes on this machine's loopback, apart from any other Slurm here.

Its ports are free ones, and its folder, munge socket and key are its own: whatever ``SLURM_CONF``
or the system's configuration describe is neither read nor changed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from commands import wait_for

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
NODES = ("n1", "n2")

CONFIGURATION = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldLogFile={folder}/log/slurmctld
SlurmdLogFile={folder}/log/slurmd-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
ReturnToService=2
SlurmdTimeout=6
SlurmctldTimeout=10
MessageTimeout=3
TCPTimeout=1
InactiveLimit=0
KillWait=10
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldPort={port}
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={n1} CPUs=2 RealMemory=8000 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={n2} CPUs=2 RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=10
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


def unavailable() -> str:
    """Return why Slurm cannot be started here; empty if it can."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=SEARCHED) is None]
    if missing:
        return f"no {', '.join(missing)} here: Debian's packages slurm-wlm and munge have them"
    if os.geteuid() != 0:
        return "slurmd and munged are started as root, and this is another user"
    return ""


class SlurmCluster:
    """One controller and two nodes, each a process that a test may kill."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = folder / "slurm.conf"
        self.environment = {**os.environ, "SLURM_CONF": str(self.conf), "PATH": SEARCHED}
        for name in [name for name in self.environment if name.startswith(("SLURM_", "SBATCH_"))]:
            if name != "SLURM_CONF":
                del self.environment[name]

    def start(self) -> None:
        """Start all daemons, and wait until both nodes accept jobs."""
        for name in ("munge", "state", "log"):
            (self.folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        ports = dict(zip(("port", *NODES), _free_ports(1 + len(NODES)), strict=True))
        host = socket.gethostname().partition(".")[0]
        self.conf.write_text(CONFIGURATION.format(folder=self.folder, host=host, **ports))
        self._start_munge()
        self.call("slurmctld", "-f", self.conf)
        for node in NODES:
            self.start_node(node)
        # A line for each node in each of the two partitions.
        wait_for(lambda: self.call("sinfo", "-h", "-N", "-o", "%t").split() == ["idle"] * 4)

    def _start_munge(self) -> None:
        folder = self.folder / "munge"
        key = folder / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        files = {"socket": "socket", "key-file": "key", "pid-file": "pid"}
        files |= {"log-file": "log", "seed-file": "seed"}
        # --force: its folder may lie in one where others may write, as that of temporary files
        self.call("munged", "--force", *(f"--{o}={folder / f}" for o, f in files.items()))

    def stop(self) -> None:
        """End all jobs, then exactly the processes that were started."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self.call("scancel", "--user", "root")
            self.call("scancel", "--signal=KILL", "--full", "--user", "root")
        for name in (*(f"slurmd-{node}.pid" for node in NODES), "slurmctld.pid", "munge/pid"):
            self._kill(name, signal.SIGTERM)

    def start_node(self, node: str) -> None:
        """Start a node's daemon; one that was killed takes part again."""
        self.call("slurmd", "-f", self.conf, "-N", node)

    def kill_node(self, node: str) -> None:
        """Kill a node's daemon and all steps and processes of its jobs at once, as a power cut."""
        self._kill(f"slurmd-{node}.pid", signal.SIGKILL)
        for process in self._steps(node):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def _steps(self, node: str) -> list[int]:
        """Return the processes of a node's steps: their daemons, and all that these started."""
        children: dict[int, list[int]] = {}
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, IndexError):
                parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(path.name))
                environment = (path / "environ").read_bytes()
                command = (path / "cmdline").read_bytes()
                if b"slurmstepd" in command and f"SLURM_CONF={self.conf}".encode() in environment:
                    found.append(int(path.name))
        steps = [process for process in found if self._is_of(process, node, children)]
        for process in steps:  # grows as it is read
            steps += children.get(process, [])
        return steps

    def _is_of(self, stepd: int, node: str, children: dict[int, list[int]]) -> bool:
        name = f"SLURMD_NODENAME={node}".encode()
        todo = list(children.get(stepd, []))
        for process in todo:
            todo += children.get(process, [])
            with contextlib.suppress(OSError):
                if name in (Path("/proc") / str(process) / "environ").read_bytes().split(b"\0"):
                    return True
        return False

    def _kill(self, name: str, number: int) -> None:
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((self.folder / name).read_text()), number)

    def call(self, *command: object) -> str:
        """Run one of Slurm's commands against this cluster; return its output."""
        words = list(map(str, command))
        words[0] = shutil.which(words[0], path=SEARCHED) or words[0]
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise subprocess.CalledProcessError(
                done.returncode, words, done.stdout, f"{done.stdout}{done.stderr}"
            )
        return done.stdout

    def state(self, job: str) -> str:
        """Return a job's state as the controller knows it."""
        shown = self.call("scontrol", "--oneliner", "show", "job", job)
        return dict(w.partition("=")[::2] for w in shown.split())["JobState"]


def _free_ports(number: int) -> list[int]:
    """Return ports that nothing listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
