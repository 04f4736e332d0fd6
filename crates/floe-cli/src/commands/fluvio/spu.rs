//! `floe spu`: the streaming processing units (SPUs) of a Fluvio cluster, its data servers.

use clap::{Args, Subcommand};
use floe::engine::fluvio::objects::{
    CustomSpuKey, CustomSpuSpec, Encryption, Endpoint, IngressAddress, IngressEndpoint, Metadata, SpuSpec,
    SpuStatus, SpuType,
};
use serde_json::{Value, json};

use super::{require, with_admin};
use crate::{
    commands::confirm,
    exit::Outcome,
    global::Global,
    output::{List, print_document, print_list, table},
};

const CAPABILITY: &str = "SPUs";

#[derive(Debug, Subcommand)]
pub(crate) enum SpuCommand {
    /// List the SPUs with their status
    List,
    /// Register a custom SPU, so that it may join the cluster
    Register(RegisterArgs),
    /// Unregister a custom SPU
    Unregister {
        /// Id of the SPU
        #[arg(value_parser = clap::value_parser!(i32).range(0..))]
        id: i32,
        /// Skip the confirmation
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RegisterArgs {
    /// Id with which the SPU is started
    #[arg(value_parser = clap::value_parser!(i32).range(0..))]
    id: i32,
    /// Address for clients
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_address)]
    public: Address,
    /// Address for the other servers of the cluster
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_address)]
    private: Address,
    /// Address for clients inside the network of the cluster
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_address)]
    public_local: Option<Address>,
    /// Rack of the SPU; the replicas of a partition go to different racks
    #[arg(long, value_name = "RACK")]
    rack: Option<String>,
    /// Name of the SPU in the cluster [default: custom-spu-ID]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// Host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    host: String,
    port: u16,
}

impl From<Address> for Endpoint {
    fn from(Address { host, port }: Address) -> Self {
        Self { port, host, encryption: Encryption::Plaintext }
    }
}

impl From<Address> for IngressEndpoint {
    fn from(Address { host, port }: Address) -> Self {
        let ingress = vec![IngressAddress { hostname: Some(host), ip: None }];
        Self { port, ingress, encryption: Encryption::Plaintext }
    }
}

fn parse_address(text: &str) -> Result<Address, String> {
    let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("{text:?} has no port"))?;
    let port = match port.parse() {
        Ok(port) if port != 0 => port,
        _ => return Err(format!("invalid port {port:?}: use 1 to 65535")),
    };
    let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
        Some(Some(address)) => address,
        Some(None) => return Err(format!("missing ] in {text:?}")),
        None if host.contains(':') => return Err(format!("put the IPv6 address of {text:?} in brackets")),
        None => host,
    };
    if host.is_empty() {
        return Err(format!("{text:?} has no host"));
    }
    Ok(Address { host: host.to_owned(), port })
}

pub(crate) async fn run(global: &Global, command: SpuCommand) -> Outcome {
    match command {
        SpuCommand::List => list(global).await,
        SpuCommand::Register(args) => register(global, args).await,
        SpuCommand::Unregister { id, yes } => unregister(global, id, yes).await,
    }
}

async fn list(global: &Global) -> Outcome {
    let mut servers =
        with_admin(global, CAPABILITY, async |admin| Ok(admin.list::<SpuSpec>(&[]).await?)).await?;
    servers.sort_by_key(|server| server.spec.id);
    let headings = vec!["id", "name", "kind", "status", "public", "private", "rack"];
    let rows: Vec<_> = servers.iter().map(row).collect();
    let documents = servers.iter().map(document).collect();
    let text = if rows.is_empty() { String::new() } else { table(&headings, &rows) };
    print_list(global.output, &List { headings, rows, documents, text })
}

fn joined(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn public(of: &SpuSpec) -> Option<String> {
    let address = of.public_endpoint.ingress.first()?;
    let host = address.hostname.as_deref().or(address.ip.as_deref())?;
    Some(joined(host, of.public_endpoint.port))
}

fn private(of: &SpuSpec) -> String {
    joined(&of.private_endpoint.host, of.private_endpoint.port)
}

fn kind(of: SpuType) -> &'static str {
    match of {
        SpuType::Managed => "managed",
        SpuType::Custom => "custom",
    }
}

fn status(of: SpuStatus) -> String {
    format!("{of:?}").to_lowercase()
}

fn row(server: &Metadata<SpuSpec>) -> Vec<String> {
    let Metadata { name, spec, status: state } = server;
    vec![
        spec.id.to_string(),
        name.clone(),
        kind(spec.spu_type).to_owned(),
        status(*state),
        public(spec).unwrap_or_else(|| "-".to_owned()),
        private(spec),
        spec.rack.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}

fn document(server: &Metadata<SpuSpec>) -> Value {
    let Metadata { name, spec, status: state } = server;
    json!({
        "id": spec.id,
        "name": name,
        "kind": kind(spec.spu_type),
        "status": status(*state),
        "public": public(spec),
        "private": private(spec),
        "public_local": spec.public_endpoint_local.as_ref().map(|local| joined(&local.host, local.port)),
        "rack": spec.rack,
    })
}

async fn register(global: &Global, args: RegisterArgs) -> Outcome {
    let RegisterArgs { id, public, private, public_local, rack, name } = args;
    let name = name.unwrap_or_else(|| format!("custom-spu-{id}"));
    let spec = CustomSpuSpec {
        id,
        public_endpoint: public.into(),
        private_endpoint: private.into(),
        rack,
        public_endpoint_local: public_local.map(Into::into),
    };
    with_admin(global, CAPABILITY, async |admin| Ok(admin.create(&name, spec).await?)).await?;
    let text = format!("registered SPU {id} as {name}\n");
    print_document(global.output, &json!({ "registered": id, "name": name }), &text)
}

async fn unregister(global: &Global, id: i32, yes: bool) -> Outcome {
    require(&global.url, CAPABILITY)?;
    confirm(yes, &format!("unregistering SPU {id}"))?;
    with_admin(global, CAPABILITY, async |admin| {
        Ok(admin.delete::<CustomSpuSpec>(CustomSpuKey::Id(id)).await?)
    })
    .await?;
    print_document(global.output, &json!({ "unregistered": id }), &format!("unregistered SPU {id}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed() {
        for (text, host, port) in
            [("h:1", "h", 1), ("10.0.0.1:9005", "10.0.0.1", 9005), ("[::1]:9005", "::1", 9005)]
        {
            let address = parse_address(text).unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert_eq!(joined(host, port), text);
        }
        for bad in ["", "h", "h:", "h:0", "h:70000", ":1", "::1:9005", "[::1:9005", "[]:1"] {
            assert!(parse_address(bad).is_err(), "{bad}");
        }
    }
}
