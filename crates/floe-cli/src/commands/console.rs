//! `floe console`: pages in the browser to look at topics, groups and dead letters of any engine.

use std::net::SocketAddr;

use clap::{Args, ValueEnum};
use floe::{config::Secret, url::shown};
use floe_server::{Addresses, ConsoleOptions, ConsoleToken, Listeners, ServeOptions, serve};
use serde_json::json;

use super::{serve_access::AccessArgs, with_client};
use crate::{
    exit::{Failure, Outcome},
    global::Global,
    interrupt::Interrupt,
    output::{print_document, stdout::note},
    public_address::refuse_public_http,
};

#[derive(Debug, Args)]
pub(crate) struct ConsoleArgs {
    /// Address of the console; port 0 selects a free port
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9080")]
    listen: String,
    /// Refuse changes [default: false on the loopback interface, true elsewhere]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    read_only: Option<bool>,
    #[command(flatten)]
    token: TokenArgs,
    #[command(flatten)]
    access: AccessArgs,
}

/// Token of the console.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// Token that opens the console, as env:NAME or file:PATH; at least 16 letters, digits and -._~ [default: none on the
    /// loopback interface, a random one elsewhere, printed at the start]
    #[arg(long, value_name = "SECRET")]
    console_token: Option<String>,
}

/// Whether and how `floe serve` shows the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ConsoleMode {
    /// With all changes that a user may make
    Full,
    /// Without changes
    ReadOnly,
    /// Not at all
    Off,
}

impl TokenArgs {
    /// Returns the options of a console at an address. Beyond the loopback interface it has a token and is read-only unless
    /// `mode` says otherwise.
    ///
    /// # Errors
    /// Fails for a token that cannot be read, or is too short.
    pub(crate) fn console(
        &self,
        mode: Option<ConsoleMode>,
        bound: Option<SocketAddr>,
    ) -> Outcome<Option<ConsoleOptions>> {
        let is_public = bound.is_some_and(|bound| !bound.ip().is_loopback());
        let mut options = ConsoleOptions::default();
        options.read_only = match mode {
            Some(ConsoleMode::Off) => return Ok(None),
            Some(mode) => mode == ConsoleMode::ReadOnly,
            None => is_public,
        };
        options.token = match &self.console_token {
            Some(secret) => Some(read_token(secret)?),
            None if is_public => Some(random_token()),
            None => None,
        };
        Ok(Some(options))
    }
}

fn read_token(secret: &str) -> Outcome<ConsoleToken> {
    if !secret.starts_with("env:") && !secret.starts_with("file:") {
        return Err(Failure::usage(
            "--console-token is env:NAME or file:PATH: other users see the command line",
        ));
    }
    Ok(ConsoleToken::new(Secret::from_source(secret)?.expose().trim())?)
}

/// Draws a token, and prints it once.
fn random_token() -> ConsoleToken {
    let token = ConsoleToken::random();
    note(&format!("the console opens with this token: {}", token.secret()));
    token
}

pub(crate) async fn run(global: &Global, args: ConsoleArgs) -> Outcome {
    refuse_public_http(&args.listen, global.listen_public).await?;
    let mut addresses = Addresses::none();
    addresses.http = Some(args.listen.clone());
    let cannot_listen = |error| Failure::io(format!("cannot listen on {}", args.listen), &error);
    let listeners = Listeners::bind(&addresses).await.map_err(cannot_listen)?;
    let bound = listeners.addresses().map_err(cannot_listen)?.http;
    let interrupt = Interrupt::listen()?;
    let mode = args.read_only.map(|only| if only { ConsoleMode::ReadOnly } else { ConsoleMode::Full });
    let mut options = ServeOptions::default();
    options.console = args.token.console(mode, bound)?;
    args.access.apply(&mut options)?;
    let scheme = if options.tls.is_some() && !options.plain_http { "https" } else { "http" };
    with_client(global, async |client| {
        let link = bound.map_or_else(|| args.listen.clone(), |bound| format!("{scheme}://{bound}/"));
        let document = json!({ "url": shown(&global.url), "console": link });
        print_document(global.output, &document, &format!("{link}\n"))?;
        options.client = Some(client.clone());
        Ok(serve(listeners, client.engine().clone(), options, interrupt.pressed()).await?)
    })
    .await
}
