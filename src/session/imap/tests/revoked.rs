//! An account that the directory says something else of while its sessions are open.

use super::world::World;
use crate::model::{AccountId, ClientProtocol, MailboxName, Protocols};
use crate::session::imap::Services;
use crate::store::Change;

const GONE: &str = "* BYE This account may not be used any more\r\n";

#[test]
fn a_disabled_account_is_told_at_its_next_command_and_does_nothing_more() {
    let mut world = World::new();
    let mut client = world.selected(1);
    client.append(&mut world, "INBOX", "", "Subject: 1\r\n\r\n");
    let changes = &world.services.changes;
    changes.borrow_mut().push(|account| account.is_enabled = false);
    client.send("a APPEND INBOX {4+}\r\na\r\n\r\nb NOOP\r\n");
    world.run();
    assert_eq!(client.read(), GONE);
    assert!(client.is_closed());
}

#[test]
fn an_account_that_may_use_other_protocols_only_is_not_at_home_any_more() {
    let mut world = World::new();
    let mut client = world.login(1);
    let changes = &world.services.changes;
    changes
        .borrow_mut()
        .push(|account| account.protocols = Protocols::NONE.with(ClientProtocol::Pop3));
    client.send("a NOOP\r\n");
    world.run();
    assert_eq!(client.read(), GONE);
}

#[test]
fn who_only_listens_is_told_too() {
    for listening in [
        "a IDLE\r\n",
        "a NOTIFY SET (SELECTED (MessageNew MessageExpunge))\r\n",
    ] {
        let mut world = World::new();
        let mut listener = world.selected(1);
        listener.send(listening);
        world.run();
        listener.read();
        let changes = &world.services.changes;
        changes.borrow_mut().push(|account| account.is_enabled = false);
        // What wakes it stands for its time being over.
        let create = Change::CreateMailbox {
            name: MailboxName::new("x").unwrap(),
            special_use: None,
        };
        let store = world.services.store().clone();
        assert!(world.wait(store.change(AccountId(1), create)).is_ok());
        world.run();
        assert_eq!(listener.read(), GONE, "{listening}");
        assert!(listener.is_closed());
    }
}

#[test]
fn a_message_that_is_coming_is_taken_before() {
    let mut world = World::new();
    let mut client = world.selected(1);
    client.send("a APPEND INBOX {16+}\r\nSubject:");
    world.run();
    let changes = &world.services.changes;
    changes.borrow_mut().push(|account| account.is_enabled = false);
    client.send(" 1\r\n\r\n\r\n\r\n");
    world.run();
    let read = client.read();
    assert!(
        read.contains("\r\na OK [APPENDUID") && read.ends_with(GONE),
        "{read}"
    );
}

#[test]
fn quotas_are_those_of_now_and_not_of_the_login() {
    let mut world = World::new();
    let mut client = world.login(3);
    let message = "x".repeat(2_000);
    let append = format!("APPEND INBOX {{{}+}}\r\n{message}", message.len());
    let refused = client.tagged(&mut world, &append);
    assert!(refused.starts_with("NO [OVERQUOTA]"), "{refused}");
    let changes = &world.services.changes;
    changes.borrow_mut().push(|account| account.quota_bytes = None);
    client.ok(&mut world, &append);
    let reply = client.ok(&mut world, "GETQUOTAROOT INBOX");
    assert!(!reply.untagged.contains("STORAGE"), "{reply:?}");
    let changes = &world.services.changes;
    changes
        .borrow_mut()
        .push(|account| account.quota_bytes = Some(3 << 10));
    let reply = client.ok(&mut world, "GETQUOTAROOT INBOX");
    assert!(reply.untagged.contains("STORAGE 2 3"), "{reply:?}");
    client.ok(&mut world, "SELECT INBOX");
    let refused = client.tagged(&mut world, "UID COPY 1 INBOX");
    assert!(refused.starts_with("NO [OVERQUOTA]"), "{refused}");
}
