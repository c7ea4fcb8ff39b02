//! Names, helps and units of everything that is measured. Per core, because a core that lags behind the others is what one looks
//! for; sums are the dashboard's.
//!
//! Units are Prometheus' base units (seconds, bytes). Counts restart with the process.
//! LIMITATION: how much of the segments is dead is not known to the store, so it is not shown.

use super::exposition::{Exposition, Labels};
use super::view::{CoreMeters, View};
use crate::base::meter::{Counter, Gauge, Histogram};
use crate::node::meters::{MailMeters, ServiceMeters};
use crate::session::Service;
use std::time::{SystemTime, UNIX_EPOCH};

const MICROSECOND: f64 = 1e-6;

/// Everything, as of now.
#[must_use]
pub fn render(view: &View) -> String {
    let cores = view.cores();
    let mut page = Page {
        text: Exposition::default(),
        cores: &cores,
    };
    page.process(view);
    page.mail();
    page.sessions();
    page.network();
    page.mesh();
    page.store(view);
    page.disk();
    page.text.into_text()
}

struct Page<'a> {
    text: Exposition,
    cores: &'a [CoreMeters],
}

impl Page<'_> {
    fn process(&mut self, view: &View) {
        let text = &mut self.text;
        text.gauges("ringpost_build_info", "Always 1; the version is in the label.");
        text.sample(
            "ringpost_build_info",
            &[("version", &env!("CARGO_PKG_VERSION"))],
            1,
        );
        text.gauges("ringpost_ready", "1 when mail is taken, as /health/ready says.");
        text.sample("ringpost_ready", &[], u8::from(view.unready().is_empty()));
        text.counters(
            "ringpost_log_lines_dropped_total",
            "Lines of the log lost because their reader was slower.",
        );
        text.sample("ringpost_log_lines_dropped_total", &[], view.dropped_log_lines());
        text.counters("ringpost_task_panics_total", "Tasks that ended by a panic: bugs.");
        text.sample("ringpost_task_panics_total", &[], crate::runtime::task_panics());
        text.counters(
            "ringpost_password_checks_refused_total",
            "Passwords not checked or hashed because too many waited: logins that were put off.",
        );
        text.sample(
            "ringpost_password_checks_refused_total",
            &[],
            crate::runtime::refused_computations(),
        );
        if let Some(process) = Process::now() {
            text.counters("process_cpu_seconds_total", "User and system time.");
            text.sample("process_cpu_seconds_total", &[], process.cpu_seconds);
            text.gauges("process_resident_memory_bytes", "Resident memory.");
            text.sample("process_resident_memory_bytes", &[], process.resident_bytes);
            text.gauges("process_open_fds", "Open descriptors.");
            text.sample("process_open_fds", &[], process.descriptors);
        }
    }

    fn mail(&mut self) {
        type Of = fn(&MailMeters) -> &Counter;
        let counters: [(&str, &str, Of); 2] = [
            ("ringpost_mail_accepted_total", "Messages acknowledged.", |mail| {
                &mail.accepted
            }),
            (
                "ringpost_mail_recipients_total",
                "Recipients of acknowledged messages.",
                |mail| &mail.recipients,
            ),
        ];
        for (name, help, of) in counters {
            self.text.counters(name, help);
            self.each_way_in(|text, core, protocol, mail| {
                text.sample(
                    name,
                    &[("core", &core), ("protocol", &protocol)],
                    of(mail).value(),
                );
            });
        }
        let name = "ringpost_mail_refused_total";
        self.text.counters(
            name,
            "Refusals by SMTP and LMTP, by reply code and enhanced status code.",
        );
        for core in self.cores {
            for (reply, status, count) in core.sessions.refusals.each() {
                let labels: Labels<'_> = &[("core", &core.core), ("reply", &reply), ("status", &status)];
                self.text.sample(name, labels, count);
            }
        }
        let name = "ringpost_mail_receive_seconds";
        self.text.histograms(name, "From MAIL to the end of data.");
        self.each_way_in(|text, core, protocol, mail| {
            let labels: Labels<'_> = &[("core", &core), ("protocol", &protocol)];
            text.histogram(name, labels, MICROSECOND, &mail.receive_time);
        });
        let name = "ringpost_mail_commit_seconds";
        self.text.histograms(
            name,
            "From the end of data to the receipt, the wait for the owning core and the sync included.",
        );
        self.each_way_in(|text, core, protocol, mail| {
            let labels: Labels<'_> = &[("core", &core), ("protocol", &protocol)];
            text.histogram(name, labels, MICROSECOND, &mail.commit_time);
        });
    }

    fn each_way_in(&mut self, mut put: impl FnMut(&mut Exposition, usize, &str, &MailMeters)) {
        for core in self.cores {
            put(&mut self.text, core.core, "smtp", &core.sessions.smtp);
            put(&mut self.text, core.core, "lmtp", &core.sessions.lmtp);
        }
    }

    fn sessions(&mut self) {
        let name = "ringpost_sessions_total";
        self.text.counters(name, "Sessions begun.");
        for core in self.cores {
            for service in Service::ALL {
                let meters = &core.sessions.services[service as usize];
                let labels: Labels<'_> = &[("core", &core.core), ("service", &service.name())];
                self.text.sample(name, labels, meters.begun.value());
            }
        }
        let name = "ringpost_connections";
        self.text.gauges(
            name,
            "Open connections by state: opening (PROXY header, TLS handshake), serving, moved (on the core of their account).",
        );
        type Of = fn(&ServiceMeters) -> &Gauge;
        let states: [(&str, Of); 3] = [
            ("opening", |service| &service.opening),
            ("serving", |service| &service.serving),
            ("moved", |service| &service.moved),
        ];
        for core in self.cores {
            for service in Service::ALL {
                let meters = &core.sessions.services[service as usize];
                for (state, of) in &states {
                    let labels: Labels<'_> = &[
                        ("core", &core.core),
                        ("service", &service.name()),
                        ("state", state),
                    ];
                    self.text.sample(name, labels, of(meters).value());
                }
            }
        }
        let name = "ringpost_connections_refused_total";
        self.text.counters(name, "Connections closed at once, by reason.");
        for core in self.cores {
            for (reason, counter) in [
                ("core full", &core.sessions.refused_full),
                ("peer", &core.sessions.refused_peer),
                ("no PROXY header", &core.sessions.refused_proxy),
                ("descriptors", &core.net.shed),
            ] {
                let labels: Labels<'_> = &[("core", &core.core), ("reason", &reason)];
                self.text.sample(name, labels, counter.value());
            }
        }
    }

    fn network(&mut self) {
        self.core_counters(
            "ringpost_net_accepted_total",
            "Connections taken from listeners.",
            |core| &core.net.accepted,
        );
        self.core_counters(
            "ringpost_net_received_bytes_total",
            "Octets sessions received, after TLS.",
            |core| &core.net.received_bytes,
        );
        self.core_counters(
            "ringpost_net_sent_bytes_total",
            "Octets sessions sent, before TLS.",
            |core| &core.net.sent_bytes,
        );
        self.core_counters(
            "ringpost_tls_handshakes_total",
            "TLS handshakes that succeeded.",
            |core| &core.net.tls_handshakes,
        );
        self.core_counters(
            "ringpost_tls_failures_total",
            "TLS handshakes that failed.",
            |core| &core.net.tls_failures,
        );
        self.core_counters(
            "ringpost_receive_buffers_made_total",
            "Receive buffers allocated because the pool was empty.",
            |core| &core.buffers.made,
        );
        self.core_gauges(
            "ringpost_receive_buffers_free",
            "Receive buffers in the pool.",
            |core| &core.buffers.free,
        );
    }

    fn mesh(&mut self) {
        self.core_counters(
            "ringpost_deliveries_sent_total",
            "Delivery requests to other cores.",
            |core| &core.deliveries.calls,
        );
        self.core_histograms(
            "ringpost_delivery_wait_seconds",
            "How long delivery requests of other cores waited for this one.",
            MICROSECOND,
            |core| &core.deliveries.waited,
        );
        self.core_counters(
            "ringpost_sessions_moved_total",
            "Sessions that moved to the core of their account.",
            |core| &core.moves.calls,
        );
    }

    fn store(&mut self, view: &View) {
        self.core_counters(
            "ringpost_mail_over_quota_total",
            "Copies of mail taken although the account had no room, because the message reached others too.",
            |core| &core.store.over_quota,
        );
        self.core_counters("ringpost_store_commits_total", "Changes committed.", |core| {
            &core.store.commits
        });
        self.core_histograms(
            "ringpost_store_group_commits",
            "Commits in each group: one write and one sync.",
            1.0,
            |core| &core.store.group_commits,
        );
        self.core_histograms(
            "ringpost_store_group_bytes",
            "Bytes of each group, padding included.",
            1.0,
            |core| &core.store.group_bytes,
        );
        self.core_counters(
            "ringpost_store_segments_made_total",
            "Segments made since the start.",
            |core| &core.store.segments_made,
        );
        self.core_gauges(
            "ringpost_store_accounts",
            "Accounts that have mailboxes here, as of the last commit.",
            |core| &core.store.accounts,
        );
        self.core_gauges(
            "ringpost_store_failed",
            "1 after a failed write or sync: commits are refused until a restart.",
            |core| &core.store.has_failed,
        );
        self.core_counters(
            "ringpost_store_checkpoints_total",
            "Checkpoints written since the start.",
            |core| &core.store.checkpoints,
        );
        self.core_gauges(
            "ringpost_store_checkpoint_bytes",
            "Bytes of the newest checkpoint.",
            |core| &core.store.checkpoint_bytes,
        );
        self.compaction();
        self.summaries();
        let name = "ringpost_store_checkpoint_age_seconds";
        self.text
            .gauges(name, "Age of the newest checkpoint of this start.");
        let now_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_millis() as i64);
        for core in self.cores {
            let at_ms = core.store.checkpoint_at_ms.value();
            if at_ms > 0 {
                let age = (now_ms - at_ms) as f64 / 1e3;
                self.text.sample(name, &[("core", &core.core)], age);
            }
        }
        if let Some(free) = view.free_bytes() {
            let name = "ringpost_store_free_bytes";
            self.text.gauges(name, "Free bytes of the store's file system.");
            self.text.sample(name, &[], free);
        }
    }

    fn summaries(&mut self) {
        self.core_counters(
            "ringpost_store_damaged_reads_total",
            "Reads of messages that failed: damage, or a disk that refuses. The log says which; `store check` lists all.",
            |core| &core.store.damaged_reads,
        );
        self.core_counters(
            "ringpost_store_messages_opened_total",
            "Messages opened to be read or looked into.",
            |core| &core.store.messages_opened,
        );
        self.core_counters(
            "ringpost_store_summaries_recalled_total",
            "Times a summary was found for a message, which so was not opened.",
            |core| &core.store.summaries_recalled,
        );
        self.core_counters(
            "ringpost_store_summaries_ahead_total",
            "Summaries made of new mail before anybody asked for them.",
            |core| &core.store.summaries_ahead,
        );
        self.core_counters(
            "ringpost_store_summaries_written_total",
            "Summaries written to files, again when files are joined.",
            |core| &core.store.summaries_written,
        );
        self.core_counters(
            "ringpost_store_summaries_wrong_total",
            "Summaries that were not as they were written; their messages were opened.",
            |core| &core.store.summaries_wrong,
        );
        self.core_counters(
            "ringpost_store_summary_failures_total",
            "Files of summaries that could not be written.",
            |core| &core.store.summary_failures,
        );
        self.core_gauges(
            "ringpost_store_summary_bytes",
            "Bytes of all files of summaries, as of the last one written.",
            |core| &core.store.summary_bytes,
        );
    }

    fn compaction(&mut self) {
        self.core_counters(
            "ringpost_store_compactions_total",
            "Passes of compaction that gave something back, by the core that led them.",
            |core| &core.store.compaction_passes,
        );
        self.core_counters(
            "ringpost_store_freed_bytes_total",
            "Bytes that compaction gave back to the file system.",
            |core| &core.store.compaction_freed_bytes,
        );
        self.core_counters(
            "ringpost_store_compaction_written_bytes_total",
            "Bytes that compaction wrote anew.",
            |core| &core.store.compaction_written_bytes,
        );
        let sum = |of: fn(&CoreMeters) -> &Gauge| self.cores.iter().map(|core| of(core).value()).sum::<i64>();
        let bytes = sum(|core| &core.store.compaction_log_bytes);
        let live = sum(|core| &core.store.compaction_live_bytes);
        let dead = bytes - live;
        for (name, help, value) in [
            (
                "ringpost_store_live_bytes",
                "Bytes alive in finished segments when compaction last looked; 0: not in this start.",
                live,
            ),
            (
                "ringpost_store_dead_bytes",
                "Bytes dead in finished segments when compaction last looked; 0: not in this start.",
                dead,
            ),
        ] {
            self.text.gauges(name, help);
            self.text.sample(name, &[], value);
        }
    }

    fn disk(&mut self) {
        self.core_counters(
            "ringpost_disk_written_bytes_total",
            "Bytes written with O_DIRECT.",
            |core| &core.disk.written_bytes,
        );
        self.core_counters(
            "ringpost_disk_read_bytes_total",
            "Bytes read with O_DIRECT: records and snapshots, from the device itself.",
            |core| &core.disk.read_bytes,
        );
        self.core_counters(
            "ringpost_page_cache_read_bytes_total",
            "Bytes of mail read through the page cache, from memory where the system has them and from the device where not.",
            |core| &core.disk.cached_read_bytes,
        );
        self.core_histograms(
            "ringpost_disk_write_seconds",
            "How long writes took.",
            MICROSECOND,
            |core| &core.disk.write_time,
        );
        self.core_histograms(
            "ringpost_disk_sync_seconds",
            "How long syncs of groups and checkpoints took.",
            MICROSECOND,
            |core| &core.disk.sync_time,
        );
        self.core_counters(
            "ringpost_disk_other_syncs_total",
            "Syncs of new files and directories.",
            |core| &core.disk.other_syncs,
        );
        self.core_histograms(
            "ringpost_disk_read_seconds",
            "How long reads with O_DIRECT took.",
            MICROSECOND,
            |core| &core.disk.read_time,
        );
        self.core_histograms(
            "ringpost_page_cache_read_seconds",
            "How long reads through the page cache took: microseconds from memory, as a read with O_DIRECT from the device.",
            MICROSECOND,
            |core| &core.disk.cached_read_time,
        );
    }

    fn core_counters(&mut self, name: &str, help: &str, of: fn(&CoreMeters) -> &Counter) {
        self.text.counters(name, help);
        for core in self.cores {
            self.text.sample(name, &[("core", &core.core)], of(core).value());
        }
    }

    fn core_gauges(&mut self, name: &str, help: &str, of: fn(&CoreMeters) -> &Gauge) {
        self.text.gauges(name, help);
        for core in self.cores {
            self.text.sample(name, &[("core", &core.core)], of(core).value());
        }
    }

    fn core_histograms<const FIRST: u32>(
        &mut self,
        name: &str,
        help: &str,
        unit: f64,
        of: fn(&CoreMeters) -> &Histogram<FIRST>,
    ) {
        self.text.histograms(name, help);
        for core in self.cores {
            self.text.histogram(name, &[("core", &core.core)], unit, of(core));
        }
    }
}

/// What the kernel says of this process.
struct Process {
    cpu_seconds: f64,
    resident_bytes: u64,
    descriptors: usize,
}

impl Process {
    fn now() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name in parentheses may hold anything; the fields behind it are numbers (proc(5)).
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        // SAFETY: neither call takes a pointer.
        let (ticks, page) = unsafe {
            (
                libc::sysconf(libc::_SC_CLK_TCK),
                libc::sysconf(libc::_SC_PAGESIZE),
            )
        };
        Some(Self {
            cpu_seconds: (number(14)? + number(15)?) as f64 / ticks.max(1) as f64,
            resident_bytes: number(24)? * u64::try_from(page).ok()?,
            descriptors: std::fs::read_dir("/proc/self/fd").ok()?.count(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_one_head_and_only_its_own_samples() {
        let view = View::new(std::env::temp_dir(), 0, || 7);
        for core in 0..2 {
            view.add_core(CoreMeters {
                core,
                ..CoreMeters::default()
            });
        }
        view.cores()[0]
            .sessions
            .refusals
            .count_replies(b"550 5.1.1 nobody\r\n");
        let text = render(&view);
        let mut families = std::collections::BTreeSet::new();
        let mut family = "";
        for line in text.lines() {
            if let Some(head) = line.strip_prefix("# TYPE ") {
                family = head.split(' ').next().expect("a name");
                assert!(families.insert(family), "{family} twice");
            } else if !line.starts_with('#') {
                assert!(line.starts_with(family), "{line} in {family}");
                let value = line.rsplit(' ').next().expect("a value");
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
        assert!(text.contains("ringpost_mail_refused_total{core=\"0\",reply=\"550\",status=\"5.1.1\"} 1"));
        assert!(text.contains("ringpost_log_lines_dropped_total 7"));
    }
}
