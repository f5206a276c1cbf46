"""Wires a worker: settings in, a Faust app out.

Started by `poste worker` or `faust -A worker.app worker`.

    Kafka -> BatchConsumer (transport) -> materialize (agent) -> Flusher -> DynamoDB
                  |  resume positions (opening)                 `-> dead letters
                  `- progress, then the group's offset
"""

import asyncio
import gc
import logging
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import faust
import mode
from aiokafka.errors import KafkaError
from yarl import URL

from worker.assignment import BatchLimits, RecordBatch
from worker.backoff import WaitTracker
from worker.bundles import BundleLimits
from worker.config_file import load_settings
from worker.dead_letter_report import DeadLetterReport
from worker.dead_letters import DeadLetter
from worker.decode import CloudEventsDecoder
from worker.dynamodb.batch_write import DynamoDBWriter
from worker.dynamodb.budget import WriteBudget
from worker.dynamodb.call_metrics import CallMetrics
from worker.dynamodb.claim_store import DynamoDBClaims
from worker.dynamodb.progress_store import DynamoDBProgress
from worker.dynamodb.retrying_store import new_store
from worker.errors import OperatorError
from worker.flush import Flusher
from worker.freshness import ConsumerView, FreshnessClaims
from worker.gauges import Gauges
from worker.group_errors import Member
from worker.health import Health, LastWait, ServiceCheck
from worker.http_server import serve_health
from worker.kafka.admin import open_kafka_admin, start_with_topics, wait_for_topics
from worker.kafka.consumer import BatchConsumer, BatchTransport, ConsumerWiring, WholeBatches
from worker.kafka.dead_letter_producer import KafkaDeadLetters
from worker.kafka.errors import ConnectionFaults
from worker.kafka.log_client import KafkaLogClient
from worker.kafka.options import client_options, consumer_options, rebalance_s
from worker.kafka.transactions import OpenTransactions
from worker.key_sample import KeySample, log_mixed_partitioners
from worker.lag import LagMonitor
from worker.logging_config import SERVICES_LOGGER, event, logging_config
from worker.memory_limits import MemoryLimits, cgroup_bytes, worker_limits
from worker.metrics import WorkerMetrics
from worker.opening import PartitionOpener
from worker.outcomes import Service as WaitedFor
from worker.settings import Settings
from worker.signals import hang_up_as_terminate
from worker.start_line import log_start
from worker.status import Phase, WorkerStatus
from worker.tracing import flush_spans
from worker.watchdog import LoopGuard, Watchdog

logger = logging.getLogger(__name__)

#: Unfreed objects after which the garbage collector runs: more than the batches in work consist of.
#: Python's default of 700 costs a busy worker a sixth of its processor time and finds nothing
#: (benchmarks/README.md).
GC_YOUNG_OBJECTS = 50_000


class Resources(mode.Service):
    """What opens before the first agent starts and closes after the last one ends.

    The constructor makes all of it; `on_start` opens it in order. consumer: returns Faust's
    consumer, which Faust creates on request and starts after these resources.
    """

    logger = SERVICES_LOGGER

    def __init__(
        self,
        settings: Settings,
        memory: MemoryLimits,
        consumer: Callable[[], BatchConsumer],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._consumer = consumer
        kafka, options = settings.kafka, client_options(settings.kafka)
        self.settings = settings
        self.metrics = metrics = WorkerMetrics()
        self.status = status = WorkerStatus(on_joined=metrics.observe_rebalance)
        self.health = Health(status)
        self.dead_letter_report = DeadLetterReport()
        self.waits = {service: WaitTracker() for service in WaitedFor}
        self._store_wait = LastWait(status, Phase.WAITING_FOR_DYNAMODB)
        self._store = new_store(
            calls_in_flight_max=settings.dynamodb.calls_in_flight_max,
            timeout_s=settings.dynamodb.timeout_s,
            wait_tracker=self.waits[WaitedFor.DYNAMODB],
            on_wait=self._store_wait,
            observer=CallMetrics(metrics),
        )
        self._progress = DynamoDBProgress(self._store, settings.dynamodb.table, kafka.topic)
        self._log = KafkaLogClient(topic=kafka.topic, group=kafka.group, client_options=options)
        self._kafka_faults = ConnectionFaults(kafka)
        self._lag = LagMonitor(self._log, retention=self._log.retention_s)
        self._transactions = OpenTransactions(
            brokers=kafka.bootstrap_servers, topic=kafka.topic, warn_s=settings.transaction_warn_s
        )
        self._claims = FreshnessClaims(
            self._log,
            ConsumerView(
                assignment=self.health.assignment,
                positions=lambda: consumer().settled_positions(),
                partitions=lambda: consumer().topic_partitions,
            ),
            DynamoDBClaims(self._store, settings.dynamodb.table).put,
            every_s=settings.freshness_s,
            on_written=metrics.count_claim_write,
        )
        gauges = Gauges(
            health=self.health, lag=self._lag, held_back_s=self._transactions.held_back_s,
            freshness_s=self._claims.ages_s, waits=self.waits, memory=memory,
        )  # fmt: skip
        metrics.read_gauges(gauges.read)
        self._dead_letters = KafkaDeadLetters(
            kafka.dead_letters_topic, options, wait_tracker=self.waits[WaitedFor.KAFKA]
        )
        self.wiring = ConsumerWiring(
            topic=kafka.topic,
            member=Member(kafka.topic, kafka.group, kafka.session_timeout_s, kafka.instance_id),
            consumer_options=consumer_options(settings, memory),
            opener=PartitionOpener(
                topic=kafka.topic, start=kafka.beginning, progress=self._progress, log=self._log,
                group=kafka.group, on_gap=metrics.count_retention_gap,
            ),
            log=self._log,
            progress=self._progress,
            memory=memory,
            limits=BatchLimits(
                records_max=settings.batch.records_max,
                bytes_max=settings.batch.bytes_max,
                linger_s=settings.batch.linger_s,
            ),
            partitions_max=kafka.partitions_max,
            drain_s=settings.drain_s,
            leave_s=settings.leave_s,
            on_commit=metrics.count_commit,
            on_fetched=gauges.note_fetched,
        )  # fmt: skip
        self.flusher = Flusher(
            topic=kafka.topic,
            decoder=CloudEventsDecoder(timedelta(days=settings.retention_days)),
            limits=BundleLimits(
                messages_max=settings.bundle.messages_max, bytes_max=settings.bundle.bytes_max
            ),
            mailboxes=DynamoDBWriter(
                self._store,
                settings.dynamodb.table,
                budget_of(settings, self.waits[WaitedFor.WRITE_BUDGET]),
            ),
            dead_letters=self._dead_letters,
            dead_letters_consecutive_max=settings.dead_letters_consecutive_max,
            on_dead_letters=self._note_dead_letters,
        )
        self._flush_span = flush_spans(tracing=settings.tracing)
        self._key_sample = KeySample()
        self._open = AsyncExitStack()

    async def on_start(self) -> None:
        """Wait for an unavailable store and broker, with log lines; then check table and topics.

        Raises OperatorError for a missing table or topic, and for a table of another topic.
        """
        hang_up_as_terminate()
        settings, kafka = self.settings, self.settings.kafka
        log_start(settings)
        await self._open.enter_async_context(
            serve_health(settings.http, self.health.readiness, self.metrics.scrape)
        )
        self.status.enter(Phase.WAITING_FOR_DYNAMODB)
        self._open.push_async_callback(self._store.stop)
        await self._store.start()
        await self._progress.table()
        self.status.enter(Phase.WAITING_FOR_KAFKA)
        on_wait = LastWait(self.status, Phase.WAITING_FOR_KAFKA)
        topics = [kafka.topic, kafka.dead_letters_topic]
        self._open.push_async_callback(self._log.stop)
        await start_with_topics(self._log, lambda: wait_for_topics(kafka, topics, on_wait=on_wait))
        self._open.push_async_callback(self._dead_letters.stop)
        self._open.enter_context(self._kafka_faults.watched())
        # What exists by now stays, such as modules and AWS's service description. A collection that
        # walks it blocks the event loop for 60 ms.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_YOUNG_OBJECTS, 20, 100)
        self._watch(self._consumer())
        self.status.enter(Phase.JOINING)

    def _watch(self, consumer: BatchConsumer) -> None:
        """Start the watchdog, and the checks whether the services answer."""
        settings, limit_s = self.settings, self.settings.unready_after_s
        watchdog = Watchdog(
            log=self._log, waits=list(self.waits.values()), stalled_s=settings.stalled_s,
            rebalance_s=rebalance_s(settings), ask_anew=self._ask_kafka_anew,
        )  # fmt: skip
        guard = LoopGuard(asyncio.get_running_loop(), watchdog.every_s)
        self._open.callback(guard.stop)
        guard.start()
        self.add_future(watchdog.watch(consumer))

        async def ask_kafka() -> None:
            if consumer.problem() is not None:
                return  # its topic is gone: there is nothing to ask
            try:
                states = await self._lag.refresh(consumer.current, consumer.positions)
            except (KafkaError, TimeoutError) as error:
                if reason := self._kafka_faults.reason():
                    raise OperatorError(reason) from error
                raise
            self._kafka_faults.forget()
            self._transactions.judge(states)

        checks = [
            ServiceCheck(
                "Kafka", ask_kafka, unready_after_s=limit_s, cause=self._kafka_faults.reason
            ),
            ServiceCheck(
                "DynamoDB", self._progress.table, unready_after_s=limit_s,
                cause=self._store_wait.last,
            ),
        ]  # fmt: skip
        self.health.include(
            assignment=lambda: consumer.current,
            checks=[consumer, *checks],
            notes=self._transactions.notes,
        )
        for check in checks:
            self.add_future(check.watch())
        if settings.freshness_s > 0:
            self.add_future(self._claims.run())

    async def _ask_kafka_anew(self) -> None:
        """Ask for the topic through a new client. Raises OperatorError if there is no answer."""
        async with open_kafka_admin(self.settings.kafka) as kafka:
            await kafka.topic(self.settings.kafka.topic)

    async def on_stop(self) -> None:
        await self._open.aclose()
        self.dead_letter_report.log_rest()
        logger.info("stopped", extra=event("worker_stopped"))

    def _note_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        self.dead_letter_report.add(letters)
        self.metrics.count_dead_letters(Counter(letter.reason for letter in letters))

    async def flush(self, batch: RecordBatch) -> None:
        """Make one batch durable. `batch` reports the outcome to its partition task."""
        begin_s = time.perf_counter()
        with self._flush_span(batch.records), batch, batch.waits.attribute_waits():
            flushed = await self.flusher.flush(
                batch.records, epoch=batch.task.epoch,
                consecutive_dead_letters=batch.task.consecutive_dead_letters,
                on_wave=batch.count_wave,
            )  # fmt: skip
            batch.consecutive_dead_letters = flushed.consecutive_dead_letters
        self.metrics.count_flush(
            records=len(batch.records), size=batch.size, messages=flushed.messages,
            expired=flushed.expired, bundles=flushed.bundles,
            seconds=time.perf_counter() - begin_s,
        )  # fmt: skip
        if (partitions := self._key_sample.check(batch.records)) is not None:
            log_mixed_partitioners(*partitions)


def budget_of(settings: Settings, wait_tracker: WaitTracker) -> WriteBudget | None:
    """Return the limit on what is written to mailboxes per second. None: no limit."""
    units_per_s = settings.dynamodb.write_units_per_s_max
    return WriteBudget(units_per_s, wait_tracker=wait_tracker) if units_per_s > 0 else None


class MailboxApp(faust.App):
    """Faust's app, with our resources started first and stopped last."""

    resources: Resources
    logger = SERVICES_LOGGER

    def on_init_dependencies(self) -> list[mode.Service]:
        return [self.resources, *super().on_init_dependencies()]

    async def on_stop(self) -> None:
        self.resources.status.enter(Phase.STOPPING)
        drain_s = self.resources.settings.drain_s
        logger.info(
            "stopping: started flushes get %g s to finish", drain_s,
            extra=event("worker_stopping", seconds=drain_s),
        )  # fmt: skip
        await super().on_stop()

    def _create_directories(self) -> None:
        """Do nothing: only Faust's tables need directories, and the worker keeps nothing on
        disk."""


class _ConsumerOnly(faust.app.BootStrategy):
    """Starts no producer of Faust's: dead letters have their own, with acknowledgements."""

    enable_kafka_producer = False


def create_app(settings: Settings) -> MailboxApp:
    """Return the app of these settings, not started. It reads no other source of settings.

    Raises ConfigurationError for too little memory, and for unusable certificates.
    """
    memory = worker_limits(settings.memory_mb, cgroup_bytes())
    kafka = settings.kafka
    app = MailboxApp(
        kafka.group,
        env={},  # else environment variables override these arguments
        broker=[URL(f"kafka://{server}") for server in kafka.bootstrap_servers.split(",")],
        store="memory://",
        agent_supervisor=mode.CrashingSupervisor,
        stream_wait_empty=True,  # drain on SIGTERM and on a revoke, through wait_empty
        broker_commit_interval=kafka.commit_interval_s,
        broker_session_timeout=kafka.session_timeout_s,
        broker_request_timeout=max(40.0, kafka.session_timeout_s),  # also bounds perform_seek
        logging_config=logging_config(
            level=settings.log_level, json_lines=settings.log_format == "json"
        ),
        topic_disable_leader=True,
        topic_allow_declare=False,
        table_standby_replicas=0,
        web_enabled=False,  # worker.http_server answers before Kafka and DynamoDB do
    )
    app.boot_strategy = _ConsumerOnly(app)
    app.resources = Resources(
        settings, memory, lambda: app.consumer, loop=app.loop, beacon=app.beacon
    )
    app.transport = BatchTransport(
        app.conf.broker_consumer, app, wiring=app.resources.wiring, status=app.resources.status
    )
    undelivered = app.topic(kafka.topic, schema=WholeBatches(), acks=False)

    @app.agent(undelivered)
    async def materialize(batches: AsyncIterator[RecordBatch]) -> None:
        # One flush at a time per partition: the consumer hands out the next batch when this one is
        # durable. An exception ends the group, the agent and the process.
        try:
            async with asyncio.TaskGroup() as flushes:
                async for batch in batches:
                    flushes.create_task(app.resources.flush(batch))
        except asyncio.CancelledError:
            if not app.should_stop:  # Faust would treat a cancellation at the end as a crash
                raise

    return app


class _Process(faust.Worker):
    """Faust's process, without the debugger that SIGUSR2 opens and that a service cannot leave."""

    def _enter_debugger(self) -> None:
        logger.warning(
            "SIGUSR2 is ignored; SIGUSR1 writes the stack of every thread",
            extra=event("signal_ignored", signal="SIGUSR2"),
        )


def run(settings: Settings) -> None:
    """Run one worker in the foreground until SIGTERM or Ctrl-C; exits with 0, or 1."""
    app = create_app(settings)
    worker = _Process(
        app,
        loglevel=settings.log_level,
        redirect_stdouts=False,
        quiet=True,
    )
    worker.spinner = None  # it writes escape sequences even without a terminal
    worker.execute_from_commandline()


def __getattr__(name: str) -> Any:
    """Return `app` for `faust -A worker.app worker`, made on request and not at import."""
    if name == "app":
        app = create_app(load_settings(None, os.environ))
        globals()["app"] = app
        return app
    raise AttributeError(name)
