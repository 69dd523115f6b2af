//! The same service with as little around it as tonic allows: one thread, one task a connection and one a stream, hyper's
//! HTTP/2 without tonic's server, mimalloc.

use std::process::ExitCode;

use hyper::server::conn::http2;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use mimalloc::MiMalloc;
use peers::limits::{CONNECTION_WINDOW, MAX_RESETS, MAX_STREAMS, STREAM_WINDOW};
use peers::one_thread::{Server, run};
use peers::service::service;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::spawn_local;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

struct Hyper;

impl Server for Hyper {
    async fn serve(socket: impl AsyncRead + AsyncWrite + Unpin + 'static) {
        let _ = http2::Builder::new(LocalExecutor)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(MAX_STREAMS)
            .max_pending_accept_reset_streams(MAX_RESETS)
            .max_local_error_reset_streams(MAX_RESETS)
            .serve_connection(TokioIo::new(socket), TowerToHyperService::new(service()))
            .await;
    }
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
    run::<Hyper>("tonic-lean")
}
