//! Commands of the text protocol, executed on the shared state.

use super::{ClusterState, Topic};

impl ClusterState {
    /// Executes a request on the node with this index. An error is the text after `ERR `.
    pub(super) fn execute(&mut self, node: usize, body: &[u8]) -> Result<Vec<u8>, String> {
        if self.batches && body.starts_with(b"BATCH_") {
            return self.execute_batch(body);
        }
        let text = std::str::from_utf8(body).map_err(|_| "invalid utf-8")?.trim_end();
        let mut parts = text.splitn(3, ' ');
        let word = parts.next().unwrap_or_default();
        let mut part = |name: &str| parts.next().ok_or_else(|| format!("{word} requires a {name}"));
        match word {
            "REGISTER" => {
                self.topics.entry(part("topic")?.to_owned()).or_default();
                Ok(b"OK".to_vec())
            }
            "PUT" => {
                let (topic, payload) = (part("topic")?, part("payload")?);
                self.topic(topic)?.entries.push(payload.as_bytes().to_vec());
                Ok(b"OK".to_vec())
            }
            "GET" => {
                let topic = self.topic(part("topic")?)?;
                Ok(topic.take().map_or_else(|| b"EMPTY".to_vec(), |entry| [b"OK ", &entry[..]].concat()))
            }
            "STATE" => {
                let topic = part("topic")?;
                self.topic(topic)?;
                if let Some((_, times)) =
                    self.lagging.as_mut().filter(|(lagging, times)| *lagging == node && *times > 0)
                {
                    *times -= 1;
                    return Err(format!("unknown topic {topic}"));
                }
                let leader = self.leader.unwrap_or(1);
                Ok(format!(
                    "{{\"current_segment\":1,\"leader_node\":{leader},\"last_sealed_entry_offset\":0,\
                     \"sealed_segments\":{{}},\"segment_leaders\":{{\"1\":{leader}}}}}"
                )
                .into_bytes())
            }
            "METRICS" => {
                let id = node + 1;
                let state = if self.leader == Some(id) { "Leader" } else { "Follower" };
                let known = self.leader.filter(|_| self.unaware_of_leader != Some(node));
                let leader = known.map_or_else(|| "null".to_owned(), |leader| leader.to_string());
                Ok(format!(
                    "{{\n  \"running_state\": {{\"Ok\": null}},\n  \"id\": {id},\n  \"current_term\": 3,\n  \
                     \"last_log_index\": 9,\n  \"state\": \"{state}\",\n  \"current_leader\": {leader}\n}}"
                )
                .into_bytes())
            }
            _ => Err("unknown command".to_owned()),
        }
    }

    /// Executes `BATCH_GET` or `BATCH_PUT`: fields separated by single spaces, each entry preceded by its length.
    fn execute_batch(&mut self, body: &[u8]) -> Result<Vec<u8>, String> {
        let mut rest = body;
        let mut field = || {
            let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
            let field = String::from_utf8_lossy(&rest[..end]).into_owned();
            rest = rest.get(end + 1..).unwrap_or_default();
            field
        };
        let word = field();
        let topic = field();
        if topic.is_empty() {
            return Err(format!("{word} requires a topic"));
        }
        if word == "BATCH_GET" {
            let (most, bytes): (usize, usize) = (field().parse().unwrap(), field().parse().unwrap());
            let topic = self.topic(&topic)?;
            let (mut entries, mut size) = (Vec::new(), 0);
            while entries.len() < most
                && (entries.is_empty() || size < bytes)
                && let Some(entry) = topic.take()
            {
                size += entry.len();
                entries.push(entry);
            }
            if entries.is_empty() {
                return Ok(b"EMPTY".to_vec());
            }
            let mut reply = format!("OK {}", entries.len()).into_bytes();
            for entry in entries {
                reply.extend(format!(" {} ", entry.len()).into_bytes());
                reply.extend(entry);
            }
            return Ok(reply);
        }
        let count: usize = field().parse().unwrap();
        assert!(count <= 2000, "{count} entries in one batch");
        let mut entries = Vec::new();
        for _ in 0..count {
            let end = rest.iter().position(|byte| *byte == b' ').expect("a length");
            let length: usize = std::str::from_utf8(&rest[..end]).unwrap().parse().unwrap();
            entries.push(rest[end + 1..end + 1 + length].to_vec());
            rest = rest.get(end + 1 + length + 1..).unwrap_or_default();
        }
        self.topic(&topic)?.entries.extend(entries);
        Ok(format!("OK {count}").into_bytes())
    }

    fn topic(&mut self, name: &str) -> Result<&mut Topic, String> {
        self.topics.get_mut(name).ok_or_else(|| format!("unknown topic {name}"))
    }
}

impl Topic {
    /// Consumes the entry under the shared cursor.
    fn take(&mut self) -> Option<Vec<u8>> {
        let entry = self.entries.get(self.cursor)?.clone();
        self.cursor += 1;
        Some(entry)
    }
}
