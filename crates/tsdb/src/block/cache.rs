//! A bounded cache of frames, shared by all blocks.
