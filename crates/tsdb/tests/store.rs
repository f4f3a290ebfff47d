//! The whole store on a pretended disk: against a plain map, through restarts, crashes and faults.

#[path = "store/blocks.rs"]
mod blocks;
#[path = "store/bounds.rs"]
mod bounds;
#[path = "store/copies.rs"]
mod copies;
#[path = "store/damage.rs"]
mod damage;
#[path = "store/exemplars.rs"]
mod exemplars;
#[path = "store/faults.rs"]
mod faults;
#[path = "store/fixture.rs"]
mod fixture;
#[path = "store/labels.rs"]
mod labels;
#[path = "store/model.rs"]
mod model_test;
#[path = "store/month.rs"]
mod month;
#[path = "store/reading.rs"]
mod reading;
#[path = "store/threads.rs"]
mod threads;
