//! Where the suite runs.

use std::{any::Any, fmt, future::Future, sync::Arc};

use floe::{Client, ClientBuilder, Result, engine::SharedEngine, layer::Layer};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

type Prepare = dyn Fn() -> Place + Send + Sync;
type Connect = dyn Fn() -> BoxFuture<'static, Result<Connection>> + Send + Sync;

/// An engine to run the suite on, and how a client of it is made.
#[derive(Clone)]
pub struct Target {
    name: String,
    persistent: bool,
    prepare: Arc<Prepare>,
}

impl Target {
    /// The engine that a URL names. Every case connects to it anew and uses topics of its own, so it may be a cluster
    /// that others use as well.
    ///
    /// What was written is expected to be there for the next connection, except for `memory:`.
    #[must_use]
    pub fn url(url: &str) -> Self {
        Self::configured(url, |builder| builder)
    }

    /// As [`Target::url`], with a client that is configured further, for example with layers.
    #[must_use]
    pub fn configured(
        url: &str,
        configure: impl Fn(ClientBuilder) -> ClientBuilder + Send + Sync + 'static,
    ) -> Self {
        let place = Place::at(url.to_owned(), Arc::new(configure));
        Self {
            name: url.to_owned(),
            persistent: !url.starts_with("memory:"),
            prepare: Arc::new(move || place.clone()),
        }
    }

    /// The embedded engine, in a temporary folder for each case.
    #[must_use]
    pub fn embedded() -> Self {
        Self::embedded_configured("", |builder| builder)
    }

    /// As [`Target::embedded`], with options for the URL such as `?durability=always` and a client that is configured
    /// further.
    ///
    /// # Panics
    /// Preparing a case panics where no temporary folder can be made.
    #[must_use]
    pub fn embedded_configured(
        options: &'static str,
        configure: impl Fn(ClientBuilder) -> ClientBuilder + Send + Sync + 'static,
    ) -> Self {
        let configure: Arc<Configure> = Arc::new(configure);
        let prepare = move || {
            #[expect(clippy::expect_used, reason = "without a folder there is nothing to test")]
            let folder = tempfile::tempdir().expect("a temporary folder");
            let url = format!("embedded:{}{options}", folder.path().join("store").display());
            Place { keep: Some(Arc::new(folder)), ..Place::at(url, Arc::clone(&configure)) }
        };
        Self { name: format!("embedded:{options}"), persistent: true, prepare: Arc::new(prepare) }
    }

    /// An engine of one's own. `open` makes a new, empty one for each case.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use floe_conformance::{Model, Target};
    ///
    /// let target = Target::engine("model", || async { Ok(Arc::new(Model::new()) as _) });
    /// assert_eq!(target.name(), "model");
    /// ```
    #[must_use]
    pub fn engine<F, R>(name: &str, open: F) -> Self
    where
        F: Fn() -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<SharedEngine>> + Send + 'static,
    {
        let connect: Arc<Connect> = Arc::new(move || {
            let open = open.clone();
            Box::pin(async move {
                let engine = open().await?;
                Ok(Connection { client: Client::over(Arc::clone(&engine)), engine })
            })
        });
        let place = Place { connect, keep: None };
        Self { name: name.to_owned(), persistent: false, prepare: Arc::new(move || place.clone()) }
    }

    /// How reports call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether what was written is there for the next connection.
    #[must_use]
    pub fn is_persistent(&self) -> bool {
        self.persistent
    }

    /// A place for one case.
    pub(crate) fn prepare(&self) -> Place {
        (self.prepare)()
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("name", &self.name).field("persistent", &self.persistent).finish()
    }
}

type Configure = dyn Fn(ClientBuilder) -> ClientBuilder + Send + Sync;

/// Where one case runs; it can be connected to again and again.
#[derive(Clone)]
pub(crate) struct Place {
    connect: Arc<Connect>,
    /// What must live as long as the case, such as a temporary folder.
    keep: Option<Arc<dyn Any + Send + Sync>>,
}

impl Place {
    fn at(url: String, configure: Arc<Configure>) -> Self {
        let connect: Arc<Connect> = Arc::new(move || {
            let tap = Tap::default();
            let builder = configure(Client::builder(&url)).layer(tap.clone());
            Box::pin(async move {
                let client = builder.connect().await?;
                let engine = tap.engine.lock().take();
                #[expect(clippy::expect_used, reason = "connecting applies every layer")]
                let engine = engine.expect("the layer was applied");
                Ok(Connection { client, engine })
            })
        });
        Self { connect, keep: None }
    }

    pub(crate) async fn connect(&self) -> Result<Connection> {
        (self.connect)().await
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("temporary", &self.keep.is_some()).finish_non_exhaustive()
    }
}

/// A client, and the engine below it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) engine: SharedEngine,
}

/// Not a layer but a look below the client: takes hold of the engine and adds nothing.
#[derive(Debug, Clone, Default)]
struct Tap {
    engine: Arc<Mutex<Option<SharedEngine>>>,
}

impl Layer for Tap {
    fn layer(self, inner: SharedEngine) -> SharedEngine {
        *self.engine.lock() = Some(Arc::clone(&inner));
        inner
    }
}
