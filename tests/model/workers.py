"""What workers do, and what happens to them."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from tests.model.playing import Playing
from tests.model.worker import Traits, Worker
from worker.resume import Beginning, StartSetting


class Workers(Playing):
    """Events of workers."""

    def assign(self) -> None:
        """A worker is given a partition, whoever else believes to have it."""
        partition = self.random.randrange(self.partitions)
        if self.epoch_is_due:
            return
        if len(self.workers) >= self.profile.workers_max:
            self._end(self.random.choice(self.workers))
        if self.random.random() < self.profile.lower_starts:
            self._set_group(partition)
        beginning = self.random.choice(self.profile.beginnings)
        if self.topic.groups[partition] is None and beginning is Beginning.GROUP:
            beginning = Beginning.EARLIEST
        start = StartSetting(beginning)

        def wrote(arguments: Mapping[str, Any]) -> None:
            self._wrote(arguments, worker)

        worker: Worker = Worker(
            f"w{self.truth.step}", partition, Traits.draw(self.random, start, self.profile.bundles),
            scheduler=self.scheduler, table=self.table, topic=self.topic, random=self.random,
            born=self.truth.step,
            wrote=wrote,
            committed=self.truth.committed,
        )  # fmt: skip
        self.workers.append(worker)

        def opened(is_open: bool) -> None:
            if not is_open or worker.task is None:
                self._end(worker)
                return
            self._note(f"{worker.name} begins at {worker.task.fetched}")
            self.truth.first_start(worker.log.id, worker.task.stored.origin)
            for other in self.workers:
                if other.partition == partition:
                    other.owns_group = other is worker

        self._note(f"{worker.name}: {worker.traits}")
        self._begin(f"{worker.name} opens {partition}", worker.open(), worker, opened)

    def _some(self) -> Worker | None:
        found = [worker for worker in self.workers if worker.task is not None]
        return self.random.choice(found) if found else None

    def work(self) -> None:
        worker = self._some()
        if worker is not None:
            count, most = self.random.randrange(1, 15), self.profile.works_at_once
            self._begin_or_go_on(worker, f"works on {count}", lambda: worker.work(count), most)
            if self.random.random() < self.profile.commits and worker in self.workers:
                self._begin_or_go_on(worker, "commits", worker.commit, 1)
        elif not self.workers:
            self.assign()

    def commit(self) -> None:
        worker = self._some()
        if worker is not None:
            self._begin_or_go_on(worker, "commits", worker.commit, 1)

    def _begin_or_go_on(
        self, worker: Worker, what: str, work: Callable[[], Coroutine[Any, Any, None]], most: int
    ) -> None:
        kind = f"{worker.name} {what[:4]}"
        at_it = [actor for actor in self.scheduler.actors if actor.name.startswith(kind)]
        if len(at_it) < most:
            self._begin(f"{worker.name} {what}", work(), worker)
        else:
            self._go_on(at_it[0], self.random.choice(self.profile.calls_at_first))

    def kill(self) -> None:
        if self.workers:
            self._end(self.random.choice(self.workers))

    def group(self) -> None:
        """Kafka's own tools move the group's offset; or it expires."""
        self._set_group(self.random.randrange(self.partitions))

    def _set_group(self, partition: int) -> None:
        log = self.topic.current(partition)
        known = self.truth.progress.get(log.id)
        offset: int | None = None
        if self.random.random() < 0.8:
            offset = self.random.randrange((log.end if known is None else known.next) + 1)
        elif self.random.random() < 0.7:
            offset = self.random.randrange(log.end + 1)
        self.topic.groups[partition] = offset
        self._note(f"the group's offset of {partition} is {offset}")
