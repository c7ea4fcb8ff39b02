//! Claims about the store, on the simulated disk.

mod basics;
mod checkpoint;
mod compaction;
mod compaction_cold;
mod compaction_crash;
mod compaction_damage;
mod crash;
mod damage;
mod damage_lost;
mod fixture_v1;
mod fixture_v2;
mod graves;
mod groups;
mod keywords;
pub mod model;
mod paging;
mod paging_room;
mod reading;
mod records;
mod salvage;
mod summaries;
mod tools;
mod tools_damage;
mod tools_derived;
mod tools_misplaced;
mod tools_running;
pub mod world;
