//! The end of compression by UNAUTHENTICATE (RFC 8437 §4.1, RFC 4978).

use super::world::{Client, World};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// How a client ends its stream.
const ENDS: [&[FlushCompress]; 4] = [
    &[FlushCompress::Sync],
    &[FlushCompress::Full],
    &[FlushCompress::Finish],
    &[FlushCompress::Sync, FlushCompress::Finish],
];

fn deflated(text: &str, flushes: &[FlushCompress]) -> Vec<u8> {
    let mut stream = Compress::new(Compression::best(), false);
    let mut out = Vec::with_capacity(1_000);
    let mut text = text.as_bytes();
    for flush in flushes {
        stream.compress_vec(text, &mut out, *flush).unwrap();
        text = b"";
    }
    out
}

/// What the server says compressed, and what behind it.
fn inflated(client: &mut Client) -> (String, String) {
    let octets: Vec<u8> = client.read().chars().map(|c| c as u8).collect();
    let mut stream = Decompress::new(false);
    let mut told = Vec::with_capacity(10_000);
    let status = stream
        .decompress_vec(&octets, &mut told, FlushDecompress::Sync)
        .unwrap();
    assert_eq!(status, Status::StreamEnd, "its stream has an end");
    let behind = &octets[usize::try_from(stream.total_in()).unwrap()..];
    (
        String::from_utf8(told).unwrap(),
        String::from_utf8(behind.to_vec()).unwrap(),
    )
}

#[test]
fn unauthenticate_ends_compression_both_ways() {
    for flushes in ENDS {
        let mut world = World::new();
        let mut a = world.selected(1);
        a.ok(&mut world, "COMPRESS DEFLATE");
        a.send(deflated("n NOOP\r\nu UNAUTHENTICATE\r\n", flushes));
        world.run();
        let (told, behind) = inflated(&mut a);
        assert_eq!(
            (told.as_str(), behind.as_str()),
            ("n OK NOOP completed\r\nu OK UNAUTHENTICATE completed\r\n", "")
        );
        // Everything of the login is forgotten, and it can all be had again.
        assert!(a.tagged(&mut world, "SELECT INBOX").starts_with("BAD"));
        a.ok(&mut world, "LOGIN 2 secret");
        a.ok(&mut world, "COMPRESS DEFLATE");
        a.send(deflated("u UNAUTHENTICATE\r\n", flushes));
        world.run();
        assert_eq!(inflated(&mut a).0, "u OK UNAUTHENTICATE completed\r\n");
    }
}

#[test]
fn the_next_login_may_come_in_the_same_packet_or_octet_by_octet() {
    // §3: pipelined; the plain text lies behind the client's last compressed octet, wherever packets end.
    for flushes in ENDS {
        let stream = deflated("u UNAUTHENTICATE\r\n", flushes);
        let sent = [&stream[..], b"l LOGIN 2 secret\r\ns STATUS INBOX (MESSAGES)\r\n"].concat();
        for cut in 0..sent.len() {
            let mut world = World::new();
            let mut a = world.login(1);
            a.ok(&mut world, "COMPRESS DEFLATE");
            for packet in [&sent[..cut], &sent[cut..]] {
                a.send(packet);
                world.run();
            }
            let (told, behind) = inflated(&mut a);
            assert_eq!(told, "u OK UNAUTHENTICATE completed\r\n", "cut at {cut}");
            assert!(
                behind.starts_with("l OK [CAPABILITY ")
                    && behind.contains("\r\n* STATUS INBOX (MESSAGES 0)\r\ns OK "),
                "cut at {cut}: {behind}"
            );
        }
    }
}
