"""The world: workers and zombies, readers, a topic and an operator around one table."""

from tests.model.readers import Readers
from tests.model.surroundings import Surroundings
from tests.model.workers import Workers


class World(Workers, Readers, Surroundings):
    """One history. Every method that a profile names is an event; see `Playing.event`."""
