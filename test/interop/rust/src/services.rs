//! Health, reflection, what there is not, and the connection's life.

use std::error::Error;
use std::time::Duration;

use prost::Message;
use prost_types::FileDescriptorProto;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::HealthCheckRequest;
use tonic_prost::ProstCodec;
use tonic_reflection::pb::{v1, v1alpha};

use crate::messages::{Empty, HealthListResponse, NONE};
use crate::process::{client, exchange_all, request_headers, Process};
use crate::{ask, expect_code, note, Wrong};

const SERVICE: &str = "envoy.service.ext_proc.v3.ExternalProcessor";
const SYMBOL: &str = "envoy.service.ext_proc.v3.ProcessingRequest";

async fn unary<Answer>(channel: &Channel, method: &'static str) -> Result<Response<Answer>, Status>
where
    Answer: Message + Default + Send + 'static,
{
    let mut client = client(channel);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec: ProstCodec<Empty, Answer> = ProstCodec::default();
    client.unary(Request::new(Empty {}), PathAndQuery::from_static(method), codec).await
}

pub async fn unknown(channel: Channel, method: &'static str) -> Result<(), Wrong> {
    expect_code(unary::<Empty>(&channel, method), Code::Unimplemented).await?;
    Ok(())
}

fn expect_status(came: i32, wanted: ServingStatus) -> Result<(), Wrong> {
    if came != wanted as i32 {
        return Err(format!("not {wanted:?}, but {came}").into());
    }
    Ok(())
}

pub async fn health_check(channel: Channel) -> Result<(), Wrong> {
    for service in ["", SERVICE, "anything"] {
        let request = HealthCheckRequest { service: service.into() };
        let answer = HealthClient::new(channel.clone()).check(request).await?;
        expect_status(answer.into_inner().status, ServingStatus::Serving)?;
    }
    Ok(())
}

pub async fn health_list(channel: Channel) -> Result<(), Wrong> {
    let answer: HealthListResponse = unary(&channel, "/grpc.health.v1.Health/List").await?.into_inner();
    let found = answer.statuses.get(SERVICE).ok_or(format!("no {SERVICE} in {answer:?}"))?;
    expect_status(found.status, ServingStatus::Serving)
}

fn expect_services(names: &[String]) -> Result<(), Wrong> {
    for wanted in [SERVICE, "grpc.health.v1.Health"] {
        if !names.iter().any(|name| name == wanted) {
            return Err(format!("no {wanted} in {names:?}").into());
        }
    }
    Ok(())
}

fn expect_symbol(files: &[Vec<u8>]) -> Result<(), Wrong> {
    for bytes in files {
        let file = FileDescriptorProto::decode(bytes.as_slice())?;
        if file.message_type.iter().any(|message| format!("{}.{}", file.package(), message.name()) == SYMBOL) {
            return Ok(());
        }
    }
    Err(format!("none of {} files has {SYMBOL}", files.len()).into())
}

pub async fn reflection_v1(channel: Channel) -> Result<(), Wrong> {
    use v1::server_reflection_request::MessageRequest;
    use v1::server_reflection_response::MessageResponse;
    let ask = |question| v1::ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let questions = tokio_stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(SYMBOL.into())),
    ]);
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel);
    let mut answers = client.server_reflection_info(questions).await?.into_inner();
    let first = answers.message().await?.and_then(|answer| answer.message_response);
    let Some(MessageResponse::ListServicesResponse(list)) = first else {
        return Err(format!("no services: {first:?}").into());
    };
    expect_services(&list.service.into_iter().map(|service| service.name).collect::<Vec<_>>())?;
    let second = answers.message().await?.and_then(|answer| answer.message_response);
    let Some(MessageResponse::FileDescriptorResponse(found)) = second else {
        return Err(format!("no files: {second:?}").into());
    };
    expect_symbol(&found.file_descriptor_proto)
}

pub async fn reflection_v1alpha(channel: Channel) -> Result<(), Wrong> {
    use v1alpha::server_reflection_request::MessageRequest;
    use v1alpha::server_reflection_response::MessageResponse;
    let ask = |question| v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let questions = tokio_stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(SYMBOL.into())),
    ]);
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let mut answers = client.server_reflection_info(questions).await?.into_inner();
    let first = answers.message().await?.and_then(|answer| answer.message_response);
    let Some(MessageResponse::ListServicesResponse(list)) = first else {
        return Err(format!("no services: {first:?}").into());
    };
    expect_services(&list.service.into_iter().map(|service| service.name).collect::<Vec<_>>())?;
    let second = answers.message().await?.and_then(|answer| answer.message_response);
    let Some(MessageResponse::FileDescriptorResponse(found)) = second else {
        return Err(format!("no files: {second:?}").into());
    };
    expect_symbol(&found.file_descriptor_proto)
}

/// A silent stream, and fifty pings or so.
pub async fn keepalive(endpoint: Endpoint) -> Result<(), Wrong> {
    let channel = endpoint
        .http2_keep_alive_interval(Duration::from_millis(20))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .connect_lazy();
    let mut stream = Process::open(client(&channel), request_headers("kept", NONE)).await?;
    stream.begin("kept").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    stream.finish().await
}

pub async fn drain(channel: Channel) -> Result<(), Wrong> {
    let mut health = HealthClient::new(channel.clone());
    let mut watch = health.watch(HealthCheckRequest::default()).await?.into_inner();
    let told = watch.message().await?.ok_or("the watch ended")?;
    expect_status(told.status, ServingStatus::Serving)?;
    let mut stream = Process::open(client(&channel), request_headers("open", NONE)).await?;
    stream.begin("open").await?;
    ask("drain").await?;
    let told = watch.message().await?.ok_or("the watch ended")?;
    expect_status(told.status, ServingStatus::NotServing)?;
    expect_code(watch.message(), Code::Unavailable).await?;
    loop {
        match health.check(HealthCheckRequest::default()).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(status) if status.code() == Code::Cancelled => {
                // With a source it is hyper's, which did not get to send the call.
                if status.source().is_none() {
                    note("a new call was CANCELLED");
                }
            }
            Err(status) if status.code() == Code::Unavailable => break,
            Err(status) => return Err(format!("a new call: {status:?}").into()),
        }
    }
    stream.finish().await
}

pub async fn restart(channel: Channel) -> Result<(), Wrong> {
    let mut stream = Process::open(client(&channel), request_headers("lost", NONE)).await?;
    stream.begin("lost").await?;
    ask("restart").await?;
    if let Ok(reply) = stream.read().await {
        return Err(format!("a reply of a server that was killed: {reply:?}").into());
    }
    exchange_all(client(&channel)).await
}
