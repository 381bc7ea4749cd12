//! Bundles that the tests are about.

use crate::lab::Lab;

const SERVER: &str = include_str!("../../examples/web/bin/web");

impl Lab {
    /// The server of `examples/web` as a service of its own: it listens on `port`, is called `<id>.svc.lab` with a
    /// TTL of 5 s, and its check fails wherever the file `/run/hold-<id>` is. `keys` is put before the tables of
    /// the manifest.
    #[track_caller]
    pub fn held(&self, id: &str, port: u16, version: &str, keys: &str) -> String {
        self.held_with_ttl(id, port, version, keys, 5)
    }

    /// As [`Lab::held`], with a TTL of its own in seconds: so long it drains, and two more.
    #[track_caller]
    pub fn held_with_ttl(&self, id: &str, port: u16, version: &str, keys: &str, ttl: u32) -> String {
        let check = format!(
            "#!/usr/bin/perl\nuse IO::Socket::INET;\n\
             exit 1 if -e '/run/hold-{id}';\nexit !IO::Socket::INET->new('127.0.0.1:{port}');\n"
        );
        self.server(id, port, version, keys, (&check, "60s"), ttl)
    }

    /// As [`Lab::held`], with a check that passes nowhere, given up after 8 s.
    #[track_caller]
    pub fn broken(&self, id: &str, port: u16, version: &str) -> String {
        self.server(
            id,
            port,
            version,
            "",
            ("#!/bin/sh\necho 'never well'\nexit 1\n", "8s"),
            5,
        )
    }

    #[track_caller]
    fn server(
        &self,
        id: &str,
        port: u16,
        version: &str,
        keys: &str,
        (check, timeout): (&str, &str),
        ttl: u32,
    ) -> String {
        let manifest = format!(
            "service = \"{id}\"\nversion = \"{version}\"\nunits = [\"{id}.service\"]\nports = [{port}]\n{keys}\n\
             [check]\ncommand = [\"/opt/{id}/bin/check\"]\ninterval = \"300ms\"\ntimeout = \"{timeout}\"\n\
             successes = 1\n[dns]\nname = \"{id}.svc.lab\"\nttl = {ttl}\n"
        );
        let unit = format!(
            "[Service]\nExecStart=/opt/{id}/bin/web {port} 0.0.0.0 {version}\nDynamicUser=yes\n\
             [Install]\nWantedBy=multi-user.target\n"
        );
        let files = [
            ("handover.toml", manifest.as_str()),
            (&format!("units/{id}.service"), &unit),
            ("bin/web", SERVER),
            ("bin/check", check),
        ];
        self.bundle(&format!("{id}-{version}"), &files)
    }

    /// A service without name and check, which leaves `/run/was-started-<id>` where it was started. `keys` is put
    /// at the end of the manifest.
    #[track_caller]
    pub fn marking(&self, id: &str, keys: &str) -> String {
        let manifest = format!("service = \"{id}\"\nversion = \"1\"\nunits = [\"{id}.service\"]\n{keys}\n");
        let unit = format!(
            "[Service]\nExecStartPre=/bin/touch /run/was-started-{id}\nExecStart=/bin/sleep infinity\n\
             [Install]\nWantedBy=multi-user.target\n"
        );
        self.bundle(
            id,
            &[
                ("handover.toml", &manifest),
                (&format!("units/{id}.service"), &unit),
            ],
        )
    }

    /// Makes the check of a held service fail on a guest, or pass again.
    #[track_caller]
    pub fn hold(&self, guest: &str, id: &str, hold: bool) {
        let verb = if hold { "touch" } else { "rm -f" };
        self.guest(guest, &format!("{verb} /run/hold-{id}")).ok();
    }
}
