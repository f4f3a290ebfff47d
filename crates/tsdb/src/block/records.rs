//! Native histograms as opaque records.
