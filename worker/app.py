"""The wiring: settings in, a Faust app out. `poste worker`, or `faust -A worker.app worker`.

Kafka -> BatchConsumer (transport) -> materialize (agent) -> Flusher -> DynamoDB
              |  resume positions (opening)                 `-> dead letters
              `- progress, then the group's offset
"""

import asyncio
import gc
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import faust
import mode
from yarl import URL

from worker.backoff import Waiters
from worker.budget import WriteBudget
from worker.bundles import BundleLimits
from worker.configuration import load_settings
from worker.dead_letter_report import DeadLetterReport
from worker.dead_letters import KafkaDeadLetters
from worker.decode import CloudEventsDecoder
from worker.dynamodb import open_store
from worker.flush import Flusher
from worker.group_errors import Member
from worker.health import Health, LastWait, ServiceCheck
from worker.http_server import serve_health
from worker.kafka import client_options, consumer_options, rebalance_s, wait_for_topics
from worker.key_sample import KeySample, log_mixed_partitioners
from worker.lives import BatchLimits, RecordBatch
from worker.log import KafkaLog
from worker.logs import SERVICES_LOGGER, event, logging_config
from worker.memory import MemoryLimits, cgroup_bytes, worker_limits
from worker.opening import Opener
from worker.progress import DynamoDBProgress
from worker.settings import Settings
from worker.signals import hang_up_as_terminate
from worker.start_line import log_start
from worker.status import Phase, WorkerStatus
from worker.transactions import OpenTransactions
from worker.transport import BatchTransport, Rules, WholeBatches
from worker.watchdog import LoopGuard, Watchdog
from worker.writer import DynamoDBWriter

logger = logging.getLogger(__name__)

#: Objects made and not freed after which the collector looks for cycles: more than the batches in
#: work are made of, which are none. At its own 700 it takes a sixth of a busy worker's processor
#: time to find nothing (benchmarks/README.md).
GC_YOUNG_OBJECTS = 50_000


class Resources(mode.Service):
    """What must be open before the first agent starts and closed after the last has ended."""

    logger = SERVICES_LOGGER

    def __init__(
        self, settings: Settings, memory: MemoryLimits, transport: BatchTransport, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.settings = settings
        self.memory = memory
        self.transport = transport
        self.flusher: Flusher | None = None
        self.dead_letter_report = DeadLetterReport()
        self._key_sample = KeySample()
        self.health = Health(transport.status)
        self._open = AsyncExitStack()

    async def on_start(self) -> None:
        """Waits for a store and a broker that are away, saying so; then checks what is there.

        Raises OperatorError for a missing table or topic, and for a table of another topic.
        """
        hang_up_as_terminate()
        settings, kafka, status = self.settings, self.settings.kafka, self.transport.status
        log_start(settings)
        await self._open.enter_async_context(serve_health(settings.http, self.health.readiness))
        waiters, store_wait = Waiters(), LastWait(status, Phase.WAITING_FOR_DYNAMODB)
        status.enter(Phase.WAITING_FOR_DYNAMODB)
        store = await self._open.enter_async_context(
            open_store(
                calls_in_flight_max=settings.dynamodb.calls_in_flight_max,
                timeout_s=settings.dynamodb.timeout_s,
                waiters=waiters,
                on_wait=store_wait,
            )
        )
        progress = DynamoDBProgress(store, settings.dynamodb.table, kafka.topic)
        await progress.table()
        status.enter(Phase.WAITING_FOR_KAFKA)
        await wait_for_topics(
            kafka, [kafka.topic, kafka.dead_letters_topic],
            on_wait=LastWait(status, Phase.WAITING_FOR_KAFKA),
        )  # fmt: skip
        options = client_options(kafka)
        log = KafkaLog(topic=kafka.topic, group=kafka.group, client_options=options)
        self._open.push_async_callback(log.stop)
        await log.start()
        dead_letters = KafkaDeadLetters(kafka.dead_letters_topic, options, waiters=waiters)
        self._open.push_async_callback(dead_letters.stop)
        opener = Opener(
            topic=kafka.topic, start=kafka.beginning, progress=progress, log=log,
            group=kafka.group,
        )  # fmt: skip
        self.transport.rules = Rules(
            topic=kafka.topic,
            member=Member(kafka.topic, kafka.group, kafka.session_timeout_s, kafka.instance_id),
            consumer_options=consumer_options(settings, self.memory),
            opener=opener,
            progress=progress,
            memory=self.memory,
            limits=BatchLimits(
                records_max=settings.batch.records_max,
                bytes_max=settings.batch.bytes_max,
                linger_s=settings.batch.linger_s,
            ),
            partitions_max=kafka.partitions_max,
            drain_s=settings.drain_s,
            leave_s=settings.leave_s,
        )
        self.flusher = Flusher(
            topic=kafka.topic,
            decoder=CloudEventsDecoder(timedelta(days=settings.retention_days)),
            limits=BundleLimits(
                messages_max=settings.bundle.messages_max, bytes_max=settings.bundle.bytes_max
            ),
            mailboxes=DynamoDBWriter(store, settings.dynamodb.table, budget_of(settings, waiters)),
            dead_letters=dead_letters,
            dead_letters_consecutive_max=settings.dead_letters_consecutive_max,
            on_dead_letters=self.dead_letter_report.add,
        )
        self._watch(Watchdog(
            log=log, waiters=waiters, stalled_s=settings.stalled_s,
            rebalance_s=rebalance_s(settings),
        ))  # fmt: skip
        # What is there by now stays, modules and AWS's description of the service: the collector
        # need not walk it each time, which holds up the event loop for 60 ms.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_YOUNG_OBJECTS, 20, 100)
        self._check(log, progress, store_wait)
        status.enter(Phase.JOINING)

    def _check(self, log: KafkaLog, progress: DynamoDBProgress, store_wait: LastWait) -> None:
        """From here on the services are asked whether they answer."""
        settings, consumer = self.settings, self.transport.app.consumer
        transactions = OpenTransactions(
            brokers=settings.kafka.bootstrap_servers,
            topic=settings.kafka.topic,
            warn_s=settings.transaction_warn_s,
        )

        async def ask_kafka() -> None:
            if consumer.problem() is not None:
                return  # its topic is gone: nothing is to be asked of it
            partitions = sorted(consumer.current.lives)
            # Of some partition even without any of our own: does the broker answer?
            states = await log.states(partitions or [0])
            transactions.look({partition: states[partition] for partition in partitions})

        limit_s = settings.unready_after_s
        checks = [
            ServiceCheck("Kafka", ask_kafka, unready_after_s=limit_s),
            ServiceCheck(
                "DynamoDB", progress.table, unready_after_s=limit_s, cause=store_wait.last
            ),
        ]
        self.health.include(
            assignment=lambda: consumer.current,
            checks=[consumer, *checks],
            notes=transactions.notes,
        )
        for check in checks:
            self.add_future(check.watch())

    def _watch(self, watchdog: Watchdog) -> None:
        """From here on a standstill ends the process."""
        guard = LoopGuard(asyncio.get_running_loop(), watchdog.every_s)
        self._open.callback(guard.stop)
        guard.start()
        self.add_future(watchdog.watch(self.transport.app.consumer))

    async def on_stop(self) -> None:
        await self._open.aclose()
        self.dead_letter_report.say_rest()
        logger.info("stopped", extra=event("worker_stopped"))

    async def flush(self, batch: RecordBatch) -> None:
        """One batch made durable; `batch` tells its life how it ended."""
        assert self.flusher is not None, "started before the agents"
        with batch, batch.waits.counting():
            flushed = await self.flusher.flush(
                batch.records, epoch=batch.life.epoch, dead_in_a_row=batch.life.dead_in_a_row,
                on_wave=batch.count_wave,
            )  # fmt: skip
            batch.dead_in_a_row = flushed.dead_in_a_row
        if (partitions := self._key_sample.look(batch.records)) is not None:
            log_mixed_partitioners(*partitions)


def budget_of(settings: Settings, waiters: Waiters) -> WriteBudget | None:
    """What is written to mailboxes a second at most; None: there is no limit."""
    units_per_s = settings.dynamodb.write_units_per_s_max
    return WriteBudget(units_per_s, waiters=waiters) if units_per_s > 0 else None


class MailboxApp(faust.App):
    """Faust's app, with our resources started first and stopped last."""

    resources: Resources
    logger = SERVICES_LOGGER

    def on_init_dependencies(self) -> list[mode.Service]:
        return [self.resources, *super().on_init_dependencies()]

    async def on_stop(self) -> None:
        self.resources.transport.status.enter(Phase.STOPPING)
        drain_s = self.resources.settings.drain_s
        logger.info(
            "stopping: started flushes get %g s to finish", drain_s,
            extra=event("worker_stopping", seconds=drain_s),
        )  # fmt: skip
        await super().on_stop()

    def _create_directories(self) -> None:
        """Faust's tables would need them; nothing of ours is kept on disk."""


class _ConsumerOnly(faust.app.BootStrategy):
    """No producer of Faust's: dead letters have one of their own, with acknowledgements."""

    enable_kafka_producer = False


def create_app(settings: Settings) -> MailboxApp:
    """The app of these settings, not started. Settings come from here alone.

    Raises ConfigurationError for too little memory.
    """
    memory = worker_limits(settings.memory_mb, cgroup_bytes())
    kafka = settings.kafka
    app = MailboxApp(
        kafka.group,
        env={},  # else Faust lets variables of the environment override what we set
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
        web_enabled=False,  # ours answers before Kafka and DynamoDB do: worker.http_server
    )
    app.boot_strategy = _ConsumerOnly(app)
    app.transport = BatchTransport(app.conf.broker_consumer, app, status=WorkerStatus())
    app.resources = Resources(settings, memory, app.transport, loop=app.loop, beacon=app.beacon)
    undelivered = app.topic(kafka.topic, schema=WholeBatches(), acks=False)

    @app.agent(undelivered)
    async def materialize(batches: AsyncIterator[RecordBatch]) -> None:
        # One flush at a time per partition: the consumer hands out the next one when this one is
        # durable. An exception ends the group, the agent and the process.
        try:
            async with asyncio.TaskGroup() as flushes:
                async for batch in batches:
                    flushes.create_task(app.resources.flush(batch))
        except asyncio.CancelledError:
            if not app.should_stop:  # else it is the end, which Faust would take for a crash
                raise

    return app


class _Process(faust.Worker):
    """Faust's, without the debugger that SIGUSR2 opens: nobody is there to leave it."""

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
    worker.spinner = None  # it writes escape sequences, also where no terminal is
    worker.execute_from_commandline()


def __getattr__(name: str) -> Any:
    """`app`, for `faust -A worker.app worker`: made when it is asked for, not at import."""
    if name == "app":
        app = create_app(load_settings(None, os.environ))
        globals()["app"] = app
        return app
    raise AttributeError(name)
