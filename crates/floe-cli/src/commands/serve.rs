//! `floe serve`: the engine behind the protocols of Fluvio and Walrus.

use std::{io, net::SocketAddr, path::PathBuf};

use clap::Args;
use floe::url::{EngineUrl, shown};
use floe_server::{Addresses, Listeners, MoreMetrics, ServeOptions, ServerTls, serve};
use serde_json::json;

use super::with_client;
use crate::{
    global::Global,
    exit::{Failure, Outcome},
    interrupt::Interrupt,
    output::{print_document, table},
    telemetry::Telemetry,
};

/// The word that turns a protocol off.
const OFF: &str = "off";

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Keep the topics in this folder; the same as --url embedded:DIR
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where Fluvio clients connect (the controller), or `off`; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9003")]
    fluvio_sc: String,
    /// Where Fluvio clients send and fetch records (the data server), or `off`
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9010")]
    fluvio_spu: String,
    /// Where Walrus clients connect, or `off`
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9091")]
    walrus: String,
    /// Where health and metrics are, or `off`
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9080")]
    http: String,
    /// Name or address that Fluvio clients are told for the data server [default: the one that it is bound to]
    #[arg(long, value_name = "HOST")]
    advertise: Option<String>,
    /// Refuse requests with SmartModules, the WebAssembly of clients
    #[arg(long)]
    no_smartmodules: bool,
    /// Certificate of the Fluvio front-ends in PEM, with those that vouch for it; Walrus and HTTP stay plain
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Let in only Fluvio clients with a certificate of this authority, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// Allow addresses that other machines can reach: there are no passwords
    #[arg(long)]
    listen_public: bool,
}

pub(crate) async fn run(global: &Global, args: ServeArgs, telemetry: &Telemetry) -> Outcome {
    let url = match &args.data {
        Some(folder) => format!("embedded:{}", percent_encoded(&folder.to_string_lossy())),
        None => global.url.clone(),
    };
    let addresses = Addresses {
        fluvio_sc: unless_off(&args.fluvio_sc),
        fluvio_spu: unless_off(&args.fluvio_spu),
        walrus: unless_off(&args.walrus),
        http: unless_off(&args.http),
    };
    if !args.listen_public {
        refuse_public(&addresses).await?;
    }
    let cannot_listen = |error: io::Error| Failure::io("cannot listen", &error);
    let listeners = Listeners::bind(&addresses).await.map_err(cannot_listen)?;
    let bound = listeners.addresses().map_err(cannot_listen)?;
    let interrupt = Interrupt::listen()?;
    let mut options = ServeOptions::default();
    options.advertise = args.advertise;
    options.more_metrics = telemetry.text().map(MoreMetrics::new);
    telemetry.tell_of(&options.metrics);
    if let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) {
        options.tls = Some(ServerTls::from_pem_files(certificate, key, args.tls_client_ca.as_deref())?);
    }
    options.smartmodules = !args.no_smartmodules;
    options.registry = registry(&url)?;
    with_client(&Global { url: url.clone(), ..global.clone() }, async |client| {
        let text = |address: Option<SocketAddr>| address.map(|address| address.to_string());
        let rows = [
            ("fluvio-sc", text(bound.fluvio_sc)),
            ("fluvio-spu", text(bound.fluvio_spu)),
            ("walrus", text(bound.walrus)),
            ("http", text(bound.http)),
        ];
        let document = json!({
            "url": shown(&url),
            "fluvio_sc": rows[0].1, "fluvio_spu": rows[1].1, "walrus": rows[2].1, "http": rows[3].1,
        });
        let rows: Vec<_> = rows
            .into_iter()
            .map(|(name, address)| vec![name.to_owned(), address.unwrap_or_else(|| OFF.to_owned())])
            .collect();
        print_document(global.output, &document, &table(&["serving", "address"], &rows))?;
        options.client = Some(client.clone());
        Ok(serve(listeners, client.engine().clone(), options, interrupt.pressed()).await?)
    })
    .await
}

fn unless_off(address: &str) -> Option<String> {
    (address != OFF).then(|| address.to_owned())
}

async fn refuse_public(addresses: &Addresses) -> Outcome {
    let public = addresses.beyond_loopback().await.map_err(|error| Failure::io("cannot listen", &error))?;
    if public.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{} can be reached by other machines, and there are no passwords",
        public.join(", ")
    ))
    .with_hint("add --listen-public if the network is trusted"))
}

/// What engines have no place for is kept beside an embedded store, and nowhere for other engines.
fn registry(url: &str) -> Outcome<Option<PathBuf>> {
    let url: EngineUrl = url.parse()?;
    Ok((url.scheme.as_str() == "embedded").then(|| PathBuf::from(url.path)))
}

/// A path as a URL takes it: a folder may have `?` or `%` in its name.
fn percent_encoded(path: &str) -> String {
    path.chars().fold(String::with_capacity(path.len()), |mut text, character| {
        match character {
            '%' => text.push_str("%25"),
            '?' => text.push_str("%3F"),
            other => text.push(other),
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_beside_an_embedded_store() {
        let odd = percent_encoded("a?b%c");
        assert_eq!(registry(&format!("embedded:{odd}?durability=os")).unwrap(), Some("a?b%c".into()));
        assert_eq!(registry("memory:").unwrap(), None);
        assert!(registry("nonsense").is_err());
    }
}
