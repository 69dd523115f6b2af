//! The same service with as little around it as tonic allows: one thread, one task a connection and one a stream, hyper's
//! HTTP/2 without tonic's server, mimalloc.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use hyper::server::conn::http2;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use mimalloc::MiMalloc;
use peers::address::{Address, listen_tcp, listen_unix};
use peers::limits::{CONNECTION_WINDOW, MAX_RESETS, MAX_STREAMS, STREAM_WINDOW};
use peers::service::service;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{LocalSet, spawn_local};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[derive(Parser)]
#[command(about = "An ext_proc server on tonic, with one thread and as little as can be around it")]
struct Options {
    /// Listen on ADDR: host:port or unix:/path
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: Address,
}

/// Runs streams on the one thread that there is.
#[derive(Clone)]
struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("tokio starts");
    let served = LocalSet::new().block_on(&runtime, async {
        let mut terminated = signal(SignalKind::terminate())?;
        // Streams that are open at SIGTERM are cut, as nobody asks for a drain.
        tokio::select! {
            served = serve(options.listen) => served,
            _ = terminated.recv() => Ok(()),
        }
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tonic-lean: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(address: Address) -> io::Result<()> {
    match address {
        Address::Tcp(address) => {
            let listener = listen_tcp(&address).await?;
            loop {
                let (socket, _) = listener.accept().await?;
                socket.set_nodelay(true)?;
                spawn_local(serve_connection(socket));
            }
        }
        Address::Unix(path) => {
            let listener = listen_unix(&path)?;
            loop {
                spawn_local(serve_connection(listener.accept().await?.0));
            }
        }
    }
}

/// What a peer does to its connection ends that connection alone.
async fn serve_connection(socket: impl AsyncRead + AsyncWrite + Unpin + 'static) {
    let _ = http2::Builder::new(LocalExecutor)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(service()))
        .await;
}
