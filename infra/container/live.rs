//! Whether the bridge in this container lives: asks its `/live`, and exits with 0 or 1. There is no shell and no curl here.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let address = std::env::var("METRICS_ADDRESS").unwrap_or_else(|_| "127.0.0.1:9464".to_owned());
    match ask(&address) {
        Ok(answer)
            if answer.starts_with("HTTP/1.1 200 ") || answer.starts_with("HTTP/1.0 200 ") =>
        {
            ExitCode::SUCCESS
        }
        Ok(answer) => {
            eprintln!("/live says {}", answer.lines().next().unwrap_or("nothing"));
            ExitCode::FAILURE
        }
        Err(problem) => {
            eprintln!("/live at {address}: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn ask(address: &str) -> Result<String, Box<dyn std::error::Error>> {
    let mut address: SocketAddr = address.parse()?;
    // What listens on all addresses is asked on loopback.
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    Ok(answer)
}
