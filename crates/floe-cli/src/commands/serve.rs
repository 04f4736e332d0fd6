//! `floe serve`: a server that speaks the Fluvio and Walrus protocols.

use std::{io, net::SocketAddr, path::PathBuf};

use clap::Args;
use floe::url::shown;
use floe_server::{Addresses, Listeners, MoreMetrics, ServeLimits, ServeOptions, serve};
use serde_json::json;

use super::{
    console::{ConsoleMode, TokenArgs},
    embedded_url,
    serve_access::{AccessArgs, OFF, is_off},
    store_directory, with_client,
};
use crate::{
    exit::{self, Failure, Outcome},
    format::OutputFormat,
    global::Global,
    interrupt::Interrupt,
    output::{print_document, table},
    platform::notify_service_manager,
    public_address::refuse_public,
    telemetry::Telemetry,
};

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Directory of the store; the same as --url embedded:DIR
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address of the Fluvio streaming controller (SC), or `off`; port 0 selects a free port
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9003")]
    fluvio_sc: String,
    /// Address of the Fluvio data server (SPU), or `off`
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9010")]
    fluvio_spu: String,
    /// Address for Walrus clients, or `off` [default: 127.0.0.1:9091, or `off` with --tls-client-ca]
    #[arg(long, value_name = "HOST:PORT")]
    walrus: Option<String>,
    /// Address of the console, health checks and metrics, or `off`
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9080")]
    http: String,
    /// Host of the SPU that Fluvio clients connect to [default: the bound address]
    #[arg(long, value_name = "HOST")]
    advertise: Option<String>,
    /// Reject requests with SmartModules, the WebAssembly of clients
    #[arg(long)]
    no_smartmodules: bool,
    /// Console on the HTTP address [default: full on the loopback interface, read-only elsewhere]
    #[arg(long, value_name = "MODE")]
    console: Option<ConsoleMode>,
    #[command(flatten)]
    token: TokenArgs,
    #[command(flatten)]
    access: AccessArgs,
    /// Memory that requests, responses and SmartModules of all clients may hold together [default: a quarter of the
    /// machine's, at most 2GiB]
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Set a limit, such as frame_bytes=8MiB or idle_timeout=10m; may be repeated. docs/security.md lists them
    #[arg(long, value_name = "NAME=VALUE")]
    limit: Vec<String>,
}

pub(crate) async fn run(global: &Global, args: ServeArgs, telemetry: &Telemetry) -> Outcome {
    let url = match &args.data {
        Some(directory) => embedded_url(directory),
        None => global.url.clone(),
    };
    let limits = limits(args.memory.as_deref(), &args.limit)?;
    let mut addresses = Addresses::none();
    addresses.fluvio_sc = unless_off("--fluvio-sc", &args.fluvio_sc)?;
    addresses.fluvio_spu = unless_off("--fluvio-spu", &args.fluvio_spu)?;
    addresses.walrus = unless_off("--walrus", &args.access.walrus(args.walrus.as_deref())?)?;
    addresses.http = unless_off("--http", &args.http)?;
    if addresses == Addresses::none() {
        return Err(Failure::usage(
            "nothing to serve: --fluvio-sc, --fluvio-spu, --walrus and --http are off",
        ));
    }
    refuse_public(&addresses, global.listen_public).await?;
    let cannot_listen = |error: io::Error| Failure::io("cannot listen", &error);
    let listeners = Listeners::bind(&addresses).await.map_err(cannot_listen)?;
    let bound = listeners.addresses().map_err(cannot_listen)?;
    let interrupt = Interrupt::listen()?;
    let mut options = ServeOptions::default();
    options.limits = limits;
    options.advertise = args.advertise;
    options.more_metrics = telemetry.text().map(MoreMetrics::new);
    telemetry.export_server(&options.metrics, &global.config.settings().telemetry.metrics_prefix);
    if bound.http.is_some() {
        options.console = args.token.console(args.console, bound.http)?;
    }
    args.access.apply(&mut options)?;
    options.smartmodules = !args.no_smartmodules;
    // The registry holds objects that engines do not store, beside the store.
    options.registry = store_directory(&url)?;
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
        let shutdown = async {
            tell_service_manager(global.output, "READY=1");
            interrupt.pressed().await;
            tell_service_manager(global.output, "STOPPING=1");
        };
        Ok(serve(listeners, client.engine().clone(), options, shutdown).await?)
    })
    .await
}

/// Tells the service manager a state, or the log that it could not be told. The server works without.
fn tell_service_manager(format: OutputFormat, state: &str) {
    if let Err(error) = notify_service_manager(state) {
        exit::notify(format, "warning", &format!("the service manager was not told {state}: {error}"));
    }
}

/// Returns the limits that the options set.
fn limits(memory: Option<&str>, others: &[String]) -> Outcome<ServeLimits> {
    let mut limits = ServeLimits::default();
    let memory = memory.map(|size| ("memory", size));
    let pairs = others.iter().map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    for (name, value) in memory.into_iter().chain(pairs) {
        limits.set(name.trim(), value.trim()).map_err(Failure::usage)?;
    }
    Ok(limits)
}

/// Returns the address that an option sets, or `None` where it is off.
fn unless_off(option: &str, address: &str) -> Outcome<Option<String>> {
    if is_off(address) {
        return Ok(None);
    }
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(Some(address.to_owned())),
        _ => Err(Failure::usage(format!(
            "{option} {address:?}: write HOST:PORT, such as 127.0.0.1:9003 or [::1]:9003, or off"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for off in ["off", "OFF", "Off"] {
            assert_eq!(unless_off("--http", off).unwrap(), None);
        }
        for good in ["127.0.0.1:0", "[::1]:9003", "localhost:80"] {
            assert_eq!(unless_off("--http", good).unwrap().as_deref(), Some(good));
        }
        for bad in ["", "9003", ":9003", "localhost", "localhost:http", "h:70000"] {
            let failure = unless_off("--http", bad).unwrap_err();
            assert_eq!(failure.exit_code(), 2);
            assert!(failure.message().contains("--http") && failure.message().contains("HOST:PORT"), "{bad}");
        }
    }

    #[test]
    fn limits_are_set_by_name() {
        let set = |memory, others: &[&str]| {
            limits(memory, &others.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let chosen =
            set(Some("64MiB"), &["connections=7", "idle_timeout = 10m", "client_requests_per_second=5"])
                .unwrap();
        assert_eq!((chosen.memory, chosen.connections), (64 << 20, 7));
        assert_eq!(chosen.idle_timeout, Some(std::time::Duration::from_secs(600)));
        assert_eq!(chosen.client_requests_per_second, Some(5));
        for wrong in ["connections", "connections=", "connections=0", "nonsense=1"] {
            assert!(set(None, &[wrong]).is_err(), "{wrong}");
        }
        assert!(set(Some("much"), &[]).is_err());
    }
}
