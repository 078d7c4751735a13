"""The output units of LeCun et al. 1998: each class's prototype is a picture of its digit, 7 pixels wide and 12 high.

Drawn after the paper's Figure 3, whose pixels are printed too small to be copied one by one. A stroke is
+1 and the ground -1: what F6's squashing function can reach without being saturated.
"""

from __future__ import annotations

import numpy as np

WIDTH, HEIGHT = 7, 12
DIGITS = """
..###.. ...#... .#####. .#####. .....#. ####### ..####. ####### .#####. .#####.
.#...#. ..##... #.....# #.....# ....##. #...... .#..... ......# #.....# #.....#
#.....# .#.#... ......# ......# ...#.#. #...... #...... .....#. #.....# #.....#
#.....# ...#... ......# ......# ..#..#. #...... #...... .....#. #.....# #.....#
#.....# ...#... .....#. ..####. .#...#. ######. ######. ....#.. .#...#. #.....#
#.....# ...#... ....#.. ......# #....#. ......# #.....# ....#.. ..###.. .######
#.....# ...#... ...#... ......# ####### ......# #.....# ...#... .#...#. ......#
#.....# ...#... ..#.... ......# .....#. ......# #.....# ...#... #.....# ......#
#.....# ...#... .#..... ......# .....#. ......# #.....# ..#.... #.....# ......#
.#...#. ...#... #...... #.....# .....#. #.....# #.....# ..#.... #.....# .....#.
..###.. .#####. ####### .#####. .....#. .#####. .#####. ..#.... .#####. .####..
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
"""


def prototypes() -> np.ndarray:
    """float32 (10, 84), row by row, of +1 and -1."""
    rows = [line.split() for line in DIGITS.split("\n") if line]
    pictures = ["".join(row[digit] for row in rows) for digit in range(len(rows[0]))]
    return np.array([[1 if pixel == "#" else -1 for pixel in picture] for picture in pictures], np.float32)
