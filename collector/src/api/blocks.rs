//! `/api/v1/status/tsdb/blocks`: the store's blocks in Prometheus' shape. They hold all regions' series, so that a bounded scope gets 403.
//!
//! Cost: each block's file is opened, off the threads that serve connections.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use journal::disk::{Disk, RealDisk};
use serde_json::{Value, json};
use tsdb::BlockInfo;

use super::params::Params;
use super::reply::{self, ApiError};
use super::status::everything_only;
use super::{Reader, in_background};
use crate::state::AppState;
use crate::storage::FOLDER;

/// Blocks, oldest first. What is compacted away in this moment may be missing.
pub(super) async fn blocks(reader: Reader, State(state): State<AppState>, params: Params) -> Response {
    let gzip = params.gzip;
    let work = move || {
        everything_only(&reader.scope)?;
        let folder = state.settings.load().data.join(FOLDER);
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let info = match tsdb::info(&disk, &folder) {
            Ok(info) => info,
            // A store that has no block yet has no list of them.
            Err(tsdb::StoreError::NoManifest { .. }) => tsdb::Info::default(),
            Err(error) => return Err(ApiError::Internal(error.to_string())),
        };
        let blocks: Vec<Value> = info.blocks.iter().map(block).collect();
        Ok(reply::success(&json!({ "blocks": blocks }).to_string(), gzip))
    };
    in_background(work).await.unwrap_or_else(|error| error.response(gzip))
}

/// `ulid` is the name of the block's file; levels count from 1, as there, and the greatest time is exclusive.
fn block(block: &BlockInfo) -> Value {
    json!({
        "ulid": format!("{:016x}", block.number),
        "minTime": block.min_time.as_millis(),
        "maxTime": block.max_time.as_millis().saturating_add(1),
        "stats": {
            "numSamples": block.samples + block.histograms,
            "numFloatSamples": block.samples,
            "numHistogramSamples": block.histograms,
            "numSeries": block.series,
        },
        "compaction": { "level": u16::from(block.level) + 1 },
        "version": 1,
    })
}

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::*;

    #[test]
    fn a_block_is_told_as_prometheus_tells_it() {
        let at = Timestamp::from_millis;
        let (min_time, max_time) = (at(7_200_000), at(14_399_999));
        let info = BlockInfo {
            number: 0x2a,
            level: 0,
            min_time,
            max_time,
            series: 3,
            samples: 40,
            histograms: 2,
            bytes: 9,
        };
        assert_eq!(
            block(&info).to_string(),
            r#"{"compaction":{"level":1},"maxTime":14400000,"minTime":7200000,"stats":{"numFloatSamples":40,"numHistogramSamples":2,"numSamples":42,"numSeries":3},"ulid":"000000000000002a","version":1}"#
        );
    }
}
