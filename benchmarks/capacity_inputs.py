"""What the capacity model is given: a load, machines, prices."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Who writes to whom. The defaults are assumptions, said as such in docs/capacity.md.

    messages_per_user_day: received by a registered user, away or not. offline_share: of them, to
    a user who is away. reconnects_per_user_day: each is one fetch. away_h: from leaving to the
    reconnect, on average. fetched_share: of undelivered messages, those that are called for
    before they expire. wait_h: a fetched message's wait. messages_per_bundle: of one mailbox in
    one flush, on average, before a bundle's limits cut it; what the benchmarks find on their
    realistic day without a linger. burst_messages: that one mailbox gets together, however many
    bundles they are: a reconnect finds all of a burst or nothing of it, so fewer bursts are fewer
    acknowledgements; as on the realistic day, and never fewer than a bundle has. ttl_lag_days: that
    TTL takes to remove what expired. peak_factor: busiest second over the mean.
    """

    users: float = 50e6
    messages_per_user_day: float = 40.0
    offline_share: float = 0.25
    reconnects_per_user_day: float = 4.0
    away_h: float = 4.0
    fetched_share: float = 0.9
    wait_h: float = 4.0
    body_bytes: int = 300
    user_id_bytes: int = 16
    messages_per_bundle: float = 1.0
    burst_messages: float = 3.0
    retention_days: float = 30.0
    ttl_lag_days: float = 1.0
    peak_factor: float = 3.0

    def __post_init__(self) -> None:
        for name, share in (("offline", self.offline_share), ("fetched", self.fetched_share)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name}_share is between 0 and 1, not {share}")
        if min(self.messages_per_bundle, self.burst_messages) < 1:
            raise ValueError("a bundle has a message at least, and so has a burst")
        if min(self.users, self.retention_days) <= 0:
            raise ValueError("users and days are above 0")
        if min(self.messages_per_user_day, self.reconnects_per_user_day) <= 0:
            raise ValueError("somebody writes, and somebody comes back")

    @property
    def undelivered_per_day(self) -> float:
        return self.users * self.messages_per_user_day * self.offline_share

    @property
    def fetched_per_day(self) -> float:
        return self.undelivered_per_day * self.fetched_share

    @property
    def stored_days(self) -> float:
        """Of an item that is left to TTL."""
        return self.retention_days + self.ttl_lag_days

    @property
    def reconnects_per_day(self) -> float:
        return self.users * self.reconnects_per_user_day

    @property
    def finding_per_day(self) -> float:
        """Reconnects that find something: each acknowledges, once.

        A user's bursts and reconnects come independently, each after waits as long as chance has
        them (Poisson): the event before a reconnect is a burst in b of b + r cases. Users are
        taken to be alike, which finds the most: b * r / (b + r) is concave, so any spread of b
        and r around the same means makes it less.
        """
        bursts = self.fetched_per_day / max(self.burst_messages, self.messages_per_bundle)
        return bursts * self.reconnects_per_day / (bursts + self.reconnects_per_day)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a process of ours, and one of Kafka's, does. The first comes from the benchmarks' JSON,
    the second from docs/why-not-kafka.md ("Option B"), the rest are choices.

    worker_cpu_us: a worker's processor time per message. scan_cpu_us: a gateway's per record that
    it reads and throws away; a Python loop over librdkafka, of which another language would need
    less: bytes are the robust figure. utilization: of a core, at the peak.
    partition_messages_per_s: that one partition, flushed one batch at a time, is asked to bear.
    commit_interval_s: between two writes of a partition's progress. scan_partitions: that the
    scan's topic has; 0: as many as cost least. broker_partitions: that one broker bears, copies
    included: AWS's advice for 16 vCPUs (docs/capacity.md). cluster_brokers: of one cluster; so it
    has 200,000 partitions, the most that the same page points to, and stays below AWS's default
    quota of 60. record_bytes_more: of a record in a scan, beside its body. compression: bytes sent
    per byte of records. broker_read_mb_per_s: that one broker sends to readers, about half of the
    937 MB/s of its network (kafka.m7g.4xlarge).
    """

    worker_cpu_us: float
    scan_cpu_us: float = 1.61
    utilization: float = 0.5
    partition_messages_per_s: float = 500.0
    commit_interval_s: float = 5.0
    partitions_min: int = 8
    scan_partitions: int = 0
    broker_partitions: int = 4_000
    cluster_brokers: int = 50
    record_bytes_more: int = 70
    compression: float = 0.5
    broker_read_mb_per_s: float = 500.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Dollars, list, us-east-1, on demand (DynamoDB's addresses in docs/dynamodb.md).

    vcpu: a month, of 720 hours, of one of a c7g.large's two, $0.0725 an hour together
    (https://aws.amazon.com/ec2/pricing/on-demand/). broker: of one kafka.m7g.4xlarge, 16 vCPUs,
    $1.632 an hour (https://aws.amazon.com/msk/pricing/), which bears what `Machine` says.
    """

    million_write_units: float = 0.625
    million_read_units: float = 0.125
    storage_gb_month: float = 0.25
    vcpu_month: float = 26.0
    broker_month: float = 1_175.0
