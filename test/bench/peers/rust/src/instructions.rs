use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::service::ext_proc::v3::{CommonResponse, HeaderMutation, HeadersResponse};
use serde::Deserialize;
use tonic::Status;

/// What the header `instructions` holds. As in Go, null stands for what is empty.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Instructions {
    add_headers: Option<HashMap<String, Option<String>>>,
    remove_headers: Option<Vec<Option<String>>>,
}

/// The answer that the headers ask for; an empty one where they ask for nothing.
pub fn follow(headers: Option<HeaderMap>) -> Result<HeadersResponse, Status> {
    let text = headers.as_ref().map_or(&[][..], |map| find(map, "instructions"));
    if text.is_empty() {
        return Ok(HeadersResponse::default());
    }
    // Serde would take an array for the fields in their order.
    if text.trim_ascii_start().starts_with(b"[") {
        return Err(Status::unknown("instructions: expected an object, got an array"));
    }
    let wanted = serde_json::from_slice::<Option<Instructions>>(text)
        .map_err(|error| Status::unknown(error.to_string()))?
        .unwrap_or_default();
    let set_headers: Vec<_> = wanted.add_headers.unwrap_or_default().into_iter().map(set_header).collect();
    let remove_headers: Vec<_> =
        wanted.remove_headers.unwrap_or_default().into_iter().map(Option::unwrap_or_default).collect();
    let is_empty = set_headers.is_empty() && remove_headers.is_empty();
    let header_mutation = (!is_empty).then_some(HeaderMutation { set_headers, remove_headers });
    Ok(HeadersResponse { response: Some(CommonResponse { header_mutation, ..Default::default() }) })
}

/// Envoy reads nothing but raw_value.
fn set_header((key, value): (String, Option<String>)) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key, raw_value: value.unwrap_or_default().into_bytes(), ..Default::default() }),
        ..Default::default()
    }
}

/// The value of the first header with that name.
fn find<'a>(headers: &'a HeaderMap, name: &str) -> &'a [u8] {
    match headers.headers.iter().find(|header| header.key == name) {
        Some(header) if header.raw_value.is_empty() => header.value.as_bytes(),
        Some(header) => &header.raw_value,
        None => &[],
    }
}
