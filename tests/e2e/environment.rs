//! Config and secrets: what differs per environment is given at deploy and goes with the service.

use std::os::unix::fs::PermissionsExt as _;

use crate::lab::Lab;

const SECRET: &str = "correct-horse-battery-staple-4711";
const LISTING: &str =
    "stat -c '%n %a %U %G' /etc/vault/site.conf /etc/vault/keys/token; cat /etc/vault/keys/token";

#[test]
fn config_and_secrets_go_with_their_service_and_stay_secret() {
    let lab = Lab::take();
    let manifest = "service = \"vault\"\nversion = \"1\"\nunits = [\"vault.service\"]\nuser = \"daemon\"\n\
        [[config]]\nname = \"site\"\npath = \"/etc/vault/site.conf\"\nmode = \"0640\"\ngroup = \"daemon\"\n\
        [[secrets]]\nname = \"token\"\npath = \"/etc/vault/keys/token\"\nowner = \"daemon\"\n";
    // It runs only if it finds its files where its user may read them.
    let unit = "[Service]\nUser=daemon\nExecStartPre=/bin/grep -q site=lab /etc/vault/site.conf\n\
        ExecStartPre=/bin/grep -q correct-horse /etc/vault/keys/token\nExecStart=/bin/sleep infinity\n\
        [Install]\nWantedBy=multi-user.target\n";
    let image = lab.bundle(
        "vault",
        &[("handover.toml", manifest), ("units/vault.service", unit)],
    );
    let [site, token] = [("site", "site=lab\n"), ("token", SECRET)].map(|(name, content)| {
        let path = lab.scratch().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        format!("{name}={}", path.display())
    });
    let missing = lab.ctl(&["deploy", &image, "--to", "g1", "--config", &site]);
    missing.refused(3, "token");
    assert_eq!(lab.traces("g1", "vault"), Vec::<String>::new());

    lab.ctl(&[
        "deploy", &image, "--to", "g1", "--config", &site, "--secret", &token,
    ])
    .ok();
    let expected =
        format!("/etc/vault/site.conf 640 root daemon\n/etc/vault/keys/token 600 daemon root\n{SECRET}");
    assert_eq!(lab.guest("g1", LISTING).ok().trim_end(), expected);
    assert_eq!(
        lab.guest("g1", "ls /opt/vault").ok().matches("token").count(),
        0,
        "not in the bundle"
    );

    lab.ctl(&["move", "vault", "g2"]).ok();
    assert_eq!(lab.unit("g2", "ActiveState", "vault.service"), "active");
    assert_eq!(lab.guest("g2", LISTING).ok().trim_end(), expected);
    assert_eq!(
        lab.guest("g1", "ls -d /etc/vault 2>/dev/null; true").ok(),
        "",
        "nothing is left behind"
    );
    assert_eq!(lab.traces("g1", "vault"), Vec::<String>::new());

    let log = lab.lab(&["logs", "hv1"]).ok();
    assert!(log.contains("vault"), "the log is that of this daemon");
    assert!(!log.contains(SECRET), "the daemon's log holds the secret");
    let job = lab.last_job()["id"].as_u64().unwrap();
    assert!(
        !lab.job(job).to_string().contains(SECRET),
        "the job's journal holds the secret"
    );
    // The agent logs command lines: this one is not to be found itself.
    let find = "journalctl --no-pager -q 2>/dev/null | grep -c 'battery-staple-471[1]'; true";
    let guest_log = lab.guest("g2", find).ok();
    assert_eq!(guest_log.trim(), "0", "the guest's journal holds the secret");
    lab.ctl(&["remove", "vault"]).ok();
    assert_eq!(lab.guest("g2", "ls -d /etc/vault 2>/dev/null; true").ok(), "");
}
