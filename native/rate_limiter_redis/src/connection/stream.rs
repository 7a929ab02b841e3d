//! The byte stream of a connection: TCP with or without TLS, or a Unix domain socket.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::net::{lookup_host, TcpStream};

use super::budget::Budget;
use super::tls::Encryption;
use super::ConnectError;
use crate::config::Endpoint;
use crate::race::race;

/// The time after which the next address of a name is tried, too (RFC 8305, section 8).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub(super) async fn connect(
    endpoint: &Endpoint,
    encryption: Option<&Encryption>,
    budget: &Budget,
) -> Result<Box<dyn Stream>, ConnectError> {
    match endpoint {
        Endpoint::Tcp { host, port } => {
            let found = budget.step("the name", lookup_host((&**host, *port)));
            let addresses = alternate(found.await?.collect());
            let stream = budget.step("TCP", connect_any(addresses)).await?;
            stream.set_nodelay(true)?;
            match encryption {
                Some(encryption) => {
                    let encrypted = encryption.wrap(host, *port, stream);
                    Ok(Box::new(budget.step("TLS", encrypted).await?))
                }
                None => Ok(Box::new(stream)),
            }
        }
        #[cfg(unix)]
        Endpoint::Unix(path) => {
            let stream = budget.step("the socket", UnixStream::connect(path));
            Ok(Box::new(stream.await?))
        }
        #[cfg(not(unix))]
        Endpoint::Unix(_) => Err(io::Error::from(io::ErrorKind::Unsupported).into()),
    }
}

/// Connects to the address that answers first. An address that is not reachable delays the next one by a quarter of a
/// second.
async fn connect_any(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let attempts = addresses.into_iter().map(TcpStream::connect);
    let missing = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let connected = race(attempts, ATTEMPT_DELAY).await;
    connected.unwrap_or_else(|| Err(missing()))
}

/// Alternates IPv6 and IPv4, and begins with what the system prefers, so that a broken family delays one attempt only.
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().map(SocketAddr::is_ipv6) else {
        return addresses;
    };
    let (preferred, other): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first);
    let mut ordered = Vec::with_capacity(preferred.len() + other.len());
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    while preferred.len() + other.len() > 0 {
        ordered.extend(preferred.next());
        ordered.extend(other.next());
    }
    ordered
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpSocket;

    use super::*;

    #[test]
    fn the_families_of_a_name_alternate() {
        let parse = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let given = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"];
        let expected = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"];
        assert_eq!(alternate(parse(&given)), parse(&expected));
        let given = ["1.1.1.1:1", "[::1]:1", "[::2]:1"];
        assert_eq!(alternate(parse(&given)), parse(&given));
        assert_eq!(alternate(Vec::new()), Vec::new());
    }

    /// Returns an address that drops connection requests, as a dead one does, and what keeps it so.
    async fn dead_address() -> (SocketAddr, impl Sized) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let listener = socket.listen(1).unwrap();
        let mut waiting = Vec::new();
        // Its queue is full when a request gets no answer.
        let patience = Duration::from_millis(200);
        while let Ok(stream) = tokio::time::timeout(patience, TcpStream::connect(address)).await {
            waiting.push(stream);
        }
        (address, (listener, waiting))
    }

    #[test]
    fn a_name_with_a_dead_address_is_connected_by_the_other() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (dead, _full) = dead_address().await;
            let listener = TcpSocket::new_v4().unwrap();
            listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let listener = listener.listen(8).unwrap();
            let live = listener.local_addr().unwrap();
            // The system itself gives up after two minutes.
            let connected = connect_any(vec![dead, dead, live]);
            let stream = tokio::time::timeout(Duration::from_mins(1), connected).await;
            assert_eq!(stream.unwrap().unwrap().peer_addr().unwrap(), live);
        });
    }
}
