"""Slurm as an executor of runs: what a cluster grants, jobs, how they are submitted and looked at.

submitit writes the sbatch scripts, and requeues a job that is preempted or reaches its time limit.
"""
