use std::io;
use std::process::ExitCode;

use clap::Parser;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{LocalSet, spawn_local};

use crate::address::{Address, listen_tcp, listen_unix};

#[derive(Parser)]
struct Options {
    /// Listen on ADDR: host:port or unix:/path
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: Address,
}

/// Who serves connections.
pub trait Server {
    /// Serves one to its end. What a peer does to its connection ends that connection alone.
    fn serve(socket: impl AsyncRead + AsyncWrite + Unpin + 'static) -> impl Future<Output = ()> + 'static;
}

/// All of the program: reads the command line and serves on this thread until SIGTERM, with a task a connection.
pub fn run<S: Server>(name: &str) -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("tokio starts");
    let served = LocalSet::new().block_on(&runtime, async {
        let mut terminated = signal(SignalKind::terminate())?;
        // Streams that are open at SIGTERM are cut, as nobody asks for a drain.
        tokio::select! {
            served = accept_all::<S>(options.listen) => served,
            _ = terminated.recv() => Ok(()),
        }
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn accept_all<S: Server>(address: Address) -> io::Result<()> {
    match address {
        Address::Tcp(address) => {
            let listener = listen_tcp(&address).await?;
            loop {
                let (socket, _) = listener.accept().await?;
                socket.set_nodelay(true)?;
                spawn_local(S::serve(socket));
            }
        }
        Address::Unix(path) => {
            let listener = listen_unix(&path)?;
            loop {
                spawn_local(S::serve(listener.accept().await?.0));
            }
        }
    }
}
