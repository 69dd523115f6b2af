//! An ext_proc server as one usually writes it with tonic: its own server on tokio's multi-thread runtime.

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use peers::address::{Address, listen_tcp, listen_unix};
use peers::limits::{CONNECTION_WINDOW, MAX_RESETS, MAX_STREAMS, STREAM_WINDOW};
use peers::service::service;
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

#[derive(Parser)]
#[command(about = "An ext_proc server on tonic")]
struct Options {
    /// Listen on ADDR: host:port or unix:/path
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: Address,
    /// Worker threads; 0: one a core
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if options.threads > 0 {
        runtime.worker_threads(options.threads);
    }
    let runtime = runtime.enable_all().build().expect("tokio starts");
    // Spawned, so that a worker accepts, and not the main thread beside them.
    match runtime.block_on(runtime.spawn(serve(options.listen))).expect("serving ends") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tonic: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(address: Address) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut terminated = signal(SignalKind::terminate())?;
    let server = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_pending_accept_reset_streams(Some(MAX_RESETS))
        .http2_max_local_error_reset_streams(Some(MAX_RESETS))
        .add_service(service());
    // Whichever ends first: streams that are open at SIGTERM are cut, as nobody asks for a drain.
    match address {
        Address::Tcp(address) => {
            let incoming = TcpIncoming::from(listen_tcp(&address).await?).with_nodelay(Some(true));
            tokio::select! {
                done = server.serve_with_incoming(incoming) => done?,
                _ = terminated.recv() => {}
            }
        }
        Address::Unix(path) => {
            let incoming = UnixListenerStream::new(listen_unix(&path)?);
            tokio::select! {
                done = server.serve_with_incoming(incoming) => done?,
                _ = terminated.recv() => {}
            }
        }
    }
    Ok(())
}
