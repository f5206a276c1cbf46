"""What a user pays for DynamoDB, counted and never timed: a part of `make bench`.

    day        the realistic day by the real pieces, and each way to read it
    rivals     an item per message, deleted or left to TTL
    borders    which records one flush has
    backlog    the skewed backlog, and mailboxes of full bundles
    table      a table in memory that charges by DynamoDB's rules
    catch_up   a write budget on a table that throttles: the one that needs services
    page       tables and pictures

What the figures say: benchmarks/README.md, "Units".
"""

from benchmarks.units.measuring import measure
from benchmarks.units.page import PICTURES, TABLES

__all__ = ["PICTURES", "TABLES", "measure"]
