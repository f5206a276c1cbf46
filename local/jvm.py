"""Kafka and DynamoDB Local as JVM children, on 127.0.0.1 alone."""

import base64
import os
import signal
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from local import access
from local.broker import (
    COMPILED_ONCE,
    DYNAMODB_HEAP,
    KAFKA_HEAP,
    ONE_NODE,
    QUICK_INTERVALS,
    TOOL_HEAP,
    as_lines,
)
from local.child import Child
from local.java import INSTALLED, LAUNCHERS, Java, jars
from local.ready import dynamodb_answers, free_ports, kafka_answers, wait_until
from local.tool import TOOL_S_MAX, KafkaTool, run_command

#: Seconds until a service must answer: 3 measured for Kafka, 2 for DynamoDB Local, more if busy.
START_S_MAX = 90.0
#: Without it, Java 24 and later warn of native libraries; 17 accepts it.
_NATIVE = "--enable-native-access=ALL-UNNAMED"
#: Kafka's JVM for the suite.
QUICK_JVM = (KAFKA_HEAP, COMPILED_ONCE)
_TOOL_JVM = (TOOL_HEAP, COMPILED_ONCE)

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners={listeners},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={listeners}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,{secured}:{protocol}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
"""

#: Warnings, on the standard output that `Child` keeps. YAML would need another library.
_LOG4J2 = """\
status=warn
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c{1}: %m%n
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
"""


class _JvmService:
    """A service of one child, which can be killed, paused, and ended by its pid."""

    _child: Child

    def kill(self) -> None:
        """Send SIGKILL. `start` starts it again, on the same port."""
        self._child.kill()

    def stop(self) -> None:
        # No test needs its data, and a clean stop takes seconds.
        self._child.kill()

    @property
    def command(self) -> Sequence[str]:
        """Return the command of its process."""
        return self._child.command

    @property
    def pid(self) -> int:
        """Return the pid of its process, for benchmarks."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child.alive

    def tail(self) -> str:
        return self._child.tail()

    def leave(self, seconds: float) -> None:
        """End it cleanly, by SIGTERM. `start` starts it again. Raises TimeoutExpired."""
        self._child.signal(signal.SIGTERM)
        self._child.wait(seconds)

    def pause(self) -> None:
        """Suspend it. It keeps its data."""
        self._child.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._child.signal(signal.SIGCONT)


class Kafka(_JvmService):
    """One node with both roles. Its data stay in `directory` over kill and start.

    java: its runtime. jvm: options of its Java. intervals: further properties, by default the
    suite's short ones; {} for Kafka's own. properties: more of them, name -> value. users: name ->
    password, of the second listener (`access`), whose address is `secured`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        java: Java = INSTALLED,
        jvm: Sequence[str] = QUICK_JVM,
        intervals: Mapping[str, str] = QUICK_INTERVALS,
        properties: Mapping[str, str] = {},
        users: Mapping[str, str] = {},
    ) -> None:
        self.directory = directory
        self._runtime = java
        self.port, secured, controller = free_ports(3)
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.secured = f"127.0.0.1:{secured}"
        listeners = f"PLAINTEXT://{self.bootstrap}"
        if users:
            listeners += f",{access.SECURED}://{self.secured}"
        further = {**ONE_NODE, **intervals, **access.access_properties(users), **properties}
        directory.mkdir(parents=True, exist_ok=True)
        self._properties = directory / "server.properties"
        self._properties.write_text(
            _PROPERTIES.format(
                listeners=listeners, controller=controller, data=directory / "data",
                secured=access.SECURED, protocol=access.PROTOCOL,
            )
            + as_lines(further)
        )  # fmt: skip
        self._log4j2 = directory / "log4j2.properties"
        self._log4j2.write_text(_LOG4J2)
        self._child = Child(
            self._java(jvm, "kafka.Kafka", str(self._properties)),
            log=directory / "kafka.log",
        )
        self._is_formatted = False

    def _java(self, jvm: Sequence[str], *arguments: str) -> list[str]:
        return [
            self._runtime.program, *jvm, "-Xshare:auto", _NATIVE,
            f"-Dlog4j2.configurationFile={self._log4j2}",
            "-cp", f"{jars('kafka', self._runtime)}/*", *arguments,
        ]  # fmt: skip

    def start(self) -> None:
        """Start, or restart with the same data and port; returns when it answers."""
        if not self._is_formatted:
            main = "kafka.tools.StorageTool"
            command = self._java(
                _TOOL_JVM, main, "format", "--standalone",
                "-t", cluster_id(), "-c", str(self._properties),
            )  # fmt: skip
            run_command(command, what=main, seconds=TOOL_S_MAX)
            self._is_formatted = True
        self._child.start()
        wait_until(
            lambda: kafka_answers(self.port), what="Kafka", seconds=START_S_MAX, child=self._child
        )

    @property
    def tool(self) -> KafkaTool:
        """Return Kafka's command-line tools."""
        return KafkaTool(tuple(self._java(_TOOL_JVM)), self.bootstrap)


class DynamoDBLocal(_JvmService):
    """DynamoDB Local in memory. A kill removes its data."""

    def __init__(self, directory: Path, java: Java = INSTALLED) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (self.port,) = free_ports(1)
        self.endpoint = f"http://127.0.0.1:{self.port}"
        lib = jars("dynamodb", java)
        self._child = Child(
            [java.program, DYNAMODB_HEAP, COMPILED_ONCE, "-Xshare:auto", _NATIVE,
             f"-Djava.library.path={lib}", f"-Dsqlite4java.library.path={lib}",
             "-cp", f"{lib}/*{os.pathsep}{lib}", LAUNCHERS["dynamodb"].stem,
             "-inMemory", "-sharedDb", "-disableTelemetry", "-port", str(self.port)],
            log=directory / "dynamodb.log",
        )  # fmt: skip

    def start(self) -> None:
        self._child.start()
        wait_until(
            lambda: dynamodb_answers(self.port),
            what="DynamoDB Local", seconds=START_S_MAX, child=self._child,
        )  # fmt: skip


def cluster_id() -> str:
    """Return a cluster id as Kafka makes them, without a leading dash, which its tools take for an
    option."""
    first, *others = uuid.uuid4().bytes
    return base64.urlsafe_b64encode(bytes([first & 0x7F, *others])).decode().rstrip("=")
