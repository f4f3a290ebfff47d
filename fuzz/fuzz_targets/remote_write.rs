//! A remote write request of either version, its body packed or not, and a batch's identity: any bytes are read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::body::{Codec, Unpacker};
use wire::identity::{BatchIdentity, Envelope, LOSSES};
use wire::{v1, v2};

const LIMIT_BYTES: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    read_v1(data);
    read_v2(data);
    for codec in [Codec::Snappy, Codec::Zstd] {
        let mut payload = Vec::new();
        if Unpacker::new().unpack(codec, data, LIMIT_BYTES, &mut payload).is_ok() {
            assert!(payload.len() <= LIMIT_BYTES);
            read_v1(&payload);
            read_v2(&payload);
        }
        assert!(payload.capacity() <= 2 * LIMIT_BYTES + 4096);
    }
    identity(data);
});

fn read_v1(data: &[u8]) {
    for entry in v1::WriteRequest::new(data) {
        let Ok(v1::Entry::Series(series)) = entry else { continue };
        assert!(series.labels().count() <= series.label_count);
        assert!(series.samples().count() <= series.sample_count);
        assert!(series.histograms().count() <= series.histogram_count);
        assert!(series.exemplars().flatten().all(|exemplar| exemplar.labels().count() <= exemplar.bytes()));
        assert!(series.label_bytes().is_none_or(|bytes| bytes.len() <= data.len()));
    }
}

fn read_v2(data: &[u8]) {
    let shifted = v2::shift_timestamps(data, 1);
    let Ok(request) = v2::Request::parse(data) else { return };
    for series in request.series().flatten() {
        let _ = series.labels(&request).last();
        let _ = series.metadata(&request);
        assert!(series.samples().count() <= series.sample_count);
        assert!(series.histograms().count() <= series.histogram_count);
        series.exemplars().flatten().for_each(|exemplar| drop(exemplar.labels(&request).last()));
    }
    if let Ok(shifted) = shifted {
        let again = v2::Request::parse(&shifted).expect("a shift keeps the structure");
        assert_eq!(again.symbols(), request.symbols());
        assert_eq!(again.series_count(), request.series_count());
    }
}

fn identity(data: &[u8]) {
    if let Ok(identity) = BatchIdentity::from_bytes(data) {
        let mut bytes = Vec::new();
        identity.to_bytes(&mut bytes);
        assert_eq!(BatchIdentity::from_bytes(&bytes), Ok(identity.clone()));
        let headers = identity.to_headers(identity.from);
        let pairs = headers.iter().map(|(name, value)| (*name, value.as_str()));
        let envelope = Envelope::from_headers(pairs).expect("it was just written").expect("it is there");
        assert_eq!(envelope.identity, identity);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let (batch, losses) = text.split_once('\n').unwrap_or((text, ""));
        let _ = Envelope::from_headers([("pantau-batch", batch), ("pantau-sent", "1"), (LOSSES, losses)]);
    }
}
