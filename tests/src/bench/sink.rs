//! A collector that acknowledges every batch of an agent over plain HTTP and keeps nothing: what it read is handed to the bench.
//!
//! It knows what our agent sends (POST, `Content-Length`, remote write 2.0, zstd) and closes the connection on anything else. Its thread
//! goes on until the process ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use wire::body::{Codec, Unpacker};
use wire::negotiate::Written;
use wire::v2::Request;

/// Most bytes of a body, packed and unpacked.
const BODY_BYTES_MAX: usize = 256 << 20;

/// One sample as it came.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// The metric's name.
    pub name: &'a str,
    /// The label `instance`.
    pub instance: &'a str,
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Its value.
    pub value: f64,
}

type Visit = dyn FnMut(Sample<'_>) + Send;

/// Listens on a free port of 127.0.0.1 and calls `visit` for every sample.
///
/// # Errors
/// No port can be had.
pub fn start(visit: impl FnMut(Sample<'_>) + Send + 'static) -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let visit: Arc<Mutex<Visit>> = Arc::new(Mutex::new(visit));
    std::thread::spawn(move || {
        // One thread a connection: an agent has two at most.
        for stream in listener.incoming().map_while(Result::ok) {
            let visit = visit.clone();
            std::thread::spawn(move || {
                if let Err(why) = serve(&stream, &visit) {
                    eprintln!("the sink: {why:#}");
                }
            });
        }
    });
    Ok(address)
}

fn serve(stream: &TcpStream, visit: &Mutex<Visit>) -> Result<()> {
    let (mut reader, mut unpacker, mut payload) = (BufReader::new(stream), Unpacker::new(), Vec::new());
    while let Some(length) = head(&mut reader)? {
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        unpacker.unpack(Codec::Zstd, &body, BODY_BYTES_MAX, &mut payload)?;
        let samples = read(&payload, &mut *visit.lock().unwrap_or_else(PoisonError::into_inner))?;
        let mut answer = String::from("HTTP/1.1 204 No Content\r\n");
        for (name, value) in (Written { samples, ..Written::default() }).to_headers() {
            answer += &format!("{name}: {value}\r\n");
        }
        answer += "\r\n";
        let mut stream = stream;
        stream.write_all(answer.as_bytes())?;
    }
    Ok(())
}

/// The body's length; `None` when the connection is over.
fn head(reader: &mut impl BufRead) -> Result<Option<usize>> {
    let (mut line, mut length, mut lines) = (String::new(), None, 0);
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        lines += 1;
        if line.trim_end().is_empty() {
            return length.context("a request without Content-Length").map(Some);
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            let bytes: usize = value.trim().parse()?;
            ensure!(bytes <= BODY_BYTES_MAX, "a body of {bytes} bytes");
            length = Some(bytes);
        }
        ensure!(lines < 100, "a head without end");
    }
}

fn read(payload: &[u8], visit: &mut Visit) -> Result<u64> {
    let request = Request::parse(payload)?;
    let mut count = 0;
    for series in request.series() {
        let series = series?;
        let (mut name, mut instance) = ("", "");
        for label in series.labels(&request) {
            match label? {
                ("__name__", text) => name = text,
                ("instance", text) => instance = text,
                _ => {}
            }
        }
        for sample in series.samples() {
            let (at, value) = sample?;
            visit(Sample { name, instance, at_ms: at.as_millis(), value });
            count += 1;
        }
    }
    Ok(count)
}
