//! The configuration as an operator meets it: files, drop-ins and key files.

#![cfg(test)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use handoverd::config::{ConfigError, Settings, load};

const SECRET: &str = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IDEyMzQ=";
const ZONE: &str = "[addresses]\nnetworks = [\"10.0.0.0/8\"]\n[[dns.zone]]\n";

/// A folder with a main file, drop-ins and a key file.
struct Etc(tempfile::TempDir);

impl Etc {
    fn new(main: &str) -> Self {
        let etc = Self(tempfile::tempdir().unwrap());
        etc.write("handoverd.toml", main);
        etc
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn load(&self) -> Result<Settings, ConfigError> {
        load(&self.path("handoverd.toml"))
    }
}

#[test]
fn drop_ins_are_read_in_the_order_of_their_names_and_win_over_the_main_file() {
    let etc = Etc::new(
        "host = 'main'\n[pool]\nname = 'main'\n[libvirt]\nuri = 'qemu:///main'\n[jobs]\nparallel = 3",
    );
    etc.write(
        "handoverd.d/20-b.toml",
        "host = 'twenty'\n[libvirt]\nuri = 'qemu:///twenty'",
    );
    etc.write("handoverd.d/10-a.toml", "host = 'ten'\n[pool]\nname = 'ten'");
    etc.write("handoverd.d/30-off.toml.bak", "host = 'bak'");
    etc.write("handoverd.d/.40-hidden.toml", "host = 'hidden'");
    let settings = etc.load().unwrap();
    assert_eq!(settings.host.as_str(), "twenty");
    assert_eq!(settings.pool, "ten");
    assert_eq!(settings.hosts[0].uri, "qemu:///twenty");
    assert_eq!(settings.jobs.parallel, 3);
}

#[test]
fn a_drop_in_replaces_the_server_of_a_zone_if_it_says_so_and_adds_another_zone() {
    let etc = Etc::new(
        "[addresses]\nnetworks = ['10.0.0.0/8']\n[[dns.zone]]\nname = 'svc.lab'\nserver = '127.0.0.1'\n",
    );
    etc.write(
        "handoverd.d/10-zone.toml",
        "[addresses]\nnetworks = ['fd00::/8']\n\
         [[dns.zone]]\nname = 'svc.lab.'\nserver = '127.0.0.1:5353'\nreplaces = '127.0.0.1'\n\
         [[dns.zone]]\nname = 'more.lab'\nserver = '::1'\n",
    );
    let settings = etc.load().unwrap();
    let zones: Vec<_> = settings
        .zones
        .iter()
        .map(|zone| format!("{} {}", zone.name, zone.server))
        .collect();
    assert_eq!(zones, ["svc.lab 127.0.0.1:5353", "more.lab [::1]:53"]);
    let networks: Vec<_> = settings.networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["fd00::/8"]);
}

#[test]
fn two_files_that_name_different_servers_for_a_zone_are_refused_with_the_lines_of_both() {
    let etc = Etc::new(&format!("{ZONE}name = 'svc.lab'\nserver = '127.0.0.1'\n"));
    etc.write(
        "handoverd.d/10-other.toml",
        "[[dns.zone]]\nname = 'SVC.lab.'\nserver = '127.0.0.2'\n",
    );
    let error = etc.load().unwrap_err();
    let expected = format!(
        "{}:3: dns.zone.server: svc.lab has the server 127.0.0.1 at {}:5, ",
        etc.path("handoverd.d/10-other.toml").display(),
        etc.path("handoverd.toml").display()
    );
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert_eq!(error.problems().len(), 1, "{error}");
}

#[test]
fn a_problem_names_the_drop_in_that_it_stands_in() {
    let etc = Etc::new("host = 'a'");
    etc.write("handoverd.d/10-bad.toml", "\n[pool]\nnmae = 'x'\n");
    let said = etc.load().unwrap_err().to_string();
    let expected = format!("{}:3: pool.nmae: ", etc.path("handoverd.d/10-bad.toml").display());
    assert!(said.starts_with(&expected), "{said}");
}

#[test]
fn a_main_file_that_is_not_there_is_refused_by_name() {
    let etc = Etc::new("");
    let path = etc.path("handoverd.toml");
    fs::remove_file(&path).unwrap();
    let said = etc.load().unwrap_err().to_string();
    assert!(
        said.contains(path.to_str().unwrap()) && said.contains("cannot be read"),
        "{said}"
    );
}

fn zone_with_key_file(etc: &Etc) {
    etc.write(
        "handoverd.toml",
        &format!(
            "{ZONE}name = 'svc.lab'\nserver = '10.0.0.2'\nkey_name = 'k'\nkey_file = '{}'\n",
            etc.path("key").display()
        ),
    );
}

#[test]
fn a_key_file_is_taken_only_if_nobody_but_its_owner_may_touch_it() {
    let etc = Etc::new("");
    etc.write("key", &format!("{SECRET}\n"));
    zone_with_key_file(&etc);
    let key = etc.path("key");
    for (mode, accepted) in [
        (0o600, true),
        (0o400, true),
        (0o640, false),
        (0o604, false),
        (0o620, false),
        (0o644, false),
        (0o610, false),
    ] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let loaded = etc.load();
        if accepted {
            let zone = &loaded.unwrap().zones[0];
            let secret = zone.key.as_ref().unwrap().secret.expose();
            assert_eq!(secret, b"secret secret secret secret 1234", "{mode:o}");
            continue;
        }
        let said = loaded.unwrap_err().to_string();
        for word in [
            format!(
                "handoverd.toml:7: dns.zone.key_file: the key file {}",
                key.display()
            ),
            format!("mode 0{mode:o}"),
            format!("chmod 600 {}", key.display()),
        ] {
            assert!(said.contains(&word), "{word:?} is not in: {said}");
        }
        assert!(!said.contains(SECRET), "{said}");
    }
}

#[test]
fn a_key_file_that_is_a_folder_a_fifo_or_endless_is_refused_at_once() {
    let etc = Etc::new("");
    zone_with_key_file(&etc);
    let key = etc.path("key");

    fs::create_dir(&key).unwrap();
    let said = etc.load().unwrap_err().to_string();
    assert!(said.contains("not a file"), "{said}");
    fs::remove_dir(&key).unwrap();

    nix::unistd::mkfifo(&key, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let said = etc.load().unwrap_err().to_string();
    assert!(said.contains("not a file"), "{said}");
    fs::remove_file(&key).unwrap();

    fs::write(&key, "A".repeat(5000)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let said = etc.load().unwrap_err().to_string();
    assert!(said.contains("longer than 4096 bytes"), "{said}");
}

#[test]
fn broken_base64_in_a_key_file_is_told_without_its_text() {
    let etc = Etc::new("");
    etc.write(
        "key",
        "key \"k\" { algorithm hmac-sha256; secret \"c2VjcmV0\"; };",
    );
    fs::set_permissions(etc.path("key"), fs::Permissions::from_mode(0o600)).unwrap();
    zone_with_key_file(&etc);
    let said = etc.load().unwrap_err().to_string();
    assert!(
        said.contains("BIND key clause") && !said.contains("c2VjcmV0"),
        "{said}"
    );
}
