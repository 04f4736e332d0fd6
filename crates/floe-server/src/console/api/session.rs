//! Login and logout.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse as _,
};
use serde::Deserialize;

use super::Answer;
use crate::console::{
    Console,
    door::{COOKIE, WRONG_TOKEN_DELAY},
    query,
    request_error::RequestError,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    token: String,
}

pub(super) async fn login(State(console): State<Arc<Console>>, body: Bytes) -> Answer {
    let Login { token } = query::body(&body)?;
    let secret = match &console.options.token {
        Some(secret) if secret.is(token.trim()) => secret.secret(),
        Some(_) => {
            tokio::time::sleep(WRONG_TOKEN_DELAY).await;
            return Err(RequestError::new(StatusCode::UNAUTHORIZED, "wrong_token", "the token is wrong"));
        }
        None => return Ok(StatusCode::NO_CONTENT.into_response()),
    };
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie(&console, secret))]).into_response())
}

pub(super) async fn logout(State(console): State<Arc<Console>>) -> Answer {
    let removed = cookie(&console, "") + "; Max-Age=0";
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, removed)]).into_response())
}

fn cookie(console: &Console, value: &str) -> String {
    let secure = if console.options.encrypted { "; Secure" } else { "" };
    format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict{secure}")
}
