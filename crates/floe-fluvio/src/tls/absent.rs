//! The connector of builds without the feature `tls`: creating one is refused.

use std::convert::Infallible;

use floe_core::{Error, ErrorKind, Result, dial::Stream};

use crate::options::FluvioOptions;

/// A connector that cannot exist.
#[derive(Debug, Clone)]
pub(crate) struct Tls(Infallible);

impl Tls {
    /// Returns an error that names the feature.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`], always.
    pub(crate) fn new(options: &FluvioOptions) -> Result<Self> {
        for pem in [&options.ca, &options.cert, &options.key].into_iter().flatten() {
            pem.read("TLS option")?;
        }
        let message = "TLS is not compiled in: enable the feature \"tls\" of the crate floe";
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    pub(crate) async fn wrap(&self, _: Box<dyn Stream>, _: &str, _: Option<&str>) -> Result<Box<dyn Stream>> {
        match self.0 {}
    }
}

/// Returns `None`: without TLS no connection is refused over it.
pub(crate) fn refusal(_: &std::io::Error) -> Option<Error> {
    None
}
