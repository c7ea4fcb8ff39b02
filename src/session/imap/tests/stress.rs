//! Several clients at one mailbox, each of which believes what it is told by the rules of RFC 9051 §7 and nothing else.
//! In the end each must know the mailbox as it is. Commands of all clients interleave; some are in flight together.

use super::world::{Client, World};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    /// Client, message, operation, flags, silent.
    Store(usize, u8, u8, u8, bool),
    Expunge(usize),
    UidExpunge(usize, u8),
    Copy(usize, u8),
    Move(usize, u8),
    Replace(usize, u8),
    Noop(usize),
    Read(usize, u8),
    Search(usize),
    Reselect(usize),
    Idle(usize),
    /// Two clients store at the same time.
    Together(u8),
}

const CLIENTS: usize = 4;
const FLAGS: [&str; 4] = ["\\Seen", "\\Deleted", "$a", "\\Deleted \\Flagged"];

fn step() -> impl Strategy<Value = Step> {
    let who = 0..CLIENTS;
    prop_oneof![
        4 => who.clone().prop_map(Step::Append),
        5 => (who.clone(), any::<u8>(), 0..3_u8, 0..4_u8, any::<bool>())
            .prop_map(|(c, m, o, f, s)| Step::Store(c, m, o, f, s)),
        2 => who.clone().prop_map(Step::Expunge),
        1 => (who.clone(), any::<u8>()).prop_map(|(c, m)| Step::UidExpunge(c, m)),
        1 => (who.clone(), any::<u8>()).prop_map(|(c, m)| Step::Copy(c, m)),
        1 => (who.clone(), any::<u8>()).prop_map(|(c, m)| Step::Move(c, m)),
        1 => (who.clone(), any::<u8>()).prop_map(|(c, m)| Step::Replace(c, m)),
        3 => who.clone().prop_map(Step::Noop),
        2 => (who.clone(), any::<u8>()).prop_map(|(c, m)| Step::Read(c, m)),
        1 => who.clone().prop_map(Step::Search),
        1 => who.clone().prop_map(Step::Reselect),
        1 => who.prop_map(Step::Idle),
        1 => any::<u8>().prop_map(Step::Together),
    ]
}

/// What a client knows of one message.
#[derive(Debug, Clone, Default, PartialEq)]
struct Known {
    uid: Option<u32>,
    flags: Option<BTreeSet<String>>,
}

/// The ways clients keep up.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Style {
    Plain,
    /// VANISHED, and a SELECT that tells only what has changed (RFC 7162).
    Resyncs,
    /// Told at once, without a command (RFC 5465).
    Notified,
}

const STYLES: [Style; CLIENTS] = [Style::Plain, Style::Resyncs, Style::Plain, Style::Notified];

/// A result that is kept up to date (RFC 5267), as the client makes it of what it is told.
struct Mirror {
    tag: String,
    by_uid: bool,
    is_sorted: bool,
    /// Message numbers, or UIDs.
    members: Vec<u32>,
}

/// By number of a SEARCH, by UID of a SORT.
const MIRRORED: [&str; 2] = [
    "SEARCH RETURN (ALL UPDATE) OR SEEN KEYWORD $a",
    "UID SORT RETURN (ALL UPDATE) (REVERSE SIZE) UTF-8 UNDELETED",
];

impl Mirror {
    fn of(reply: &str, command: &str) -> Self {
        let (_, rest) = reply.split_once("* ESEARCH (TAG \"").unwrap();
        let (tag, rest) = rest.split_once("\")").unwrap();
        let set = rest.split("\r\n").next().unwrap().split_once("ALL ");
        Self {
            tag: tag.to_owned(),
            by_uid: command.starts_with("UID"),
            is_sorted: command.contains("SORT"),
            members: set.map_or_else(Vec::new, |(_, set)| numbers_in_order(set)),
        }
    }

    /// Takes in `(place set …)`.
    fn learn(&mut self, is_add: bool, update: &str) {
        let words: Vec<&str> = update.trim_end_matches(')').split(' ').collect();
        for pair in words.chunks(2) {
            let place: usize = pair[0].parse().unwrap();
            assert_eq!(place > 0, self.is_sorted, "{update}");
            for (offset, number) in numbers_in_order(pair[1]).into_iter().enumerate() {
                let at = self.members.iter().position(|member| *member == number);
                if is_add {
                    assert_eq!(at, None, "{number} is there already: {update}");
                    let at = match place {
                        0 => self.members.partition_point(|member| *member < number),
                        place => place - 1 + offset,
                    };
                    self.members.insert(at, number);
                } else {
                    let at = at.expect("what leaves was there");
                    assert!(place == 0 || at == place - 1, "{number} is at {at}: {update}");
                    self.members.remove(at);
                }
            }
        }
    }

    fn expunge(&mut self, number: u32) {
        if self.by_uid {
            return;
        }
        assert!(
            !self.members.contains(&number),
            "expunged and still in the result"
        );
        for member in &mut self.members {
            *member -= u32::from(*member > number);
        }
    }
}

/// The numbers of a set, as they stand in it.
fn numbers_in_order(set: &str) -> Vec<u32> {
    let range = |range: &str| {
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        first.parse::<u32>().unwrap()..=last.parse().unwrap()
    };
    set.split(',').flat_map(range).collect()
}

struct Mua {
    client: Client,
    mirrors: Vec<Mirror>,
    style: Style,
    /// UIDVALIDITY and HIGHESTMODSEQ of the last SELECT.
    synced: Option<(String, String)>,
    messages: Vec<Known>,
    /// Keywords that FLAGS has named.
    keywords: BTreeSet<String>,
}

impl Mua {
    fn new(world: &mut World, style: Style) -> Self {
        let mut mua = Self {
            client: world.login(1),
            mirrors: Vec::new(),
            style,
            synced: None,
            messages: Vec::new(),
            keywords: BTreeSet::new(),
        };
        match style {
            Style::Plain => {}
            Style::Resyncs => drop(mua.client.ok(world, "ENABLE QRESYNC")),
            Style::Notified => {
                let all = "NOTIFY SET (selected (MessageNew MessageExpunge FlagChange))";
                drop(mua.client.ok(world, all));
            }
        }
        mua.select(world);
        mua
    }

    fn select(&mut self, world: &mut World) {
        let resync = self.synced.clone().filter(|_| self.style == Style::Resyncs);
        let reply = match resync {
            Some((validity, mod_seq)) => {
                // Numbers end here; UIDs and flags stay known.
                self.messages.retain(|known| known.uid.is_some());
                let known: Vec<String> = self.messages.iter().map(|m| m.uid.unwrap().to_string()).collect();
                let known = if known.is_empty() {
                    String::new()
                } else {
                    format!(" {}", known.join(","))
                };
                let parameter = format!("QRESYNC ({validity} {mod_seq}{known})");
                let reply = self.client.ok(world, &format!("SELECT INBOX ({parameter})"));
                self.forget_earlier(&reply.untagged);
                reply
            }
            None => {
                self.messages.clear();
                self.client.ok(world, "SELECT INBOX")
            }
        };
        let number = |name: &str| {
            let (_, rest) = reply.untagged.split_once(name).unwrap();
            rest.chars().take_while(char::is_ascii_digit).collect::<String>()
        };
        self.synced = Some((number("[UIDVALIDITY "), number("[HIGHESTMODSEQ ")));
        self.mirrors.clear();
        self.learn(&reply.untagged, true);
        self.fetch_unknown(world);
        for command in MIRRORED {
            // VANISHED has no numbers.
            if self.style == Style::Resyncs && !command.starts_with("UID") {
                continue;
            }
            let reply = self.client.ok(world, command);
            self.mirrors.push(Mirror::of(&reply.untagged, command));
            self.learn(
                &reply.untagged,
                command.starts_with("UID") || self.style == Style::Notified,
            );
            self.fetch_unknown(world);
        }
    }

    /// Each result is what the same search finds now.
    fn check_mirrors(&mut self, world: &mut World) {
        for mirror in std::mem::take(&mut self.mirrors) {
            let command = MIRRORED
                .iter()
                .find(|command| command.starts_with("UID") == mirror.by_uid);
            let fresh = self.client.ok(world, &command.unwrap().replace(" UPDATE", ""));
            let fresh = Mirror::of(&fresh.untagged, command.unwrap());
            assert_eq!(mirror.members, fresh.members, "{:?} {command:?}", self.style);
        }
    }

    /// Of what a client knew, some is no more; no number changes by it (RFC 7162 §3.2.10.1).
    fn forget_earlier(&mut self, untagged: &str) {
        for line in untagged.split("\r\n") {
            if let Some(set) = line.strip_prefix("* VANISHED (EARLIER) ") {
                let gone = numbers(set);
                self.messages.retain(|known| !gone.contains(&known.uid.unwrap()));
            }
        }
    }

    /// One number less for each (RFC 7162 §3.2.10.2).
    fn forget(&mut self, set: &str) {
        assert_eq!(self.style, Style::Resyncs, "VANISHED without QRESYNC");
        for uid in numbers(set) {
            let known = self.messages.iter().position(|known| known.uid == Some(uid));
            // It was announced, and its UID never told: those are the last ones.
            let at = known.or_else(|| self.messages.iter().position(|known| known.uid.is_none()));
            self.messages
                .remove(at.expect("VANISHED names what was announced"));
        }
    }

    /// What came without a command.
    fn read_pushed(&mut self, world: &mut World) {
        world.run();
        let told = self.client.read();
        assert!(told.is_empty() || self.style == Style::Notified, "{told}");
        self.learn(&told, true);
        self.fetch_unknown(world);
    }

    fn run(&mut self, world: &mut World, command: &str, may_expunge: bool) -> String {
        let may_expunge = may_expunge || self.style == Style::Notified;
        let reply = self.client.command(world, command);
        self.learn(&reply.untagged, may_expunge);
        self.fetch_unknown(world);
        reply.tagged
    }

    /// A client asks for what EXISTS announced.
    fn fetch_unknown(&mut self, world: &mut World) {
        while let Some(first) = self.messages.iter().position(|known| known.uid.is_none()) {
            let reply = self
                .client
                .command(world, &format!("FETCH {}:* (UID FLAGS)", first + 1));
            self.learn(&reply.untagged, false);
            if reply.tagged.contains("[EXPUNGEISSUED]") {
                let reply = self.client.ok(world, "NOOP");
                self.learn(&reply.untagged, true);
            }
        }
    }

    fn learn(&mut self, untagged: &str, may_expunge: bool) {
        for line in untagged.split("\r\n") {
            if let Some(list) = line.strip_prefix("* FLAGS (") {
                self.keywords = list.trim_end_matches(')').split(' ').map(str::to_owned).collect();
            }
            if let Some(set) = line.strip_prefix("* VANISHED ")
                && !set.starts_with('(')
            {
                assert!(may_expunge, "VANISHED at the wrong time: {untagged}");
                self.forget(set);
            }
            if let Some((tag, rest)) = line
                .strip_prefix("* ESEARCH (TAG \"")
                .and_then(|rest| rest.split_once("\") "))
                && let Some((word, update)) = rest.trim_start_matches("UID ").split_once(" (")
            {
                let mirror = self.mirrors.iter_mut().find(|mirror| mirror.tag == tag);
                mirror
                    .expect("a result that is kept")
                    .learn(word == "ADDTO", update);
            }
            let mut words = line.strip_prefix("* ").unwrap_or_default().splitn(3, ' ');
            let (Some(Ok(number)), Some(kind)) = (words.next().map(str::parse::<usize>), words.next()) else {
                continue;
            };
            match kind {
                "EXISTS" => {
                    assert!(
                        number >= self.messages.len(),
                        "EXISTS may not shrink the mailbox: {line}"
                    );
                    self.messages.resize(number, Known::default());
                }
                "EXPUNGE" => {
                    assert!(may_expunge, "EXPUNGE at the wrong time: {untagged}");
                    assert_ne!(self.style, Style::Resyncs, "EXPUNGE with QRESYNC");
                    self.messages.remove(number - 1);
                    let number = u32::try_from(number).unwrap();
                    self.mirrors.iter_mut().for_each(|mirror| mirror.expunge(number));
                }
                "FETCH" => self.learn_fetch(number, words.next().unwrap_or_default()),
                _ => {}
            }
        }
    }

    fn learn_fetch(&mut self, number: usize, items: &str) {
        let known = &mut self.messages[number - 1];
        if let Some((_, rest)) = items.split_once("UID ") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            let uid = digits.parse().unwrap();
            assert!(
                known.uid.is_none_or(|before| before == uid),
                "a number changed its message"
            );
            known.uid = Some(uid);
        }
        if let Some((_, rest)) = items.split_once("FLAGS (") {
            let flags = rest
                .split(')')
                .next()
                .unwrap()
                .split(' ')
                .filter(|f| !f.is_empty());
            let flags: BTreeSet<String> = flags.map(str::to_owned).collect();
            assert!(
                flags.is_subset(&self.keywords),
                "{flags:?} not all in FLAGS {:?}",
                self.keywords
            );
            known.flags = Some(flags);
        }
    }

    /// A message the client knows, by number.
    fn pick(&self, which: u8) -> Option<usize> {
        (!self.messages.is_empty()).then(|| usize::from(which) % self.messages.len() + 1)
    }
}

/// The numbers of a set without `*`.
fn numbers(set: &str) -> BTreeSet<u32> {
    let range = |range: &str| {
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        first.parse::<u32>().unwrap()..=last.parse().unwrap()
    };
    set.split(',').flat_map(range).collect()
}

/// What a client makes of its own silent STORE.
fn apply_silent(known: &mut Known, operation: u8, flags: &str) {
    let Some(have) = &mut known.flags else { return };
    let named: BTreeSet<String> = flags.split(' ').map(str::to_owned).collect();
    match operation {
        0 => *have = named,
        1 => have.extend(named),
        _ => have.retain(|flag| !named.contains(flag)),
    }
}

fn take(world: &mut World, muas: &mut [Mua], step: &Step) {
    match step {
        Step::Append(c) => {
            muas[*c].run(
                world,
                "APPEND INBOX (\\Draft) {17+}\r\nSubject: x\r\n\r\nhi\r\n",
                true,
            );
        }
        Step::Store(c, which, operation, flags, silent) => {
            let mua = &mut muas[*c];
            let Some(number) = mua.pick(*which) else { return };
            let sign = ["", "+", "-"][usize::from(*operation)];
            let suffix = if *silent { ".SILENT" } else { "" };
            let flags = FLAGS[usize::from(*flags)];
            let uid = mua.messages[number - 1].uid;
            let reply = mua
                .client
                .command(world, &format!("STORE {number} {sign}FLAGS{suffix} ({flags})"));
            if *silent && reply.tagged.starts_with("OK") {
                assert_eq!(mua.messages[number - 1].uid, uid);
                apply_silent(&mut mua.messages[number - 1], *operation, flags);
            }
            mua.learn(&reply.untagged, false);
            mua.fetch_unknown(world);
        }
        Step::Expunge(c) => {
            muas[*c].run(world, "EXPUNGE", true);
        }
        Step::UidExpunge(c, which) => {
            muas[*c].run(
                world,
                &format!("UID EXPUNGE {}:*", u32::from(*which) % 16 + 1),
                true,
            );
        }
        Step::Copy(c, which) => {
            if let Some(number) = muas[*c].pick(*which) {
                muas[*c].run(world, &format!("COPY {number} INBOX"), true);
            }
        }
        Step::Move(c, which) => {
            if let Some(number) = muas[*c].pick(*which) {
                muas[*c].run(world, &format!("MOVE {number}:* INBOX"), true);
            }
        }
        Step::Replace(c, which) => {
            if let Some(number) = muas[*c].pick(*which) {
                let command = format!("REPLACE {number} INBOX ($b) {{17+}}\r\nSubject: y\r\n\r\nho\r\n");
                muas[*c].run(world, &command, true);
            }
        }
        Step::Noop(c) => {
            muas[*c].run(world, "NOOP", true);
        }
        Step::Read(c, which) => {
            if let Some(number) = muas[*c].pick(*which) {
                muas[*c].run(world, &format!("FETCH {number}:* BODY[]"), false);
            }
        }
        Step::Search(c) => {
            muas[*c].run(world, "SEARCH UNSEEN", false);
        }
        Step::Reselect(c) => muas[*c].select(world),
        Step::Idle(c) => {
            let mua = &mut muas[*c];
            mua.client.send("i IDLE\r\n");
            world.run();
            mua.client.send("DONE\r\n");
            world.run();
            let told = mua.client.read();
            mua.learn(&told, true);
            mua.fetch_unknown(world);
        }
        Step::Together(which) => together(world, muas, *which),
    }
}

/// Commands of all clients are in flight at the same time; nobody waits for the others' commits.
fn together(world: &mut World, muas: &mut [Mua], which: u8) {
    for (place, mua) in muas.iter().enumerate() {
        let number = mua
            .pick(which.wrapping_add(u8::try_from(place).unwrap()))
            .unwrap_or(1);
        mua.client.send(match place {
            0 => format!("x STORE {number} +FLAGS (\\Answered)\r\n"),
            1 => format!("x STORE {number} FLAGS (\\Deleted)\r\n"),
            3 => format!("x UID STORE {number} +FLAGS ($c)\r\n"),
            _ => "x UID EXPUNGE 1:*\r\n".to_owned(),
        });
    }
    world.run();
    for (place, mua) in muas.iter_mut().enumerate() {
        let told = mua.client.read();
        assert!(
            told.contains("x OK") || told.contains("x NO") || told.contains("x BAD"),
            "{told}"
        );
        mua.learn(&told, place >= 2 || mua.style == Style::Notified);
        mua.fetch_unknown(world);
    }
}

/// A case is twenty steps on average. A million of them: `PROPTEST_CASES=50000 cargo test --release --lib imap::tests::stress`.
fn cases() -> u32 {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default().cases,
        None => 64,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]
    #[test]
    fn every_client_knows_the_mailbox_in_the_end(steps in prop::collection::vec(step(), 0..40)) {
        let mut world = World::new();
        let mut filler = world.login(1);
        filler.fill(&mut world, "INBOX", 4);
        let mut muas: Vec<Mua> = STYLES.iter().map(|style| Mua::new(&mut world, *style)).collect();
        for step in &steps {
            // Numbers in a command are those its client was told of last.
            for mua in &mut muas {
                mua.read_pushed(&mut world);
            }
            take(&mut world, &mut muas, step);
        }
        for mua in &mut muas {
            mua.read_pushed(&mut world);
            mua.run(&mut world, "NOOP", true);
        }
        for mua in &mut muas {
            mua.check_mirrors(&mut world);
        }
        let fresh = Mua::new(&mut world, Style::Plain);
        let uids: BTreeMap<_, _> = fresh.messages.iter().map(|known| (known.uid, ())).collect();
        prop_assert_eq!(uids.len(), fresh.messages.len());
        for mua in &muas {
            prop_assert_eq!(&mua.messages, &fresh.messages);
        }
    }
}
