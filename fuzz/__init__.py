"""Fuzz targets: one module per parser of network input, each with ``SEEDS`` and ``one_input(data)``.

``one_input`` returns normally for every input, valid or not. Whatever it raises is a bug.
"""
