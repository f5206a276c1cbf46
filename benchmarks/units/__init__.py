"""What a user pays in DynamoDB units, counted and never timed: a part of `make bench`.

    day        the realistic day by the real pieces, and an item per message beside it
    borders    which records one flush has
    limits     a bundle's limits; the skewed backlog
    policies   when what was acknowledged is deleted
    catch_up   a write budget on a table that throttles: the one that needs services
    page       tables and pictures

What the figures say: benchmarks/README.md, "Units".
"""

from benchmarks.units.measuring import measure
from benchmarks.units.page import PICTURES, TABLES

__all__ = ["PICTURES", "TABLES", "measure"]
