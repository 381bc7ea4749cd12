//! A service that writes to a data volume, and who listens to what it acknowledges.

use std::io::{BufRead as _, BufReader};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::lab::Lab;

/// Appends numbers to a file, and acknowledges each when it is synced: to `/run`, where no volume is, and to the client,
/// which remembers what a guest that dies forgets.
const WRITER: &str = r#"#!/usr/bin/perl
use strict; use warnings; use IO::Handle; use Socket;
my ($file, $acks) = @ARGV;
my ($next, $torn) = (1, 0);
open my $name, '<', '/proc/sys/kernel/hostname' or die;
chomp(my $guest = <$name>);
if (open my $old, '<', $file) {
    while (my $line = <$old>) { if ($line =~ /^(\d+) \S+ \.\n/) { $next = $1 + 1; $torn = 0 } else { $torn = 1 } }
}
open my $out, '>>', $file or die "$file: $!";
open my $ack, '>>', $acks or die "$acks: $!";
$ack->autoflush(1);
socket my $wire, PF_INET, SOCK_DGRAM, 0 or die "socket: $!";
my $client = pack_sockaddr_in(7011, inet_aton('10.77.0.3'));
print $out "\n" if $torn;
while (1) {
    print $out "$next $guest .\n" or die;
    $out->flush or die "flush: $!";
    $out->sync or die "sync: $!";
    print $ack "$next\n";
    send $wire, "$guest $next\n", 0, $client;
    $next++;
    select undef, undef, undef, 0.05;
}
"#;

const NUMBERS: &str = "/srv/ledger/numbers";
/// Where the volume is on its host.
pub const VOLUME: &str = "/var/lib/libvirt/images/handoverd/ledger.data.raw";

impl Lab {
    /// A service that writes to a data volume; no volume and no service of this name is left from an earlier test.
    #[track_caller]
    pub fn ledger(&self, size: &str) -> String {
        self.delete_ledgers_volume();
        self.ledger_image("1", size, "")
    }

    /// The same with a name in the zone.
    #[track_caller]
    pub fn named_ledger(&self, size: &str) -> String {
        self.delete_ledgers_volume();
        self.ledger_image("1", size, "[dns]\nname = \"ledger.svc.lab\"\nttl = 1\n")
    }

    #[track_caller]
    fn delete_ledgers_volume(&self) {
        let delete = ["virsh", "vol-delete", "ledger.data.raw", "--pool", "handoverd"];
        self.exec("hv1", &delete);
    }

    /// Its bundle's image in this version; `more` stands at the end of its manifest.
    #[track_caller]
    pub fn ledger_image(&self, version: &str, size: &str, more: &str) -> String {
        let manifest = format!(
            "service = \"ledger\"\nversion = \"{version}\"\nunits = [\"ledger.service\"]\n\
             [check]\ncommand = [\"/opt/ledger/bin/check\"]\ninterval = \"300ms\"\ntimeout = \"20s\"\nsuccesses = 1\n\
             [data]\nsize = \"{size}\"\nmount = \"/srv/ledger\"\n{more}"
        );
        let unit = "[Service]\nExecStart=/opt/ledger/bin/writer /srv/ledger/numbers /run/acked-ledger\n\
                    [Install]\nWantedBy=multi-user.target\n";
        self.bundle(
            &format!("ledger-{version}"),
            &[
                ("handover.toml", &manifest),
                ("units/ledger.service", unit),
                ("bin/writer", WRITER),
                ("bin/check", "#!/bin/sh\n! test -e /run/hold-ledger\n"),
            ],
        )
    }

    /// The last number that was acknowledged in a guest since it booted; 0 if none was.
    #[track_caller]
    pub fn acked(&self, guest: &str) -> u64 {
        let out = self
            .guest(guest, "tail -n 1 /run/acked-ledger 2>/dev/null; true")
            .ok();
        out.trim().parse().unwrap_or(0)
    }

    /// Waits until the service writes on a guest; the last number then.
    #[track_caller]
    pub fn writes_on(&self, guest: &str) -> u64 {
        let before = self.acked(guest);
        self.wait_for("more numbers", 60, || {
            Some(self.acked(guest)).filter(|now| *now > before + 3)
        })
    }

    /// Whether the first number of this guest follows on the last one of the other. That one may have stopped between
    /// syncing a number and acknowledging it.
    #[track_caller]
    pub fn goes_on_behind(&self, guest: &str, acked: u64) {
        let first = self.guest(guest, "head -n 1 /run/acked-ledger").ok();
        let first: u64 = first.trim().parse().unwrap();
        assert!((acked + 1..=acked + 2).contains(&first), "{first} after {acked}");
    }

    /// How many numbers are in the file, which are 1, 2, 3 and so on: a second writer or a loss would show.
    #[track_caller]
    pub fn numbers(&self, guest: &str) -> u64 {
        let out = self.guest(guest, &format!("{COUNT} {NUMBERS}")).ok();
        counted(&out)
    }

    /// The same, read on the host out of the volume itself, which no guest has.
    #[track_caller]
    pub fn numbers_on_the_volume(&self) -> u64 {
        let line = format!("debugfs -R 'cat /numbers' {VOLUME} 2>/dev/null | {COUNT}");
        counted(&self.exec("hv1", &["sh", "-c", &line]).ok())
    }

    /// Whether the volume is in the pool.
    #[track_caller]
    pub fn volume_is_there(&self) -> bool {
        self.exec("hv1", &["test", "-e", VOLUME]).code == 0
    }
}

const COUNT: &str = "awk 'NF == 3 { if ($1 != ++n) { print \"at \" n \": \" $0; exit } } END { print n }'";

#[track_caller]
fn counted(out: &str) -> u64 {
    out.trim()
        .parse()
        .unwrap_or_else(|_| panic!("not one after the other: {out}"))
}

/// Listens in the client to every number that is acknowledged, from whichever guest.
pub struct Witness {
    listener: Child,
    heard: Arc<Mutex<Vec<(String, u64)>>>,
}

/// Prints each datagram; the first line says that it listens.
const LISTEN: &str = "import socket, sys\n\
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('10.77.0.3', 7011))\n\
    print('listens', flush=True)\n\
    while True:\n    sys.stdout.write(s.recv(100).decode()); sys.stdout.flush()\n";

impl Witness {
    /// From now on.
    #[track_caller]
    pub fn listen(lab: &Lab) -> Self {
        let mut listener = lab.in_background("client", &["python3", "-c", LISTEN]);
        let mut out = BufReader::new(listener.stdout.take().unwrap());
        let mut first = String::new();
        out.read_line(&mut first).unwrap();
        assert_eq!(first, "listens\n");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = heard.clone();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if let Some((guest, number)) = line.split_once(' ') {
                    all.lock()
                        .unwrap()
                        .push((guest.to_owned(), number.parse().unwrap()));
                }
            }
        });
        Self { listener, heard }
    }

    /// Fails unless the numbers ever rose: one that comes twice, or after a larger one, was written by a second writer or
    /// after a loss. Waits until `home` has acknowledged some more, and looks for all of them in its file.
    #[track_caller]
    pub fn nothing_is_lost(&self, lab: &Lab, home: &str, when: &str) {
        let begin = self.heard.lock().unwrap().len();
        lab.wait_for(&format!("{when}: more numbers from {home}"), 60, || {
            let heard = self.heard.lock().unwrap();
            let new = heard[begin..].iter().filter(|(guest, _)| guest == home).count();
            (new > 3).then_some(())
        });
        let last = self.rises(when);
        let numbers = lab.numbers(home);
        assert!(
            numbers >= last,
            "{when}: {last} was acknowledged, and {numbers} are there"
        );
    }

    /// Fails unless the numbers ever rose; the last one.
    #[track_caller]
    pub fn rises(&self, when: &str) -> u64 {
        // A datagram that is still on its way is heard as well.
        std::thread::sleep(Duration::from_millis(100));
        let heard = self.heard.lock().unwrap();
        if let Some(at) = heard.windows(2).position(|pair| pair[1].1 <= pair[0].1) {
            let around = &heard[at.saturating_sub(3)..heard.len().min(at + 5)];
            panic!("{when}: two writers, or a loss: {around:?}");
        }
        heard.last().map_or(0, |(_, number)| *number)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.listener.kill().ok();
        self.listener.wait().ok();
    }
}
