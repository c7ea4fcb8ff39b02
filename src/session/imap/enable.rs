//! ENABLE (RFC 5161): names of what can be enabled and was not are answered, others passed over.

use super::Services;
use super::state::Session;
use crate::proto::imap::Completion;
use crate::proto::imap::encode::mailbox::push_enabled_line;
use smallvec::SmallVec;

impl<S: Services> Session<S> {
    /// Enables each of `capabilities` that can be. What one enables along with it is not named (RFC 7162 §3.2.3).
    pub fn enable(&mut self, capabilities: &[String], out: &mut Vec<u8>) -> Completion {
        let mut enabled: SmallVec<[&str; 4]> = SmallVec::new();
        for name in capabilities {
            let flag = match name.to_ascii_uppercase().as_str() {
                "CONDSTORE" => {
                    enabled.push("CONDSTORE");
                    continue;
                }
                "IMAP4REV2" => (&mut self.is_rev2, "IMAP4rev2"),
                "UTF8=ACCEPT" => (&mut self.is_utf8_accept, "UTF8=ACCEPT"),
                "QRESYNC" => (&mut self.is_qresync, "QRESYNC"),
                "UIDONLY" => (&mut self.is_uid_only, "UIDONLY"),
                _ => continue,
            };
            *flag.0 = true;
            enabled.push(flag.1);
        }
        self.names = self.names.after_enable(capabilities);
        push_enabled_line(&enabled, out);
        if enabled.contains(&"CONDSTORE") || self.is_qresync {
            self.enable_condstore(out);
        }
        Completion::ok("ENABLE completed")
    }
}
