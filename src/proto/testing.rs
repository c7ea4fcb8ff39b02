//! A session for tests: it feeds a core with octets in any pieces, answers its questions from a table, and keeps what was
//! said. It also checks the laws that hold after every single event.

use super::{Actions, Event, Protocol, Receipt, ReceiptId};

/// A receipt out of thin air.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TestReceipt(pub u64);

impl Receipt for TestReceipt {
    fn id(&self) -> ReceiptId {
        ReceiptId {
            log: 1,
            sequence: self.0,
        }
    }
}

/// What answers a core's questions.
pub(crate) trait Table<P: Protocol> {
    /// The answer; `wire` may be written to, as a session that streams does.
    fn answer(&mut self, core: &mut P, question: P::Question, body: &[u8], wire: &mut Vec<u8>) -> P::Answer;
    /// Whether the body collected so far is still wanted.
    fn holds_body(core: &P) -> bool;
}

/// One session.
pub(crate) struct Session<P: Protocol, T> {
    pub core: P,
    pub table: T,
    /// Everything sent and not yet taken by [`Session::replies`].
    pub wire: Vec<u8>,
    pub is_closed: bool,
    /// TLS was started.
    pub handshakes: u32,
    /// Synchronisation points find the peer waiting, whatever it has sent.
    pub is_always_quiet: bool,
    /// Most octets the core ever left unread while it asked nothing.
    pub carried_max: usize,
    /// Most octets of replies in one set of actions.
    pub wire_max: usize,
    carry: Vec<u8>,
    body: Vec<u8>,
    out: Actions<P::Question>,
}

impl<P: Protocol, T: Table<P>> Session<P, T> {
    pub fn new(core: P, table: T) -> Self {
        Self {
            core,
            table,
            wire: Vec::new(),
            is_closed: false,
            handshakes: 0,
            is_always_quiet: false,
            carried_max: 0,
            wire_max: 0,
            carry: Vec::new(),
            body: Vec::new(),
            out: Actions::default(),
        }
    }

    /// A session that has got its greeting.
    pub fn opened(core: P, table: T) -> Self {
        let mut session = Self::new(core, table);
        session.event(Event::Opened);
        session
    }

    /// What was said since the last call, line by line.
    pub fn replies(&mut self) -> Vec<String> {
        let wire = String::from_utf8(std::mem::take(&mut self.wire)).expect("replies are ASCII");
        let unended = wire.replace("\r\n", "");
        assert!(!unended.contains(['\r', '\n', '\0']), "bare line end in {wire:?}");
        assert!(
            wire.is_empty() || wire.ends_with("\r\n"),
            "torn reply in {wire:?}"
        );
        wire.lines().map(str::to_owned).collect()
    }

    /// Sends octets and lets the core work them off.
    pub fn feed(&mut self, octets: &[u8]) {
        if self.is_closed {
            return;
        }
        self.carry.extend_from_slice(octets);
        while !self.is_closed {
            let carry = std::mem::take(&mut self.carry);
            self.out.clear();
            let taken = self.core.handle(Event::Bytes(&carry), &mut self.out).0;
            for range in self.out.body.iter().cloned() {
                assert!(range.end <= taken, "body beyond what was taken");
                self.body.extend_from_slice(&carry[range]);
            }
            self.carry = carry;
            self.carry.drain(..taken);
            if !self.work_off() && taken == 0 {
                self.carried_max = self.carried_max.max(self.carry.len());
                break;
            }
        }
    }

    /// Feeds `octets` in pieces that end at `cuts`.
    pub fn feed_cut(&mut self, octets: &[u8], cuts: &[usize]) {
        let mut start = 0;
        for end in cuts.iter().copied().chain([octets.len()]) {
            let end = end.min(octets.len()).max(start);
            self.feed(&octets[start..end]);
            start = end;
        }
    }

    /// Any event but octets, then whatever waited behind it.
    pub fn event(&mut self, event: Event<'_, P::Answer>) {
        self.out.clear();
        assert_eq!(self.core.handle(event, &mut self.out).0, 0);
        if self.work_off() {
            self.feed(b"");
        }
    }

    /// Carries out one set of actions after the other; true if there was anything to do.
    fn work_off(&mut self) -> bool {
        let mut has_worked = false;
        loop {
            self.wire_max = self.wire_max.max(self.out.wire.len());
            has_worked |= !self.out.wire.is_empty();
            self.wire.append(&mut self.out.wire);
            if !T::holds_body(&self.core) {
                self.body.clear();
            }
            self.is_closed |= self.out.close;
            let question = self.out.question.take();
            let (synchronise, start_tls) = (self.out.synchronise, self.out.start_tls);
            let asked = usize::from(question.is_some()) + usize::from(synchronise) + usize::from(start_tls);
            assert!(asked <= 1, "two things to wait for at once");
            self.out.clear();
            let event = if let Some(question) = question {
                let answer = self
                    .table
                    .answer(&mut self.core, question, &self.body, &mut self.wire);
                Event::Answer(answer)
            } else if synchronise {
                let is_quiet = self.is_always_quiet || self.carry.is_empty();
                if is_quiet { Event::Quiet } else { Event::Early }
            } else if start_tls {
                self.handshakes += 1;
                if !self.carry.is_empty() {
                    // Plaintext where a ClientHello should be: the handshake fails.
                    self.is_closed = true;
                    return true;
                }
                Event::TlsReady
            } else {
                return has_worked;
            };
            has_worked = true;
            if self.is_closed {
                return true;
            }
            self.core.handle(event, &mut self.out);
        }
    }

    /// Plays a dialogue: `C: ` sends a line, `B: ` sends octets without CRLF, `S: ` is the beginning of the next
    /// reply line, `S: close` the end. `\r`, `\n` and `\0` are escapes.
    pub fn play(&mut self, dialogue: &str) {
        let mut pending: Vec<String> = self.replies();
        for line in dialogue
            .lines()
            .map(str::trim_start)
            .filter(|line| !line.is_empty())
        {
            let (who, text) = line.split_at_checked(3).unwrap_or((line, ""));
            match who {
                "S: " if text == "close" => {
                    assert_eq!(pending, Vec::<String>::new(), "before the close");
                    assert!(self.is_closed, "not closed");
                }
                "S: " | "S:" => {
                    assert!(!pending.is_empty(), "nothing said, expected {text:?}");
                    let said = pending.remove(0);
                    assert!(
                        said.starts_with(text),
                        "expected {text:?}, was told {said:?} {pending:?}"
                    );
                }
                "C: " | "C:" | "B: " => {
                    let mut octets = unescape(text);
                    octets.extend_from_slice(if who == "B: " { b"" } else { b"\r\n" });
                    self.feed(&octets);
                    pending.extend(self.replies());
                }
                _ => panic!("neither side says {line:?}"),
            }
        }
        assert_eq!(pending, Vec::<String>::new(), "said beyond the dialogue");
    }
}

fn unescape(text: &str) -> Vec<u8> {
    text.replace("\\r", "\r")
        .replace("\\n", "\n")
        .replace("\\0", "\0")
        .into_bytes()
}
