//! Health of an engine and its nodes.

/// Health of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Whether it can work.
    pub ready: bool,
    /// Its servers, nodes or stores.
    pub nodes: Vec<NodeHealth>,
}

impl Health {
    /// Creates the health of an engine.
    #[must_use]
    pub fn new(ready: bool, nodes: Vec<NodeHealth>) -> Self {
        Self { ready, nodes }
    }
}

/// Health of one server, node or store of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeHealth {
    /// Address or path.
    pub name: String,
    /// Whether it can work.
    pub ready: bool,
    /// Description of the condition.
    pub state: String,
    /// Whether it leads the others: of Walrus the node that orders all changes, of Fluvio the controller. `None` where
    /// there is no leader, or the engine does not know it.
    pub leads: Option<bool>,
}

impl NodeHealth {
    /// Creates the health of a node of which no leadership is known.
    #[must_use]
    pub fn new(name: impl Into<String>, ready: bool, state: impl Into<String>) -> Self {
        Self { name: name.into(), ready, state: state.into(), leads: None }
    }

    /// Sets whether the node leads the others.
    #[must_use]
    pub fn leads(mut self, leads: Option<bool>) -> Self {
        self.leads = leads;
        self
    }
}
