//! Answers to what never became a request: they say what was wrong and what to do.
//!
//! hyper answers by itself where a head cannot be read (400, 414, 431), and leaves the body empty; such an answer is known by its
//! shape and replaced on its way out. Whoever speaks plain HTTP to a TLS listener is told so.

/// As an HTTP answer after which the connection ends.
fn answer(status: &str, text: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    )
    .into_bytes()
}

/// What is sent instead of bytes that are an answer of hyper's own: without a body, and without the header that all of ours bear.
pub(super) fn instead_of(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let status =
        text.strip_prefix("HTTP/1.1 ").or_else(|| text.strip_prefix("HTTP/1.0 "))?.split("\r\n").next()?;
    let is_bare = text.ends_with("\r\n\r\n")
        && text.contains("content-length: 0\r\n")
        && !text.contains(wire::identity::COLLECTOR_TIME);
    let code = status.split(' ').next().filter(|_| is_bare)?;
    let said = match code {
        "400" => "cannot read the request: it is no HTTP/1.1 request with good headers. In an address \", < and > are written %22, %3C and %3E \
             (curl -G --data-urlencode does); https:// is for a listener with `tls` in its settings\n"
            .to_owned(),
        "414" => {
            "the request's address is too long: send the query by POST, as a form\n".to_owned()
        }
        "431" => format!(
            "the request's head is too large: send at most {} headers and {} bytes, and long queries by POST, as a form\n",
            super::HEADERS_MAX,
            super::HEAD_BYTES_MAX
        ),
        _ => return None,
    };
    Some(answer(status, &said))
}

/// For plain HTTP on a TLS listener. Not 400: a sender of remote write would drop what it holds, and it is the address that is
/// wrong, not the data.
pub(super) fn speak_tls() -> Vec<u8> {
    answer("503 Service Unavailable", "this listener speaks TLS: write https:// instead of http://\n")
}

/// Whether a connection that should begin with TLS begins with an HTTP method.
pub(super) fn is_method(byte: u8) -> bool {
    byte.is_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_answers_are_replaced() {
        let bare =
            "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let said = String::from_utf8(instead_of(bare.as_bytes()).expect("bare")).expect("text");
        let (head, body) = said.split_once("\r\n\r\n").expect("head and body");
        assert!(
            head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n"),
            "{head}"
        );
        assert!(
            head.ends_with(&format!("content-length: {}", body.len())) && body.contains("64 headers"),
            "{said}"
        );
        let long = instead_of(b"HTTP/1.1 414 URI Too Long\r\ncontent-length: 0\r\n\r\n").expect("bare");
        assert!(String::from_utf8(long).expect("text").ends_with("by POST, as a form\n"));
        for ours in [
            "HTTP/1.1 400 Bad Request\r\npantau-time: 1\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 3\r\n\r\nno\n",
            "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "",
        ] {
            assert_eq!(instead_of(ours.as_bytes()), None, "{ours}");
        }
    }
}
