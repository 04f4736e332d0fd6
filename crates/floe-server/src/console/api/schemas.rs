//! Fields of the objects in answers, for the OpenAPI document. A test holds them against answers.

/// Names and descriptions of fields.
pub(super) type Fields = &'static [(&'static str, &'static str)];

const SUMMARY: Fields = &[
    ("name", "name"),
    ("partitions", "number of partitions"),
    ("created_at", "time of the creation"),
    ("records", "number of records"),
    ("bytes", "bytes stored"),
    ("records_per_second", "present rate"),
    ("bytes_per_second", "present rate"),
    ("damage", "findings of damage, in words"),
    ("dead_letters", "whether the name is one of a topic for dead letters"),
    ("retention_age_ms", "age at which records may go"),
    ("retention_bytes", "size of a partition at which its oldest records may go"),
    ("durability", "when an append is acknowledged"),
];

const PARTITION: Fields = &[
    ("partition", "number"),
    ("leader", "server that takes the appends; null where the engine has no servers"),
    ("replicas", "servers that hold the partition; null where the engine has no servers"),
    ("start_offset", "offset of the oldest record"),
    ("high_watermark", "offset up to which replicas have the partition"),
    ("records", "number of records"),
    ("size_bytes", "bytes stored"),
    ("error", "code and message, in place of the offsets"),
];

const GROUP_SUMMARY: Fields = &[
    ("name", "name"),
    ("shared", "whether its members divide the partitions"),
    ("topics", "names of its topics"),
    ("members", "number of members of a shared group"),
    ("lag", "records between its positions and the ends"),
    ("partitions", "number of partitions"),
    ("committed_at", "time of the last commit"),
];

const COMPONENT: Fields = &[
    ("kind", "producer, consumer, processor or outbox"),
    ("topic", "topic that it reads, or sends to"),
    ("to", "topic of the results of a processor"),
    ("group", "group of a consumer or a processor"),
    ("used", "bytes in use"),
    ("limit", "bytes that may be in use"),
    ("counters", "list of name and value"),
    ("finding", "a problem in words"),
];

const RATES: Fields = &[
    ("step_seconds", "time between two values"),
    ("end", "time of the end of the last step"),
    ("records", "records a second, the newest last"),
    ("bytes", "bytes a second; null where the engine tells no sizes"),
];

/// All of a topic: the summary first.
pub(super) const TOPIC: Fields = &with::<16>(
    SUMMARY,
    &[
        ("groups", "groups that read it"),
        ("rates", "Rates"),
        ("partition_details", "list of Partition"),
        ("settings", "list of name and value"),
    ],
);

/// All of a group: the summary first.
pub(super) const GROUP: Fields = &with::<11>(
    GROUP_SUMMARY,
    &[
        (
            "partition_details",
            "positions, lag, its history (of groups of up to 500 partitions) and member of each partition",
        ),
        ("members_detail", "id, instance, session, topics and partitions of each member"),
        ("lag_step_seconds", "time between two values of lag_history"),
        ("lag_history", "lag of all partitions, the newest last"),
    ],
);

/// Named schemas beside those of errors and bytes.
pub(super) const SCHEMAS: &[(&str, Fields)] = &[
    ("TopicSummary", SUMMARY),
    ("Partition", PARTITION),
    ("GroupSummary", GROUP_SUMMARY),
    ("Component", COMPONENT),
    ("Rates", RATES),
];

const fn with<const N: usize>(first: Fields, then: Fields) -> [(&'static str, &'static str); N] {
    assert!(first.len() + then.len() == N, "the number of fields");
    let mut all = [("", ""); N];
    let mut at = 0;
    while at < N {
        all[at] = if at < first.len() { first[at] } else { then[at - first.len()] };
        at += 1;
    }
    all
}
