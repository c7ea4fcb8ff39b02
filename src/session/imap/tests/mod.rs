//! Whole sessions over a store on a simulated disk: commands in, responses out, nothing of the network.

mod ahead;
mod changes;
mod compress;
mod content;
mod context;
mod extensions;
mod failures;
mod finding;
mod keywords;
mod mailboxes;
mod message_limit;
mod metadata;
mod multi_search;
mod names;
mod notify;
mod partial;
mod resync;
mod rev2;
mod revoked;
mod searching;
mod stress;
mod summaries;
mod threading;
mod transcript;
mod world;
