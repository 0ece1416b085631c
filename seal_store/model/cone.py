"""Receptive-field sizes of the CNN: how far a changed base reaches (used by ``delta``)."""

from seal_store.model.config import CnnConfig

STEP = 200
"""From one window of a frame to the next, bp."""

REACH, POOL, WINDOW = CnnConfig.kernel - 1, CnnConfig.pool, CnnConfig.window
"""A position of a convolution reads itself and the 7 after it; a pool takes 4 positions, 4 bp and
then 16 bp apart."""

BLOCK = POOL * POOL
"""Bases from one position of the last convolution to the next: 16."""

SHIFT = STEP // POOL % POOL
"""Positions of conv 4 by which windows at odd steps pool later: a step is 50 positions, 12 pools
and 2 positions."""

# How many positions before those of its own block a change reaches, in each layer
CONV1 = REACH  #                  7 of 1 bp
CONV2 = CONV1 + REACH  #         14
POOL1 = -(-CONV2 // POOL)  #      4 of 4 bp: a pool that holds one of the 14
CONV3 = POOL1 + REACH  #         11
CONV4 = CONV3 + REACH  #         18
POOL2 = -(-CONV4 // POOL)  #      5 of 16 bp, in both phases
CONV5 = POOL2 + REACH  #         12
CONV6 = CONV5 + REACH  #         19

CONE_BEFORE = BLOCK * CONV6
"""From the first base of a cone to its block, 304: the 19 positions of conv 6 before it."""

CONE = POOL * (POOL * (CONV6 + 1 + 2 * REACH) + SHIFT + 2 * REACH) + 2 * REACH
"""Bases that the 20 positions of conv 6 from there to the block read in both phases, from the
inside outwards: 20 + 7 + 7 = 34 of pool 2, 4 x 34 + 2 = 138 of conv 4, 138 + 7 + 7 = 152 of
pool 1, 4 x 152 = 608 of conv 2, 608 + 7 + 7 = 622."""

BASES_AT_ONCE = {"cpu": 160_000, "cuda": 640_000}
"""Bases whose activations are held at once. Not by how much memory is free, or what is computed
beside others would have other bytes; where memory does not suffice, the batch is halved."""
