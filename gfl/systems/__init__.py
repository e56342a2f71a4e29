"""Table 4's detectors that mmdet lacks or gets wrong, a file each, registered with mmdet.

Built by mmdet's registry from configurations of ``gfl.config.systems``; imports mmdet,
and nothing else of ``gfl`` but ``gfl.geometry`` and ``gfl.losses``.
"""
