//! The tonic client of the interoperability tests; ../checks.py says what it is told and answers.

mod messages;
mod process;
mod services;

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

/// More than any check takes; none waits for it.
const HANGS: Duration = Duration::from_secs(30);

type Wrong = Box<dyn Error>;

#[derive(Default)]
struct Arguments {
    address: String,
    ca: String,
    certificate: String,
    key: String,
    checks: Vec<String>,
}

fn arguments() -> Result<Arguments, Wrong> {
    let mut read = Arguments::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let flag = match word.as_str() {
            "--address" => &mut read.address,
            "--ca" => &mut read.ca,
            "--certificate" => &mut read.certificate,
            "--key" => &mut read.key,
            _ => {
                read.checks.push(word);
                continue;
            }
        };
        *flag = words.next().ok_or(format!("{word} takes a value"))?;
    }
    Ok(read)
}

/// Where to connect; that happens with the first call.
fn endpoint(arguments: &Arguments) -> Result<Endpoint, Wrong> {
    if arguments.address.starts_with("unix:") {
        return Ok(Endpoint::from_shared(arguments.address.clone())?);
    }
    let scheme = if arguments.ca.is_empty() { "http" } else { "https" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{}", arguments.address))?;
    if arguments.ca.is_empty() {
        return Ok(endpoint);
    }
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(std::fs::read(&arguments.ca)?));
    if !arguments.certificate.is_empty() {
        tls = tls.identity(Identity::from_pem(std::fs::read(&arguments.certificate)?, std::fs::read(&arguments.key)?));
    }
    Ok(endpoint.tls_config(tls)?)
}

/// Has something done to the server, and waits until it was.
async fn ask(what: &str) -> Result<(), Wrong> {
    println!("{}", serde_json::json!({ "ask": what }));
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    Ok(())
}

/// Tells something that is no error.
fn note(what: &str) {
    println!("{}", serde_json::json!({ "note": what }));
}

/// How a call must have ended; its text.
async fn expect_code<T>(call: impl Future<Output = Result<T, Status>>, code: Code) -> Result<String, Wrong> {
    match call.await {
        Ok(_) => Err(format!("not {code:?}, but an answer").into()),
        Err(status) if status.code() == code => Ok(status.message().to_string()),
        Err(status) => Err(format!("not {code:?}, but {status:?}").into()),
    }
}

async fn check(name: &str, endpoint: Endpoint) -> Result<(), Wrong> {
    if name == "keepalive" {
        return services::keepalive(endpoint).await;
    }
    let channel: Channel = endpoint.connect_lazy();
    match name {
        "process" => process::exchange_all(process::client(&channel)).await,
        "streams" => process::streams(channel).await,
        "message_1_mib" => process::echo(channel, 1 << 20).await,
        "message_10_mib" => process::echo(channel, 10 << 20).await,
        "message_too_large" => process::message_too_large(channel).await,
        "gzip" => process::gzip(channel).await,
        "deadline" => process::deadline(channel).await,
        "cancel" => process::cancel(channel).await,
        "chain" => process::chain(channel).await,
        "error_text" => process::error_text(channel).await,
        "unknown_method" => services::unknown(channel, "/envoy.service.ext_proc.v3.ExternalProcessor/Proces").await,
        "unknown_service" => services::unknown(channel, "/no.such.Service/Process").await,
        "health_check" => services::health_check(channel).await,
        "health_list" => services::health_list(channel).await,
        "reflection_v1" => services::reflection_v1(channel).await,
        "reflection_v1alpha" => services::reflection_v1alpha(channel).await,
        "drain" => services::drain(channel).await,
        "restart" => services::restart(channel).await,
        _ => Err("this client has no such check".into()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Wrong> {
    let arguments = arguments()?;
    for name in &arguments.checks {
        let end = match tokio::time::timeout(HANGS, check(name, endpoint(&arguments)?)).await {
            Ok(end) => end.map_err(|wrong| wrong.to_string()),
            Err(_) => Err(format!("not over after {HANGS:?}")),
        };
        let detail = end.err();
        println!(
            "{}",
            serde_json::json!({ "check": name, "ok": detail.is_none(), "detail": detail.unwrap_or_default() })
        );
    }
    Ok(())
}
