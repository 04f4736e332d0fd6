//! Kinds of planned faults.

/// Kind of a planned fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// All connections to one host are cut.
    CutAll,
    /// One connection is cut.
    CutOne,
    /// One host is unreachable.
    Partition,
    /// One host refuses connections.
    Refuse,
    /// The server crashes and restarts with its log.
    Crash,
    /// The server shuts down gracefully and restarts.
    Restart,
    /// The server crashes, and the coordination topic of the groups has lost its end when it restarts.
    LoseTail,
    /// Partitions change leaders, in clusters of several servers.
    MoveLeaders,
    /// The server crashes with its machine, which loses pages of the disk that were not synced.
    PowerLoss,
    /// Syncs of the disk fail, until the machine crashes.
    FailSyncs,
    /// The disk has no room.
    FullDisk,
}
