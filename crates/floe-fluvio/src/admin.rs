//! Administration of Fluvio clusters: objects of the controller with all their settings.
//!
//! The objects are those of the protocol, from [`objects`](super::objects): `TopicSpec`, `PartitionSpec`, `SpuSpec`,
//! `CustomSpuSpec`, `SmartModuleSpec`, `SpuGroupSpec`, `TableFormatSpec`, `MirrorSpec`.

use std::{fmt, time::Duration};

use bytes::Bytes;
use floe_core::{
    Error, ErrorKind, Operation, OperationKind, Result, RetryPolicy,
    retry::{RetryObserver, retry_call},
    topic::{Topic, TopicSpec},
};
use floe_wire::{
    compress::{Codec, compress},
    fluvio::{
        CreateRequest, DeleteRequest, ListRequest, Metadata as Described, Object, SmartModuleSpec, Status,
        TopicSpec as WireTopicSpec, TopicUpdate, UpdateTopicRequest,
    },
};

use futures_util::{future::BoxFuture, stream::BoxStream};

use super::{FluvioEngine, ObjectEvent, ServerConnection, metadata::not_found, object_watch, topics};

/// Deadline of a creation; groups of data servers take longest.
const CREATE_TIMEOUT: Duration = Duration::from_secs(120);

/// Administration of a Fluvio cluster beyond topics as every engine has them.
///
/// Created by `floe::Client::fluvio`, which retries failed calls, or by [`FluvioEngine::admin`], which does not unless
/// [`FluvioAdmin::retry`] sets a policy.
#[derive(Clone)]
pub struct FluvioAdmin {
    engine: FluvioEngine,
    retry: Option<RetryPolicy>,
    observer: Option<RetryObserver>,
}

impl fmt::Debug for FluvioAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FluvioAdmin")
            .field("engine", &self.engine)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

impl FluvioEngine {
    /// Returns the administration of the cluster. Calls are not retried.
    ///
    /// ```no_run
    /// # async fn example() -> floe_core::Result<()> {
    /// use floe_fluvio::FluvioEngine;
    /// use floe_fluvio::objects::SpuSpec;
    ///
    /// let fluvio = FluvioEngine::connect("fluvio://localhost:9003").await?;
    /// for spu in fluvio.admin().list::<SpuSpec>(&[]).await? {
    ///     println!("{} {} {:?}", spu.spec.id, spu.name, spu.status);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn admin(&self) -> FluvioAdmin {
        FluvioAdmin { engine: self.clone(), retry: None, observer: None }
    }
}

impl FluvioAdmin {
    /// Sets the retry policy. Calls that change something are retried only after errors without effect.
    #[must_use]
    pub fn retry(self, policy: RetryPolicy) -> Self {
        Self { retry: Some(policy), ..self }
    }

    /// Sets an observer of every retry.
    #[must_use]
    pub fn on_retry(self, observer: RetryObserver) -> Self {
        Self { observer: Some(observer), ..self }
    }

    async fn call<'a, T: Send>(
        &'a self,
        kind: OperationKind,
        topic: Option<&Topic>,
        attempt: impl Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    ) -> Result<T> {
        self.engine.check_open()?;
        let operation = Operation::new("fluvio", kind);
        let operation = topic.into_iter().fold(operation, Operation::with_topic);
        let outcome = match &self.retry {
            Some(policy) => retry_call(policy, &operation, self.observer.as_ref(), attempt).await,
            None => attempt().await,
        };
        outcome.map_err(|error| operation.locate(error))
    }

    /// Lists objects of one kind whose names match any of `names`, or all if it is empty. System topics and partitions are
    /// left out. The controller decides what matches: for most kinds a part of the name is enough.
    ///
    /// # Errors
    /// Connection errors of the controller; [`ErrorKind::Closed`]. Objects that the caller may not see are left out.
    pub async fn list<O: Object>(&self, names: &[&str]) -> Result<Vec<Described<O>>> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let names = &names;
        let ask = move || -> BoxFuture<'_, _> {
            // A summary leaves out the code of modules, which may be megabytes each.
            Box::pin(self.engine.metadata().list(ListRequest::new(names.clone()).summary(true)))
        };
        self.call(OperationKind::ListObjects, None, ask).await
    }

    /// Returns the present objects of one kind, then every change: topics, partitions, data servers, groups of them,
    /// SmartModules, table formats. Includes system objects, and reconnects when a connection breaks. An error is the last
    /// item.
    ///
    /// ```no_run
    /// # async fn example(admin: floe_fluvio::FluvioAdmin) -> floe_core::Result<()> {
    /// use floe_fluvio::{ObjectEvent, objects::SpuSpec};
    /// use futures_util::TryStreamExt;
    ///
    /// let mut servers = admin.watch::<SpuSpec>();
    /// while let Some(event) = servers.try_next().await? {
    ///     if let ObjectEvent::Updated(server) = event {
    ///         println!("{}: {:?}", server.name, server.status);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn watch<O: Object>(&self) -> BoxStream<'static, Result<ObjectEvent<O>>> {
        object_watch::watch(self.engine.clone())
    }

    /// Lists the servers that were used so far with the state of the connections to them: the controllers first, then data
    /// servers.
    #[must_use]
    pub fn connections(&self) -> Vec<ServerConnection> {
        let controllers = self.engine.metadata().controllers.iter().map(|slot| &slot.server);
        let data_servers = self.engine.inner.router.known_spus();
        let data_servers = data_servers.iter().map(|(_, spu)| &spu.server);
        let servers = controllers.chain(data_servers);
        servers.map(|server| server.connection()).collect()
    }

    /// Creates an object and returns the name under which it is stored.
    ///
    /// Existing SmartModules and home mirrors are replaced. For topics use [`FluvioAdmin::create_topic`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCommand`] with the reason if the controller refuses it; [`ErrorKind::AuthFailed`].
    pub async fn create<O: Object>(&self, name: &str, spec: O) -> Result<String> {
        let request = &CreateRequest { name: name.to_owned(), dry_run: false, timeout_ms: None, spec };
        let ask = move || -> BoxFuture<'_, _> {
            Box::pin(async move {
                let link = self.engine.metadata().new_controller_link().await?;
                let status: Status = link.call(request, CREATE_TIMEOUT).await?;
                topics::check_status(&status)?;
                Ok(status.name)
            })
        };
        self.call(OperationKind::CreateObject, None, ask).await
    }

    /// Deletes an object. It may be visible for a moment after this returns. For topics use
    /// [`FluvioAdmin::delete_topic`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCommand`] if there is none; [`ErrorKind::AuthFailed`].
    pub async fn delete<O: Object>(&self, key: O::DeleteKey) -> Result<()> {
        let request = &DeleteRequest::<O> { key, force: false };
        let ask = move || -> BoxFuture<'_, _> {
            Box::pin(async move {
                let metadata = self.engine.metadata();
                topics::check_status(
                    &metadata.controller().await?.call(request, metadata.request_timeout()).await?,
                )
            })
        };
        self.call(OperationKind::DeleteObject, None, ask).await
    }

    /// Returns the settings of a topic as the protocol has them, to be completed by those that only Fluvio knows.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Unsupported`] for settings that no Fluvio topic has, and [`ErrorKind::InvalidCommand`] for values
    /// that the protocol cannot express.
    pub fn topic_settings(spec: &TopicSpec) -> Result<WireTopicSpec> {
        topics::wire_spec(spec)
    }

    /// Creates a topic with all settings of the protocol, and waits until its partitions can be used: replica
    /// assignment, retention, storage, compression, deduplication, mirrors.
    ///
    /// # Errors
    /// As `floe::admin::Admin::create_topic`.
    pub async fn create_topic(&self, name: impl Into<Topic>, spec: WireTopicSpec) -> Result<()> {
        let (name, spec) = (&name.into(), &spec);
        name.validate()?;
        let ask = move || -> BoxFuture<'_, _> {
            Box::pin(topics::create_wire(&self.engine.inner.router, name, spec.clone()))
        };
        self.call(OperationKind::CreateTopic, Some(name), ask).await
    }

    /// Returns a topic with all its settings and its status.
    ///
    /// # Errors
    /// [`ErrorKind::TopicNotFound`]; connection errors of the controller.
    pub async fn describe_topic(&self, name: impl Into<Topic>) -> Result<Described<WireTopicSpec>> {
        let name = &name.into();
        let ask = move || -> BoxFuture<'_, _> {
            Box::pin(
                async move { self.engine.metadata().ask_topic(name).await?.ok_or_else(|| not_found(name)) },
            )
        };
        self.call(OperationKind::Topic, Some(name), ask).await
    }

    /// Changes a topic: more partitions, or one more remote cluster. Returns before new partitions can be used.
    ///
    /// # Errors
    /// [`ErrorKind::TopicNotFound`]; [`ErrorKind::InvalidCommand`] if topics of this kind do not support the change.
    pub async fn update_topic(&self, name: impl Into<Topic>, action: TopicUpdate) -> Result<()> {
        let name = name.into();
        let request = &UpdateTopicRequest { key: name.to_string(), action };
        let ask = move || -> BoxFuture<'_, _> {
            Box::pin(async move {
                let metadata = self.engine.metadata();
                topics::check_status(
                    &metadata.controller().await?.call(request, metadata.request_timeout()).await?,
                )
            })
        };
        self.call(OperationKind::UpdateTopic, Some(&name), ask).await
    }

    /// Deletes a topic; with `force` also a system topic.
    ///
    /// # Errors
    /// As `floe::admin::Admin::delete_topic`.
    pub async fn delete_topic(&self, name: impl Into<Topic>, force: bool) -> Result<()> {
        let name = &name.into();
        let ask = move || -> BoxFuture<'_, _> {
            Box::pin(topics::delete_forced(self.engine.metadata(), name, force))
        };
        self.call(OperationKind::DeleteTopic, Some(name), ask).await
    }

    /// Returns whether the cluster has a SmartModule of this name, which may have the form `group/name@version`.
    ///
    /// # Errors
    /// Connection errors of the controller; [`ErrorKind::Closed`].
    pub async fn has_smartmodule(&self, name: &str) -> Result<bool> {
        let ask = move || -> BoxFuture<'_, _> { Box::pin(self.engine.metadata().has_module(name)) };
        self.call(OperationKind::ListObjects, None, ask).await
    }

    /// Stores a SmartModule under a name, replacing an existing one. `wasm` is the compiled module. Data servers receive it a
    /// moment after this returns.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCommand`] if `wasm` is not a WebAssembly module.
    pub async fn create_smartmodule(&self, name: &str, wasm: &[u8]) -> Result<String> {
        if !wasm.starts_with(b"\0asm") {
            let message = format!("SmartModule {name:?} is not a WebAssembly module");
            return Err(Error::new(ErrorKind::InvalidCommand, message));
        }
        let spec = SmartModuleSpec { payload: gzip(wasm)?, ..SmartModuleSpec::default() };
        self.create(name, spec).await
    }
}

/// Compresses a module, as servers expect it.
fn gzip(bytes: &[u8]) -> Result<Bytes> {
    let mut packed = Vec::new();
    compress(Codec::Gzip, None, bytes, &mut packed)?;
    Ok(packed.into())
}
