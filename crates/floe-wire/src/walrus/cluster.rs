//! JSON answers to `STATE` and `METRICS`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Segments of a topic and their leaders: the answer to `STATE`. Unknown fields are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TopicState {
    /// Number of the segment that receives appends.
    pub current_segment: u64,
    /// Id of the node that leads that segment.
    pub leader_node: u64,
    /// Number of entries in all sealed segments together.
    #[serde(default)]
    pub last_sealed_entry_offset: u64,
    /// Number of entries in each sealed segment.
    #[serde(default)]
    pub sealed_segments: BTreeMap<u64, u64>,
    /// Id of the node that holds each segment.
    #[serde(default)]
    pub segment_leaders: BTreeMap<u64, u64>,
}

impl TopicState {
    /// Parses the JSON of an answer; returns `None` for anything else.
    #[must_use]
    pub fn from_json(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// Returns the JSON of the answer.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Numbers and maps of numbers always encode.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// State of a node within its cluster: the answer to `METRICS`. Unknown fields are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeMetrics {
    /// Id of the node.
    pub id: u64,
    /// `Leader`, `Follower`, `Candidate`, `Learner`, …
    pub state: String,
    /// Id of the leader; `None` during an election.
    pub current_leader: Option<u64>,
    /// Raft term of the node.
    #[serde(default)]
    pub current_term: u64,
    /// Index of the last entry in the Raft log of the cluster's metadata.
    #[serde(default)]
    pub last_log_index: Option<u64>,
}

impl NodeMetrics {
    /// Parses the JSON of an answer; returns `None` for anything else.
    #[must_use]
    pub fn from_json(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// Returns the JSON of the answer, on several lines as the server writes it.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Numbers and text always encode.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_as_the_server_writes_it() {
        let json = br#"{"current_segment":3,"leader_node":2,"last_sealed_entry_offset":200,
            "sealed_segments":{"1":100,"2":100},"segment_leaders":{"1":1,"2":3,"3":2},"new":[]}"#;
        let state = TopicState::from_json(json).unwrap();
        assert_eq!((state.current_segment, state.leader_node, state.last_sealed_entry_offset), (3, 2, 200));
        assert_eq!(state.sealed_segments, BTreeMap::from([(1, 100), (2, 100)]));
        assert_eq!(state.segment_leaders, BTreeMap::from([(1, 1), (2, 3), (3, 2)]));
        assert_eq!(TopicState::from_json(state.to_json().as_bytes()), Some(state));
        assert_eq!(TopicState::from_json(b"{\"leader_node\":1}"), None);
    }

    #[test]
    fn metrics_as_the_server_writes_them() {
        let json = b"{\n  \"running_state\": {\"Ok\": null},\n  \"id\": 1,\n  \"current_term\": 1,\n  \
            \"last_log_index\": 7,\n  \"state\": \"Leader\",\n  \"current_leader\": 1\n}";
        let metrics = NodeMetrics::from_json(json).unwrap();
        let expected = NodeMetrics {
            id: 1,
            state: "Leader".to_owned(),
            current_leader: Some(1),
            current_term: 1,
            last_log_index: Some(7),
        };
        assert_eq!(metrics, expected);
        assert_eq!(NodeMetrics::from_json(metrics.to_json().as_bytes()), Some(expected));
        let alone =
            NodeMetrics::from_json(b"{\"id\":2,\"state\":\"Candidate\",\"current_leader\":null}").unwrap();
        assert_eq!(alone.current_leader, None);
        assert_eq!(NodeMetrics::from_json(b"OK"), None);
    }
}
