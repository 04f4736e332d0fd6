//! Settings of a topic that is created after the model of another one.

use floe::{
    Client, TopicSpec,
    topic::{Topic, TopicInfo},
};

/// Returns the settings of the model as far as the engine has them.
pub(crate) fn spec_like(model: &TopicInfo, name: &Topic, to: &Client) -> TopicSpec {
    let (engine, capabilities) = (to.info().name, to.info().capabilities);
    let mut spec = TopicSpec::new(name.clone());
    if capabilities.partitions {
        spec = spec.partitions(model.partitions);
    }
    // Only topics that can be deleted have a retention, and only logs of this machine a durability.
    if capabilities.delete_topic {
        (spec.retention_age, spec.retention_bytes) = (model.retention_age, model.retention_bytes);
    }
    if engine == "embedded" || engine == "memory" {
        spec.durability = model.durability;
    }
    spec
}
