//! Protocol versions that the data server announces.

use floe_wire::fluvio::{
    ApiVersionRange, ApiVersionsReply, ApiVersionsRequest, ConditionalAppendRequest, ErrorCode,
    FetchOffsetsRequest, FetchRequest, ProduceRequest, Request, StreamFetchRequest, UpdateOffsetsRequest,
    frame::RequestHeader,
};

use crate::{
    fluvio::frames,
    response_writer::{Disconnected, ResponseSender},
};

/// Highest stream version for clients that send no version, as on a real server.
const UNVERSIONED_STREAM_MAX: i16 = 15;

/// Data servers announce no platform version.
const PLATFORM: &str = "0.0.0";

pub(super) async fn answer(
    responses: &ResponseSender,
    header: &RequestHeader,
    request: &ApiVersionsRequest,
    appends_on_condition: bool,
) -> Result<(), Disconnected> {
    let mut stream = range::<StreamFetchRequest>();
    if request.client_version.is_empty() {
        stream.max_version = UNVERSIONED_STREAM_MAX;
    }
    let mut api_keys = vec![
        range::<ProduceRequest>(),
        range::<FetchRequest>(),
        range::<FetchOffsetsRequest>(),
        stream,
        range::<UpdateOffsetsRequest>(),
    ];
    // Not of Fluvio: other clients pass over it.
    api_keys.extend(appends_on_condition.then(range::<ConditionalAppendRequest>));
    let reply =
        ApiVersionsReply { error_code: ErrorCode::None, api_keys, platform_version: PLATFORM.to_owned() };
    frames::reply::<ApiVersionsRequest>(responses, header, &reply).await
}

fn range<R: Request>() -> ApiVersionRange {
    ApiVersionRange {
        api_key: R::KEY.cast_signed(),
        min_version: R::VERSIONS.min,
        max_version: R::VERSIONS.max,
    }
}
