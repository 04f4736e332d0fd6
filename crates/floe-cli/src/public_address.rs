//! Listeners that other machines can reach, which a user must ask for.

use floe_server::Addresses;

use crate::exit::{Failure, Outcome};

/// Fails if one of the addresses is not on the loopback interface, unless `allowed` by --listen-public.
///
/// # Errors
/// Fails with the addresses, or if a host name cannot be resolved.
pub(crate) async fn refuse_public(addresses: &Addresses, allowed: bool) -> Outcome {
    if allowed {
        return Ok(());
    }
    let public = addresses.beyond_loopback().await.map_err(|error| Failure::io("cannot listen", &error))?;
    if public.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!("{} is reachable from other machines", public.join(", "))).with_hint(
        "add --listen-public if every machine that reaches it may have that access; docs/security.md shows how to limit it",
    ))
}

/// Checks the address of one HTTP listener as [`refuse_public`] does.
///
/// # Errors
/// As [`refuse_public`].
pub(crate) async fn refuse_public_http(address: &str, allowed: bool) -> Outcome {
    let mut addresses = Addresses::none();
    addresses.http = Some(address.to_owned());
    refuse_public(&addresses, allowed).await
}
