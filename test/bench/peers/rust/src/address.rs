use std::convert::Infallible;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tokio::net::{TcpListener, UnixListener};

/// Where to listen: `host:port` or `unix:/path`.
#[derive(Clone, Debug)]
pub enum Address {
    Tcp(String),
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.strip_prefix("unix:") {
            Some(path) => Address::Unix(path.into()),
            None => Address::Tcp(text.into()),
        })
    }
}

/// Listens, and says so.
pub async fn listen_tcp(address: &str) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await.map_err(|error| failure(address, &error))?;
    println!("listening on {}", listener.local_addr()?);
    Ok(listener)
}

/// Listens, and says so.
pub fn listen_unix(path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path).map_err(|error| failure(path.display(), &error))?;
    println!("listening on unix:{}", path.display());
    Ok(listener)
}

fn failure(address: impl Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
}
