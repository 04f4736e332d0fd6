//! Engines under test, and how a case connects to one.

use std::{fmt, future::Future, path::PathBuf, sync::Arc};

use floe::{Client, ClientBuilder, Result, engine::SharedEngine, layer::Layer};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tempfile::TempDir;

type Prepare = dyn Fn() -> CaseSite + Send + Sync;
type Connect = dyn Fn() -> BoxFuture<'static, Result<Connection>> + Send + Sync;

/// An engine under test: how each case gets a client of it.
#[derive(Clone)]
pub struct Target {
    name: String,
    persistent: bool,
    prepare: Arc<Prepare>,
}

impl Target {
    /// Tests the engine that a URL names. Each case opens a connection and uses topics of its own, so the engine may be a
    /// shared cluster.
    ///
    /// Data must outlive a connection, except with `memory:`.
    #[must_use]
    pub fn url(url: &str) -> Self {
        Self::configured(url, |builder| builder)
    }

    /// Like [`Target::url`], with further configuration of the client, such as layers.
    #[must_use]
    pub fn configured(
        url: &str,
        configure: impl Fn(ClientBuilder) -> ClientBuilder + Send + Sync + 'static,
    ) -> Self {
        let site = CaseSite::at(url.to_owned(), Arc::new(configure));
        Self {
            name: url.to_owned(),
            persistent: !url.starts_with("memory:"),
            prepare: Arc::new(move || site.clone()),
        }
    }

    /// Tests the embedded engine, in a temporary folder per case.
    #[must_use]
    pub fn embedded() -> Self {
        Self::embedded_configured("", |builder| builder)
    }

    /// Like [`Target::embedded`], with URL options such as `?durability=always` and further configuration of the client.
    ///
    /// # Panics
    /// A case panics if no temporary folder can be created.
    #[must_use]
    pub fn embedded_configured(
        options: &'static str,
        configure: impl Fn(ClientBuilder) -> ClientBuilder + Send + Sync + 'static,
    ) -> Self {
        let configure: Arc<Configure> = Arc::new(configure);
        let prepare = move || {
            let folder = temporary_folder();
            let url = format!("embedded:{}{options}", folder.path().join("store").display());
            CaseSite { folder: Some(Arc::new(folder)), ..CaseSite::at(url, Arc::clone(&configure)) }
        };
        Self { name: format!("embedded:{options}"), persistent: true, prepare: Arc::new(prepare) }
    }

    /// Tests an engine of your own that keeps nothing between connections. `open` creates an empty one for each case; the
    /// cases about persistence are skipped.
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
        let site = CaseSite { connect: connect_to(open), folder: None };
        Self { name: name.to_owned(), persistent: false, prepare: Arc::new(move || site.clone()) }
    }

    /// Tests a persistent engine of your own. Each case gets a new temporary folder, and `open` opens the engine in it: again
    /// with each connection, after the engine before it was closed.
    ///
    /// ```no_run
    /// use std::{path::PathBuf, sync::Arc};
    /// use floe_conformance::Target;
    /// # use floe_conformance::Model as MyEngine;
    /// # async fn open_my_engine(folder: PathBuf) -> floe::Result<MyEngine> { Ok(MyEngine::new()) }
    ///
    /// let target = Target::in_folder("mine", |folder| async move { Ok(Arc::new(open_my_engine(folder).await?) as _) });
    /// assert!(target.is_persistent());
    /// ```
    ///
    /// # Panics
    /// A case panics if no temporary folder can be created.
    #[must_use]
    pub fn in_folder<F, R>(name: &str, open: F) -> Self
    where
        F: Fn(PathBuf) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<SharedEngine>> + Send + 'static,
    {
        let prepare = move || {
            let folder = temporary_folder();
            let (open, path) = (open.clone(), folder.path().join("store"));
            CaseSite { connect: connect_to(move || open(path.clone())), folder: Some(Arc::new(folder)) }
        };
        Self { name: name.to_owned(), persistent: true, prepare: Arc::new(prepare) }
    }

    /// Name of the target in reports.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether data outlives a connection.
    #[must_use]
    pub fn is_persistent(&self) -> bool {
        self.persistent
    }

    /// Prepares the site of one case.
    pub(crate) fn prepare(&self) -> CaseSite {
        (self.prepare)()
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("name", &self.name).field("persistent", &self.persistent).finish()
    }
}

type Configure = dyn Fn(ClientBuilder) -> ClientBuilder + Send + Sync;

fn temporary_folder() -> TempDir {
    #[expect(clippy::expect_used, reason = "the case cannot run without a folder")]
    tempfile::tempdir().expect("a temporary folder")
}

fn connect_to<F, R>(open: F) -> Arc<Connect>
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Result<SharedEngine>> + Send + 'static,
{
    Arc::new(move || {
        let opening = open();
        Box::pin(async move {
            let engine = opening.await?;
            Ok(Connection { client: Client::from_engine(Arc::clone(&engine)), engine })
        })
    })
}

/// Site of one case, which may connect to it several times.
#[derive(Clone)]
pub(crate) struct CaseSite {
    connect: Arc<Connect>,
    /// Deleted with the last clone.
    folder: Option<Arc<TempDir>>,
}

impl CaseSite {
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
        Self { connect, folder: None }
    }

    pub(crate) async fn connect(&self) -> Result<Connection> {
        (self.connect)().await
    }
}

impl fmt::Debug for CaseSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaseSite").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// A client and the engine below it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) engine: SharedEngine,
}

/// Captures the engine below the client. It adds no behaviour.
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
