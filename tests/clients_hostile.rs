//! Input that no honest client sends: smuggled mail, injected commands, bombs, lies about lengths, broken syntax.
//!
//! One file a protocol. Each test is of one class of attack that mail servers have fallen to; what every one asserts
//! besides its answer is that the server lives on and that nothing was delivered or shown that should not be.

mod common;
#[path = "hostile/imap.rs"]
mod imap;
#[path = "hostile/lmtp.rs"]
mod lmtp;
#[path = "hostile/messages.rs"]
mod messages;
#[path = "hostile/mime.rs"]
mod mime;
#[path = "hostile/overload.rs"]
mod overload;
#[path = "hostile/pop3.rs"]
mod pop3;
#[path = "hostile/proxy.rs"]
mod proxy;
#[path = "hostile/smtp.rs"]
mod smtp;
