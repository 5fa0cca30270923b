-- The tables that a sink of type clickhouse fills. Repeats (after a crash, or where an answer was lost) have the same
-- RecordUid and are merged away in time; `SELECT ... FROM ContainerLogV2 FINAL` never shows them.
CREATE TABLE IF NOT EXISTS ContainerLogV2
(
    TimeGenerated      DateTime64(9, 'UTC') CODEC(Delta, ZSTD),
    Computer           LowCardinality(String),
    ContainerId        String,
    ContainerName      LowCardinality(String),
    PodName            LowCardinality(String),
    PodNamespace       LowCardinality(String),
    LogMessage         String CODEC(ZSTD),
    LogSource          LowCardinality(String),
    LogLevel           LowCardinality(String),
    KubernetesMetadata String,
    ClusterName        LowCardinality(String),
    RecordUid          FixedString(32),
    LogFlags           LowCardinality(String)
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(TimeGenerated)
ORDER BY (PodNamespace, PodName, ContainerName, TimeGenerated, RecordUid)
TTL toDateTime(TimeGenerated) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS InsightsMetrics
(
    TimeGenerated DateTime64(3, 'UTC') CODEC(Delta, ZSTD),
    Computer      LowCardinality(String),
    Namespace     LowCardinality(String),
    Name          LowCardinality(String),
    Val           Float64,
    Tags          String,
    ClusterName   LowCardinality(String)
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(TimeGenerated)
ORDER BY (Name, Computer, Tags, TimeGenerated)
TTL toDateTime(TimeGenerated) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 1000;
