//! Checks of every request, and headers of every answer.
//!
//! A page of another origin can make the browser of a user send requests here, and read the answers after it has pointed a
//! name of its own to this address. The host, the origin and the type of the body tell such requests from those of the page.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{Console, request_error::RequestError};

/// Name of the cookie that holds the token after a login.
pub(super) const COOKIE: &str = "floe_console";

/// Time that a wrong token costs, so that guessing is slow.
pub(super) const WRONG_TOKEN_DELAY: Duration = Duration::from_millis(300);

/// Paths of the API that answer without a login.
const OPEN: [&str; 2] = ["/api/v1/login", "/api/v1/logout"];

const HEADERS: [(header::HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Admits a request, and adds the headers that keep the browser from running anything but the page.
pub(super) async fn admit(State(console): State<Arc<Console>>, request: Request, next: Next) -> Response {
    let is_api = request.uri().path().starts_with("/api/");
    let checked = check(&console, &request);
    if checked.as_ref().is_err_and(|error| error.is_wrong_token) {
        tokio::time::sleep(WRONG_TOKEN_DELAY).await;
    }
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.error.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if is_api {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// A request that is not admitted.
struct Refused {
    error: RequestError,
    is_wrong_token: bool,
}

impl From<RequestError> for Refused {
    fn from(error: RequestError) -> Self {
        Self { error, is_wrong_token: false }
    }
}

fn check(console: &Console, request: &Request<Body>) -> Result<(), Refused> {
    let headers = request.headers();
    let hosts: Vec<_> = headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes).collect();
    if hosts.is_empty() && request.version() > Version::HTTP_10 {
        return Err(RequestError::invalid("a Host header is required").into());
    }
    if !console.options.hosts.admits(request.uri().authority().map(|authority| authority.as_str()), &hosts) {
        return Err(RequestError::new(
            StatusCode::MISDIRECTED_REQUEST,
            "host_refused",
            "the console does not answer to that host: see --console-host",
        )
        .into());
    }
    let path = request.uri().path();
    if !path.starts_with("/api/") {
        return Ok(());
    }
    check_site(headers)?;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        check_change(console, request, hosts.first().copied())?;
    }
    let Some(token) = &console.options.token else { return Ok(()) };
    if OPEN.contains(&path) {
        return Ok(());
    }
    match presented(headers) {
        Some(presented) if token.is(presented) => Ok(()),
        presented => {
            let (status, message) = (StatusCode::UNAUTHORIZED, "the console needs its token");
            let error = RequestError::new(status, "login_required", message);
            Err(Refused { error, is_wrong_token: presented.is_some() })
        }
    }
}

/// Refuses requests that another site made the browser send.
fn check_site(headers: &HeaderMap) -> Result<(), RequestError> {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return Err(RequestError::forbidden("the request comes from a page of another site"));
    }
    Ok(())
}

/// Checks a request that changes something.
fn check_change(console: &Console, request: &Request<Body>, host: Option<&[u8]>) -> Result<(), RequestError> {
    let headers = request.headers();
    let origins: Vec<_> = headers.get_all(header::ORIGIN).iter().map(HeaderValue::as_bytes).collect();
    let is_own = |origin: &[u8]| {
        let of_scheme = |scheme: &[u8]| origin.strip_prefix(scheme);
        // A plain console may stand behind a proxy that encrypts.
        let plain = || of_scheme(b"http://").filter(|_| !console.options.encrypted);
        let authority = of_scheme(b"https://").or_else(plain);
        authority.is_some() && authority == host
    };
    if origins.len() > 1 || !origins.iter().all(|origin| is_own(origin)) {
        return Err(RequestError::forbidden("the origin of the request is not this console"));
    }
    // Forms of other sites cannot send JSON without a question beforehand, which the console never answers.
    let is_json = |value: &HeaderValue| {
        let text = value.to_str().unwrap_or_default();
        text.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
    };
    let has_body = *request.method() != Method::DELETE;
    if has_body && !headers.get(header::CONTENT_TYPE).is_some_and(is_json) {
        let message = "a change is a POST of application/json, or a DELETE";
        return Err(RequestError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "json_required", message));
    }
    if console.options.read_only && !OPEN.contains(&request.uri().path()) {
        let message = "the console is read-only";
        let hint = "start it without --read-only to allow changes";
        return Err(RequestError::new(StatusCode::FORBIDDEN, "read_only", message).hint(hint));
    }
    Ok(())
}

/// Returns the token that a request carries: in the cookie of the page, or as a bearer token of a program.
fn presented(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    let cookies = || {
        let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find_map(|(name, value)| (name == COOKIE).then_some(value))
    };
    bearer.or_else(cookies)
}
