//! Settings of the lab's daemon that a test needs otherwise than the lab has them.

use crate::lab::Lab;

/// One at a time.
const DROP_IN: &str = "/etc/handoverd/handoverd.d/test.toml";

/// A drop-in of the configuration, until this goes out of scope.
pub struct Setting<'a>(&'a Lab);

impl Lab {
    /// Writes a drop-in with these lines, and starts the daemon anew with it.
    #[must_use]
    #[track_caller]
    pub fn with_settings(&self, lines: &[&str]) -> Setting<'_> {
        let script = "mkdir -p \"${1%/*}\"; file=$1; shift; printf '%s\\n' \"$@\" >\"$file\"";
        self.exec("hv1", &[&["sh", "-c", script, "sh", DROP_IN], lines].concat())
            .ok();
        // Before the start: a test that ends there leaves nothing behind either.
        let setting = Setting(self);
        self.lab(&["daemon", "hv1", "restart"]).ok();
        setting
    }

    /// Keeps the daemon from auditing by itself, until this goes out of scope: its audit adopts what an operator does in a
    /// guest. The one that comes soon after its start is over when this returns.
    #[must_use]
    #[track_caller]
    pub fn without_audits(&self) -> Setting<'_> {
        let setting = self.with_settings(&["[audit]", "every = \"1h\""]);
        self.wait_for("the first audit", 60, || {
            let told = self.ctl(&["metrics"]).ok();
            told.contains("\nhandoverd_audit_timestamp_seconds ")
                .then_some(())
        });
        setting
    }

    /// What a test that was killed has left: its settings, and the second host that they name.
    #[track_caller]
    pub fn undo_settings(&self) {
        if self.exec("hv1", &["test", "-e", DROP_IN]).code == 0 {
            self.exec("hv1", &["rm", DROP_IN]).ok();
            self.lab(&["host-undefine", "hv2"]).ok();
            self.lab(&["up"]).ok();
            self.lab(&["daemon", "hv1", "restart"]).ok();
        }
    }
}

impl Drop for Setting<'_> {
    fn drop(&mut self) {
        for command in [
            &["exec", "hv1", "--", "rm", "-f", DROP_IN][..],
            &["daemon", "hv1", "restart"],
        ] {
            let ran = self.0.lab(command);
            if ran.code != 0 {
                eprintln!("{command:?} did not undo: {ran:?}");
            }
        }
    }
}
